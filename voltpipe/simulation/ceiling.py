"""Predictability ceilings and irreducible errors of the reference preparations, as constants.

The best forecast is the expected voltage given the full state of the simulator: every voltage, refractory period and
spike in transit. Its R2 is the ceiling for any forecaster. The rest of the variance is future noise.

The observable ceiling is lower: the R2 of the expected voltage given the true connectivity and all past voltages,
sampled every 1 ms. Samples do not show the time of a spike between two of them, so its arrival at other neurons and
the end of its refractory period are uncertain. The constants were measured with
`benchmarks/ceilings/measure_ceiling.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from voltpipe.simulation.settings import Preparation

HORIZONS_MS = (1, 2, 3, 5, 10, 20)


@dataclass(frozen=True)
class Ceiling:
    """The best possible R2 by horizon, and the standard errors of the measurement."""

    r2: Mapping[int, float]
    standard_error: Mapping[int, float]


def ceiling_by_horizon(preparation: str | None, rate_hz: float) -> Ceiling:
    """Return the ceiling of a reference preparation, by horizon in samples at `rate_hz`.

    It is empty for other preparations. Horizons that are not a whole number of samples are left out.
    """
    return _in_samples(_MEASURED.get(preparation or "", {}), rate_hz)


def observable_ceiling_by_horizon(preparation: str | None, rate_hz: float) -> Ceiling:
    """Return the observable ceiling of a reference preparation, by horizon in samples at `rate_hz`.

    It is the best R2 from samples every 1 ms (for any `rate_hz`) with known connectivity. It can only be slightly too
    low: see `benchmarks/ceilings/measure_ceiling.py`. Other preparations and horizons are treated as in
    `ceiling_by_horizon`.
    """
    return _in_samples(_MEASURED_OBSERVABLE.get(preparation or "", {}), rate_hz)


def _in_samples(measured: Mapping[int, tuple[float, float]], rate_hz: float) -> Ceiling:
    samples = {ms: ms * rate_hz / 1000 for ms in measured}
    by_horizon = {round(n): measured[ms] for ms, n in samples.items() if n == round(n)}
    return Ceiling({n: r2 for n, (r2, _) in by_horizon.items()}, {n: error for n, (_, error) in by_horizon.items()})


_MEASURED: Mapping[str, Mapping[int, tuple[float, float]]] = {
    Preparation.BRUNEL: {
        1: (0.7872, 0.0013),
        2: (0.6070, 0.0014),
        3: (0.4612, 0.0014),
        5: (0.2766, 0.0012),
        10: (0.1078, 0.0005),
        20: (0.0273, 0.0003),
    },
    Preparation.ORGANOID: {
        1: (0.7901, 0.0013),
        2: (0.6089, 0.0016),
        3: (0.4623, 0.0017),
        5: (0.2756, 0.0014),
        10: (0.1073, 0.0006),
        20: (0.0277, 0.0003),
    },
}
"""Ceiling (R2, standard error) by horizon in ms: of 50 networks for brunel, of the network of seed 72 for organoid."""

_MEASURED_OBSERVABLE: Mapping[str, Mapping[int, tuple[float, float]]] = {
    Preparation.BRUNEL: {
        1: (0.7830, 0.0013),
        2: (0.6052, 0.0014),
        3: (0.4598, 0.0013),
        5: (0.2758, 0.0012),
        10: (0.1076, 0.0005),
        20: (0.0273, 0.0003),
    },
    Preparation.ORGANOID: {
        1: (0.7860, 0.0013),
        2: (0.6072, 0.0016),
        3: (0.4610, 0.0017),
        5: (0.2750, 0.0014),
        10: (0.1072, 0.0006),
        20: (0.0276, 0.0003),
    },
}
"""Observable ceiling (R2, standard error) by horizon in ms, for the same networks.

Both ceilings were measured with the same noise, so their difference has a standard error of at most 0.0001.
"""


EDGES_MV = np.array([-72.0, -70.01, -69.99, *range(-69, -54), *np.arange(-54.75, -49.9, 0.25)])
"""Edges of the bins of the present voltage. One bin holds the neurons at reset."""


def irreducible_error_mv2(
    preparation: str | None, rate_hz: float, horizons: Sequence[int], present_mv: Float[Tensor, "*batch channel"]
) -> Float64[Tensor, "*batch horizon channel"] | None:
    """Return the expected squared error of the best forecast in mV squared, given the present voltage.

    Horizons are in samples at `rate_hz`. The result is None for other preparations, or if a horizon was not measured.
    """
    horizons_ms = [1000 * horizon / rate_hz for horizon in horizons]
    if preparation not in set(Preparation) or not set(horizons_ms) <= _MEASURED_MV2.keys():
        return None
    bins = np.digitize(present_mv.numpy(), EDGES_MV)
    return torch.from_numpy(np.stack([np.array(_MEASURED_MV2[ms])[bins] for ms in horizons_ms], axis=-2))


# fmt: off
_MEASURED_MV2: Mapping[float, tuple[float, ...]] = {
    1: (
        0.87, 0.89, 0.26, 0.90, 0.90, 0.90, 0.89, 0.89, 0.89, 0.89, 0.89, 0.89, 0.89, 0.90, 0.89, 0.89, 0.89,
        0.90, 0.91, 0.92, 0.94, 0.98, 1.06, 1.25, 1.51, 2.14, 2.85, 4.43, 6.95, 10.29, 15.69, 24.18, 34.27,
        47.46, 62.69, 76.16, 85.44, 83.74, 32.14,
    ),
    2: (
        1.73, 1.77, 1.06, 1.76, 1.77, 1.77, 1.77, 1.78, 1.76, 1.77, 1.76, 1.76, 1.75, 1.77, 1.75, 1.76, 1.81,
        2.07, 2.59, 2.99, 3.65, 4.55, 5.81, 7.63, 10.22, 13.60, 17.71, 22.80, 29.63, 36.77, 45.87, 55.66,
        64.41, 72.74, 78.73, 81.09, 77.04, 66.33, 22.66,
    ),
    3: (
        2.55, 2.63, 2.08, 2.62, 2.65, 2.63, 2.63, 2.65, 2.62, 2.65, 2.62, 2.62, 2.61, 2.62, 2.62, 2.75, 3.28,
        5.03, 7.53, 8.91, 11.10, 13.55, 16.55, 20.25, 25.05, 30.09, 35.66, 41.86, 48.85, 55.32, 62.26, 68.02,
        72.03, 74.25, 73.76, 70.26, 61.81, 50.18, 16.70,
    ),
    5: (
        3.95, 3.87, 3.54, 3.90, 3.91, 3.89, 3.87, 3.89, 3.87, 3.87, 3.89, 3.89, 3.99, 4.32, 5.18, 7.15, 11.25,
        18.83, 25.65, 28.55, 32.47, 35.97, 40.00, 43.66, 47.87, 51.72, 54.88, 57.63, 59.97, 61.45, 62.31,
        61.71, 59.72, 56.47, 51.72, 45.97, 37.98, 29.87, 10.95,
    ),
    10: (
        5.25, 5.43, 5.34, 5.58, 5.69, 5.94, 6.30, 6.98, 7.91, 9.34, 11.54, 14.67, 18.64, 23.83, 29.44, 35.46,
        41.05, 45.33, 46.98, 47.09, 47.58, 47.34, 47.11, 46.62, 45.86, 44.83, 43.81, 42.40, 40.62, 38.65,
        36.58, 34.07, 31.55, 28.68, 25.50, 22.55, 18.74, 15.31, 8.09,
    ),
    20: (
        27.57, 33.46, 31.22, 35.69, 37.26, 38.47, 39.77, 40.87, 41.54, 41.78, 41.87, 41.19, 40.56, 39.22,
        37.85, 36.06, 34.25, 32.27, 30.93, 30.64, 29.99, 29.50, 28.98, 28.55, 27.97, 27.46, 26.99, 26.50,
        26.05, 25.80, 25.12, 24.82, 24.53, 24.57, 24.21, 24.41, 24.77, 24.75, 26.50,
    ),
}
# fmt: on
"""Irreducible error in mV squared by horizon in ms, for each bin of `EDGES_MV`."""
