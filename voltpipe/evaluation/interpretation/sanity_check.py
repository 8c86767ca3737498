"""Would attributions look the same had nothing been learned?

After Adebayo et al. (2018), Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292: an explanation that a
forecaster with random weights gets as well explains its architecture, or the recording, but not what was learned.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from voltpipe.evaluation.interpretation.channel_influence import ShuffledChannels
from voltpipe.forecasting.forecaster import Forecaster

MOST_ALIKE = 0.5
"""Rank correlation above which attributions do not tell a trained forecaster from one with random weights."""


@dataclass(frozen=True)
class SanityCheck:
    """Result of the sanity check: whether attributions depend on learned weights, and the finding."""

    passed: bool
    finding: str
    rank_correlation: float | None
    """Between attributions of the trained forecaster and of the same with random weights; None without any."""


def sanity_check(trained: ShuffledChannels, untrained: ShuffledChannels) -> SanityCheck:
    """Compare how much each channel's forecast owes to each other one, or where that is nothing, to its own history.

    The latter with its sign. How much counts by how long ago it was is not compared: the last samples count most with
    random weights as well.
    """
    of_others = [
        each.influence_mv().numpy()[each.senders[:, None] != np.arange(each.moments.window_set.n_channels)]
        for each in (trained, untrained)
    ]
    alike = rank_correlation(*of_others)
    if alike is not None:
        return _check(alike, "how much each channel's forecast owes to each other channel")
    own = (each.own_changes_mv().flatten().numpy() for each in (trained, untrained))
    return _check(rank_correlation(*own), "how a channel's own history moves its forecast")


def _check(alike: float | None, what: str) -> SanityCheck:
    if alike is None:
        return SanityCheck(False, "its forecasts, or those of random weights, do not depend on the history", None)
    passed = alike <= MOST_ALIKE
    meaning = "it was learned" if passed else "random weights say much the same, so it explains nothing"
    finding = (
        f"{what} has a rank correlation of {alike:.2f} with the same of random weights "
        f"(at most {MOST_ALIKE:g} expected): {meaning}"
    )
    return SanityCheck(passed, finding, alike)


def rank_correlation(first: Float[np.ndarray, " value"], second: Float[np.ndarray, " value"]) -> float | None:
    """Return Spearman's rank correlation; None where either does not vary or is not finite."""
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return None
    correlation = float(spearmanr(first, second).statistic)
    return correlation if np.isfinite(correlation) else None


@torch.no_grad()
def with_random_weights(forecaster: Forecaster, *, seed: int) -> Forecaster:
    """Return the same architecture with the values of each learned array in random order.

    Size and spread of the weights stay, and their meaning is lost. Estimated tables and couplings are learned too, so
    they are shuffled. Scales, bins and the reset voltage are kept.
    """
    module = deepcopy(forecaster.module)
    generator = torch.Generator().manual_seed(seed)
    tables = [buffer for buffer in module.buffers() if buffer.is_floating_point() and buffer.dim() > 1]
    for values in (*module.parameters(), *tables):
        order = torch.randperm(values.numel(), generator=generator)
        values.copy_(values.flatten()[order].reshape(values.shape))
    return replace(forecaster, module=module)
