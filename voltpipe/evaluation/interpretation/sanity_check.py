"""Sanity check of attributions against those of random weights.

After Adebayo et al. (2018), Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292: if random weights give
the same explanation, it explains the architecture or the recording, not what was learned.
"""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr

from voltpipe.evaluation.interpretation.channel_influence import ShuffledChannels
from voltpipe.forecasting.forecaster import Forecaster

MAX_CORRELATION = 0.5
"""Rank correlation above which attributions do not distinguish a trained forecaster from random weights."""


@dataclass(frozen=True)
class SanityCheck:
    """Result of the check whether attributions reflect what was learned, with its finding as text."""

    passed: bool
    finding: str
    rank_correlation: float | None
    """Rank correlation of attributions between the trained forecaster and random weights; None if there is none."""


def sanity_check(trained: ShuffledChannels, untrained: ShuffledChannels) -> SanityCheck:
    """Compare the influence of channels on each other or, if there is none, of each channel's history on itself.

    The latter is compared with its sign. The dependence on lag is not compared, because the last samples count most
    with random weights too.
    """
    of_others = [
        each.influence_mv().numpy()[each.senders[:, None] != np.arange(each.windows.window_set.n_channels)]
        for each in (trained, untrained)
    ]
    correlation = rank_correlation(*of_others)
    if correlation is not None:
        return _check(correlation, "The influence of channels on each other")
    own = (each.own_changes_mv().flatten().numpy() for each in (trained, untrained))
    return _check(rank_correlation(*own), "The influence of each channel's own history on its forecast")


def _check(correlation: float | None, what: str) -> SanityCheck:
    if correlation is None:
        return SanityCheck(
            False, "Forecasts of the forecaster or of random weights do not depend on the history.", None
        )
    passed = correlation <= MAX_CORRELATION
    meaning = "It was learned." if passed else "It was not learned, so it explains nothing."
    finding = (
        f"{what} has a rank correlation of {correlation:.2f} with that of random weights "
        f"(expected: at most {MAX_CORRELATION:g}). {meaning}"
    )
    return SanityCheck(passed, finding, correlation)


def rank_correlation(first: Float[np.ndarray, " value"], second: Float[np.ndarray, " value"]) -> float | None:
    """Return Spearman's rank correlation; None where either does not vary or is not finite."""
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return None
    correlation = float(spearmanr(first, second).statistic)
    return correlation if np.isfinite(correlation) else None


@torch.no_grad()
def with_random_weights(forecaster: Forecaster, *, seed: int) -> Forecaster:
    """Return a copy of the forecaster with the values of each learned array in random order.

    The distribution of all weights stays, and their meaning is lost. Estimated tables and couplings are learned too,
    so they are shuffled like weights. Scales, bins and the reset voltage are kept.
    """
    module = deepcopy(forecaster.module)
    generator = torch.Generator().manual_seed(seed)
    tables = [buffer for buffer in module.buffers() if buffer.is_floating_point() and buffer.dim() > 1]
    for values in (*module.parameters(), *tables):
        order = torch.randperm(values.numel(), generator=generator)
        values.copy_(values.flatten()[order].reshape(values.shape))
    return replace(forecaster, module=module)
