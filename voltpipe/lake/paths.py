"""The data lake: one folder that holds everything voltpipe writes, and the keys that name what is in it."""

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


def _lake_folder(place: str) -> Path:
    if not _URL.match(place):
        return Path(place).resolve()
    parts = urlsplit(place)
    if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise LakeError(
            f"{LAKE_VARIABLE} is {place!r}, but object stores and other hosts are not supported yet. "
            "Expected the path of a folder, or a URL such as file:///data/lake.",
            code="lake-url-unsupported",
        )
    return Path(url2pathname(parts.path)).resolve()


@dataclass(frozen=True)
class Lake:
    """The folders of a data lake. Later stages never write into the folders of earlier ones."""

    root: Path

    @classmethod
    def default(cls) -> "Lake":
        """The lake at `VOLTPIPE_DATA_LAKE` (a path or a `file://` URL), or `data_lake/` in the working directory.

        Raises:
            LakeError: another kind of URL.
        """
        return cls(_lake_folder(os.environ.get(LAKE_VARIABLE) or "data_lake"))

    @cached_property
    def raw(self) -> Path:
        """Recordings as the rig left them, `<organoid>/<recording>.<ext>`; never changed."""
        return self.root / "raw"

    @cached_property
    def conditioned(self) -> Path:
        """One Parquet file a recording."""
        return self.root / "conditioned"

    @cached_property
    def quarantine(self) -> Path:
        """Why a raw recording is not used, one JSON file each: a view of the records, for people."""
        return self.root / "quarantine"

    @cached_property
    def history(self) -> Path:
        """The record of each raw recording, one JSON file each, and the conditioned form of former versions."""
        return self.root / "history"

    @cached_property
    def windows(self) -> Path:
        """The split's manifest and the window sets."""
        return self.root / "windows"

    @cached_property
    def checkpoints(self) -> Path:
        """Trainings under way, and the forecasters they ended with."""
        return self.root / "checkpoints"

    @cached_property
    def searches(self) -> Path:
        """Searches for training settings under way, and what they found."""
        return self.root / "searches"

    @cached_property
    def reports(self) -> Path:
        """Evaluation reports with their metrics."""
        return self.root / "reports"

    @cached_property
    def page(self) -> Path:
        """The page of all recordings."""
        return self.reports / "lake.html"

    @cached_property
    def forecasts(self) -> Path:
        """The champion's forecasts, one Parquet file a recording."""
        return self.root / "forecasts"

    @cached_property
    def live_skill(self) -> Path:
        """How champions did on recordings that came after them, and those recordings' statistics."""
        return self.root / "live_skill"

    @cached_property
    def mlflow(self) -> Path:
        """MLflow's store and artifacts."""
        return self.root / "mlflow"

    @cached_property
    def dagster(self) -> Path:
        """Dagster's home."""
        return self.root / "dagster"

    def conditioned_path(self, key: RecordingKey) -> Path:
        """Where the conditioned form of a recording lies."""
        return self.conditioned / key.organoid / f"{key.recording}.parquet"

    def history_path(self, key: RecordingKey) -> Path:
        """Where the record of a recording lies."""
        return self.history / key.organoid / f"{key.recording}.json"

    def former_path(self, key: RecordingKey, version: int) -> Path:
        """Where the conditioned form of a former version of a recording lies."""
        return self.history / key.organoid / f"{key.recording}.v{version}.parquet"

    def forecast_path(self, key: RecordingKey) -> Path:
        """Where the champion's forecasts of a recording lie."""
        return self.forecasts / key.organoid / f"{key.recording}.parquet"

    def preview_path(self, key: RecordingKey) -> Path:
        """Return the path of the figure that shows how a recording begins."""
        return self.reports / "previews" / key.organoid / f"{key.recording}.png"

    def quarantine_path(self, key: RecordingKey) -> Path:
        """Where people find why a recording is not used."""
        return self.quarantine / key.organoid / f"{key.recording}.json"
