"""Retention: expired checkpoints and window sets, and old versions with their runs.

Some versions are protected at any age, with the data they were made from: every version with an alias (champion,
previous, challenger, others), and all versions that these began from.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltpipe.forecasting.training.checkpoint import hold_checkpoint_folder
from voltpipe.lake.locks import LockHeldError
from voltpipe.lake.paths import Lake
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, aliases, lost_champion
from voltpipe.tracking.run_lifecycle import IDENTITY_TAG
from voltpipe.tracking.settings import RetentionSettings
from voltpipe.tracking.training_provenance import read_origin
from voltpipe.windows.window_set import window_set_folder_name

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


_DAY_S = 86_400.0
WINDOW_SET_TAG = "window_set"
"""Tag of a version: the digest of its window set."""


@dataclass(frozen=True)
class ExpiredItem:
    """An item to be removed."""

    kind: str
    name: str
    size_bytes: int
    reason: str
    remove: Callable[[], bool]
    """Removes the item and returns True; returns False if it has come into use in the meantime."""


def protected_versions(store: TrackingStore) -> dict[str, str]:
    """Return the versions that are never removed, each with the reason."""
    found: dict[str, str] = {}
    pending = [(version, f"is {alias}") for alias, version in aliases(store).items()]
    if lost := lost_champion(store):
        pending.append((lost, "was champion when its alias was lost"))
    while pending:
        version, reason = pending.pop()
        if version not in found:
            found[version] = reason
            pending += [(earlier, f"version {version} began from it") for earlier in _began_from(store, version)]
    return found


def find_expired(
    lake: Lake, store: TrackingStore, settings: RetentionSettings, in_use: Collection[Path] = ()
) -> list[ExpiredItem]:
    """List the expired items in the order in which they should be removed.

    Args:
        lake: the lake with checkpoints and window sets.
        store: the store with versions and runs.
        settings: retention period of each kind.
        in_use: folders that are kept at any age.
    """
    protected = protected_versions(store)
    named = {path.name for path in in_use} | _folders_of(store, protected)
    return [
        *_versions(store, settings, protected),
        *_checkpoints(lake, settings, named),
        *_window_sets(lake, settings, named),
    ]


def _began_from(store: TrackingStore, version: str) -> list[str]:
    from mlflow.exceptions import MlflowException

    try:
        run_id = store.client.get_model_version(MODEL_NAME, version).run_id
        begun = read_origin(store, run_id).training.begin_from if run_id else None
    except (TrackingError, MlflowException):  # older than training provenance, or deleted by hand
        return []
    name, _, number = (begun or "").removeprefix("models:/").rpartition("/")
    return [number] if name == MODEL_NAME and number.isdigit() else []


def _folders_of(store: TrackingStore, versions: Collection[str]) -> set[str]:
    """Return the names of the checkpoint folders and window sets that versions were made from."""
    from mlflow.exceptions import MlflowException

    names = set()
    for version in versions:
        try:
            registered = store.client.get_model_version(MODEL_NAME, version)
            run = store.client.get_run(registered.run_id) if registered.run_id else None
        except MlflowException:
            continue
        if WINDOW_SET_TAG in registered.tags:
            names.add(window_set_folder_name(registered.tags[WINDOW_SET_TAG]))
        if run is not None and IDENTITY_TAG in run.data.tags:
            names.add(run.data.tags[IDENTITY_TAG])
    return names


def _versions(store: TrackingStore, settings: RetentionSettings, protected: Collection[str]) -> Iterator[ExpiredItem]:
    versions = store.client.search_model_versions(f"name = '{MODEL_NAME}'")
    newest_first = sorted(versions, key=lambda each: int(each.version), reverse=True)
    for version in newest_first[settings.keep_versions :]:
        age_days = (time.time() - version.creation_timestamp / 1000) / _DAY_S
        if str(version.version) not in protected and age_days > settings.versions_days:
            own = _own_places(store, version, [other for other in versions if other.version != version.version])
            yield ExpiredItem(
                "version",
                f"{MODEL_NAME}/{version.version}",
                sum(_stored_bytes(store, place) for place in own),
                f"{age_days:.0f} days old, and {settings.keep_versions} versions are newer",
                partial(_remove_version, store, str(version.version)),
            )


def _own_places(store: TrackingStore, version: "ModelVersion", others: list["ModelVersion"]) -> list[str]:
    """Return the locations of the version's files that no other version needs: the model's and the run's."""
    from mlflow.exceptions import MlflowException

    places = [] if any(other.source == version.source for other in others) else [str(version.source)]
    if version.run_id and all(other.run_id != version.run_id for other in others):
        try:
            places.append(str(store.client.get_run(version.run_id).info.artifact_uri))
        except MlflowException:  # the run was permanently deleted by hand
            return places
    return places


def _remove_version(store: TrackingStore, number: str) -> bool:
    """Delete a version's files for good, and move its run to MLflow's trash, where lineages still read it."""
    if number in protected_versions(store):
        return False
    client = store.client
    version = client.get_model_version(MODEL_NAME, number)
    versions = client.search_model_versions(f"name = '{MODEL_NAME}'")
    others = [other for other in versions if str(other.version) != number]
    own = _own_places(store, version, others)
    models = client.search_logged_models([store.experiment_id], f"source_run_id = '{version.run_id}'")
    client.delete_model_version(MODEL_NAME, number)
    for place in own:
        _artifacts(store, place).delete_artifacts()
    for model in models:
        if model.artifact_location in own:
            client.delete_logged_model(model.model_id)
    if version.run_id and all(other.run_id != version.run_id for other in others):
        client.delete_run(version.run_id)
    return True


def _stored_bytes(store: TrackingStore, place: str) -> int:
    repository = _artifacts(store, place)

    def size(folder: str | None) -> int:
        listed = repository.list_artifacts(folder)
        return sum(size(each.path) if each.is_dir else int(each.file_size or 0) for each in listed)

    return size(None)


def _artifacts(store: TrackingStore, place: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(place, tracking_uri=store.uri, registry_uri=store.uri)


def _checkpoints(lake: Lake, settings: RetentionSettings, named: Collection[str]) -> Iterator[ExpiredItem]:
    for folder in _folders(lake.checkpoints, "[!.]*"):
        if folder.name not in named and (age_days := _age_days(folder)) > settings.checkpoints_days:
            yield ExpiredItem(
                "checkpoints",
                folder.name,
                _bytes(folder),
                f"unchanged for {age_days:.0f} days",
                partial(_remove_checkpoints, folder),
            )


def _remove_checkpoints(folder: Path) -> bool:
    try:
        with hold_checkpoint_folder(folder):
            shutil.rmtree(folder)
    except LockHeldError:
        return False
    return True


def _window_sets(lake: Lake, settings: RetentionSettings, named: Collection[str]) -> Iterator[ExpiredItem]:
    for folder in (*_folders(lake.windows, "set-*"), *_folders(lake.windows, ".*")):
        if folder.name not in named and (age_days := _age_days(folder)) > settings.window_sets_days:
            reason = f"unchanged for {age_days:.0f} days; can be built again from its recordings"
            yield ExpiredItem("window set", folder.name, _bytes(folder), reason, partial(_remove_folder, folder))


def _remove_folder(folder: Path) -> bool:
    shutil.rmtree(folder)
    return True


def _folders(parent: Path, pattern: str) -> list[Path]:
    """List the folders that match a pattern, without links, which may lead out of the lake."""
    return [path for path in sorted(parent.glob(pattern)) if path.is_dir() and not path.is_symlink()]


def _age_days(folder: Path) -> float:
    """Return the days since anything in a folder changed."""
    newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return (time.time() - newest) / _DAY_S


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
