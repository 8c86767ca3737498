"""Arrivals: raw recordings that are new or changed.

Each file's fingerprint is compared with its record, and its content is read only if the fingerprint differs. Records
name the content that was conditioned, so no recording is lost or conditioned twice.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.raw.history import read_source, record_unchanged
from voltpipe.recordings.raw.raw_folder import is_being_written, list_raw, raw_fingerprint
from voltpipe.recordings.raw.recording_records import RecordingHistory, Verdict, read_history

QUIET_S = 5.0
"""Time without changes, in s, after which a file counts as complete."""
DIGESTED_BYTES, DIGESTED_FILES = 2 * 2**30, 500
"""Limits of what one pass reads of touched files. The others wait for the next pass."""


@dataclass
class Arrivals:
    """Result of one pass over the raw folder. States are those of `raw_fingerprint`."""

    n_known: int
    refused: dict[str, str]
    """Reason why a file is not used, by its path within the raw folder."""
    ready: dict[RecordingKey, str] = field(default_factory=dict)
    """State of each recording whose content has not been conditioned."""
    growing: dict[RecordingKey, str] = field(default_factory=dict)
    """State of each recording that may be incomplete."""
    touched: list[RecordingKey] = field(default_factory=list)
    """Recordings whose content is compared in the next pass."""


def find_arrivals(
    lake: Lake, grew: Mapping[RecordingKey, str] | None = None, *, digested_bytes: int = DIGESTED_BYTES
) -> Arrivals:
    """Compare every raw recording with its record.

    Args:
        lake: the data lake.
        grew: recordings that were growing in the previous pass.
        digested_bytes: limit of what is read of touched files. A larger file counts as changed, and conditioning it
            again finds out.
    """
    listing = list_raw(lake)
    arrivals = Arrivals(len(listing.found), listing.refused)
    left_bytes, left_files = digested_bytes, DIGESTED_FILES
    for key, path in listing.found.items():
        try:
            state = raw_fingerprint(path)
            history = read_history(lake, key)
            if history is not None and _lacks_file(lake, key, history):
                history = None  # deleted, or moved away as damaged
            if history is not None and history.raw_state == state:
                continue
            if not _is_quiet(state, (grew or {}).get(key)) or is_being_written(path):
                arrivals.growing[key] = state
            elif history is None or _n_bytes(state) > digested_bytes:
                arrivals.ready[key] = state
            elif _n_bytes(state) > left_bytes or not left_files:
                arrivals.touched.append(key)
            else:
                left_bytes, left_files = left_bytes - _n_bytes(state), left_files - 1
                if read_source(path) != history.present.source:
                    arrivals.ready[key] = state
                else:
                    record_unchanged(lake, key, history, state)
        except FileNotFoundError:  # removed meanwhile
            continue
    return arrivals


def _lacks_file(lake: Lake, key: RecordingKey, history: RecordingHistory) -> bool:
    return history.present.verdict is Verdict.CONDITIONED and not lake.conditioned_path(key).exists()


def _n_bytes(state: str) -> int:
    return int(state.split(":")[1])


def _is_quiet(state: str, former_state: str | None) -> bool:
    age_s = time.time() - float(state.partition(":")[0])
    # A rig's clock may be ahead of this one. Then a file is complete if nothing changed between two passes.
    return age_s >= QUIET_S or (age_s < 0 and state == former_state)
