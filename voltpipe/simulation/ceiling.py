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
    if preparation not in _MEASURED:
        return Ceiling({}, {})
    samples = {ms: ms * rate_hz / 1000 for ms in HORIZONS_MS}
    figures = {round(n): _MEASURED[Preparation(preparation)][ms] for ms, n in samples.items() if n == round(n)}
    return Ceiling(
        r2={n: r2 for n, (r2, _) in figures.items()},
        standard_error={n: error for n, (_, error) in figures.items()},
    )


_MEASURED: Mapping[str, Mapping[int, tuple[float, float]]] = {
    Preparation.BRUNEL: {
        1: (0.787, 0.007),
        2: (0.610, 0.010),
        3: (0.456, 0.011),
        5: (0.280, 0.012),
        10: (0.116, 0.012),
        20: (0.027, 0.012),
    },
}
"""R2 and standard error by horizon in ms."""
