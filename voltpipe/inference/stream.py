"""Streaming inference: forecasts sample by sample, during a recording."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from voltpipe.forecasting.connectivity.spike_triggered_average import SpikeTriggeredSums
from voltpipe.forecasting.forecast_module import Adaptable, Streams
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError

REFRESH_SAMPLES = 500
"""Number of samples between updates of the coupling in an adapting stream."""


class Stream:
    """A forecaster that receives one sample at a time and keeps the state of the earlier ones.

    Args:
        forecaster: a forecaster whose model can stream (all but the published architectures and the baselines).
        adapt: whether to estimate the coupling from the stream itself, for an organoid that was not in the training. It
            is updated from past samples only.

    Raises:
        ForecasterError: the forecaster cannot stream or adapt.
    """

    def __init__(self, forecaster: Forecaster, *, adapt: bool = False) -> None:
        config = forecaster.config
        module = forecaster.module.eval()
        if not isinstance(module, Streams):
            raise ForecasterError(
                f"A {config.architecture} forecasts from whole windows and cannot stream. Call `predict_mv`, or use a "
                "coupled_cnn_lstm or shared_cnn_lstm.",
                code="streaming-unsupported",
            )
        self._adaptable = module if adapt and forecaster.adapts and isinstance(module, Adaptable) else None
        if adapt and not self._adaptable:
            raise ForecasterError(
                f"This {config.architecture} uses no connectivity, so there is nothing to adapt. "
                "Stream without `adapt`.",
                code="adaptation-unsupported",
            )
        self.n_seen = 0
        self._n_channels = len(config.channel_names)
        self._module: Streams = module
        unknown = self._adaptable and (self._adaptable.coupling_of(None, self._n_channels),)
        self.coupling: tuple[Tensor, ...] = unknown or forecaster.coupling()
        """Coupling used by the model; empty if it uses none."""
        self._past: Any = None
        self._spike_sums: SpikeTriggeredSums | None = None
        self._recent_mv: list[Tensor] = []

    @torch.inference_mode()
    def push(self, sample_mv: Float32[np.ndarray, " channel"]) -> Float32[np.ndarray, "horizon channel"]:
        """Take the next sample in mV, and return the forecasts from it in mV.

        Forecasts are as good as in training once `warm_up_samples` samples have been pushed.

        Raises:
            ForecasterError: the sample has other channels, or contains NaN or infinity. The stream is unchanged.
        """
        n_invalid = int((~np.isfinite(sample_mv)).sum())
        if sample_mv.shape != (self._n_channels,) or n_invalid:
            raise ForecasterError(
                f"The sample has shape {sample_mv.shape} and {n_invalid} non-finite value(s). "
                f"Expected {self._n_channels} finite voltages. Start a new stream after a gap.",
                code="sample-invalid",
            )
        voltage_mv = torch.from_numpy(sample_mv)
        forecast_mv, self._past = self._module.next_forecast_mv(voltage_mv[None], self._past, *self.coupling)
        self.n_seen += 1
        if self._adaptable:
            self._recent_mv.append(voltage_mv.clone())
            if len(self._recent_mv) >= REFRESH_SAMPLES:
                self._refresh(self._adaptable)
        return forecast_mv[0].numpy()

    def _refresh(self, module: Adaptable) -> None:
        voltage_mv = torch.stack(self._recent_mv)
        sums = module.spike_triggered_sums(voltage_mv)
        assert sums is not None  # an adaptable model sees spikes
        self._spike_sums = sums if self._spike_sums is None else self._spike_sums + sums
        self.coupling = (module.adapted_coupling(self._spike_sums),)
        # Keep the samples in which the effects of the last spikes end, and one before the first new spike.
        self._recent_mv = self._recent_mv[-(len(sums.sums_mv) + 1) :]
