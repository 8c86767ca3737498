"""Ridge regression from accumulated normal equations, with hyperparameters chosen on validation data."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from voltpipe.windows.split_segments import Segment, training_segments, validation_segments
from voltpipe.windows.window_set import WindowSet

SHRINKAGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidate penalties of the squared weights, as a share of the variance of a z-unit."""
DEFAULT_SHRINKAGE = 1e-4
"""Penalty used when there are no validation rows to choose one."""
_MAX_ROWS = 50_000

RegressionData = tuple[Float[Tensor, "fit row feature"], Float[Tensor, "fit row output"]]
"""Features and outputs of one or more independent regressions ("fit")."""


@dataclass(frozen=True)
class NormalEquations:
    """Mean products over rows in float64, sufficient for least squares. The last feature is the constant 1."""

    gram: Float[Tensor, "fit feature feature"]
    cross: Float[Tensor, "fit feature output"]

    @classmethod
    def of(cls, data: Iterable[RegressionData]) -> "NormalEquations | None":
        """Accumulate the data of independent regressions, segment by segment; return None if there is none."""
        gram = cross = torch.zeros((), dtype=torch.float64)
        n_rows = 0
        for features, outputs in data:
            with_one = pad(features, (0, 1), value=1.0)
            gram = gram + (with_one.mT @ with_one).double()
            cross = cross + (with_one.mT @ outputs).double()
            n_rows += features.shape[1]
        return cls(gram / n_rows, cross / n_rows) if n_rows else None

    def pooled(self) -> "NormalEquations":
        """Average the regressions into a single one."""
        return NormalEquations(self.gram.mean(0, keepdim=True), self.cross.mean(0, keepdim=True))

    def solve(self, shrinkage: float, n_features: int) -> Float[Tensor, "fit feature output"]:
        """Solve ridge regression on the last `n_features` features.

        The weights of the other features are zero. The last row is the intercept, which is not shrunk.
        """
        penalty = torch.full((n_features + 1,), shrinkage, dtype=torch.float64)
        penalty[-1] = 0
        used = slice(-n_features - 1, None)
        solution = torch.linalg.solve(self.gram[:, used, used] + torch.diag(penalty), self.cross[:, used])
        return pad(solution, (0, 0, self.gram.shape[-1] - n_features - 1, 0))

    def excess(self, solution: Float[Tensor, "#fit feature output"]) -> Float[Tensor, "fit output"]:
        """Return the mean squared error of a solution minus that of forecasting 0."""
        return (solution * (self.gram @ solution - 2 * self.cross)).sum(1)


def accumulate_normal_equations(
    window_set: WindowSet,
    regression_data: Callable[[Segment, int], RegressionData],
    *,
    n_before: int,
    thinned: bool = True,
) -> tuple[NormalEquations, NormalEquations | None]:
    """Accumulate the normal equations of the training rows, and of the validation rows if there are any.

    Args:
        window_set: source of the rows.
        regression_data: returns the features and outputs of every n-th row of a segment.
        n_before: number of rows required before the first one.
        thinned: whether to skip rows of long recordings, which do not need all of them. Set to False if there are
            many features.

    Raises:
        TrainingDataError: there are too few training rows.
    """
    n_after = window_set.horizons[-1]
    n_rows = sum(stop - start for _, start, stop in window_set.train_rows())
    step = max(1, n_rows // _MAX_ROWS) if thinned else 1
    training, validation = (
        NormalEquations.of(
            regression_data(segment, step) for segment in split_segments(window_set, n_before=n_before, n_after=n_after)
        )
        for split_segments in (training_segments, validation_segments)
    )
    assert training
    return training, validation


def fit_ridge(
    training: NormalEquations, validation: NormalEquations | None, orders: Sequence[int], n_horizons: int
) -> Float[Tensor, "fit feature output"]:
    """Fit on training rows, with order (number of features used) and shrinkage chosen on validation rows.

    Both are chosen separately for each horizon. Without validation rows, the highest order and the default shrinkage
    are used.
    """
    if validation is None:
        return training.solve(DEFAULT_SHRINKAGE, max(orders))
    candidates = (training.solve(shrinkage, order) for order in orders for shrinkage in SHRINKAGES)
    return best_by_horizon(candidates, validation, n_horizons)


def best_by_horizon(
    candidates: Iterable[Float[Tensor, "fit feature output"]], validation: NormalEquations, n_horizons: int
) -> Float[Tensor, "fit feature output"]:
    """Select, for each horizon, the candidate with the smallest validation error over all channels.

    Args:
        candidates: solutions whose outputs are ordered by horizon.
        validation: normal equations from which the error is computed.
        n_horizons: number of horizons among the outputs.
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
    """Sum over all regressions and channels; the outputs are ordered by horizon."""
    return by_output.reshape(len(by_output), n_horizons, -1).sum(dim=(0, 2))


def _by_output(by_horizon: Tensor, solution: Tensor) -> Tensor:
    return by_horizon.repeat_interleave(solution.shape[-1] // len(by_horizon))


def candidate_orders(n_lags: int) -> tuple[int, ...]:
    """Return the numbers of lags to choose from: powers of two, and the largest."""
    return tuple(sorted({n_lags, *(2**power for power in range(n_lags.bit_length()))} - {0}))
