"""`voltpipe search`: a search through the assets, and its result as text."""

from pathlib import Path

from voltpipe.files import read_json
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.lake import Lake
from voltpipe.pipeline.launch import Launcher
from voltpipe.pipeline.resources import value_path
from voltpipe.pipeline.values import FoundValue


def search_settings(lake: Lake, settings: SearchSettings, organoid: str | None = None) -> str:
    """Search on the lake's recordings; return the trials, the best settings and the file that holds them, as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    run_id = Launcher(lake).search(split=split, search=settings.model_dump(mode="json", exclude_none=True))
    return search_summary(lake, run_id)


def search_summary(lake: Lake, run_id: str) -> str:
    """Return the result of one search as text, whatever other searches found meanwhile."""
    found = FoundValue.model_validate(read_json(value_path(lake, "found_settings", run_id=run_id)))
    assert found.run_config
    return "\n\n".join((found.table, Path(found.run_config).read_text().rstrip(), f"run config: {found.run_config}"))
