"""Splits: whole recordings by role, and the end of each training recording by time.

No sample belongs to two splits. Roles are sticky: a recording that was held out once is never trained on later, so
an old and a new forecaster can be compared on targets that neither has seen.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.windows.settings import HoldOut, WindowSettings


class Split(StrEnum):
    """Split of a window. `test` and `time` are the two held-out regimes, and are never mixed."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    """Recordings that were not seen in training."""
    TIME = "time"
    """Ends of recordings whose beginning was seen in training."""

    @property
    def code(self) -> int:
        """Number of this split in the index."""
        return list(Split).index(self)


class Role(StrEnum):
    """Use of a whole recording."""

    TRAIN = "train"
    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True)
class SplitSpan:
    """Rows [start_sample, stop_sample) of one recording that belong to one split. No span contains a gap in time."""

    start_sample: int
    stop_sample: int
    split: Split


def assign_roles(
    keys: Iterable[str], settings: WindowSettings, former: Mapping[str, Role] | None = None
) -> dict[str, Role]:
    """Assign a role to every recording. Recordings in `former` keep theirs.

    The recordings of each organoid, or whole organoids, are taken in order of their names. Each gets the role that is
    furthest below its share. So the first two are for training, the third is held out, and the fifth is for
    validation. If an organoid is held out as a whole, its new recordings are held out too.

    Args:
        keys: partition keys `<organoid>--<recording>`.
        settings: the unit that is held out, and the fractions.
        former: roles assigned earlier, including those of recordings that are not in `keys`.
    """
    roles = dict(former or {})
    if settings.hold_out is HoldOut.ORGANOIDS:
        of_organoids = {_organoid(key): role for key, role in sorted(roles.items())}
        of_organoids = _in_turn(map(_organoid, keys), settings, of_organoids)
        return roles | {key: of_organoids[_organoid(key)] for key in set(keys) - set(roles)}
    for _, of_organoid in itertools.groupby(sorted({*keys, *roles}), _organoid):
        members = set(of_organoid)
        roles |= _in_turn(members, settings, {key: role for key, role in roles.items() if key in members})
    return roles


def _in_turn(names: Iterable[str], settings: WindowSettings, former: Mapping[str, Role]) -> dict[str, Role]:
    shares = {
        Role.TRAIN: 1 - settings.test_fraction - settings.validation_fraction,
        Role.TEST: settings.test_fraction,
        Role.VALIDATION: settings.validation_fraction,
    }
    roles = dict(former)
    counts = Counter(roles.values())
    for name in sorted(set(names) - set(roles)):
        total = counts.total() + 1
        roles[name] = max(Role, key=lambda role: shares[role] * total - counts[role])
        counts[roles[name]] += 1
    return roles


def _organoid(key: str) -> str:
    return key.partition("--")[0]


def recording_spans(
    n_samples: int,
    role: Role,
    settings: WindowSettings,
    *,
    calibration_samples: int,
    segment_starts: tuple[int, ...] = (0,),
    validate_in_time: bool = False,
) -> tuple[SplitSpan, ...]:
    """Divide one recording between the splits.

    A gap of context + largest horizon samples lies between two splits of one recording. The first target of a
    held-out span lies after the calibration span.

    Args:
        n_samples: samples of the conditioned recording.
        role: the role of the recording.
        settings: the shape of a window, and the fraction that is held out at the end.
        calibration_samples: number of samples in the calibration span.
        segment_starts: first sample of each segment.
        validate_in_time: also cut a validation span out of training recordings, if there are no validation recordings.
    """
    earliest_held_out = max(0, calibration_samples - settings.context_samples)
    if role is not Role.TRAIN:
        whole = [SplitSpan(earliest_held_out, n_samples, Split(role))]
        return _cut_at_gaps(whole, segment_starts)
    held_out = round(n_samples * settings.time_fraction)
    bounds = [(Split.TIME, n_samples - held_out, n_samples)]
    if validate_in_time:
        validation = round(n_samples * settings.validation_fraction)
        stop = n_samples - held_out - settings.window_samples
        bounds.insert(0, (Split.VALIDATION, stop - validation, stop))
    train_stop = bounds[0][1] - settings.window_samples
    spans = [SplitSpan(0, train_stop, Split.TRAIN)]
    spans += [SplitSpan(max(start, earliest_held_out), stop, split) for split, start, stop in bounds]
    return _cut_at_gaps(spans, segment_starts)


def _cut_at_gaps(spans: Iterable[SplitSpan], segment_starts: tuple[int, ...]) -> tuple[SplitSpan, ...]:
    parts = []
    for span in spans:
        inner = [start for start in segment_starts if span.start_sample < start < span.stop_sample]
        edges = [span.start_sample, *inner, span.stop_sample]
        parts += [SplitSpan(a, b, span.split) for a, b in itertools.pairwise(edges) if b > a]
    return tuple(parts)
