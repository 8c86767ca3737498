"""How well a reference preparation can be forecast at best.

The best forecast is the expected voltage given the whole state of the simulator: every voltage, refractory period and
spike on its way. Its R2 is the ceiling for any forecaster; what is missing to 1 is noise that has yet to be drawn.
`measure_ceiling` measured the figures that stand here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from voltpipe.simulation.settings import Preparation

HORIZONS_MS = (1, 2, 3, 5, 10, 20)


@dataclass(frozen=True)
class Ceiling:
    """The best possible R2 by horizon, and the standard errors of its measurement."""

    r2: Mapping[int, float]
    standard_error: Mapping[int, float]


def ceiling_in_samples(preparation: str | None, rate_hz: float) -> Ceiling:
    """The ceiling of a reference preparation, by horizon in samples at `rate_hz`.

    Empty for any other preparation; a horizon that is no whole number of samples is left out.
    """
    measured = _MEASURED.get(preparation or "", {})
    samples = {ms: ms * rate_hz / 1000 for ms in measured}
    figures = {round(n): measured[ms] for ms, n in samples.items() if n == round(n)}
    return Ceiling({n: r2 for n, (r2, _) in figures.items()}, {n: error for n, (_, error) in figures.items()})


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
"""R2 and standard error by horizon in ms: over 50 networks for brunel, for organoid the network of seed 72."""
