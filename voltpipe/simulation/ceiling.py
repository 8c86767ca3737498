"""How well a reference preparation can be forecast at best.

The best forecast is the expected voltage given the whole state of the simulator: every voltage, refractory period and
spike on its way. Its R2 is the ceiling for any forecaster; what is missing to 1 is noise that has yet to be drawn.

Below it lies the observable ceiling: the R2 of the expected voltage given only all voltages so far, sampled every 1 ms,
and the true connectivity. When a spike falls between two samples is not known then, so neither is just when it arrives
and when its neuron leaves reset. `measure_ceiling` measured the figures that stand here.
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
    return _in_samples(_MEASURED.get(preparation or "", {}), rate_hz)


def observable_ceiling_in_samples(preparation: str | None, rate_hz: float) -> Ceiling:
    """What of the ceiling is possible from 1 ms samples with the true connectivity known, in the same form.

    It errs low if at all, and by little: see `measure_ceiling`. The samples are of 1 ms whatever `rate_hz` is.
    """
    return _in_samples(_MEASURED_OBSERVABLE.get(preparation or "", {}), rate_hz)


def _in_samples(measured: Mapping[int, tuple[float, float]], rate_hz: float) -> Ceiling:
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
"""The same from 1 ms samples. The difference has a standard error of at most 0.0001: the noise is shared."""
