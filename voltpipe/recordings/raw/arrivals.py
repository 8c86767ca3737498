"""Which raw recordings are new or changed: seen by a cheap look at each file, and by content where that look differs.

What was judged, and from which content, stands in each recording's history, so nothing is lost or done twice whoever
conditions a recording, and whatever is forgotten elsewhere.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.raw.catalogue import RecordingHistory, Verdict, read_history
from voltpipe.recordings.raw.history import read_source, record_unchanged
from voltpipe.recordings.raw.raw_folder import is_being_written, list_raw, raw_fingerprint

QUIET_S = 5.0
"""A file that changed less than this ago may still be growing, and is left for the next pass."""
DIGESTED_BYTES, DIGESTED_FILES = 2 * 2**30, 500
"""Of files that were touched, so much and so many are read in one pass; the others wait for the next."""


@dataclass
class Arrivals:
    """What one pass over the raw folder found; states are those of `raw_fingerprint`."""

    n_known: int
    refused: dict[str, str]
    """Why a file is not used, by its path within the raw folder."""
    ready: dict[RecordingKey, str] = field(default_factory=dict)
    """State of each recording that is new, or whose content is another than was judged."""
    growing: dict[RecordingKey, str] = field(default_factory=dict)
    """State of each recording that may not be there whole."""
    touched: list[RecordingKey] = field(default_factory=list)
    """Whether these changed is looked into in the next pass."""


def find_arrivals(
    lake: Lake, grew: Mapping[RecordingKey, str] | None = None, *, digested_bytes: int = DIGESTED_BYTES
) -> Arrivals:
    """Look at every raw recording once.

    Args:
        lake: the data lake.
        grew: what was found growing in the pass before.
        digested_bytes: how much to read of files that were touched. One that is larger by itself is taken for changed:
            conditioning it again finds out.
    """
    listing = list_raw(lake)
    arrivals = Arrivals(len(listing.found), listing.refused)
    left_bytes, left_files = digested_bytes, DIGESTED_FILES
    for key, path in listing.found.items():
        try:
            state = raw_fingerprint(path)
            history = read_history(lake, key)
            if history is not None and _lacks_file(lake, key, history):
                history = None  # deleted, or set aside because it was damaged
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
        except FileNotFoundError:  # it went away meanwhile
            continue
    return arrivals


def _lacks_file(lake: Lake, key: RecordingKey, history: RecordingHistory) -> bool:
    return history.present.verdict is Verdict.CONDITIONED and not lake.conditioned_path(key).exists()


def _n_bytes(state: str) -> int:
    return int(state.split(":")[1])


def _is_quiet(state: str, former_state: str | None) -> bool:
    age_s = time.time() - float(state.partition(":")[0])
    # A rig's clock may be ahead of this one: then it counts that nothing changed from one pass to the next.
    return age_s >= QUIET_S or (age_s < 0 and state == former_state)
