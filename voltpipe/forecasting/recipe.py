"""How an architecture is trained unless told otherwise, and the learning rate that follows from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Decay(StrEnum):
    """How the learning rate falls after the warm-up."""

    COSINE = "cosine"
    """Along half a cosine to zero at the end of the training."""
    PLATEAU = "plateau"
    """By a factor each time the validation loss has stopped falling."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One architecture's own training settings; `TrainingSettings` bounds and overrides the first six."""

    windows_per_epoch: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    noise_mv: float
    early_stopping_epochs: int
    clip_norm: float = 1.0
    decoupled_weight_decay: bool = True
    """AdamW's decay; otherwise Adam's, which adds the decay to the gradient."""
    warm_up_epochs: float = 0.0
    warm_up_from: float = 0.0
    decay: Decay = Decay.COSINE
    plateau_patience: int = 3
    plateau_factor: float = 0.7
    cpu_threads: int | None = None
    """How many threads compute on the CPU; none leaves it to torch. Threads wait for each other at every operation,
    so small steps are faster, and on a busy machine many times faster, on one."""


def learning_rate(recipe: Recipe, *, progress: float, planned_epochs: int, losses: Sequence[float]) -> float:
    """The learning rate at a moment of the training: a pure function, so that a resumed training needs no scheduler.

    Args:
        recipe: peak, warm-up and decay.
        progress: epochs trained so far, with the fraction of the one under way.
        planned_epochs: after how many epochs the training is expected to end.
        losses: the validation loss of each complete epoch.
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
    """How often `losses` went without a new best for more than `patience` epochs, as ReduceLROnPlateau counts."""
    best, bad_epochs, plateaus = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, bad_epochs = loss, 0
        else:
            bad_epochs += 1
        if bad_epochs > patience:
            bad_epochs, plateaus = 0, plateaus + 1
    return plateaus
