"""The table in docs/formats.md agrees with the registry of formats."""

import re
from pathlib import Path

import pytest

from voltpipe.recordings.formats.format_registry import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def rows():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_lists_all_formats(rows):
    assert [row[0] for row in rows] == [known.name for known in FORMATS]


def test_the_table_lists_extensions_and_folder_patterns(rows):
    listed = [re.findall(r"`([^`]+)`", row[1]) for row in rows]
    assert listed == [[*known.extensions, *known.folder_holds] for known in FORMATS]


def test_the_linked_tests_exist(rows):
    for name, *_, tests in rows:
        paths = [PAGE.parent / link for link in re.findall(r"\]\(([^)]+)\)", tests)]
        assert paths
        for path in paths:
            assert path.is_file(), name
