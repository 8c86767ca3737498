"""Roll-outs: voltages drawn sample by sample from the predictive distribution, each fed back as input."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from voltpipe.forecasting.forecast_module import Streams
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError

_Step = Callable[[Tensor], Tensor]
"""Takes the next sample of each roll-out, (rollout, channel), and returns forecasts, (rollout, horizon, channel)."""


def roll_out(
    forecaster: Forecaster,
    history_mv: Float32[np.ndarray, "*batch context channel"],
    n_samples: int,
    *,
    seed: int,
    limits_mv: tuple[float, float] | None = None,
) -> Float32[np.ndarray, "*batch time channel"]:
    """Draw a continuation of a history. Each sample comes from the distribution one sample ahead, given all before.

    Given the past, channels are drawn independently. The mean over many roll-outs differs from the forecast at larger
    horizons, which is trained separately.

    Args:
        forecaster: a forecaster with a predictive distribution and a horizon of one sample.
        history_mv: at least `context_samples` samples, in mV, of one roll-out or a batch.
        n_samples: number of samples to draw, at least one.
        seed: seed of all draws.
        limits_mv: lowest and highest voltage of a roll-out, in mV. One that leaves them has diverged: all its channels
            are NaN from that sample on.

    Raises:
        ForecasterError: the forecaster lacks a distribution or the horizon, or the history does not fit it.
    """
    distribution = forecaster.known_distribution()
    if 1 not in forecaster.horizons:
        raise ForecasterError(
            f"This {forecaster.config.architecture} has horizons of {forecaster.horizons} samples. A roll-out needs a "
            "horizon of 1 sample. Train a forecaster with it.",
            code="horizon-missing",
        )
    next_sample = forecaster.horizons.index(1)
    generator = torch.Generator().manual_seed(seed)
    known_mv = torch.from_numpy(np.ascontiguousarray(history_mv)).reshape(-1, *history_mv.shape[-2:])
    known_mv = known_mv[:, -forecaster.config.context_samples :]
    step = _step_by_step(forecaster, known_mv) or _by_windows(forecaster, known_mv)
    present_mv, drawn_mv = known_mv[:, -1], []
    diverged = torch.zeros(len(known_mv), 1, dtype=torch.bool)
    for _ in range(n_samples):
        forecast_mv = step(present_mv)
        level = torch.rand(forecast_mv.shape, generator=generator)
        present_mv = distribution.sample_mv(present_mv, forecast_mv, level)[:, next_sample]
        if limits_mv:
            diverged |= ~((present_mv >= limits_mv[0]) & (present_mv <= limits_mv[1])).all(1, keepdim=True)
            drawn_mv.append(present_mv.masked_fill(diverged, torch.nan))
            present_mv = torch.where(diverged, known_mv[:, -1], present_mv)
        else:
            drawn_mv.append(present_mv)
    return torch.stack(drawn_mv, dim=1).reshape(*history_mv.shape[:-2], n_samples, -1).numpy()


def _by_windows(forecaster: Forecaster, known_mv: Float[Tensor, "rollout time channel"]) -> _Step:
    """Return a step that forecasts from the window that ends with the sample. It starts with the last known sample."""
    window_mv = known_mv[:, :-1]

    def step(sample_mv: Tensor) -> Tensor:
        nonlocal window_mv
        window_mv = torch.cat([window_mv, sample_mv[:, None]], dim=1)[:, -forecaster.config.context_samples :]
        return torch.from_numpy(forecaster.predict_mv(window_mv.numpy()))

    return step


def _step_by_step(forecaster: Forecaster, known_mv: Float[Tensor, "rollout time channel"]) -> _Step | None:
    """Return a step that forecasts from the streaming state, which is much faster; None if the model cannot stream."""
    module = forecaster.module.eval()
    if not isinstance(module, Streams):
        return None
    coupling = forecaster.coupling()
    forecaster.predict_mv(known_mv.numpy())  # raises if the history does not fit
    past: Any = None

    @torch.inference_mode()
    def step(sample_mv: Tensor) -> Tensor:
        nonlocal past
        forecast_mv, past = module.next_forecast_mv(sample_mv, past, *coupling)
        return forecast_mv

    for sample_mv in known_mv[:, -module.memory_samples : -1].unbind(1):
        step(sample_mv)
    return step
