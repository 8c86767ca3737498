"""Extracellular spikes: negative peaks of the band-passed voltage of an electrode."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from voltpipe.signals.spike_detection.detector import SpikeDetector, SpikeStates, previous, states_of_crossings

BAND_HZ = (300.0, 3000.0)
_ORDER = 1
"""Poles at each edge of the band. More would turn the phase, and so make rebounds as large as the spikes."""
_HIGHEST_SHARE = 0.45
"""Upper limit of the band, as a share of the sampling rate."""
_TAIL = 1e-3
"""Share of the largest filter coefficient below which the impulse response is cut."""
_TAP_UNIT = 2.0**-18
_VOLTAGE_UNIT_MV = 2.0**-16
"""Resolution of the filtered copy: about 0.015 µV. With whole multiples of both units, each sum is exact."""


@dataclass(frozen=True)
class Extracellular(SpikeDetector):
    """Extracellular spikes: downward crossings of a negative threshold by a causally band-passed copy.

    The filter is a second-order Butterworth band-pass (300 to 3000 Hz) whose impulse response is cut where it has
    decayed, so that its memory is finite. Its sums are exact, so the result does not depend on where a window starts.
    """

    kind: ClassVar[str] = "extracellular"

    rate_hz: float
    thresholds_mv: tuple[float, ...]
    """The threshold of each channel below zero, as a positive number. Other numbers of channels share the median."""
    dead_samples: int

    @property
    def memory_samples(self) -> int:
        """The length of the filter, the dead time, and one more sample, since a crossing takes two."""
        return len(filter_taps(self.rate_hz)) + self.dead_samples + 1

    def detect(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Detect downward crossings of the threshold in the band-passed voltage."""
        thresholds_mv = torch.tensor(self.thresholds_mv, dtype=torch.float64)
        if len(thresholds_mv) != voltage_mv.shape[-1]:
            thresholds_mv = thresholds_mv.median()
        filtered_mv = torch.from_numpy(band_passed_mv(voltage_mv.detach().numpy(), self.rate_hz))
        is_below = filtered_mv <= -thresholds_mv
        crossings = is_below & (previous(filtered_mv, -torch.inf) > -thresholds_mv)
        return states_of_crossings(crossings, self.dead_samples)


def band_passed_mv(
    voltage_mv: Float[np.ndarray, "*batch time channel"], rate_hz: float
) -> Float64[np.ndarray, "*batch time channel"]:
    """Return the band-passed voltage in mV. It is zero where too few earlier samples are known."""
    from scipy.signal import lfilter

    if not voltage_mv.size:
        return voltage_mv.astype(np.float64)
    taps = filter_taps(rate_hz)
    filtered = lfilter(taps, [1.0], np.rint(voltage_mv.astype(np.float64) / _VOLTAGE_UNIT_MV), axis=-2)
    filtered[..., : len(taps) - 1, :] = 0
    return np.asarray(filtered * (_TAP_UNIT * _VOLTAGE_UNIT_MV))


@lru_cache(maxsize=8)
def filter_taps(rate_hz: float) -> Float64[np.ndarray, " tap"]:
    """Return the impulse response of the band-pass, as whole multiples of the unit. They add up to zero."""
    from scipy.signal import butter, sosfilt

    low_hz, high_hz = BAND_HZ
    sections = butter(_ORDER, (low_hz, min(high_hz, _HIGHEST_SHARE * rate_hz)), "bandpass", fs=rate_hz, output="sos")
    impulse = np.zeros(round(0.05 * rate_hz))
    impulse[0] = 1
    response = sosfilt(sections, impulse)
    n_taps = int(np.flatnonzero(np.abs(response) > _TAIL * np.abs(response).max())[-1]) + 1
    taps = np.rint((response[:n_taps] - response[:n_taps].mean()) / _TAP_UNIT)
    # Rounding leaves a small sum, which would let a constant voltage through.
    taps[np.argmax(np.abs(taps))] -= taps.sum()
    return np.asarray(taps)
