"""Sentences that sum up each diagnostic of an evaluation."""

import pandas as pd

from voltpipe.evaluation.diagnostics.activity import BURSTS, RATE
from voltpipe.evaluation.diagnostics.corruptions import level_text
from voltpipe.evaluation.diagnostics.diagnostics import Diagnostics
from voltpipe.evaluation.diagnostics.group_errors import out_of_proportion, widening
from voltpipe.evaluation.diagnostics.novelty_detection import CLEAN
from voltpipe.evaluation.diagnostics.robustness import failure_levels, planted_ranks
from voltpipe.evaluation.diagnostics.rollouts import LEAD, SPIKES
from voltpipe.evaluation.labels import duration_label

_DETECTED = 0.9
"""Share of corrupted windows out of distribution from which a corruption counts as detected."""
_TOO_MANY_ALARMS = 0.03
"""Share of false alarms among clean windows that is reported as too high. Windows overlap, so 1 % varies by chance."""

_NOMINAL_COVERAGE = 0.8


def worst_group_text(diagnostics: Diagnostics, forecaster: str, rate_hz: float) -> str:
    """Name the group of targets with the most disproportionate loss, at the shortest horizon.

    Where the ceiling is known, the loss is the reducible squared error. Elsewhere it is the whole squared error.
    """
    table = diagnostics.errors_by_group
    horizon = int(table["horizon"].min())
    own = table[(table["forecaster"] == forecaster) & (table["horizon"] == horizon)]
    ahead = duration_label(horizon, rate_hz)
    by_error = own.loc[(own["share_of_error"] - own["share_of_targets"]).idxmax()]
    error_text = (
        f"{ahead} ahead, {by_error['share_of_error']:.0%} of the squared error comes from "
        f"{by_error['share_of_targets']:.0%} of the targets ({by_error['kind']}: {by_error['group']}). "
        f"The RMSE of this group is {by_error['rmse_mv']:.3g} mV."
    )
    known = own[own["share_of_loss"].notna()]
    if known.empty:
        return error_text
    excess = out_of_proportion(known)
    by_loss = known.loc[excess.idxmax()]
    if excess.max() <= 0:
        return f"No group of targets has significantly more than its share of the reducible error. {error_text}"
    loss_text = (
        f"{ahead} ahead, {by_loss['share_of_loss']:.0%} of the reducible squared error comes from "
        f"{by_loss['share_of_targets']:.0%} of the targets ({by_loss['kind']}: {by_loss['group']}). "
        f"R² of this group is {by_loss['r2']:.3f}, its ceiling {by_loss['ceiling_r2']:.3f}. "
    )
    if by_loss.name == by_error.name:
        irreducible = (1 - by_loss["ceiling_r2"]) / (1 - by_loss["r2"])
        return (
            f"{loss_text}The group also has {by_error['share_of_error']:.0%} of all squared error, of which "
            f"{irreducible:.0%} is irreducible."
        )
    return loss_text + error_text


def calibration_text(diagnostics: Diagnostics, forecaster: str, rate_hz: float) -> str:
    """Name the group whose 80 % interval is most clearly too narrow, over all horizons; empty without intervals."""
    table = diagnostics.errors_by_group
    own = table[(table["forecaster"] == forecaster) & table["coverage80"].notna()]
    if own.empty:
        return ""
    highest = own["coverage80"] + (own["coverage80_high"] - own["coverage80"]) * widening(len(own))
    narrow = own.loc[highest.idxmin()]
    if highest.min() >= _NOMINAL_COVERAGE:
        return "In no group of targets is the 80 % interval significantly too narrow."
    return (
        f"The 80 % interval is most clearly too narrow for one group ({narrow['kind']}: {narrow['group']}), "
        f"{duration_label(int(narrow['horizon']), rate_hz)} ahead. It contains {narrow['coverage80']:.1%} of the true "
        f"voltages there (95 % CI {narrow['coverage80_low']:.1%} to "
        f"{narrow['coverage80_high']:.1%})."
    )


def robustness_text(diagnostics: Diagnostics, forecaster: str) -> str:
    """Return the level of each corruption from which a baseline forecasts better."""
    table = diagnostics.robustness
    units = table.groupby("corruption")["unit"].first()
    broken = failure_levels(table, forecaster, int(table["horizon"].min()))
    behind = [f"{name} {level_text(level, units[name])}" for name, level in broken.items() if level]
    if any(level == 0 for level in broken.values()):
        return "A baseline forecasts better even without corruption."
    if not behind:
        return "It stays ahead of the baselines, or level with them, under every corruption tested."
    robust = [name for name, level in broken.items() if level is None]
    never = f" It never falls behind a baseline under: {', '.join(robust)}." if robust else ""
    return f"The forecaster falls behind a baseline from these levels upward: {'; '.join(behind)}.{never}"


def bad_channels_text(table: pd.DataFrame) -> str:
    """Say how often a corrupted channel had the largest error, and how much the error of the others grew."""
    if table.empty:
        return "The effect of one bad channel on others was not tested: there is only one channel."
    ranks = planted_ranks(table)
    parts = []
    for fault, trials in ranks.groupby("fault", sort=False):
        n_found, before_mv, after_mv = trials["found"].sum(), trials["clean_rmse_mv"].mean(), trials["rmse_mv"].mean()
        parts.append(
            f"With {fault}, the corrupted channel had the largest error in {n_found} of {len(trials)} trials. "
            f"Its RMSE rose from {before_mv:.3g} to {after_mv:.3g} mV. The squared error of the other channels changed "
            f"by {round(trials['others_lose'].mean(), 3) + 0.0:+.1%}."
        )
    return " ".join(parts)


def out_of_distribution_text(table: pd.DataFrame) -> str:
    """List the corruptions that the novelty detector finds, with its rate of false alarms."""
    if table.empty:
        return "Not tested: this forecaster has no novelty detector."
    at_limit = table[table["is_limit"]]
    false_alarms = float(at_limit.loc[at_limit["corruption"] == CLEAN, "recognised"].iloc[0])
    corrupted = at_limit[at_limit["corruption"] != CLEAN]
    sure = corrupted[corrupted["recognised"] >= _DETECTED].drop_duplicates("corruption")
    detected = [f"{row.corruption} from {level_text(row.level, row.unit)}" for row in sure.itertuples()]
    missed = [name for name in corrupted["corruption"].unique() if name not in set(sure["corruption"])]
    parts = [
        f"Detected in at least {_DETECTED:.0%} of windows: {'; '.join(detected)}."
        if detected
        else "No corruption is detected reliably."
    ]
    if missed:
        parts.append(f"Not detected reliably: {', '.join(missed)}.")
    excess = ", more than the 1% expected: these recordings differ from the training data"
    parts.append(
        f"Of the clean windows, {false_alarms:.1%} are false alarms{excess if false_alarms > _TOO_MANY_ALARMS else ''}."
    )
    return " ".join(parts)


def resemblance_text(diagnostics: Diagnostics) -> str:
    """List the activity measures by which roll-outs differ from recordings."""
    table = diagnostics.resemblance
    if table.empty:
        return (
            "Not tested. The test needs a predictive distribution one sample ahead, and two held-out recordings of "
            "one organoid, each a few seconds long."
        )
    different = table.loc[~table["resembles"].astype(bool), "measure"].tolist()
    n_similar = f"all {len(table)}" if not different else f"{len(table) - len(different)} of {len(table)}"
    exceptions = f" It differs in: {', '.join(different)}." if different else ""
    measured = set(table["measure"])
    no_bursts = " Neither contains bursts." if RATE in measured and BURSTS not in measured else ""
    return (
        f"Roll-out activity resembles a recording in {n_similar} measures.{exceptions}{no_bursts}{_divergence(table)}"
    )


def following_text(table: pd.DataFrame) -> str:
    """Say for how long roll-outs follow their own recording, and how well they predict its spikes."""
    if table.empty:
        return "How long a roll-out follows its recording was not tested. The same data are needed."
    lead = table[table["measure"] == LEAD].iloc[0]
    at_least = "at least " if lead["own"] >= lead["time_ms"] else ""
    duration_text = (
        f"A roll-out stays closer to its own recording than to another one for {at_least}{lead['own']:.0f} ms "
        f"(95% CI over {int(lead['n_starts'])} starts: {lead['own_low']:.0f} to {lead['own_high']:.0f} ms)."
        f"{_divergence(table)}"
    )
    spikes = table[table["measure"] == SPIKES]
    if spikes.empty:
        return f"{duration_text} The voltage shows no spikes, so spike timing was not tested."
    hits = (f"{hit.own:.2f} over {hit.time_ms:g} ms ({hit.shuffled:.2f})" for hit in spikes.itertuples())
    return (
        f"{duration_text} F1 of its spikes within 2 ms of recorded ones (in brackets: of another recording): "
        f"{', '.join(hits)}."
    )


def _divergence(table: pd.DataFrame) -> str:
    """Say how many roll-outs diverged. Tables of version 0.1 lack the number."""
    if "n_diverged" not in table or not table["n_diverged"].iloc[0]:
        return ""
    n_diverged, n_starts, after_ms = table[["n_diverged", "n_all_starts", "diverged_after_ms"]].iloc[0]
    return (
        f" The roll-out diverges after {after_ms:.3g} ms in {n_diverged:.0f} of {n_starts:.0f} starts, left out here."
    )


def leakage_text(diagnostics: Diagnostics) -> str:
    """Name the leakage checks that failed."""
    failed = [check.name.replace("_", " ") for check in diagnostics.honesty if not check.passed]
    if failed:
        return f"{len(failed)} of {len(diagnostics.honesty)} checks failed: {', '.join(failed)}."
    return f"All {len(diagnostics.honesty)} checks passed."
