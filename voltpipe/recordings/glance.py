"""What a raw recording is, at a glance: all that a list of a lake's recordings says of it besides its quality."""

from datetime import UTC, datetime
from pathlib import Path

from voltpipe.recordings.recording import Recording
from voltpipe.settings import Settings

RECORDED_FACT = "recorded_at"
"""The fact that says, in ISO 8601, when a recording began, where its file knows that."""


class Glance(Settings):
    """What a raw recording is."""

    format: str
    rate_hz: float
    n_channels: int
    duration_s: float
    recorded_at: datetime
    """When the recording began by its file's own word, or else when the file was written last; in UTC."""
    is_stated: bool
    """Whether the file says so itself."""


def glance_at(recording: Recording, path: Path) -> Glance:
    """What an opened raw recording is; `path` is its file or folder."""
    stated = _as_utc(str(recording.facts.get(RECORDED_FACT, "")))
    return Glance(
        format=str(recording.facts["format"]),
        rate_hz=recording.rate_hz,
        n_channels=len(recording.channel_names),
        duration_s=recording.n_samples / recording.rate_hz,
        recorded_at=stated or datetime.fromtimestamp(path.stat().st_mtime, UTC),
        is_stated=stated is not None,
    )


def recorded_fact(stated: str | datetime | None) -> dict[str, str]:
    """The fact, from what a file says; nothing where that is no date."""
    try:
        date = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
    except ValueError:
        return {}
    return {RECORDED_FACT: date.isoformat()} if date else {}


def _as_utc(stated: str) -> datetime | None:
    """A date without a time zone is taken to be in UTC: rigs' clocks rarely say where they stand."""
    if not stated:
        return None
    date = datetime.fromisoformat(stated)
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
