"""Which targets a forecaster errs on, beside the look-up."""

import numpy as np
import pandas as pd

from voltpipe.evaluation.detail import band_mv, batches_by_recording, predict_mv
from voltpipe.evaluation.diagnosis.group_errors import GroupErrors
from voltpipe.evaluation.diagnosis.groups import Moments, groupings
from voltpipe.evaluation.held_out import as_used, strictest_windows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.simulation.unavoidable import unavoidable_mv2
from voltpipe.windows.window_set import WindowSet

_MOST_WINDOWS = 4000


def errors_by_group(forecaster: Forecaster, look_up: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Errors on held-out windows of the strictest regime, by group, at each horizon (see `GroupErrors.table`)."""
    regime, windows = strictest_windows(forecaster, window_set)
    windows = windows[:: -(-len(windows) // _MOST_WINDOWS)]
    contenders = {forecaster.config.architecture: forecaster, look_up.config.architecture: look_up}
    horizons = forecaster.horizons
    own_rows = {
        name: [contender.horizons.index(horizon) for horizon in horizons] for name, contender in contenders.items()
    }
    sums = GroupErrors(window_set, groupings(window_set, forecaster.couplings()), horizons, list(contenders))
    used = {name: as_used(contender, window_set, regime) for name, contender in contenders.items()}
    for positions in batches_by_recording(windows, window_set):
        number = int(window_set.index["recording"][positions[0]])
        batch = window_set.batch(positions)
        origin_rows = window_set.index["start_row"][positions].astype(np.int64) + window_set.context - 1
        forecasts_mv = {name: predict_mv(use(number), batch)[:, own_rows[name]] for name, use in used.items()}
        truth_mv = batch.target_mv()[:, [window_set.horizons.index(horizon) for horizon in horizons]]
        history_mv = batch.history_mv()
        present_mv = history_mv[:, -1]
        sums.add(
            Moments(history_mv, number, origin_rows),
            forecasts_mv,
            truth_mv,
            bands_mv={
                name: band_mv(contender, present_mv, forecasts_mv[name])
                for name, contender in contenders.items()
                if contender.distribution and contender.horizons == horizons
            },
            least_mv2=unavoidable_mv2(window_set.manifest.preparation, window_set.rate_hz, horizons, present_mv),
        )
    return sums.table()
