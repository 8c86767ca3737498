"""Free running: voltages that a forecaster holds for possible, drawn sample by sample from its own distribution."""

import numpy as np
import torch
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster, ForecasterError


def roll_out(
    forecaster: Forecaster, history_mv: Float32[np.ndarray, "*batch context channel"], n_samples: int, *, seed: int
) -> Float32[np.ndarray, "*batch time channel"]:
    """Draw what may follow a history, each sample from the distribution one sample ahead of all before it.

    Given the past, channels are drawn independently of each other. The mean over many runs is not the forecast at the
    larger horizons, which was learned by itself.

    Args:
        forecaster: one with a predictive distribution, and a horizon of one sample.
        history_mv: at least `context_samples` samples, of one run or of a batch.
        n_samples: how many samples are drawn, at least one.
        seed: decides all draws.

    Raises:
        ForecasterError: the forecaster lacks a distribution or the horizon, or the history does not fit it.
    """
    distribution = forecaster.known_distribution()
    if 1 not in forecaster.horizons:
        raise ForecasterError(
            f"this {forecaster.config.architecture} forecasts {forecaster.horizons} samples ahead, a roll-out goes "
            "sample by sample; train it with a horizon of 1"
        )
    nearest = forecaster.horizons.index(1)
    draw = torch.Generator().manual_seed(seed)
    known_mv, drawn_mv = history_mv[..., -forecaster.config.context_samples :, :], []
    for _ in range(n_samples):
        forecast_mv = torch.from_numpy(forecaster.predict_mv(known_mv))
        present_mv = torch.from_numpy(known_mv[..., -1, :].copy())
        level = torch.rand(forecast_mv.shape, generator=draw)
        drawn_mv.append(distribution.sample_mv(present_mv, forecast_mv, level)[..., [nearest], :].numpy())
        known_mv = np.concatenate([known_mv[..., 1:, :], drawn_mv[-1]], axis=-2)
    return np.concatenate(drawn_mv, axis=-2)
