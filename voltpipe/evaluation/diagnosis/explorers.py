"""Tables of the diagnostics as interactive figures."""

from collections.abc import Callable

import pandas as pd
from bokeh.models import Model

from voltpipe.evaluation.diagnosis.diagnosis import Diagnosis
from voltpipe.evaluation.drawing import BASELINES, FORECASTER
from voltpipe.evaluation.explorer import Explorer
from voltpipe.evaluation.labels import duration_label

ERRORS, FAULTS = "errors", "faults"
_MOST_GROUPS = 40
"""Of a kind; of more, those with the greatest share of the squared error. The table beside the page has all."""


def diagnosis_explorers(diagnosis: Diagnosis, forecaster: str, rate_hz: float) -> dict[str, Callable[[], Model]]:
    """List the interactive figures of diagnostics that have something to show."""
    colours = BASELINES | {forecaster: FORECASTER}
    errors, faults = diagnosis.errors_by_group, diagnosis.robustness
    explorers: dict[str, Callable[[], Model]] = {}
    if len(errors):
        explorers[ERRORS] = lambda: _errors(_with_labels(errors, rate_hz), colours)
    if len(faults):
        explorers[FAULTS] = lambda: _faults(_with_labels(faults, rate_hz), colours)
    return explorers


def _with_labels(table: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    return table.assign(horizon=[duration_label(int(horizon), rate_hz) for horizon in table["horizon"]])


def _errors(table: pd.DataFrame, colours: dict[str, str]) -> Model:
    """The kind whose groups differ most stands first."""
    share = table.groupby(["kind", "group"], sort=False)["share_of_error"].transform("max")
    rank = share.groupby(table["kind"]).rank(method="dense", ascending=False)
    values = {
        "R²": "r2",
        "RMSE (mV)": "rmse_mv",
        "bias (mV)": "bias_mv",
        "truths inside the 80 % interval": "coverage80",
        "squared error above the best possible (mV²)": "loss_mv2",
    }
    values = {label: column for label, column in values.items() if table[column].notna().any()}
    intervals = [f"{column}{end}" for column in values.values() for end in ("", "_low", "_high")]
    shown = table.loc[rank <= _MOST_GROUPS, ["kind", "group", "horizon", "forecaster", "n_targets", *intervals]]
    first = shown["horizon"] == shown["horizon"].iloc[0]
    spread_mv = shown[first].groupby("kind")["rmse_mv"].agg(lambda rmse_mv: rmse_mv.max() - rmse_mv.min())
    shown = shown.sort_values("kind", key=lambda kind: -kind.map(spread_mv), kind="stable")
    explorer = Explorer(
        shown.round(5), choices=["kind", "horizon"], category="group", series="forecaster", colours=colours
    )
    return explorer.rows(values)


def _faults(table: pd.DataFrame, colours: dict[str, str]) -> Model:
    table = table.assign(
        fault=table["corruption"] + " (" + table["unit"] + ")", level=[f"{level:g}" for level in table["level"]]
    )
    shown = table[["fault", "level", "horizon", "forecaster", "n_targets", "r2"]].round(5)
    explorer = Explorer(shown, choices=["fault", "horizon"], category="level", series="forecaster", colours=colours)
    return explorer.curves("r2", "R²", "level of the fault")
