"""The forecaster as an MLflow model: mV in, mV out, loaded without pickle.

MLflow names this module in a model's MLmodel file, and calls `_load_pyfunc` to load it.
"""

import importlib.metadata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.novelty import NoveltyAccumulator
from voltpipe.lake.files import file_digest
from voltpipe.recordings.conditioning.signature import signature_label
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.tracked_run import RunInput, TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature


SERVED_FORECASTER_FOLDER = "data/forecaster"
"""Where what `Forecaster.save` wrote lies in an MLflow model's folder."""

_DIGEST_TAG = "voltpipe.digest"
_REQUIREMENTS = ("torch", "safetensors", "numpy", "pydantic", "jaxtyping")


class NoveltyWarning(UserWarning):
    """Histories are unlike those trained on."""


@dataclass(frozen=True)
class ServedForecaster:
    """What MLflow's servers call."""

    forecaster: Forecaster

    def predict(
        self, model_input: Float32[np.ndarray, "batch context channel"], params: dict[str, Any] | None = None
    ) -> Float32[np.ndarray, "batch horizon channel"]:
        """Forecast in mV from histories in mV. There are no parameters; MLflow passes the argument anyway.

        Warns:
            UnfamiliarWarning: it stands in the server's log.
        """
        history_mv = np.array(model_input, np.float32)
        forecast_mv = self.forecaster.predict_mv(history_mv)
        if self.forecaster.familiarity:
            noticing = NoveltyAccumulator(tuple(f"number {channel}" for channel in range(history_mv.shape[2])))
            noticing.add(self.forecaster.familiarity.judge(torch.from_numpy(history_mv)))
            if (notice := noticing.notice()).warns:
                warnings.warn(f"take these forecasts with care: {notice.text}", NoveltyWarning, stacklevel=2)
        return forecast_mv


def _load_pyfunc(path: str) -> ServedForecaster:
    return ServedForecaster(Forecaster.load(Path(path)))


def log_forecaster(
    run: TrackedRun,
    forecaster: Forecaster,
    history_mv: Float32[np.ndarray, "batch context channel"],
    metrics: Mapping[str, float],
    scored_on: RunInput | None = None,
) -> str:
    """Log a forecaster as a model of a run, with its metrics. The same forecaster logged twice is one model.

    Args:
        run: the run that trained it.
        forecaster: the forecaster.
        history_mv: held-out histories, at least two, kept as the input example.
        metrics: its scores, by MLflow name.
        scored_on: where these were found, which the model's page then names.

    Returns:
        The model's URI, `models:/<model id>`.

    Raises:
        TrackingError: as served, it would not give the forecasts it gives here.
    """
    with TemporaryDirectory() as scratch:
        saved = Path(scratch) / Path(SERVED_FORECASTER_FOLDER).name
        forecaster.save(saved)
        digest = file_digest(saved)
        model = _logged(run, digest)
        if model is None:
            _give_up_unfinished(run)
            model = _create(run, forecaster, digest)
            _upload(run, model, saved, forecaster, history_mv)
    if scored_on:
        run.log_inputs([scored_on])
    run.log_metrics(metrics, model_id=model.model_id, dataset=scored_on)
    return f"models:/{model.model_id}"


def served_forecast_mv(model_folder: Path) -> Float32[np.ndarray, "batch horizon channel"]:
    """What MLflow's server would answer to the model's own input example, in mV."""
    served = _pyfunc().load_model(str(model_folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoveltyWarning)  # an example is to show the form, not to be believed
        return np.asarray(served.predict(served.input_example))


def _pyfunc() -> ModuleType:
    with warnings.catch_warnings():
        # MLflow's warning about a type hint of its own.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc
    return mlflow.pyfunc


def _logged(run: TrackedRun, digest: str) -> "LoggedModel | None":
    from mlflow.entities import LoggedModelStatus

    models = run.store.client.search_logged_models(
        [run.store.experiment_id],
        f"source_run_id = '{run.run_id}' AND tags.`{_DIGEST_TAG}` = '{digest}'",
    )
    return next((model for model in models if model.status == LoggedModelStatus.READY), None)


def _give_up_unfinished(run: TrackedRun) -> None:
    """What a killed process or a full disk left half-uploaded is shown as failed, not as under way for ever."""
    from mlflow.entities import LoggedModelStatus

    client = run.store.client
    for model in client.search_logged_models([run.store.experiment_id], f"source_run_id = '{run.run_id}'"):
        if model.status == LoggedModelStatus.PENDING:
            client.finalize_logged_model(model.model_id, "FAILED")


def _create(run: TrackedRun, forecaster: Forecaster, digest: str) -> "LoggedModel":
    from mlflow.entities import LoggedModelOutput

    config = forecaster.config
    model = run.store.client.create_logged_model(
        run.store.experiment_id,
        name=config.architecture,
        source_run_id=run.run_id,
        tags={_DIGEST_TAG: digest},
        params={
            "context_samples": str(config.context_samples),
            "horizons_samples": ", ".join(map(str, config.horizons_samples)),
            "rate_hz": str(config.rate_hz),
            "channels": str(len(config.channel_names)),
            "conditioning": signature_label(config.conditioning),
            "organoids": ", ".join(config.organoids),
        },
        model_type="forecaster",
    )
    run.store.client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model


def _upload(
    run: TrackedRun,
    model: "LoggedModel",
    saved: Path,
    forecaster: Forecaster,
    history_mv: Float32[np.ndarray, "batch context channel"],
) -> None:
    from mlflow.models import Model

    folder = saved.parent / "model"
    _pyfunc().save_model(
        folder,
        loader_module=__name__,
        data_path=str(saved),
        mlflow_model=Model(
            artifact_path=model.artifact_location, run_id=run.run_id, model_uuid=model.model_id, model_id=model.model_id
        ),
        signature=_signature(forecaster),
        input_example=history_mv,
        pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _REQUIREMENTS],
    )
    if not np.allclose(served_forecast_mv(folder), forecaster.predict_mv(history_mv), atol=1e-3):
        run.store.client.finalize_logged_model(model.model_id, "FAILED")
        raise TrackingError(
            f"The forecaster of run {run.run_id} gives other forecasts when served than when called, so it is not "
            "logged. Check what its architecture keeps outside its weights and settings.",
            code="served-forecasts-differ",
        )
    run.store.client.log_model_artifacts(model.model_id, str(folder))
    run.store.client.finalize_logged_model(model.model_id, "READY")


def _signature(forecaster: Forecaster) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    config = forecaster.config
    n_channels = len(config.channel_names) if forecaster.module.bound_to_channels else -1
    # Without names: a named tensor would reach `predict` in a dictionary.
    return ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, config.context_samples, n_channels))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(config.horizons_samples), n_channels))]),
    )
