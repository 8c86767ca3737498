"""Two or more forecasters on the same targets: how far each is ahead of the first, and how sure that is."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from voltpipe.evaluation.comparison import GroupGain, compare_forecasters
from voltpipe.evaluation.labels import duration_label, regime_label
from voltpipe.evaluation.paired_gain import ERROR_RATE
from voltpipe.evaluation.results import Evaluation, EvaluationError

MEAN = "mean"
"""Label of the mean over all horizons."""


@dataclass(frozen=True)
class VersionComparison:
    """Comparison of versions, as tidy tables."""

    names: tuple[str, ...]
    """The first is what the others are compared with."""
    where: str
    """Description of the comparison set."""
    n_targets: int
    """At each horizon."""
    first: Evaluation
    """Its provenance is that of all but the forecasters, and its baselines are on the same targets."""
    gains: pd.DataFrame
    """A row for each other forecaster, group and horizon.

    `r2` and `first_r2` are pooled over the group's recordings, `gain` is their difference, `low` and `high` its 95 %
    interval by a paired bootstrap over recordings (NaN of a single one), `n_recordings` how many there were.
    """
    by_recording: pd.DataFrame
    """R2 (`r2`) by `recording`, `horizon` and `forecaster`."""


def compare_versions(evaluations: Mapping[str, Evaluation], recordings: Collection[str]) -> VersionComparison:
    """Compare evaluations by name, the first with each other one.

    Args:
        evaluations: on one window set, in the stricter regime, at the horizons that all have.
        recordings: keys of the held-out recordings that count.

    Raises:
        EvaluationError: they are not comparable, or nothing is left to compare them on.
    """
    (first_name, first), *others = evaluations.items()
    for name, other in others:
        if other.provenance.window_set_digest != first.provenance.window_set_digest:
            raise EvaluationError(
                f"{first_name} and {name} were scored on different window sets. Score them on the same one.",
                code="window-sets-differ",
            )
    horizons = [h for h in first.horizons if all(h in other.horizons for _, other in others)]
    if not horizons:
        raise EvaluationError(
            f"{', '.join(evaluations)} have no horizon in common. Compare forecasters that share a horizon.",
            code="no-common-horizon",
        )
    if not recordings:
        raise EvaluationError(
            "At least one of them learned from each recording that is held out now. Record more, or compare others.",
            code="no-common-held-out",
        )
    rate_hz = first.provenance.rate_hz
    labels = {duration_label(horizon, rate_hz): (horizon,) for horizon in horizons} | {MEAN: tuple(horizons)}
    gains = [
        (name, each.group, label, each.r2, each.other_r2, each.paired.gain, *_bounds(each), each.paired.n_recordings)
        for name, other in others
        for label, of in labels.items()
        for each in _groups(other, first, recordings, of)
    ]
    columns = ["forecaster", "group", "horizon", "r2", "first_r2", "gain", "low", "high", "n_recordings"]
    return VersionComparison(
        names=tuple(evaluations),
        where=f"{regime_label(first.regimes[0], first.provenance.protocol)} ({len(recordings)})",
        n_targets=_n_targets(first, recordings),
        first=first,
        gains=pd.DataFrame(gains, columns=columns).astype({"low": "float64", "high": "float64"}),
        by_recording=_by_recording(evaluations, recordings, labels),
    )


def _n_targets(evaluation: Evaluation, recordings: Collection[str]) -> int:
    return sum(
        errors.n_targets
        for errors in evaluation.by_recording
        if errors.forecaster == evaluation.forecaster
        and errors.regime is evaluation.regimes[0]
        and errors.recording in recordings
    )


def _groups(
    other: Evaluation, first: Evaluation, recordings: Collection[str], horizons: tuple[int, ...]
) -> tuple[GroupGain, ...]:
    found = compare_forecasters(other, first, recordings, horizons, guarded=recordings, error_rate=ERROR_RATE)
    return (found.whole, *found.groups)


def _bounds(gain: GroupGain) -> tuple[float | None, float | None]:
    return gain.paired.lower, gain.paired.upper


def _by_recording(
    evaluations: Mapping[str, Evaluation], recordings: Collection[str], labels: Mapping[str, tuple[int, ...]]
) -> pd.DataFrame:
    rows = []
    for name, evaluation in evaluations.items():
        for recording in sorted(recordings):
            for label, horizons in labels.items():
                (alone,) = _groups(evaluation, evaluation, [recording], horizons)[:1]
                rows.append((recording, label, name, alone.r2))
    return pd.DataFrame(rows, columns=["recording", "horizon", "forecaster", "r2"])
