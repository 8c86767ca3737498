"""Linear least squares with a little shrinkage, from data that come in pieces."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

_SHRINKAGE = 1e-4


def ridge(
    pieces: Iterable[tuple[Float[Tensor, "fit row feature"], Float[Tensor, "fit row output"]]],
) -> tuple[Float[Tensor, "fit feature output"], Float[Tensor, "fit output"]]:
    """Weights and intercepts of independent ridge regressions, from normal equations that are summed up in float64.

    Minimises the sum of squares plus 1e-4 x rows x the squared weights; the intercept is not shrunk.
    """
    gram = cross = torch.zeros((), dtype=torch.float64)
    for features, outputs in pieces:
        with_one = pad(features, (0, 1), value=1.0)
        gram = gram + (with_one.mT @ with_one).double()
        cross = cross + (with_one.mT @ outputs).double()
    n_rows = gram[:, -1:, -1]
    penalty = (_SHRINKAGE * n_rows).repeat(1, gram.shape[-1])
    penalty[:, -1] = 0
    solution = torch.linalg.solve(gram + torch.diag_embed(penalty), cross).float()
    return solution[:, :-1], solution[:, -1]
