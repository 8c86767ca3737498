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
from scipy.signal import freqz

from voltpipe.evaluation.held_out_windows import forecaster_for_regime, strictest_regime_windows
from voltpipe.evaluation.interpretation.ablations import COUPLING, ablation_table
from voltpipe.evaluation.interpretation.attribution import attribution_table
from voltpipe.evaluation.interpretation.channel_influence import (
    INFLUENCE,
    ShuffledChannels,
    influence_auroc,
    influence_table,
)
from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows
from voltpipe.evaluation.interpretation.sanity_check import SanityCheck, sanity_check, with_random_weights
from voltpipe.evaluation.isolation import Failure, attempt, read_failures, required, write_failures
from voltpipe.forecasting.compute import cpu_threads
from voltpipe.forecasting.forecast_module import HasVoltageFilters
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import atomic_write, read_json, write_json
from voltpipe.windows.window_set import WindowSet

INTERPRETATION_TABLES = ("ablations", "channels", "attribution", "influence", "filters", "responses")
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
    """Reasons why parts failed, by name of the table."""

    @property
    def asked(self) -> bool:
        """Return whether enough was held out; if not, there is nothing but the filters."""
        needs_windows = ("ablations", "channels", "attribution", "influence")
        return any(name in self.failed or len(getattr(self, name)) for name in needs_windows)

    def write(self, folder: Path) -> None:
        """Write each table as Parquet, check and failures as JSON, each as an atomic write."""
        for name in INTERPRETATION_TABLES:
            with atomic_write(folder / f"{name}.parquet") as aside:
                getattr(self, name).to_parquet(aside, index=False)
        write_json(folder / _SANITY_FILE, asdict(self.sanity))
        write_failures(folder / _FAILURES_FILE, self.failed)

    @classmethod
    def read(cls, folder: Path) -> "Interpretation":
        """Read what `write` wrote."""
        return cls(
            **{name: pd.read_parquet(folder / f"{name}.parquet") for name in INTERPRETATION_TABLES},
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
    tables = {
        name: pd.DataFrame() if name in failed else made.get(name, pd.DataFrame()) for name in INTERPRETATION_TABLES
    }
    sanity = made.get(SANITY, _NOT_ASKED)
    if isinstance(sanity, Failure):
        sanity = SanityCheck(False, f"they could not be compared: {sanity.reason}", None)
    return Interpretation(**tables, sanity=sanity, failed=failed)


def _of_windows(forecaster: Forecaster, window_set: WindowSet) -> dict[str, Any]:
    """Make the parts that need held-out windows, or their failures; nothing where too little was held out."""
    regime, pool = strictest_regime_windows(forecaster, window_set)
    used, horizons = forecaster_for_regime(forecaster, window_set, regime), forecaster.horizons

    @cache
    def untrained(recording: int) -> Forecaster:
        return with_random_weights(used(recording), seed=recording)

    moments = ReplacementWindows(window_set, pool, _ABLATED_WINDOWS)
    of_one = ReplacementWindows(window_set, _of_first_organoid(window_set, pool), _SHUFFLED_WINDOWS)
    if not (len(moments) and len(of_one)):
        return {}

    def ablations() -> pd.DataFrame:
        found = ablation_table(used, horizons, moments)
        return pd.concat([found, required(trained).pooled_losses()[list(found)]], ignore_index=True)

    with torch.no_grad():
        trained, random = (attempt(partial(ShuffledChannels, each, horizons, of_one)) for each in (used, untrained))
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


_N_FREQUENCIES = 65
_LEAST_GAIN = 1e-4


def filter_table(forecaster: Forecaster) -> pd.DataFrame:
    """A row for each filter and tap: `weight` is what the voltage `lag_ms` ago counts; none without convolution."""
    if not isinstance(forecaster.module, HasVoltageFilters):
        return pd.DataFrame({"filter": np.empty(0, np.int64), "lag_ms": np.empty(0), "weight": np.empty(0)})
    weights = forecaster.module.voltage_filters().detach().numpy()
    number, lag = np.indices(weights.shape)
    lag_ms = lag * 1000 / forecaster.config.rate_hz
    return pd.DataFrame({"filter": number.ravel(), "lag_ms": lag_ms.ravel(), "weight": weights.ravel()})


def response_table(filters: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    """The gain of each filter at frequencies up to half the rate, in dB (0: as strong as it came; -80 at least)."""
    responses = []
    for number, taps in filters.groupby("filter"):
        frequency_hz, response = freqz(taps["weight"], worN=_N_FREQUENCIES, fs=rate_hz, include_nyquist=True)
        gain_db = 20 * np.log10(np.maximum(np.abs(response), _LEAST_GAIN))
        responses.append(pd.DataFrame({"filter": number, "frequency_hz": frequency_hz, "gain_db": gain_db}))
    columns = ["filter", "frequency_hz", "gain_db"]
    return pd.concat(responses, ignore_index=True) if responses else pd.DataFrame(columns=columns, dtype=float)


def interpretation_metrics(interpretation: Interpretation) -> dict[str, float]:
    """Figures under their MLflow names: `interpretation/r2_lost/coupling/h1` and so on, and `influence_auroc`."""
    ablations = interpretation.ablations
    coupling = ablations[ablations["ablation"] == COUPLING] if len(ablations) else ablations
    figures = {f"r2_lost/coupling/h{row.horizon}": float(row.r2_lost) for row in coupling.itertuples()}
    found = influence_auroc(interpretation.influence)
    if found:
        figures["influence_auroc"] = found[INFLUENCE]
    return {f"interpretation/{name}": value for name, value in figures.items()}
