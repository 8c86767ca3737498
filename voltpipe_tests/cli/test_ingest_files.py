"""Results of `voltpipe ingest`."""

from pathlib import Path

import pytest

from voltpipe.cli.ingest_files import IngestOutcome, IngestResult, ingest_files
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.hints import Hints


def test_a_refused_file_is_a_result_and_starts_no_run(tmp_path):
    file = tmp_path / "notes.docx"
    file.touch()
    lake = Lake(tmp_path / "lake")
    (result,) = ingest_files(lake, [file], "slice", Hints())
    assert (result.file, result.outcome, result.key, result.usable) == (file, IngestOutcome.REFUSED, None, False)
    assert result.detail
    assert not lake.dagster.exists()


@pytest.mark.parametrize(
    ("outcome", "key", "usable", "line"),
    [
        (IngestOutcome.CONDITIONED, RecordingKey("slice", "a"), True, "a.csv: conditioned as slice--a: detail"),
        (IngestOutcome.QUARANTINED, RecordingKey("slice", "a"), False, "a.csv: quarantined as slice--a: detail"),
        (IngestOutcome.REFUSED, None, False, "a.csv: refused: detail"),
    ],
)
def test_only_a_conditioned_recording_is_usable(outcome, key, usable, line):
    result = IngestResult(Path("a.csv"), outcome, "detail", key)
    assert (result.usable, result.line) == (usable, line)
