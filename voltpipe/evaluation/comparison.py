"""Two forecasters side by side on the same targets: as a whole, by organoid, and by type of channel."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voltpipe.evaluation.paired_gain import PairedGain, paired_gain
from voltpipe.evaluation.results import Evaluation
from voltpipe.lake.keys import RecordingKey


@dataclass(frozen=True)
class GroupGain:
    """Comparison of two forecasters on all targets, or on those of one organoid or channel type."""

    group: str
    r2: float
    """Pooled over the group's recordings, averaged over horizons."""
    other_r2: float
    paired: PairedGain


@dataclass(frozen=True)
class Comparison:
    """Comparison of two forecasters."""

    whole: GroupGain
    groups: tuple[GroupGain, ...]
    """Comparisons by organoid and by channel type, if there are several."""


def compare_forecasters(
    evaluation: Evaluation,
    other: Evaluation,
    recordings: Collection[str],
    horizons: Sequence[int],
    *,
    guarded: Collection[str],
    error_rate: float,
) -> Comparison:
    """Compare two evaluations on one window set, in the stricter regime.

    Args:
        evaluation: the forecaster's.
        other: the other's; its targets must be the same.
        recordings: keys of the held-out recordings that count as a whole, at least one.
        horizons: in samples; both must forecast them.
        guarded: keys of those that count in groups, these recordings among them.
        error_rate: of the bounds, see `paired_gain`.
    """
    sums = _sums(evaluation, guarded, horizons)
    other_sums = _sums(other, guarded, horizons)

    def gain(group: str, parts: Collection[tuple[str, str]]) -> GroupGain:
        """Return the groups of recordings and channel types."""
        keys = sorted({key for key, _ in parts})
        own, others, total = (
            np.array([sum(by_part[part][row] for part in parts if part[0] == key) for key in keys])
            for by_part, row in ((sums, 0), (other_sums, 0), (sums, 1))
        )
        r2, other_r2 = (float((1 - squared.sum(0) / total.sum(0)).mean()) for squared in (own, others))
        return GroupGain(group, r2, other_r2, paired_gain(own, others, total, error_rate=error_rate))

    parts = sorted(sums)
    organoids = sorted({RecordingKey.parse(key).organoid for key, _ in parts})
    types = sorted({kind for _, kind in parts})
    groups = {f"organoid {o}": [p for p in parts if RecordingKey.parse(p[0]).organoid == o] for o in organoids}
    groups = groups if len(organoids) > 1 else {}
    groups |= {f"{t} channels": [p for p in parts if p[1] == t] for t in types} if len(types) > 1 else {}
    return Comparison(
        gain("all", [part for part in parts if part[0] in recordings]),
        tuple(gain(name, of_group) for name, of_group in groups.items() if of_group),
    )


def _sums(
    evaluation: Evaluation, recordings: Collection[str], horizons: Sequence[int]
) -> Mapping[tuple[str, str], np.ndarray]:
    """SSE and SST by recording and type of channel, a column a horizon."""
    return {
        (errors.recording, errors.channel_type): np.array([errors.squared_error_mv2, errors.total_mv2])[
            :, [errors.horizons.index(horizon) for horizon in horizons]
        ]
        for errors in evaluation.by_recording
        if errors.forecaster == evaluation.forecaster
        and errors.regime is evaluation.regimes[0]
        and errors.recording in recordings
    }
