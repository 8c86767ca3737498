"""Linear least squares with shrinkage, from data that come in pieces; how much of it, other data decide."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from voltpipe.windows.split_segments import Segment, training_segments, validation_segments
from voltpipe.windows.window_set import WindowSet

SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for the weight of the squared weights, as a share of a z-unit's variance."""
DEFAULT_SHRINKAGE = 1e-4
"""Where there is nothing to choose by."""
_MOST_ROWS = 50_000

Piece = tuple[Float[Tensor, "fit row feature"], Float[Tensor, "fit row output"]]


@dataclass(frozen=True)
class NormalEquations:
    """Mean products over rows, in float64: all that least squares needs to know. The last feature is a constant 1."""

    gram: Float[Tensor, "fit feature feature"]
    cross: Float[Tensor, "fit feature output"]

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "NormalEquations | None":
        """Sum up the pieces of independent regressions; None if there is no piece."""
        gram = cross = torch.zeros((), dtype=torch.float64)
        n_rows = 0
        for features, outputs in pieces:
            with_one = pad(features, (0, 1), value=1.0)
            gram = gram + (with_one.mT @ with_one).double()
            cross = cross + (with_one.mT @ outputs).double()
            n_rows += features.shape[1]
        return cls(gram / n_rows, cross / n_rows) if n_rows else None

    def pooled(self) -> "NormalEquations":
        """One regression for all."""
        return NormalEquations(self.gram.mean(0, keepdim=True), self.cross.mean(0, keepdim=True))

    def solve(self, shrinkage: float, n_features: int) -> Float[Tensor, "fit feature output"]:
        """Ridge on the last `n_features` features; others weigh nothing. The last row, unshrunk, is the intercept."""
        penalty = torch.full((n_features + 1,), shrinkage, dtype=torch.float64)
        penalty[-1] = 0
        used = slice(-n_features - 1, None)
        solution = torch.linalg.solve(self.gram[:, used, used] + torch.diag(penalty), self.cross[:, used])
        return pad(solution, (0, 0, self.gram.shape[-1] - n_features - 1, 0))

    def excess(self, solution: Float[Tensor, "#fit feature output"]) -> Float[Tensor, "fit output"]:
        """Mean squared error of a solution less that of forecasting 0."""
        return (solution * (self.gram @ solution - 2 * self.cross)).sum(1)


def accumulate_normal_equations(
    window_set: WindowSet, piece: Callable[[Segment, int], Piece], *, n_before: int, thinned: bool = True
) -> tuple[NormalEquations, NormalEquations | None]:
    """Those of the training rows, and those of the validation rows if there are any.

    Args:
        window_set: where the rows are.
        piece: features and outputs of every n-th row of a stretch; of long recordings not all rows are needed.
        n_before: rows before the first one that have to be there.
        thinned: whether to leave rows out; not where there are many features.

    Raises:
        TrainingDataError: there are too few training rows.
    """
    n_after = window_set.horizons[-1]
    n_rows = sum(stop - start for _, start, stop in window_set.train_rows())
    step = max(1, n_rows // _MOST_ROWS) if thinned else 1
    stretches = training_segments(window_set, n_before=n_before, n_after=n_after)
    training = NormalEquations.of(piece(stretch, step) for stretch in stretches)
    assert training
    held_out = validation_segments(window_set, n_before=n_before, n_after=n_after)
    return training, NormalEquations.of(piece(stretch, step) for stretch in held_out)


def fit_ridge(training: NormalEquations, orders: Sequence[int]) -> Iterator[Float[Tensor, "fit feature output"]]:
    """Solutions to choose from: of every order (number of features used), with every shrinkage."""
    for order in orders:
        for shrinkage in SHRINKAGES:
            yield training.solve(shrinkage, order)


def best_by_horizon(
    candidates: Iterable[Float[Tensor, "fit feature output"]], validation: NormalEquations, n_horizons: int
) -> Float[Tensor, "fit feature output"]:
    """At each horizon the candidate with the least error on validation, over all channels.

    Args:
        candidates: solutions, their outputs ordered by horizon.
        validation: what to measure the error on.
        n_horizons: how many the outputs are of.
    """
    best: Tensor | None = None
    least = torch.full((n_horizons,), torch.inf, dtype=torch.float64)
    for candidate in candidates:
        excess = sum_by_horizon(validation.excess(candidate), n_horizons)
        best = candidate if best is None else torch.where(_by_output(excess < least, candidate), candidate, best)
        least = torch.minimum(least, excess)
    assert best is not None
    return best


def sum_by_horizon(by_output: Float[Tensor, "fit output"], n_horizons: int) -> Float[Tensor, " horizon"]:
    """Over all regressions and channels, where the outputs are ordered by horizon."""
    return by_output.reshape(len(by_output), n_horizons, -1).sum(dim=(0, 2))


def _by_output(by_horizon: Tensor, solution: Tensor) -> Tensor:
    return by_horizon.repeat_interleave(solution.shape[-1] // len(by_horizon))


def candidate_orders(n_lags: int) -> tuple[int, ...]:
    """Numbers of lags to choose from: doubling, and the largest."""
    return tuple(sorted({n_lags, *(2**power for power in range(n_lags.bit_length()))} - {0}))
