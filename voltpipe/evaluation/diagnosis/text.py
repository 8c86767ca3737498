"""A diagnosis in plain words."""

from voltpipe.evaluation.diagnosis.diagnosis import Diagnosis
from voltpipe.evaluation.diagnosis.robustness import breaking_levels
from voltpipe.evaluation.labels import duration_label


def worst_group_text(diagnosis: Diagnosis, forecaster: str, rate_hz: float) -> str:
    """Which group of targets errs most out of proportion, at the shortest horizon."""
    table = diagnosis.errors_by_group
    horizon = int(table["horizon"].min())
    own = table[(table["forecaster"] == forecaster) & (table["horizon"] == horizon)]
    worst = own.loc[(own["share_of_error"] - own["share_of_targets"]).idxmax()]
    return (
        f"Of all squared error {duration_label(horizon, rate_hz)} ahead, {worst['share_of_error']:.0%} comes from "
        f"{worst['share_of_targets']:.0%} of the targets: {worst['kind']}, {worst['group']}. Its RMSE there is "
        f"{worst['rmse_mv']:.3g} mV."
    )


def robustness_text(diagnosis: Diagnosis, forecaster: str) -> str:
    """From which level of each fault on a baseline is ahead."""
    table = diagnosis.robustness
    units = table.groupby("corruption")["unit"].first()
    broken = breaking_levels(table, forecaster, int(table["horizon"].min()))
    behind = [f"{name} {level:g} {units[name]}" for name, level in broken.items() if level]
    if any(level == 0 for level in broken.values()):
        return "A baseline is ahead of it even where nothing is wrong."
    if not behind:
        return "No fault that was tried puts a baseline ahead of it."
    stays = [name for name, level in broken.items() if level is None]
    ahead = f" It stays ahead under: {', '.join(stays)}." if stays else ""
    return f"A baseline is ahead of it from here on: {'; '.join(behind)}.{ahead}"


def resemblance_text(diagnosis: Diagnosis) -> str:
    """By which measures imagined activity is told from recordings."""
    table = diagnosis.resemblance
    if table.empty:
        return (
            "Not asked: that takes a predictive distribution one sample ahead, and two held-out recordings of one "
            "organoid of some seconds each."
        )
    told = table.loc[~table["resembles"].astype(bool), "measure"].tolist()
    if not told:
        return f"Running free, it is like another recording by all {len(table)} measures."
    return (
        f"Running free, it is like another recording by {len(table) - len(told)} of {len(table)} measures, but not by: "
        f"{', '.join(told)}."
    )


def honesty_text(diagnosis: Diagnosis) -> str:
    """Which checks of the evaluation itself failed."""
    failed = [check.name.replace("_", " ") for check in diagnosis.honesty if not check.passed]
    if failed:
        return f"{len(diagnosis.honesty)} checks were made, and failed: {', '.join(failed)}."
    return f"{len(diagnosis.honesty)} checks were made, and all passed."
