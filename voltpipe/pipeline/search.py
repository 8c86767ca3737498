"""What `voltpipe search` does: a search through the assets, and what it found."""

from pathlib import Path

from voltpipe.files import read_json
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.lake import Lake
from voltpipe.pipeline.launch import Launcher
from voltpipe.pipeline.resources import value_path
from voltpipe.pipeline.values import FoundValue


def search_settings(lake: Lake, settings: SearchSettings, organoid: str | None = None) -> str:
    """Search on the lake's recordings; returns the trials, the settings found, and where they stand, as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    Launcher(lake).search(split=split, search=settings.model_dump(mode="json", exclude_none=True))
    found = FoundValue.model_validate(read_json(value_path(lake, "found_settings")))
    return "\n\n".join((found.table, Path(found.run_config).read_text().rstrip(), f"run config: {found.run_config}"))
