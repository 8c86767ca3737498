"""Free running: voltages that a forecaster holds for possible, drawn sample by sample from its own distribution."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from voltpipe.forecasting.forecast_module import Streams
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError

_Follow = Callable[[Tensor], Tensor]
"""Takes the next sample of each run, (run, channel), and gives the forecasts from it, (run, horizon, channel)."""


def roll_out(
    forecaster: Forecaster,
    history_mv: Float32[np.ndarray, "*batch context channel"],
    n_samples: int,
    *,
    seed: int,
    limits_mv: tuple[float, float] | None = None,
) -> Float32[np.ndarray, "*batch time channel"]:
    """Draw what may follow a history, each sample from the distribution one sample ahead of all before it.

    Given the past, channels are drawn independently of each other. The mean over many runs is not the forecast at the
    larger horizons, which was learned by itself.

    Args:
        forecaster: one with a predictive distribution, and a horizon of one sample.
        history_mv: at least `context_samples` samples, of one run or of a batch.
        n_samples: how many samples are drawn, at least one.
        seed: decides all draws.
        limits_mv: lowest and highest voltage that a run may take. A run that leaves them has diverged: all its channels
            are NaN from that sample on.

    Raises:
        ForecasterError: the forecaster lacks a distribution or the horizon, or the history does not fit it.
    """
    distribution = forecaster.known_distribution()
    if 1 not in forecaster.horizons:
        raise ForecasterError(
            f"this {forecaster.config.architecture} forecasts {forecaster.horizons} samples ahead, a roll-out goes "
            "sample by sample; train it with a horizon of 1",
            code="horizon-missing",
        )
    nearest = forecaster.horizons.index(1)
    draw = torch.Generator().manual_seed(seed)
    known_mv = torch.from_numpy(np.ascontiguousarray(history_mv)).reshape(-1, *history_mv.shape[-2:])
    known_mv = known_mv[:, -forecaster.config.context_samples :]
    follow = _step_by_step(forecaster, known_mv) or _by_windows(forecaster, known_mv)
    present_mv, drawn_mv = known_mv[:, -1], []
    diverged = torch.zeros(len(known_mv), 1, dtype=torch.bool)
    for _ in range(n_samples):
        forecast_mv = follow(present_mv)
        level = torch.rand(forecast_mv.shape, generator=draw)
        present_mv = distribution.sample_mv(present_mv, forecast_mv, level)[:, nearest]
        if limits_mv:
            diverged |= ~((present_mv >= limits_mv[0]) & (present_mv <= limits_mv[1])).all(1, keepdim=True)
            drawn_mv.append(present_mv.masked_fill(diverged, torch.nan))
            present_mv = torch.where(diverged, known_mv[:, -1], present_mv)
        else:
            drawn_mv.append(present_mv)
    return torch.stack(drawn_mv, dim=1).reshape(*history_mv.shape[:-2], n_samples, -1).numpy()


def _by_windows(forecaster: Forecaster, known_mv: Float[Tensor, "run time channel"]) -> _Follow:
    """Takes sample after sample from the last known one on, and forecasts from the window that each ends."""
    window_mv = known_mv[:, :-1]

    def follow(sample_mv: Tensor) -> Tensor:
        nonlocal window_mv
        window_mv = torch.cat([window_mv, sample_mv[:, None]], dim=1)[:, -forecaster.config.context_samples :]
        return torch.from_numpy(forecaster.predict_mv(window_mv.numpy()))

    return follow


def _step_by_step(forecaster: Forecaster, known_mv: Float[Tensor, "run time channel"]) -> _Follow | None:
    """Like `_by_windows`, but from the streaming state, at a fraction of the work; None if the module cannot stream."""
    module = forecaster.module.eval()
    if not isinstance(module, Streams):
        return None
    coupling = forecaster.coupling()
    forecaster.predict_mv(known_mv.numpy())  # refuses what does not fit
    past: Any = None

    @torch.inference_mode()
    def follow(sample_mv: Tensor) -> Tensor:
        nonlocal past
        forecast_mv, past = module.next_forecast_mv(sample_mv, past, *coupling)
        return forecast_mv

    for sample_mv in known_mv[:, -module.memory_samples : -1].unbind(1):
        follow(sample_mv)
    return follow
