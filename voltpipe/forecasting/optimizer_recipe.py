"""The recipe of an architecture: its default training settings and its learning-rate schedule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Decay(StrEnum):
    """Decay of the learning rate after the warm-up."""

    COSINE = "cosine"
    """Half a cosine that reaches zero at the end of the training."""
    PLATEAU = "plateau"
    """Multiplication by a factor each time the validation loss stops falling."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Default training settings of an architecture; `TrainingSettings` can override the first six."""

    windows_per_epoch: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    noise_mv: float
    early_stopping_epochs: int
    clip_norm: float = 1.0
    decoupled_weight_decay: bool = True
    """Whether weight decay is AdamW's; if not, it is Adam's, which adds the decay to the gradient."""
    warm_up_epochs: float = 0.0
    warm_up_from: float = 0.0
    decay: Decay = Decay.COSINE
    plateau_patience: int = 3
    plateau_factor: float = 0.7
    cpu_threads: int | None = None
    """Number of threads on the CPU; None leaves the choice to torch.

    Threads wait for each other at every operation. Small steps are therefore faster on one thread, on a busy machine
    many times faster.
    """


def learning_rate(recipe: Recipe, *, progress: float, planned_epochs: int, losses: Sequence[float]) -> float:
    """Return the learning rate at a point of the training.

    This is a pure function, so that a resumed training needs no saved scheduler.

    Args:
        recipe: peak learning rate, warm-up and decay.
        progress: epochs trained so far, including the fraction of the current one.
        planned_epochs: number of epochs after which the training is expected to end.
        losses: validation loss of each complete epoch.
    """
    if progress < recipe.warm_up_epochs:
        share = progress / recipe.warm_up_epochs
        return recipe.warm_up_from + share * (recipe.learning_rate - recipe.warm_up_from)
    if recipe.decay is Decay.PLATEAU:
        reductions = _plateaus(losses[math.ceil(recipe.warm_up_epochs) :], recipe.plateau_patience)
        return float(recipe.learning_rate * recipe.plateau_factor**reductions)
    remaining = max(planned_epochs - recipe.warm_up_epochs, 1e-9)
    share = min((progress - recipe.warm_up_epochs) / remaining, 1.0)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often more than `patience` epochs passed without a new best loss, as in ReduceLROnPlateau."""
    best, bad_epochs, plateaus = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, bad_epochs = loss, 0
        else:
            bad_epochs += 1
        if bad_epochs > patience:
            bad_epochs, plateaus = 0, plateaus + 1
    return plateaus
