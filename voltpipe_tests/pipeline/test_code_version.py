"""An asset's code version changes only with the code that its value depends on."""

import ast
import shutil
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import voltpipe
from voltpipe.forecasting.training import epoch
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import assets, metadata
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.code_version import code_version, covered_files
from voltpipe.recordings.formats import numpy as numpy_format
from voltpipe.reporting import lake_report

PACKAGE = Path(voltpipe.__file__).parent
MODULES = [f"{assets.__name__}.{module.name}" for module in iter_modules(assets.__path__)]


def assets_in(module):
    """Names of the assets that a module defines."""
    source = ast.parse(Path(import_module(module).__file__).read_text())
    return {node.name for node in source.body if isinstance(node, ast.FunctionDef)}


def test_every_asset_has_the_version_of_the_module_that_defines_it(tmp_path):
    graph = build_definitions(Lake(tmp_path / "lake")).resolve_asset_graph()
    versions = {key.path[-1]: graph.get(key).code_version for key in graph.get_all_asset_keys()}
    defined = {name: code_version(module) for module in MODULES for name in assets_in(module) & versions.keys()}
    assert versions == defined


@pytest.fixture
def copy(tmp_path):
    """A copy of the package that can be changed."""
    shutil.copytree(PACKAGE, tmp_path / "voltpipe", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def changed_by(copy, *path):
    """The assets whose version changes with a file of the package."""
    before = {module: code_version(module, copy) for module in MODULES}
    with copy.joinpath("voltpipe", *path).open("a") as file:
        file.write("\n")
    return {name for module in MODULES if code_version(module, copy) != before[module] for name in assets_in(module)}


def place_of(module):
    return Path(module.__file__).relative_to(PACKAGE).parts


def test_a_change_of_the_training_loop_changes_trained_assets_and_nothing_upstream(copy):
    changed = changed_by(copy, *place_of(epoch))
    assert {"trained_forecaster", "found_settings"} <= changed
    assert not changed & {"raw_recording", "conditioned_recording", "recording_split", "window_set"}


def test_a_format_that_is_imported_by_name_changes_the_recordings(copy):
    assert {"raw_recording", "conditioned_recording"} <= changed_by(copy, *place_of(numpy_format))


def test_a_template_changes_the_page(copy):
    (template,) = PACKAGE.rglob("lake_report.html")
    assert "lake_report" in changed_by(copy, *template.relative_to(PACKAGE).parts)
    assert "lake_report" in changed_by(copy, *place_of(lake_report))


def test_a_change_of_the_metadata_changes_no_version(copy):
    assert changed_by(copy, *place_of(metadata)) == set()


@pytest.mark.parametrize("module", MODULES)
def test_every_import_of_a_covered_file_is_covered_too(module):
    covered = set(covered_files(module))
    for path in covered:
        if path.suffix == ".py":
            assert {file for file in _imports(path) if "pipeline" not in file.relative_to(PACKAGE).parts} <= covered


def _imports(path):
    """The files of the package that a file imports, as Python's own parser sees it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [f"{name}.{each.name}" for name in names for each in node.names]
        names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            place = PACKAGE.parent.joinpath(*name.split("."))
            if name.startswith("voltpipe") and place.with_suffix(".py").exists():
                yield place.with_suffix(".py")
