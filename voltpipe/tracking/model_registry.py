"""The model registry: versions of the forecaster, their aliases, and loading by name."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import CONFIG_FILE
from voltpipe.lake.paths import Lake
from voltpipe.tracking.audit_log import AuditLog
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.served_model import SERVED_FORECASTER_FOLDER
from voltpipe.tracking.settings import ChampionSettings, WithoutChampion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel


F = TypeVar("F")

MODEL_NAME = "voltage-forecaster"

_URI = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@|/(?=\d+$))(?P<which>[^/]+)")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

BRING_BACK = "Restore a former champion with 'voltpipe rollback', or train a new one with 'voltpipe train'."


class LostChampionWarning(UserWarning):
    """Forecasts come from a different version than requested."""


class Alias(StrEnum):
    """Names that each point to one version."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    PREVIOUS = "previous"


@dataclass(frozen=True)
class RegisteredForecaster:
    """A version of the registered forecaster."""

    version: str
    run_id: str | None
    tags: dict[str, str]
    archived: bool = False
    """Whether the version is in MLflow's archive."""

    @property
    def uri(self) -> str:
        """URI of this version; it does not change when aliases move."""
        return f"models:/{MODEL_NAME}/{self.version}"


def champion(store: TrackingStore) -> RegisteredForecaster | None:
    """Return the version with the alias `champion`; None if there is none."""
    return get_version(store, Alias.CHAMPION)


def lost_champion(store: TrackingStore) -> str | None:
    """Return the audit log's last champion if MLflow has none, because its alias or version was deleted; else None."""
    if champion(store) is not None:
        return None
    entries = AuditLog.of(store).entries()
    return entries[-1].champion_after if entries else None


def serving_version(store: TrackingStore) -> RegisteredForecaster | None:
    """Return the champion or, if it was deleted in MLflow, the previous champion; None if there is neither."""
    return champion(store) or (get_version(store, Alias.PREVIOUS) if lost_champion(store) else None)


def aliases(store: TrackingStore) -> dict[str, str]:
    """Return the version that each alias names."""
    model = registered_model(store)
    return {str(alias): str(version) for alias, version in model.aliases.items()} if model else {}


def registered_model(store: TrackingStore) -> "RegisteredModel | None":
    """Return MLflow's record of the model, which all versions share; None before the first version."""
    return _or_none(lambda: store.client.get_registered_model(MODEL_NAME))


def newest_versions(store: TrackingStore, n_versions: int) -> tuple[RegisteredForecaster, ...]:
    """Return the versions with the highest numbers, highest first."""
    found = store.client.search_model_versions(
        f"name = '{MODEL_NAME}'", max_results=n_versions, order_by=["version_number DESC"]
    )
    return tuple(map(_registered, found))


def get_version(store: TrackingStore, name: str) -> RegisteredForecaster | None:
    """Return the version with a number or alias; None if it does not exist."""
    return _or_none(lambda: _registered(_version(store, MODEL_NAME, name)))


def find_version(store: TrackingStore, name: str) -> RegisteredForecaster:
    """Return the version with a number or alias.

    Raises:
        TrackingError: the version does not exist.
    """
    return _registered(_find(store, MODEL_NAME, name))


def resolve_alias(uri: str, store: TrackingStore, settings: ChampionSettings | None = None) -> str:
    """Replace an alias by the version that `load_forecaster` loads for it. Other URIs and folders are returned as is.

    Args:
        uri: a URI or folder, as for `load_forecaster`.
        store: the store in which the forecaster is registered.
        settings: what to do if the champion was deleted from MLflow.

    Raises:
        TrackingError: no version has this alias, or the settings forbid a replacement for a deleted champion.

    Warns:
        LostChampionWarning: the champion was deleted, and the previous champion replaces it.
    """
    named = _parse(uri)
    if named is None or "@" not in uri:
        return uri
    return f"{named['name']}/{_find_or_replace(store, named['name'], named['which'], settings).version}"


def training_run_id(uri: str, store: TrackingStore) -> str | None:
    """Return the ID of the MLflow run that trained a registered forecaster; None for a folder or an unknown run."""
    named = _parse(uri)
    found = get_version(store, named["which"]) if named else None
    return found.run_id if found else None


def version_tags(store: TrackingStore, version: str) -> dict[str, str]:
    """Return the tags of a version, which include the decision on its promotion."""
    return dict(store.client.get_model_version(MODEL_NAME, version).tags)


def load_forecaster(
    uri: str, store: TrackingStore | None = None, settings: ChampionSettings | None = None
) -> Forecaster:
    """Load a forecaster. Its files cannot run code.

    Args:
        uri: `models:/voltage-forecaster@champion`, `models:/voltage-forecaster/3` (both also without `models:/`), or a
            folder that `Forecaster.save` wrote.
        store: the store in which it is registered; by default that of the current lake.
        settings: what to do if the champion was deleted from MLflow.

    Raises:
        TrackingError: no such forecaster is registered, or its files are missing.
        ForecasterError: its files are damaged.

    Warns:
        LostChampionWarning: the champion was deleted, and the previous champion is loaded instead.
    """
    if (Path(uri) / CONFIG_FILE).is_file():
        return Forecaster.load(Path(uri))
    named = _parse(uri)
    if named is None:
        raise TrackingError(
            f"{uri!r} does not name a forecaster. Expected '{MODEL_NAME}@champion', '{MODEL_NAME}/<version>', "
            f"or a folder that contains {CONFIG_FILE}.",
            code="forecaster-uri-malformed",
        )
    store = store or TrackingStore.of(Lake.default())
    return _download(store, _find_or_replace(store, named["name"], named["which"], settings))


def fallback_champion(store: TrackingStore, settings: ChampionSettings) -> RegisteredForecaster | None:
    """Return the version that replaces a champion deleted in MLflow; None if no champion was deleted.

    Raises:
        TrackingError: the settings forbid a replacement, or there is none.

    Warns:
        LostChampionWarning: the champion was deleted; names both versions.
    """
    lost = lost_champion(store)
    if lost is None:
        return None
    gone = f"The champion, version {lost}, was deleted from MLflow or lost its alias"
    previous = get_version(store, Alias.PREVIOUS)
    if previous is None:
        raise TrackingError(f"{gone}. There is no previous champion. {BRING_BACK}", code="champion-lost")
    if settings.without_champion is WithoutChampion.REFUSE:
        raise TrackingError(
            f"{gone}. The settings forbid replacing it with version {previous.version}. {BRING_BACK}",
            code="champion-fallback-forbidden",
        )
    warnings.warn(
        f"{gone}. Version {previous.version} is used instead. {BRING_BACK}", LostChampionWarning, stacklevel=4
    )
    return previous


def _parse(uri: str) -> re.Match[str] | None:
    """Split a registry URI into `name` and `which` (alias or number); None for a folder with a forecaster."""
    return None if (Path(uri) / CONFIG_FILE).is_file() else _URI.fullmatch(uri)


def _find_or_replace(
    store: TrackingStore, name: str, alias_or_version: str, settings: ChampionSettings | None
) -> "ModelVersion":
    """Find a version; a champion that was deleted in MLflow is replaced as the settings say."""
    if (name, alias_or_version) == (MODEL_NAME, Alias.CHAMPION):
        replacement = fallback_champion(store, settings or ChampionSettings())
        alias_or_version = replacement.version if replacement else alias_or_version
    return _find(store, name, alias_or_version)


def _version(store: TrackingStore, name: str, alias_or_version: str) -> "ModelVersion":
    if alias_or_version.isdigit():
        return store.client.get_model_version(name, alias_or_version)
    return store.client.get_model_version_by_alias(name, alias_or_version)


def _find(store: TrackingStore, name: str, alias_or_version: str) -> "ModelVersion":
    found = _or_none(lambda: _version(store, name, alias_or_version))
    if found is None:
        wanted = f"{name}{'/' if alias_or_version.isdigit() else '@'}{alias_or_version}"
        versions = sorted(int(each.version) for each in store.client.search_model_versions(f"name = '{name}'"))
        known = f" (versions: {', '.join(map(str, reversed(versions)))})" if versions else ""
        raise TrackingError(
            f"No forecaster {wanted} is registered in {store.uri}{known}. "
            "Name another version, or train one with 'voltpipe train'.",
            code="version-not-registered",
        )
    return found


def _download(store: TrackingStore, version: "ModelVersion") -> Forecaster:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    place = store.client.get_model_version_download_uri(version.name, version.version)
    with TemporaryDirectory() as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{place}/{SERVED_FORECASTER_FOLDER}", dst_path=scratch, tracking_uri=store.uri
            )
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"The files of the registered forecaster are missing from {place}. Restore them from a backup, "
                "or train again and delete that version.",
                code="version-files-missing",
            ) from error
        return Forecaster.load(Path(folder))


def _or_none(request: Callable[[], F]) -> F | None:
    """Return MLflow's answer to a request; None if what it asks for does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return request()
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def _registered(version: "ModelVersion") -> RegisteredForecaster:
    archived = version.current_stage == "Archived"
    return RegisteredForecaster(str(version.version), version.run_id, dict(version.tags), archived)
