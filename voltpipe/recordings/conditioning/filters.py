"""Causal filters that process a segment chunk by chunk.

A zero-phase filter carries later samples into earlier ones: it makes white noise predictable with an R2 above 0.2. Here
an output sample depends on present and earlier voltages alone. The voltage before a segment is assumed to equal its
first sample, so that the offset does not ring. The caller drops the warm-up, in which this assumption matters. The
chunk size does not change the output.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32
from scipy import signal

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, Profile

_BAND_PASS_ORDER = 2
"""Order of the prototype: both slopes fall by 12 dB per octave."""
_BAND_PASS_WARM_UP = 2
"""Periods of the lower edge in which the initial state decays by 80 dB."""
_STOP_BAND_DB = 60.0
_MOST_STEPS = 1000
"""Largest denominator of a ratio of rates."""


Filter = Callable[[Float32[np.ndarray, "time channel"]], Float32[np.ndarray, "out channel"]]
"""Takes the next samples of a segment and returns the next output samples."""


@runtime_checkable
class FilterDesign(Protocol):
    """Parameters of a filter. `begin` makes the filter for a new segment."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Descriptions of the filter steps, in order."""

    @property
    def rate_hz(self) -> float:
        """Rate of the output in Hz."""

    @property
    def warm_up(self) -> int:
        """Number of input samples at the start of a segment whose output depends on the assumed past."""

    def begin(self) -> Filter:
        """Make a filter without state."""


def design_filter(settings: ConditioningSettings, rate_hz: float) -> FilterDesign:
    """Design the filter of a profile for the rate of a recording.

    Raises:
        RecordingError: the rate is too low for the profile, or its ratio to the new rate is not simple.
    """
    if settings.profile is Profile.SPIKES:
        return BandPass(rate_hz, settings.spikes_lowest_hz, settings.spikes_highest_hz)
    if settings.profile is Profile.LFP:
        return Resample(rate_hz, settings.lfp_rate_hz, settings.lfp_passband_share)
    return NoFilter(rate_hz)


class NoFilter:
    """No filter."""

    steps: tuple[str, ...] = ()
    warm_up = 0

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz

    def begin(self) -> Filter:
        """Gives what it takes."""
        return lambda samples_mv: samples_mv


class BandPass:
    """A Butterworth band-pass at the recording's own rate."""

    def __init__(self, rate_hz: float, lowest_hz: float, highest_hz: float) -> None:
        if rate_hz <= 2 * highest_hz:
            raise RecordingError(
                f"a recording at {rate_hz:g} Hz has no band up to {highest_hz:g} Hz. Expected more than "
                f"{2 * highest_hz:g} Hz. Lower spikes_highest_hz, or use another profile.",
                code="rate-too-low-for-profile",
            )
        self.rate_hz = rate_hz
        self.warm_up = round(_BAND_PASS_WARM_UP * rate_hz / lowest_hz)
        self.sections = signal.butter(_BAND_PASS_ORDER, (lowest_hz, highest_hz), "bandpass", fs=rate_hz, output="sos")
        self.steps = (f"causal Butterworth band-pass {lowest_hz:g} to {highest_hz:g} Hz, order {_BAND_PASS_ORDER}",)

    def begin(self) -> Filter:
        """Make a filter for a new segment."""
        return _BandPassed(self.sections.astype(np.float32))


class _BandPassed:
    def __init__(self, sections: Float32[np.ndarray, "section 6"]) -> None:
        self._sections = sections
        self._offset_mv: np.ndarray | None = None
        self._state = np.empty(0)

    def __call__(self, samples_mv: Float32[np.ndarray, "time channel"]) -> Float32[np.ndarray, "time channel"]:
        if self._offset_mv is None:
            self._offset_mv = samples_mv[0].copy()
            self._state = np.zeros((len(self._sections), 2, samples_mv.shape[1]), np.float32)
        filtered, self._state = signal.sosfilt(self._sections, samples_mv - self._offset_mv, axis=0, zi=self._state)
        return np.asarray(filtered)


class Resample:
    """Low-pass anti-aliasing filter and resampling to a lower rate.

    A linear-phase FIR filter (Kaiser window). Frequencies up to `passband_share` of half the new rate pass; those above
    half the new rate are damped by 60 dB. The delay is not shifted back, because that would use future samples. `steps`
    states the delay.
    """

    def __init__(self, rate_hz: float, new_rate_hz: float, passband_share: float) -> None:
        ratio = Fraction(new_rate_hz / rate_hz).limit_denominator(_MOST_STEPS)
        if ratio > 1 or not np.isclose(float(ratio) * rate_hz, new_rate_hz, rtol=1e-9):
            raise RecordingError(
                f"{rate_hz:.12g} Hz cannot be resampled to {new_rate_hz:g} Hz. Set lfp_rate_hz to a simple fraction of "
                f"it, e.g. {rate_hz / max(1, round(rate_hz / new_rate_hz)):.12g}.",
                code="rate-not-resamplable",
            )
        self.rate_hz = new_rate_hz
        self._ratio = ratio
        raised_hz, half_hz = rate_hz * ratio.numerator, new_rate_hz / 2
        length, beta = signal.kaiserord(_STOP_BAND_DB, 2 * (1 - passband_share) * half_hz / raised_hz)
        edge_hz = (1 + passband_share) / 2 * half_hz
        taps = signal.firwin(length | 1, edge_hz, window=("kaiser", beta), fs=raised_hz) * ratio.numerator
        self._taps = taps.astype(np.float32)
        # A whole number of samples at the new rate, so that later samples fall on it too.
        self.warm_up = -(-len(taps) // (ratio.numerator * ratio.denominator)) * ratio.denominator
        delay_ms = 1000 * (len(taps) - 1) / 2 / raised_hz
        self.steps = (
            f"causal FIR low-pass, whole to {passband_share * half_hz:g} Hz, -{_STOP_BAND_DB:g} dB from {half_hz:g} Hz",
            f"which delays by {delay_ms:.4g} ms",
            f"resampled from {rate_hz:.12g} to {new_rate_hz:.12g} Hz",
        )

    def begin(self) -> Filter:
        """Make a filter for a new segment. Its first output is at the first sample of the segment."""
        return _Resampled(self._taps, self._ratio.numerator, self._ratio.denominator)


class _Resampled:
    """FIR filter with state that computes only the output samples.

    Each output is a sum over its own input samples in order, so the chunk size does not matter. With many channels this
    is ten times as fast as scipy's `upfirdn`.
    """

    def __init__(self, taps: Float32[np.ndarray, " tap"], up: int, down: int) -> None:
        self._up, self._down = up, down
        self._arms = [np.ascontiguousarray(taps[phase::up][::-1]) for phase in range(up)]
        """Weights of the input samples, by the phase of the output between two input samples."""
        self._reach = len(self._arms[0])
        self._offset_mv: np.ndarray | None = None
        self._kept = np.empty((0, 0), np.float32)
        self._kept_start = -self._reach
        self._taken = self._given = 0

    def __call__(self, samples_mv: Float32[np.ndarray, "time channel"]) -> Float32[np.ndarray, "out channel"]:
        if self._offset_mv is None:
            self._offset_mv = samples_mv[0].copy()
            self._kept = np.zeros((self._reach, samples_mv.shape[1]), np.float32)
        self._kept = np.concatenate([self._kept, samples_mv - self._offset_mv])
        self._taken += len(samples_mv)
        stop = -(-self._taken * self._up // self._down)
        filtered = np.empty((stop - self._given, samples_mv.shape[1]), np.float32)
        for row, raised in enumerate(range(self._given * self._down, stop * self._down, self._down)):
            arm, end = self._arms[raised % self._up], raised // self._up + 1 - self._kept_start
            np.einsum("s,sc->c", arm, self._kept[end - len(arm) : end], out=filtered[row])
        self._given = stop
        needed = stop * self._down // self._up + 1 - self._reach
        self._kept, self._kept_start = self._kept[needed - self._kept_start :].copy(), needed
        return np.asarray(filtered + self._offset_mv)
