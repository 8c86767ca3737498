"""The forecaster as an MLflow model: mV in, mV out, loaded without pickle.

A model's MLmodel file names this module as its loader, and MLflow calls `_load_pyfunc`.
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
"""Folder of the saved forecaster, relative to the MLflow model's folder."""

_DIGEST_TAG = "voltpipe.digest"
_REQUIREMENTS = ("torch", "safetensors", "numpy", "pydantic", "jaxtyping")


class NoveltyWarning(UserWarning):
    """Histories are out of distribution."""


@dataclass(frozen=True)
class ServedForecaster:
    """The model as MLflow's servers call it."""

    forecaster: Forecaster

    def predict(
        self, model_input: Float32[np.ndarray, "batch context channel"], params: dict[str, Any] | None = None
    ) -> Float32[np.ndarray, "batch horizon channel"]:
        """Forecast in mV from histories in mV. `params` is unused, but MLflow passes it.

        Warns:
            NoveltyWarning: the histories are out of distribution. The warning appears in the server's log.
        """
        history_mv = np.array(model_input, np.float32)
        forecast_mv = self.forecaster.predict_mv(history_mv)
        if self.forecaster.familiarity:
            novelty = NoveltyAccumulator(tuple(f"number {channel}" for channel in range(history_mv.shape[2])))
            novelty.add(self.forecaster.familiarity.judge(torch.from_numpy(history_mv)))
            if (summary := novelty.notice()).warns:
                warnings.warn(f"These forecasts may be unreliable: {summary.text}", NoveltyWarning, stacklevel=2)
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
        history_mv: held-out histories in mV, at least two, stored as the input example.
        metrics: its scores, by MLflow metric name.
        scored_on: data on which the scores were found, named on the model's page.

    Returns:
        The model's URI, `models:/<model id>`.

    Raises:
        TrackingError: when served, the model gives different forecasts than `forecaster`.
    """
    with TemporaryDirectory() as scratch:
        saved = Path(scratch) / Path(SERVED_FORECASTER_FOLDER).name
        forecaster.save(saved)
        digest = file_digest(saved)
        model = _find_logged(run, digest)
        if model is None:
            _fail_unfinished(run)
            model = _create(run, forecaster, digest)
            _upload(run, model, saved, forecaster, history_mv)
    if scored_on:
        run.log_inputs([scored_on])
    run.log_metrics(metrics, model_id=model.model_id, dataset=scored_on)
    return f"models:/{model.model_id}"


def served_forecast_mv(model_folder: Path) -> Float32[np.ndarray, "batch horizon channel"]:
    """Forecast the model's own input example as MLflow's server would, in mV."""
    served = _pyfunc().load_model(str(model_folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoveltyWarning)  # the example only shows the form of the input
        return np.asarray(served.predict(served.input_example))


def _pyfunc() -> ModuleType:
    with warnings.catch_warnings():
        # MLflow warns about one of its own type hints.
        warnings.filterwarnings("ignore", ".*Any type hint is inferred as AnyType", UserWarning)
        import mlflow.pyfunc
    return mlflow.pyfunc


def _find_logged(run: TrackedRun, digest: str) -> "LoggedModel | None":
    from mlflow.entities import LoggedModelStatus

    models = run.store.client.search_logged_models(
        [run.store.experiment_id],
        f"source_run_id = '{run.run_id}' AND tags.`{_DIGEST_TAG}` = '{digest}'",
    )
    return next((model for model in models if model.status == LoggedModelStatus.READY), None)


def _fail_unfinished(run: TrackedRun) -> None:
    """Mark half-uploaded models of a killed process or a full disk as failed, so that they are not pending forever."""
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
            f"The forecaster of run {run.run_id} gives different forecasts when served than when called directly. "
            "It was not logged. Check whether its architecture keeps state outside its weights and settings.",
            code="served-forecasts-differ",
        )
    run.store.client.log_model_artifacts(model.model_id, str(folder))
    run.store.client.finalize_logged_model(model.model_id, "READY")


def _signature(forecaster: Forecaster) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    config = forecaster.config
    n_channels = len(config.channel_names) if forecaster.module.bound_to_channels else -1
    # The tensors have no names, because `predict` would get a named tensor in a dictionary.
    return ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, config.context_samples, n_channels))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(config.horizons_samples), n_channels))]),
    )
