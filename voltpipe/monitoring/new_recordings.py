"""Recordings that are new to the champion, according to its training provenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.retraining_policy import NewRecording
from voltpipe.recordings.raw.recording_records import RecordingVersion, Verdict, read_history
from voltpipe.recordings.store.conditioned_recording import conditioned_paths
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import RegisteredForecaster, newest_versions, serving_version
from voltpipe.tracking.training_provenance import read_origin

_LATER_VERSIONS = 10
"""Maximum number of versions after the champion that are read."""


@dataclass(frozen=True)
class NewRecordings:
    """Recordings that are new to the champion."""

    champion: RegisteredForecaster | None
    later: tuple[RegisteredForecaster, ...]
    """Versions after the champion, newest first."""
    new: tuple[NewRecording, ...]
    untried: tuple[NewRecording, ...]
    """Recordings that are new to all later versions too."""


@dataclass(frozen=True)
class _KnownRecordings:
    """Recordings that a version was trained or evaluated on, or had to exclude."""

    digests: Mapping[str, str]
    """Digests of its recordings, by key."""
    excluded: frozenset[str]
    """Keys of recordings that could not be used with the others."""
    split_at: datetime

    def knows(self, key: RecordingKey, version: RecordingVersion) -> bool:
        """Return whether the forecaster knew this version of the recording."""
        if str(key) in self.excluded:
            return version.judged_utc <= self.split_at
        return self.digests.get(str(key)) == version.digest


_NOTHING = _KnownRecordings({}, frozenset(), datetime.fromtimestamp(0, UTC))


def find_new_recordings(lake: Lake, store: TrackingStore, organoid: str = "") -> NewRecordings:
    """List the conditioned recordings of the lake that the champion, and versions after it, were not trained on.

    Recordings that a version excluded (another rate, too short) are not new to it.

    Args:
        lake: lake with the recordings.
        store: store with the registered versions.
        organoid: restricts the list to this organoid; empty for all.
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
        if not any(later_known.knows(key, history.present) for later_known in known_later):
            untried.append(new[-1])
    return NewRecordings(present, later, tuple(new), tuple(untried))


def _versions_after(store: TrackingStore, present: RegisteredForecaster | None) -> tuple[RegisteredForecaster, ...]:
    newest = newest_versions(store, _LATER_VERSIONS)
    return tuple(one for one in newest if present is None or int(one.version) > int(present.version))


@lru_cache(maxsize=64)
def _lineage(store: TrackingStore, run_id: str | None) -> _KnownRecordings:
    if run_id is None:
        return _NOTHING
    try:
        split = read_origin(store, run_id).split
    except TrackingError:  # treat everything as new: an unnecessary training does no harm
        return _NOTHING
    started_ms = store.client.get_run(run_id).info.start_time
    return _KnownRecordings(
        {recording.key: recording.digest for recording in split.recordings},
        frozenset(split.excluded),
        datetime.fromtimestamp(started_ms / 1000, UTC),
    )
