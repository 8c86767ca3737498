"""The table in docs/formats.md says what is read, and nothing else."""

import re
from pathlib import Path

import pytest

from voltpipe.recordings.formats.format_registry import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def rows():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_it_lists_every_format_that_is_read(rows):
    assert [row[0] for row in rows] == [each.name for each in FORMATS]


def test_it_names_extensions_and_what_marks_a_folder(rows):
    listed = [re.findall(r"`([^`]+)`", row[1]) for row in rows]
    assert listed == [[*each.extensions, *each.folder_holds] for each in FORMATS]


def test_the_tests_that_prove_a_row_exist_and_speak_of_it(rows):
    for name, *_, proofs in rows:
        paths = [PAGE.parent / link for link in re.findall(r"\]\(([^)]+)\)", proofs)]
        assert paths
        for path in paths:
            assert path.is_file(), name
