"""All that forecasts follow from as one result: tidy tables, and a check of the attributions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

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
from voltpipe.evaluation.isolation import Failure, attempt, read_failures, required, write_failures
from voltpipe.files import read_json, write_json, written_whole
from voltpipe.forecasting.device import cpu_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

TABLES = ("ablations", "channels", "attribution", "influence", "filters", "responses")
SANITY = "attribution_sanity"
_SANITY_FILE = f"{SANITY}.json"
_FAILURES_FILE = "failed_interpretation.json"
_ABLATED_WINDOWS = 96
_SHUFFLED_WINDOWS = 40
_EXPLAINED_WINDOWS = 16
_NOT_ASKED = SanityCheck(False, "too little was held out to compare attributions", None)


@dataclass(frozen=True)
class Interpretation:
    """Tables about windows of the strictest regime that has any; the table of a part that failed is empty."""

    ablations: pd.DataFrame
    channels: pd.DataFrame
    attribution: pd.DataFrame
    influence: pd.DataFrame
    filters: pd.DataFrame
    responses: pd.DataFrame
    sanity: SanityCheck
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why parts failed, by the table's name."""

    @property
    def asked(self) -> bool:
        """Return whether enough was held out; if not, there is nothing but the filters."""
        needs_windows = ("ablations", "channels", "attribution", "influence")
        return any(name in self.failed or len(getattr(self, name)) for name in needs_windows)

    def write(self, folder: Path) -> None:
        """Write each table as Parquet, check and failures as JSON, each as an atomic write."""
        for name in TABLES:
            with written_whole(folder / f"{name}.parquet") as aside:
                getattr(self, name).to_parquet(aside, index=False)
        write_json(folder / _SANITY_FILE, asdict(self.sanity))
        write_failures(folder / _FAILURES_FILE, self.failed)

    @classmethod
    def read(cls, folder: Path) -> "Interpretation":
        """Read what `write` wrote."""
        return cls(
            **{name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES},
            sanity=SanityCheck(**read_json(folder / _SANITY_FILE)),
            failed=read_failures(folder / _FAILURES_FILE),
        )


def interpret(forecaster: Forecaster, window_set: WindowSet) -> Interpretation:
    """Ask what forecasts of held-out windows follow from.

    Each part is run apart: one that raises is noted as failed and does not stop the others.

    Args:
        forecaster: that was evaluated.
        window_set: with held-out windows.
    """
    with cpu_threads(1):
        filters = attempt(lambda: filter_table(forecaster))
        made: dict[str, Any] = {
            "filters": filters,
            "responses": attempt(lambda: response_table(required(filters), window_set.rate_hz)),
            **_of_windows(forecaster, window_set),
        }
    failed = {name: each.reason for name, each in made.items() if isinstance(each, Failure)}
    tables = {name: pd.DataFrame() if name in failed else made.get(name, pd.DataFrame()) for name in TABLES}
    sanity = made.get(SANITY, _NOT_ASKED)
    if isinstance(sanity, Failure):
        sanity = SanityCheck(False, f"they could not be compared: {sanity.reason}", None)
    return Interpretation(**tables, sanity=sanity, failed=failed)


def _of_windows(forecaster: Forecaster, window_set: WindowSet) -> dict[str, Any]:
    """Make the parts that need held-out windows, or their failures; nothing where too little was held out."""
    regime, pool = strictest_windows(forecaster, window_set)
    used, horizons = as_used(forecaster, window_set, regime), forecaster.horizons

    @cache
    def untrained(recording: int) -> Forecaster:
        return randomised(used(recording), seed=recording)

    moments = Moments(window_set, pool, _ABLATED_WINDOWS)
    of_one = Moments(window_set, _of_first_organoid(window_set, pool), _SHUFFLED_WINDOWS)
    if not (len(moments) and len(of_one)):
        return {}

    def ablations() -> pd.DataFrame:
        found = ablation_table(used, horizons, moments)
        return pd.concat([found, required(trained).pooled_losses()[list(found)]], ignore_index=True)

    with torch.no_grad():
        trained, random = (attempt(partial(Shuffled, each, horizons, of_one)) for each in (used, untrained))
        found_ablations = attempt(ablations)
    return {
        "ablations": found_ablations,
        "channels": attempt(lambda: required(trained).losses_by_channel()),
        "attribution": attempt(lambda: attribution_table(used, untrained, horizons, moments.some(_EXPLAINED_WINDOWS))),
        "influence": attempt(lambda: influence_table(required(trained), required(random))),
        SANITY: attempt(lambda: sanity_check(required(trained), required(random))),
    }


def _of_first_organoid(window_set: WindowSet, pool: Int64[np.ndarray, " window"]) -> Int64[np.ndarray, " chosen"]:
    """Other organoids are other networks, of which each channel is another in each."""
    organoids = np.array([recording.organoid for recording in window_set.recordings])
    of_windows = organoids[window_set.index["recording"][pool]]
    return np.asarray(pool[of_windows == of_windows[0]])
