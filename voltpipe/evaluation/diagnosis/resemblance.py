"""Whether imagined activity resembles the recorded: how far from recordings it is, beside how far these are apart."""

from collections.abc import Callable, Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance

from voltpipe.evaluation.diagnosis.activity import MEASURES, Activity, Measure, Values

_COLUMNS = ("measure", "unit", "recorded", "imagined", "distance", "noise_floor", "resembles")
FACTOR = 2.0
"""A recording more is on average as far from the others as these from each other, seldom twice as far."""


def resemblance(imagined: Sequence[Activity], recorded: Sequence[Activity]) -> pd.DataFrame:
    """A row for each measure.

    `recorded` and `imagined` are means of the measured values. `distance` is how far the values of imagined activity
    lie from those of recordings, on average over all pairs of the two: Wasserstein's distance of the distributions in
    the measure's unit, or for a spectrum the root of the mean squared difference. `noise_floor` is the same among
    recordings; what is imagined `resembles` the recorded if it is less than twice as far from them. What cannot be
    measured, or is nought everywhere, is left out.

    Args:
        imagined: free-running roll-outs; without any the table is empty.
        recorded: two recordings at least, each as long as a roll-out, as short stretches differ more.
    """
    rows = []
    for measure in MEASURES if imagined else ():
        if measure.needs_spikes and any(each.spikes is None for each in (*imagined, *recorded)):
            continue
        own, truth = [[measure.of(each) for each in activities] for activities in (imagined, recorded)]
        if not all(map(len, (*own, *truth))) or not any(map(np.any, (*own, *truth))):
            continue
        apart = _distance(measure)
        distances = [apart(a, b) for a, b in product(own, truth)]
        floor = [apart(a, b) for a, b in combinations(truth, 2)]
        distance, noise_floor = float(np.mean(distances)), float(np.mean(floor))
        means = (float(np.mean([values.mean() for values in each])) for each in (truth, own))
        rows.append((measure.name, measure.unit, *means, distance, noise_floor, distance < FACTOR * noise_floor))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _distance(measure: Measure) -> Callable[[Values, Values], float]:
    return _root_mean_square if measure.in_order else lambda a, b: float(wasserstein_distance(a, b))


def _root_mean_square(a: Values, b: Values) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))
