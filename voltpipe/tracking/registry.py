"""The registered forecaster: versions, the aliases that say which one counts, and loading by name."""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import CONFIG_FILE
from voltpipe.lake import Lake
from voltpipe.tracking.run import TrackedRun
from voltpipe.tracking.served_model import FORECASTER_FOLDER
from voltpipe.tracking.settings import ChampionSettings, WithoutChampion
from voltpipe.tracking.store import TrackingError, TrackingStore
from voltpipe.tracking.trail import Trail

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

F = TypeVar("F")

MODEL_NAME = "voltage-forecaster"

DESCRIPTION = """Forecasts the voltage of every channel of a recording, in mV.

`champion` is the version in use: it beat persistence, autoregression and the champion before it (`previous`) on
held-out recordings that neither had learned from. `challenger` is the newest version that did not; its tags say why."""
_URI = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


BRING_BACK = "'voltpipe rollback' makes a former champion champion again, 'voltpipe train' a new one"


class LostChampionWarning(UserWarning):
    """Forecasts come from another version than was asked for."""


class Alias(StrEnum):
    """Names that point to one version each."""

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
    """Whether somebody moved it to MLflow's archive."""

    @property
    def uri(self) -> str:
        """What MLflow and `load_forecaster` load it by, whatever becomes of the aliases."""
        return f"models:/{MODEL_NAME}/{self.version}"


def register(run: TrackedRun, model_uri: str, *, card: str, tags: Mapping[str, str]) -> RegisteredForecaster:
    """Register a logged model as the next version, and make it the challenger.

    A model that is registered already stays the version it is.

    Args:
        run: the run that logged it.
        model_uri: `models:/<model id>`, as `log_forecaster` returned it.
        card: the model card, in Markdown; becomes the version's description.
        tags: set on the version.
    """
    client = run.store.client
    model = client.get_logged_model(model_uri.removeprefix("models:/"))
    _ensure_registered_model(run.store)
    versions = client.search_model_versions(f"name = '{MODEL_NAME}' and run_id = '{run.run_id}'")
    known = next((version for version in versions if version.source == model.artifact_location), None)
    if known is None:
        # At one stroke: a process that is killed leaves a whole version or none.
        # MLflow would look for `models:/<id>` in its global store, so the model is named by its place.
        version = client.create_model_version(
            MODEL_NAME, model.artifact_location, run.run_id, tags=dict(tags), description=card, model_id=model.model_id
        )
    else:
        version = known
        client.update_model_version(MODEL_NAME, version.version, card)
        for key, value in tags.items():
            client.set_model_version_tag(MODEL_NAME, version.version, key, value)
    # Which the model's own page shows as its versions.
    named = json.dumps([{"name": MODEL_NAME, "version": str(version.version)}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": named})
    if (present := champion(run.store)) is None or present.version != str(version.version):
        client.set_registered_model_alias(MODEL_NAME, Alias.CHALLENGER, version.version)
    return _registered(client.get_model_version(MODEL_NAME, version.version))


def champion(store: TrackingStore) -> RegisteredForecaster | None:
    """The version in use; None if there is none."""
    return known_version(store, Alias.CHAMPION)


def lost_champion(store: TrackingStore) -> str | None:
    """The version that the trail left as champion, if the alias is gone: it or the version was deleted in MLflow."""
    if champion(store) is not None:
        return None
    entries = Trail.of(store).entries()
    return entries[-1].champion_after if entries else None


def in_use(store: TrackingStore) -> RegisteredForecaster | None:
    """The champion or, where it was deleted in MLflow, the one before it; None if there is neither."""
    return champion(store) or (known_version(store, Alias.PREVIOUS) if lost_champion(store) else None)


def aliases(store: TrackingStore) -> dict[str, str]:
    """Which version each alias names."""
    model = registered_model(store)
    return {str(alias): str(version) for alias, version in model.aliases.items()} if model else {}


def registered_model(store: TrackingStore) -> "RegisteredModel | None":
    """What all versions have in common; None before the first."""
    return _or_none(lambda: store.client.get_registered_model(MODEL_NAME))


def known_version(store: TrackingStore, name: str) -> RegisteredForecaster | None:
    """A version by its number, or by an alias; None if there is none, or none any more."""
    return _or_none(lambda: _registered(_version(store, MODEL_NAME, name)))


def find_version(store: TrackingStore, name: str) -> RegisteredForecaster:
    """The same.

    Raises:
        TrackingError: there is none.
    """
    found = known_version(store, name)
    if found is None:
        raise _not_registered(store, MODEL_NAME, name)
    return found


def pinned(uri: str, store: TrackingStore) -> str:
    """What goes on naming the same forecaster, one that can be loaded, when aliases move. A folder stays as it is."""
    named = _URI.fullmatch(uri)
    if named is None or not named["alias"] or (Path(uri) / CONFIG_FILE).is_file():
        return uri
    return f"{named['name']}/{_version(store, named['name'], named['alias']).version}"


def training_run_id(uri: str, store: TrackingStore) -> str | None:
    """The MLflow run that trained what a URI names; None for a folder, or where it is not known."""
    named = _URI.fullmatch(uri)
    if named is None or (Path(uri) / CONFIG_FILE).is_file():
        return None
    found = known_version(store, named["alias"] or named["version"])
    return found.run_id if found else None


def version_tags(store: TrackingStore, version: str) -> dict[str, str]:
    """The tags of a version, the gate's decision among them."""
    return dict(store.client.get_model_version(MODEL_NAME, version).tags)


def load_forecaster(
    uri: str, store: TrackingStore | None = None, settings: ChampionSettings | None = None
) -> Forecaster:
    """Load a forecaster. Nothing that is loaded can run code.

    Args:
        uri: `models:/voltage-forecaster@champion`, `models:/voltage-forecaster/3` (both also without `models:/`), or a
            folder that `Forecaster.save` wrote.
        store: where it is registered; without it, the lake of this environment.
        settings: what to do if the champion was deleted from MLflow.

    Raises:
        TrackingError: no such forecaster is registered, or its files are gone.
        ForecasterError: its files are damaged.

    Warns:
        LostChampionWarning: the one before the champion is loaded instead, since that was deleted.
    """
    if (Path(uri) / CONFIG_FILE).is_file():
        return Forecaster.load(Path(uri))
    named = _URI.fullmatch(uri)
    if named is None:
        raise TrackingError(
            f"{uri!r} names no forecaster: expected '{MODEL_NAME}@champion', '{MODEL_NAME}/<version>', "
            f"or a folder that holds {CONFIG_FILE}"
        )
    store = store or TrackingStore.of(Lake.default())
    if (named["name"], named["alias"]) == (MODEL_NAME, Alias.CHAMPION) and (
        instead := instead_of_lost(store, settings or ChampionSettings())
    ):
        return _downloaded(store, _artifact_location(store, MODEL_NAME, instead.version))
    return _downloaded(store, _artifact_location(store, named["name"], named["alias"] or named["version"]))


def instead_of_lost(store: TrackingStore, settings: ChampionSettings) -> RegisteredForecaster | None:
    """The version that forecasts in place of a champion that was deleted in MLflow; None if it was not.

    Raises:
        TrackingError: none may, or there is none.

    Warns:
        LostChampionWarning: naming both.
    """
    lost = lost_champion(store)
    if lost is None:
        return None
    gone = f"the champion, version {lost}, was deleted from MLflow or lost its alias"
    previous = known_version(store, Alias.PREVIOUS)
    if previous is None:
        raise TrackingError(f"{gone}, and there is none before it; {BRING_BACK}")
    if settings.without_champion is WithoutChampion.REFUSE:
        raise TrackingError(f"{gone}, and to go on with version {previous.version} is refused as set; {BRING_BACK}")
    warnings.warn(
        f"{gone}; version {previous.version} forecasts instead; {BRING_BACK}", LostChampionWarning, stacklevel=3
    )
    return previous


def _artifact_location(store: TrackingStore, name: str, alias_or_version: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        number = _version(store, name, alias_or_version).version
        return str(store.client.get_model_version_download_uri(name, number))
    except MlflowException as error:
        raise _not_registered(store, name, alias_or_version) from error


def _version(store: TrackingStore, name: str, alias_or_version: str) -> "ModelVersion":
    if alias_or_version.isdigit():
        return store.client.get_model_version(name, alias_or_version)
    return store.client.get_model_version_by_alias(name, alias_or_version)


def _not_registered(store: TrackingStore, name: str, alias_or_version: str) -> TrackingError:
    wanted = f"{name}{'/' if alias_or_version.isdigit() else '@'}{alias_or_version}"
    return TrackingError(
        f"no forecaster {wanted} is registered in {store.uri}{_alternatives(store, name)}; "
        "train one ('voltpipe train'), or name another version"
    )


def _alternatives(store: TrackingStore, name: str) -> str:
    versions = sorted((int(v.version) for v in store.client.search_model_versions(f"name = '{name}'")), reverse=True)
    return f" (there are versions {', '.join(map(str, versions))})" if versions else ""


def _downloaded(store: TrackingStore, place: str) -> Forecaster:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{place}/{FORECASTER_FOLDER}", dst_path=scratch, tracking_uri=store.uri
            )
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"the files of the registered forecaster are gone from {place}: restore them from a backup, "
                "or train again and delete that version"
            ) from error
        return Forecaster.load(Path(folder))


def _or_none(ask: Callable[[], F]) -> F | None:
    """What MLflow answers; None if it says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise


def _ensure_registered_model(store: TrackingStore) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(MODEL_NAME, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(version: "ModelVersion") -> RegisteredForecaster:
    archived = version.current_stage == "Archived"
    return RegisteredForecaster(str(version.version), version.run_id, dict(version.tags), archived)
