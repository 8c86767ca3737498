"""A diagnosis in plain words."""

import pandas as pd

from voltpipe.evaluation.diagnostics.activity import BURSTS, RATE
from voltpipe.evaluation.diagnostics.corruptions import level_text
from voltpipe.evaluation.diagnostics.diagnostics import Diagnosis
from voltpipe.evaluation.diagnostics.group_errors import out_of_proportion, widening
from voltpipe.evaluation.diagnostics.novelty_detection import CLEAN
from voltpipe.evaluation.diagnostics.robustness import failure_levels, planted_ranks
from voltpipe.evaluation.diagnostics.rollouts import LEAD, SPIKES
from voltpipe.evaluation.labels import duration_label

_MOSTLY = 0.9
"""Of the faulty windows, for a fault to be noticed."""
_DRIFTED = 0.03
"""Of the clean windows; neighbours overlap, so that somewhat more or less than 1 % are false alarms by chance."""

_BAND = 0.8


def worst_group_text(diagnosis: Diagnosis, forecaster: str, rate_hz: float) -> str:
    """Which group of targets loses most out of proportion, at the shortest horizon.

    What it loses is counted from the best possible forecast, where that is known, and from the truth elsewhere.
    """
    table = diagnosis.errors_by_group
    horizon = int(table["horizon"].min())
    own = table[(table["forecaster"] == forecaster) & (table["horizon"] == horizon)]
    ahead = duration_label(horizon, rate_hz)
    by_error = own.loc[(own["share_of_error"] - own["share_of_targets"]).idxmax()]
    words = (
        f"Of all squared error {ahead} ahead, {by_error['share_of_error']:.0%} comes from "
        f"{by_error['share_of_targets']:.0%} of the targets: {by_error['kind']}, {by_error['group']}. "
        f"Its RMSE there is {by_error['rmse_mv']:.3g} mV."
    )
    known = own[own["share_of_loss"].notna()]
    if known.empty:
        return words
    excess = out_of_proportion(known)
    by_loss = known.loc[excess.idxmax()]
    if excess.max() <= 0:
        return (
            f"No group of targets loses, beyond doubt, more than its share against the best possible forecast. {words}"
        )
    loss = (
        f"Of what it loses against the best possible forecast {ahead} ahead, {by_loss['share_of_loss']:.0%} is lost on "
        f"{by_loss['share_of_targets']:.0%} of the targets: {by_loss['kind']}, {by_loss['group']} (R² "
        f"{by_loss['r2']:.3f}, ceiling {by_loss['ceiling_r2']:.3f}). "
    )
    if by_loss.name == by_error.name:
        unavoidable = (1 - by_loss["ceiling_r2"]) / (1 - by_loss["r2"])
        return (
            f"{loss}There, too, lies {by_error['share_of_error']:.0%} of all squared error, of which {unavoidable:.0%} "
            "is unavoidable."
        )
    return loss + words


def calibration_text(diagnosis: Diagnosis, forecaster: str, rate_hz: float) -> str:
    """Whether its 80 % interval is as often right in each group of targets, over all horizons."""
    table = diagnosis.errors_by_group
    own = table[(table["forecaster"] == forecaster) & table["coverage80"].notna()]
    if own.empty:
        return ""
    highest = own["coverage80"] + (own["coverage80_high"] - own["coverage80"]) * widening(len(own))
    narrow = own.loc[highest.idxmin()]
    if highest.min() >= _BAND:
        return "Its 80 % interval is too narrow for no group of targets, as far as these recordings tell."
    return (
        "Its 80 % interval is too narrow most clearly for "
        f"{narrow['kind']}, {narrow['group']}, {duration_label(int(narrow['horizon']), rate_hz)} ahead, where it holds "
        f"{narrow['coverage80']:.1%} of the truths (95 %: {narrow['coverage80_low']:.1%} to "
        f"{narrow['coverage80_high']:.1%})."
    )


def robustness_text(diagnosis: Diagnosis, forecaster: str) -> str:
    """From which level of each fault on a baseline is ahead."""
    table = diagnosis.robustness
    units = table.groupby("corruption")["unit"].first()
    broken = failure_levels(table, forecaster, int(table["horizon"].min()))
    behind = [f"{name} {level_text(level, units[name])}" for name, level in broken.items() if level]
    if any(level == 0 for level in broken.values()):
        return "A baseline is ahead of it even where nothing is wrong."
    if not behind:
        return "No fault that was tried puts it noticeably behind a baseline."
    stays = [name for name, level in broken.items() if level is None]
    never = f" It never is under: {', '.join(stays)}." if stays else ""
    return f"It is noticeably behind a baseline from here on: {'; '.join(behind)}.{never}"


def bad_channels_text(table: pd.DataFrame) -> str:
    """Whether one bad channel shows in the errors by channel, and what it costs the others."""
    if table.empty:
        return "Not asked what one bad channel costs the others: there is but one."
    ranks = planted_ranks(table)
    parts = []
    for fault, trials in ranks.groupby("fault", sort=False):
        n_found, before_mv, after_mv = trials["found"].sum(), trials["clean_rmse_mv"].mean(), trials["rmse_mv"].mean()
        parts.append(
            f"With {fault}, what was planted had the largest errors of all in {n_found} of {len(trials)} trials: "
            f"the RMSE there grew from {before_mv:.3g} to {after_mv:.3g} mV, the squared error of all others by "
            f"{trials['others_lose'].mean():.1%}."
        )
    return " ".join(parts)


def out_of_distribution_text(table: pd.DataFrame) -> str:
    """Which faults are noticed at prediction time, and how many false alarms that costs."""
    if table.empty:
        return "Not asked: this forecaster does not judge what it is shown."
    at_limit = table[table["is_limit"]]
    false_alarms = float(at_limit.loc[at_limit["corruption"] == CLEAN, "recognised"].iloc[0])
    faults = at_limit[at_limit["corruption"] != CLEAN]
    sure = faults[faults["recognised"] >= _MOSTLY].drop_duplicates("corruption")
    noticed = [f"{fault.corruption} from {level_text(fault.level, fault.unit)}" for fault in sure.itertuples()]
    unnoticed = [name for name in faults["corruption"].unique() if name not in set(sure["corruption"])]
    parts = [f"It noticed in nine of ten windows: {'; '.join(noticed)}." if noticed else "It noticed no fault."]
    if unnoticed:
        parts.append(f"It did not notice: {', '.join(unnoticed)}.")
    drift = ", more than the 1% aimed at: these recordings are not quite like those trained on"
    parts.append(f"On clean windows {false_alarms:.1%} are false alarms{drift if false_alarms > _DRIFTED else ''}.")
    return " ".join(parts)


def resemblance_text(diagnosis: Diagnosis) -> str:
    """By which measures imagined activity is told from recordings."""
    table = diagnosis.resemblance
    if table.empty:
        return (
            "Not asked: that takes a predictive distribution one sample ahead, and two held-out recordings of one "
            "organoid of some seconds each."
        )
    told = table.loc[~table["resembles"].astype(bool), "measure"].tolist()
    by = f"all {len(table)}" if not told else f"{len(table) - len(told)} of {len(table)}"
    exceptions = f", but not by: {', '.join(told)}" if told else ""
    measured = set(table["measure"])
    quiet = " No channel bursts in either." if RATE in measured and BURSTS not in measured else ""
    return f"Running free, it is like another recording by {by} measures{exceptions}.{quiet}"


def following_text(table: pd.DataFrame) -> str:
    """How long a roll-out says more of its own recording than of another, and how many spikes it hits."""
    if table.empty:
        return "Not asked how long a single run follows the truth: that takes the same."
    lead = table[table["measure"] == LEAD].iloc[0]
    at_least = "at least " if lead["own"] >= lead["time_ms"] else ""
    said = (
        f"A single run stays nearer to what followed than to what another recording holds for {at_least}"
        f"{lead['own']:.0f} ms "
        f"(95% interval over {int(lead['n_starts'])} starts: {lead['own_low']:.0f} to {lead['own_high']:.0f} ms)."
    )
    spikes = table[table["measure"] == SPIKES]
    if spikes.empty:
        return f"{said} No spikes are seen, so none can be hit."
    hits = (f"{hit.own:.2f} over {hit.time_ms:g} ms ({hit.shuffled:.2f})" for hit in spikes.itertuples())
    return f"{said} F1 of its spikes, within 2 ms of those recorded (in brackets: elsewhere): {', '.join(hits)}."


def honesty_text(diagnosis: Diagnosis) -> str:
    """Which checks of the evaluation itself failed."""
    failed = [check.name.replace("_", " ") for check in diagnosis.honesty if not check.passed]
    if failed:
        return f"{len(diagnosis.honesty)} checks were made, and failed: {', '.join(failed)}."
    return f"{len(diagnosis.honesty)} checks were made, and all passed."
