"""Registration of a logged model as the next version of the forecaster."""

import json
from collections.abc import Mapping

from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, Alias, RegisteredForecaster, champion, find_version
from voltpipe.tracking.tracked_run import TrackedRun

DESCRIPTION = """Forecasts the voltage of every channel of a recording, in mV.

`champion` is the version in use. It beat persistence, autoregression and the champion before it (`previous`) on
held-out recordings that neither had learned from. `challenger` is the newest other version. Its tags give the reason
for its refusal."""


def register(run: TrackedRun, model_uri: str, *, card: str, tags: Mapping[str, str]) -> RegisteredForecaster:
    """Register a logged model as the next version, and make it the challenger.

    A model that is already registered keeps its version. The champion does not become challenger.

    Args:
        run: the run that logged the model.
        model_uri: `models:/<model id>`, as returned by `log_forecaster`.
        card: the model card in Markdown, which becomes the version's description.
        tags: tags to set on the version.
    """
    client = run.store.client
    model = client.get_logged_model(model_uri.removeprefix("models:/"))
    _ensure_registered_model(run.store)
    versions = client.search_model_versions(f"name = '{MODEL_NAME}' and run_id = '{run.run_id}'")
    known = next((version for version in versions if version.source == model.artifact_location), None)
    if known is None:
        # One call, so that a killed process leaves a complete version or none. The model is given by its location,
        # because MLflow would look for `models:/<id>` in its global store.
        version = client.create_model_version(
            MODEL_NAME, model.artifact_location, run.run_id, tags=dict(tags), description=card, model_id=model.model_id
        )
    else:
        version = known
        client.update_model_version(MODEL_NAME, version.version, card)
        for key, value in tags.items():
            client.set_model_version_tag(MODEL_NAME, version.version, key, value)
    # The model's page lists the versions in this tag.
    model_versions = json.dumps([{"name": MODEL_NAME, "version": str(version.version)}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": model_versions})
    if (present := champion(run.store)) is None or present.version != str(version.version):
        client.set_registered_model_alias(MODEL_NAME, Alias.CHALLENGER, version.version)
    return find_version(run.store, str(version.version))


def _ensure_registered_model(store: TrackingStore) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(MODEL_NAME, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
