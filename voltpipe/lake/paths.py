"""The data lake: one folder that holds everything voltpipe writes, and the paths in it."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from voltpipe.lake.keys import LakeError, RecordingKey

LAKE_VARIABLE = "VOLTPIPE_DATA_LAKE"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def _lake_folder(location: str) -> Path:
    if not _URL.match(location):
        return Path(location).resolve()
    parts = urlsplit(location)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise LakeError(
            f"{LAKE_VARIABLE} is {location!r}, but object stores and other hosts are not supported yet. "
            "Expected the path of a folder, or a URL such as file:///data/lake.",
            code="lake-url-unsupported",
        )
    return Path(url2pathname(parts.path)).resolve()


@dataclass(frozen=True)
class Lake:
    """The folders and files of a data lake. Later stages never write to the folders of earlier ones."""

    root: Path

    @classmethod
    def default(cls) -> "Lake":
        """Return the lake at `VOLTPIPE_DATA_LAKE` (path or `file://` URL), or `data_lake/` in the working directory.

        Raises:
            LakeError: the variable holds another kind of URL.
        """
        return cls(_lake_folder(os.environ.get(LAKE_VARIABLE) or "data_lake"))

    @cached_property
    def raw(self) -> Path:
        """Raw recordings as the rig wrote them, `<organoid>/<recording>.<ext>`. Never changed."""
        return self.root / "raw"

    @cached_property
    def conditioned(self) -> Path:
        """Conditioned recordings, one Parquet file each."""
        return self.root / "conditioned"

    @cached_property
    def quarantine(self) -> Path:
        """Reasons why raw recordings are quarantined, one JSON file each. A readable view of the records."""
        return self.root / "quarantine"

    @cached_property
    def history(self) -> Path:
        """The record of each raw recording as JSON, and the conditioned recordings of former versions."""
        return self.root / "history"

    @cached_property
    def windows(self) -> Path:
        """The split manifest and the window sets."""
        return self.root / "windows"

    @cached_property
    def checkpoints(self) -> Path:
        """Checkpoints of trainings, and their forecasters."""
        return self.root / "checkpoints"

    @cached_property
    def searches(self) -> Path:
        """Hyperparameter searches, with their trials and results."""
        return self.root / "searches"

    @cached_property
    def reports(self) -> Path:
        """Evaluation reports with their metrics."""
        return self.root / "reports"

    @cached_property
    def page(self) -> Path:
        """The lake report, a page about all recordings."""
        return self.reports / "lake.html"

    @cached_property
    def forecasts(self) -> Path:
        """The champion's forecasts, one Parquet file per recording."""
        return self.root / "forecasts"

    @cached_property
    def live_skill(self) -> Path:
        """Scores of champions on recordings that came after their training, and statistics of those recordings."""
        return self.root / "live_skill"

    @cached_property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    @cached_property
    def dagster(self) -> Path:
        """Dagster's home."""
        return self.root / "dagster"

    def conditioned_path(self, key: RecordingKey) -> Path:
        """Return the path of a conditioned recording."""
        return self.conditioned / key.organoid / f"{key.recording}.parquet"

    def history_path(self, key: RecordingKey) -> Path:
        """Return the path of a recording's record."""
        return self.history / key.organoid / f"{key.recording}.json"

    def former_path(self, key: RecordingKey, version: int) -> Path:
        """Return the path of the conditioned recording of a former version."""
        return self.history / key.organoid / f"{key.recording}.v{version}.parquet"

    def forecast_path(self, key: RecordingKey) -> Path:
        """Return the path of the champion's forecasts of a recording."""
        return self.forecasts / key.organoid / f"{key.recording}.parquet"

    def preview_path(self, key: RecordingKey) -> Path:
        """Return the path of the figure that shows the beginning of a recording."""
        return self.reports / "previews" / key.organoid / f"{key.recording}.png"

    def quarantine_path(self, key: RecordingKey) -> Path:
        """Return the path of the file that gives the reason for a quarantine."""
        return self.quarantine / key.organoid / f"{key.recording}.json"
