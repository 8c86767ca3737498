"""The registered forecaster: versions, the aliases that say which one counts, and loading by name."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import CONFIG_FILE
from voltpipe.lake import Lake
from voltpipe.tracking.gate import GateDecision
from voltpipe.tracking.run import TrackedRun
from voltpipe.tracking.served_model import FORECASTER_FOLDER
from voltpipe.tracking.store import TrackingError, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "voltage-forecaster"

_DESCRIPTION = """Forecasts the voltage of every channel of a recording, in mV.

`champion` is the version in use: it beat persistence, autoregression and the champion before it (`previous`) on
held-out recordings. `challenger` is the newest version that did not, and its tags say why."""
_URI = re.compile(r"(?:models:/)?(?P<name>[^@/]+)(?:@(?P<alias>[^/]+)|/(?P<version>\d+))")


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
    # MLflow would look for `models:/<id>` in its global store, so the model is named by its place.
    version = known or client.create_model_version(
        MODEL_NAME, model.artifact_location, run.run_id, model_id=model.model_id
    )
    client.update_model_version(MODEL_NAME, version.version, card)
    for key, value in tags.items():
        client.set_model_version_tag(MODEL_NAME, version.version, key, value)
    # Which the model's own page shows as its versions.
    named = json.dumps([{"name": MODEL_NAME, "version": str(version.version)}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": named})
    if (present := champion(run.store)) is None or present.version != str(version.version):
        client.set_registered_model_alias(MODEL_NAME, Alias.CHALLENGER, version.version)
    return _registered(client.get_model_version(MODEL_NAME, version.version))


def record_decision(store: TrackingStore, version: str, decision: GateDecision) -> None:
    """Write the gate's decision and its reasons to a version's tags."""
    store.client.set_model_version_tag(MODEL_NAME, version, "gate.decision", decision.decision)
    store.client.set_model_version_tag(MODEL_NAME, version, "gate.reason", "; ".join(decision.reasons))


def promote(store: TrackingStore, version: str) -> None:
    """Make a version champion; the former champion becomes `previous`. Doing it again changes nothing."""
    client = store.client
    former = champion(store)
    if former is None or former.version != version:
        if former is not None:
            client.set_registered_model_alias(MODEL_NAME, Alias.PREVIOUS, former.version)
        client.set_model_version_tag(
            MODEL_NAME, version, "promoted_utc", datetime.now(UTC).isoformat(timespec="seconds")
        )
        client.set_registered_model_alias(MODEL_NAME, Alias.CHAMPION, version)
    challenger = _find(store, Alias.CHALLENGER)
    if challenger is not None and challenger.version == version:
        client.delete_registered_model_alias(MODEL_NAME, Alias.CHALLENGER)


def champion(store: TrackingStore) -> RegisteredForecaster | None:
    """The version in use; None if there is none."""
    return _find(store, Alias.CHAMPION)


def find_version(store: TrackingStore, name: str) -> RegisteredForecaster:
    """A version by its number, or by an alias.

    Raises:
        TrackingError: there is none.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _registered(_version(store, MODEL_NAME, name))
    except MlflowException as error:
        raise _not_registered(store, MODEL_NAME, name) from error


def pinned(uri: str, store: TrackingStore) -> str:
    """What goes on naming the same forecaster, one that can be loaded, when aliases move. A folder stays as it is."""
    named = _URI.fullmatch(uri)
    if named is None or not named["alias"] or (Path(uri) / CONFIG_FILE).is_file():
        return uri
    return f"{named['name']}/{_version(store, named['name'], named['alias']).version}"


def version_tags(store: TrackingStore, version: str) -> dict[str, str]:
    """The tags of a version, the gate's decision among them."""
    return dict(store.client.get_model_version(MODEL_NAME, version).tags)


def load_forecaster(uri: str, store: TrackingStore | None = None) -> Forecaster:
    """Load a forecaster. Nothing that is loaded can run code.

    Args:
        uri: `models:/voltage-forecaster@champion`, `models:/voltage-forecaster/3` (both also without `models:/`), or a
            folder that `Forecaster.save` wrote.
        store: where it is registered; without it, the lake of this environment.

    Raises:
        TrackingError: no such forecaster is registered, or its files are gone.
        ForecasterError: its files are damaged.
    """
    if (Path(uri) / CONFIG_FILE).is_file():
        return Forecaster.load(Path(uri))
    named = _URI.fullmatch(uri)
    if named is None:
        raise TrackingError(
            f"{uri!r} names no forecaster: expected '{MODEL_NAME}@champion', '{MODEL_NAME}/<version>', "
            f"or a folder that holds {CONFIG_FILE}"
        )
    store = store or TrackingStore(Lake.default().mlflow)
    return _downloaded(store, _artifact_location(store, named["name"], named["alias"] or named["version"]))


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


def _find(store: TrackingStore, alias: Alias) -> RegisteredForecaster | None:
    from mlflow.exceptions import MlflowException

    try:
        return _registered(store.client.get_model_version_by_alias(MODEL_NAME, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _ensure_registered_model(store: TrackingStore) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(MODEL_NAME, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _registered(version: "ModelVersion") -> RegisteredForecaster:
    return RegisteredForecaster(str(version.version), version.run_id, dict(version.tags))
