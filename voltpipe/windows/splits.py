"""Who is in which split: whole recordings by role, and the end of each training recording by time.

No sample belongs to two splits. Roles are sticky: a recording that was once held out is never trained on later, so
an old and a new forecaster can be compared on targets that neither has seen.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.windows.settings import HoldOut, WindowSettings


class Split(StrEnum):
    """Where a window belongs. `test` and `time` are the two held-out regimes, and are never mixed."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    """Recordings of which nothing was seen in training."""
    TIME = "time"
    """The end of recordings whose beginning was seen in training."""

    @property
    def code(self) -> int:
        """The number that stands for this split in the index."""
        return list(Split).index(self)


class Role(StrEnum):
    """What a whole recording is used for."""

    TRAIN = "train"
    TEST = "test"
    VALIDATION = "validation"


@dataclass(frozen=True)
class SplitSpan:
    """Rows [start_sample, stop_sample) of one recording that belong to one split. No span holds a gap in time."""

    start_sample: int
    stop_sample: int
    split: Split


def assign_roles(
    keys: Iterable[str], settings: WindowSettings, former: Mapping[str, Role] | None = None
) -> dict[str, Role]:
    """Give every recording a role; recordings in `former` keep theirs.

    The recordings of each organoid, or whole organoids, are taken in the order of their names, and each gets the role
    that is furthest below its share. The first two are therefore for training, the third is held out and the fifth
    validates. A new recording of an organoid that is held out whole is held out as well.

    Args:
        keys: partition keys `<organoid>--<recording>`.
        settings: what is held out, and the shares.
        former: roles given earlier, also of recordings that are not among `keys`.
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
    """Divide one recording among the splits.

    Between two splits of one recording lie context + largest horizon samples that belong to neither. A held-out span
    begins so late that its first target lies behind the calibration span.

    Args:
        n_samples: samples of the conditioned recording.
        role: what the recording is used for.
        settings: the window's shape, and the share of its end that is held out.
        calibration_samples: samples at the beginning from which the z-score was taken.
        segment_starts: first sample of each stretch without a gap.
        validate_in_time: cut a validation span out of a training recording too, as there are no validation recordings.
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
    pieces = []
    for span in spans:
        inner = [start for start in segment_starts if span.start_sample < start < span.stop_sample]
        edges = [span.start_sample, *inner, span.stop_sample]
        pieces += [SplitSpan(a, b, span.split) for a, b in itertools.pairwise(edges) if b > a]
    return tuple(pieces)
