"""What a forecaster's forecasts follow from, as tidy tables."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int64

from voltpipe.evaluation.held_out import as_used, strictest_windows
from voltpipe.evaluation.interpretation.ablations import ablation_table
from voltpipe.evaluation.interpretation.attribution import attribution_table
from voltpipe.evaluation.interpretation.channels import Shuffled, influence_table
from voltpipe.evaluation.interpretation.filters import filter_table, response_table
from voltpipe.evaluation.interpretation.moments import Moments
from voltpipe.evaluation.interpretation.randomised import randomised
from voltpipe.evaluation.interpretation.sanity import SanityCheck, sanity_check
from voltpipe.files import read_json, write_json, written_whole
from voltpipe.forecasting.device import cpu_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

_TABLES = ("ablations", "channels", "attribution", "influence", "filters", "responses")
_SANITY_FILE = "attribution_sanity.json"
_ABLATED_WINDOWS = 96
_SHUFFLED_WINDOWS = 40
_EXPLAINED_WINDOWS = 16


@dataclass(frozen=True)
class Interpretation:
    """Of windows of the strictest regime that has any; the tables are described where they are made."""

    ablations: pd.DataFrame
    channels: pd.DataFrame
    attribution: pd.DataFrame
    influence: pd.DataFrame
    filters: pd.DataFrame
    responses: pd.DataFrame
    sanity: SanityCheck

    @property
    def asked(self) -> bool:
        """Whether enough was held out; if not, there is nothing but the filters."""
        return bool(len(self.ablations))

    def write(self, folder: Path) -> None:
        """Each table as Parquet, the check as JSON; each whole or not at all."""
        for name in _TABLES:
            with written_whole(folder / f"{name}.parquet") as aside:
                getattr(self, name).to_parquet(aside, index=False)
        write_json(folder / _SANITY_FILE, asdict(self.sanity))

    @classmethod
    def read(cls, folder: Path) -> "Interpretation":
        """What `write` wrote."""
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        return cls(**tables, sanity=SanityCheck(**read_json(folder / _SANITY_FILE)))


def interpret(forecaster: Forecaster, window_set: WindowSet) -> Interpretation:
    """Ask what forecasts of held-out windows follow from.

    Args:
        forecaster: that was evaluated.
        window_set: with held-out windows.
    """
    regime, pool = strictest_windows(forecaster, window_set)
    used, horizons = as_used(forecaster, window_set, regime), forecaster.horizons

    @cache
    def untrained(recording: int) -> Forecaster:
        return randomised(used(recording), seed=recording)

    filters = filter_table(forecaster)
    responses = response_table(filters, window_set.rate_hz)
    moments = Moments(window_set, pool, _ABLATED_WINDOWS)
    of_one = Moments(window_set, _of_first_organoid(window_set, pool), _SHUFFLED_WINDOWS)
    if not (len(moments) and len(of_one)):
        nothing = SanityCheck(False, "too little was held out to compare attributions", None)
        none = pd.DataFrame()
        return Interpretation(none, none, none, none, filters, responses, nothing)
    with cpu_threads(1):
        with torch.no_grad():
            trained, random = (Shuffled(each, horizons, of_one) for each in (used, untrained))
            ablations = ablation_table(used, horizons, moments)
        return Interpretation(
            ablations=pd.concat([ablations, trained.pooled_losses()[list(ablations)]], ignore_index=True),
            channels=trained.losses_by_channel(),
            attribution=attribution_table(used, untrained, horizons, moments.some(_EXPLAINED_WINDOWS)),
            influence=influence_table(trained, random),
            filters=filters,
            responses=responses,
            sanity=sanity_check(trained, random),
        )


def _of_first_organoid(window_set: WindowSet, pool: Int64[np.ndarray, " window"]) -> Int64[np.ndarray, " chosen"]:
    """Other organoids are other networks, of which each channel is another in each."""
    organoids = np.array([recording.organoid for recording in window_set.recordings])
    of_windows = organoids[window_set.index["recording"][pool]]
    return np.asarray(pool[of_windows == of_windows[0]])
