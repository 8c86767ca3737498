"""Recordings that are new to the champion, by its training provenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.retraining_policy import NewRecording
from voltpipe.recordings.raw.catalogue import RecordingVersion, Verdict, read_history
from voltpipe.recordings.store.conditioned_recording import conditioned_paths
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import RegisteredForecaster, newest_versions, serving_version
from voltpipe.tracking.training_provenance import read_origin

_LATER_VERSIONS = 10
"""Number of versions after the champion that are considered."""


@dataclass(frozen=True)
class NewRecordings:
    """Recordings that the champion does not know."""

    champion: RegisteredForecaster | None
    later: tuple[RegisteredForecaster, ...]
    """Versions after the champion, the newest first."""
    new: tuple[NewRecording, ...]
    untried: tuple[NewRecording, ...]
    """The new ones that no later version knows either."""


@dataclass(frozen=True)
class _Known:
    """Recordings that a version was trained and scored on."""

    digests: Mapping[str, str]
    """Of its conditioned recordings, by key."""
    excluded: frozenset[str]
    """Keys of those that could not be used with the others."""
    split_at: datetime

    def knows(self, key: RecordingKey, judged: RecordingVersion) -> bool:
        """Return whether the version knew the recording with this content."""
        if str(key) in self.excluded:
            return judged.judged_utc <= self.split_at
        return self.digests.get(str(key)) == judged.digest


_NOTHING = _Known({}, frozenset(), datetime.fromtimestamp(0, UTC))


def find_new_recordings(lake: Lake, store: TrackingStore, organoid: str = "") -> NewRecordings:
    """Compare the lake's conditioned recordings with the lineage of the champion, and of the versions after it.

    Recordings that a version could not use with the others (another rate, too short) are not new to it.

    Args:
        lake: the data lake.
        store: where versions are registered.
        organoid: look at this organoid's recordings only.
    """
    present = serving_version(store)
    later = _versions_after(store, present)
    known = _lineage(store, present.run_id) if present else _NOTHING
    known_later = [_lineage(store, version.run_id) for version in later]
    new, untried = [], []
    for key in conditioned_paths(lake, organoid or None):
        history = read_history(lake, key)
        if history is None or history.present.verdict is not Verdict.CONDITIONED or known.knows(key, history.present):
            continue
        minutes = history.present.duration_s / 60
        new.append(NewRecording(key=str(key), minutes=minutes, changed=str(key) in known.digests))
        if not any(each.knows(key, history.present) for each in known_later):
            untried.append(new[-1])
    return NewRecordings(present, later, tuple(new), tuple(untried))


def _versions_after(store: TrackingStore, present: RegisteredForecaster | None) -> tuple[RegisteredForecaster, ...]:
    newest = newest_versions(store, _LATER_VERSIONS)
    return tuple(each for each in newest if present is None or int(each.version) > int(present.version))


@lru_cache(maxsize=64)
def _lineage(store: TrackingStore, run_id: str | None) -> _Known:
    if run_id is None:
        return _NOTHING
    try:
        split = read_origin(store, run_id).split
    except TrackingError:  # then everything is new: to train once too often does no harm
        return _NOTHING
    started_ms = store.client.get_run(run_id).info.start_time
    return _Known(
        {recording.key: recording.digest for recording in split.recordings},
        frozenset(split.excluded),
        datetime.fromtimestamp(started_ms / 1000, UTC),
    )
