"""Which raw recordings are not used, and why: one JSON file each."""

from voltpipe.files import write_json
from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.glance import Glance
from voltpipe.recordings.quality_report import QualityReport
from voltpipe.settings import Settings


class Quarantine(Settings):
    """Why a recording is not used."""

    organoid: str
    recording: str
    reason: str
    report: QualityReport | None
    """The quality checks, where the file could be read far enough for them."""
    source_digest: str | None
    """SHA-256 of the raw file that was judged."""
    seen: Glance | None = None
    """What it is, where the file could be opened."""


def quarantine(
    lake: Lake,
    key: RecordingKey,
    reason: str,
    report: QualityReport | None,
    source_digest: str | None,
    seen: Glance | None = None,
) -> None:
    """Note that a recording is not used."""
    noted = Quarantine(
        organoid=key.organoid,
        recording=key.recording,
        reason=reason,
        report=report,
        source_digest=source_digest,
        seen=seen,
    )
    write_json(lake.quarantine_path(key), noted.model_dump(mode="json"))


def release(lake: Lake, key: RecordingKey) -> None:
    """Take a recording out of quarantine, if it is there."""
    lake.quarantine_path(key).unlink(missing_ok=True)


def quarantined(lake: Lake) -> dict[RecordingKey, Quarantine]:
    """All recordings in quarantine, in order of their keys."""
    paths = sorted(lake.quarantine.glob("[!.]*/[!.]*.json"))
    found = [Quarantine.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]
    return {RecordingKey(each.organoid, each.recording): each for each in found}
