"""What a forecaster imagines when it runs free, beside what was recorded."""

import pandas as pd

from voltpipe.evaluation.diagnosis.activity import Activity
from voltpipe.evaluation.diagnosis.free_runs import free_runs
from voltpipe.evaluation.diagnosis.resemblance import resemblance
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

_IMAGINED_S = 1.0
_MOST_SAMPLES = 1000


def imagined_resemblance(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Roll-outs from the beginnings of held-out recordings of one organoid, beside what was recorded next.

    Empty where the forecaster cannot run free, or less than two such recordings were held out (see `free_runs`).
    """
    n_samples = min(round(_IMAGINED_S * window_set.rate_hz), _MOST_SAMPLES)
    runs = free_runs(forecaster, window_set, n_samples=n_samples, n_starts=1)
    if runs is None:
        return resemblance([], [])
    imagined, recorded = (
        [Activity.of(run_mv[runs.n_known :], runs.rate_hz, runs.reset, runs.effects) for run_mv in runs_mv]
        for runs_mv in (runs.imagined_mv, runs.recorded_mv)
    )
    return resemblance(imagined, recorded)
