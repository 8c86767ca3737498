"""Forecasts sample by sample, as a rig delivers them."""

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
"""How often a stream that adapts updates its coupling; in between it only collects samples."""


class Stream:
    """A forecaster that is handed one sample after the other, and keeps what it has to know of the earlier ones.

    Args:
        forecaster: one whose network works step by step (all but the published ones and the baselines).
        adapt: whether to estimate the coupling from the stream itself, as of an organoid that was not trained on. It is
            refreshed from what came before, never from what comes later.

    Raises:
        ForecasterError: the forecaster cannot do that.
    """

    def __init__(self, forecaster: Forecaster, *, adapt: bool = False) -> None:
        config = forecaster.config
        module = forecaster.module.eval()
        if not isinstance(module, Streams):
            raise ForecasterError(
                f"a {config.architecture} forecasts from whole windows; use `predict_mv`, or a forecaster such as "
                "coupled_cnn_lstm or shared_cnn_lstm for a stream",
                code="streaming-unsupported",
            )
        self._adaptable = module if adapt and forecaster.adapts and isinstance(module, Adaptable) else None
        if adapt and not self._adaptable:
            raise ForecasterError(
                f"this {config.architecture} uses no connectivity, so there is nothing to adapt",
                code="adaptation-unsupported",
            )
        self.n_seen = 0
        self._n_channels = len(config.channel_names)
        self._module: Streams = module
        unknown = self._adaptable and (self._adaptable.coupling_of(None, self._n_channels),)
        self.coupling: tuple[Tensor, ...] = unknown or forecaster.coupling()
        """The coupling that is forecast with, if the module uses one."""
        self._past: Any = None
        self._evidence: SpikeTriggeredSums | None = None
        self._not_noted: list[Tensor] = []

    @torch.inference_mode()
    def push(self, sample_mv: Float32[np.ndarray, " channel"]) -> Float32[np.ndarray, "horizon channel"]:
        """Take the next sample in mV, and forecast from it in mV.

        The first forecasts know little: those that follow `warm_up_samples` samples are as good as in training.

        Raises:
            ForecasterError: the sample has other channels, or holds NaN or infinity; it is not taken in then.
        """
        if sample_mv.shape != (self._n_channels,) or not np.isfinite(sample_mv).all():
            raise ForecasterError(
                f"expected a sample of {self._n_channels} finite voltages, found shape {sample_mv.shape} with "
                f"{int((~np.isfinite(sample_mv)).sum())} that are not finite; begin another stream after a gap",
                code="sample-invalid",
            )
        voltage_mv = torch.from_numpy(sample_mv)
        forecast_mv, self._past = self._module.next_forecast_mv(voltage_mv[None], self._past, *self.coupling)
        self.n_seen += 1
        if self._adaptable:
            self._not_noted.append(voltage_mv.clone())
            if len(self._not_noted) >= REFRESH_SAMPLES:
                self._refresh(self._adaptable)
        return forecast_mv[0].numpy()

    def _refresh(self, module: Adaptable) -> None:
        voltage_mv = torch.stack(self._not_noted)
        shown = module.spike_triggered_sums(voltage_mv)
        assert shown is not None  # a stream adapts only where spikes can be seen
        self._evidence = shown if self._evidence is None else self._evidence + shown
        self.coupling = (module.adapted_coupling(self._evidence),)
        # The next segment begins one row before its first spikes; the effects of the last ones end in it.
        self._not_noted = self._not_noted[-(len(shown.sums_mv) + 1) :]
