"""The asset of a trained forecaster, with its checks. A training is tracked by MLflow and can be resumed."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.files import content_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import TrainedValue, WindowSetValue
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.dagster_home import TRAINING_POOL
from voltpipe.pipeline.jobs import TRAINED_KEY
from voltpipe.pipeline.op_config import as_op_config, op_config_schema, settings_from_config
from voltpipe.pipeline.progress_listeners import CombinedProgress, DagsterProgress, MlflowProgress, TerminalProgress
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retries import retry_transient
from voltpipe.pipeline.runs import DAGSTER_LINK_TAG, DAGSTER_RUN_TAG, MLFLOW_RUN_TAG

if TYPE_CHECKING:
    from voltpipe.tracking.tracked_run import TrackedRun
    from voltpipe.windows.window_set import WindowSet


@dg.op(
    name="train",
    config_schema=op_config_schema(TrainingSettings),
    pool=TRAINING_POOL,
)
@retry_transient
def train_op(
    context: dg.OpExecutionContext, lake: LakeResource, tracking: TrackingResource, window_set: WindowSetValue
) -> TrainedValue:
    """Train with a checkpoint after each epoch, in one MLflow run that retries share."""
    from voltpipe.forecasting.training.train import train
    from voltpipe.tracking.lineage import BEGAN_FROM_TAG
    from voltpipe.tracking.model_registry import load_forecaster, resolve_alias, training_run_id
    from voltpipe.tracking.run_lifecycle import tracked_run
    from voltpipe.tracking.training_provenance import log_origin
    from voltpipe.windows.window_set import WindowSet

    settings = settings_from_config(TrainingSettings, context.op_config)
    windows = WindowSet(Path(window_set.folder))
    folder = training_folder(lake.lake, window_set.digest, settings, context.run.root_run_id or context.run_id)
    link = tracking.dagster_run_link(context.run_id)
    with tracked_run(
        tracking.store,
        name=settings.architecture.value,
        identity=folder.name,
        tags={DAGSTER_RUN_TAG: context.run_id, DAGSTER_LINK_TAG: link},
        killed_by=(dg.DagsterExecutionInterruptedError,),
    ) as run:
        context.instance.add_run_tags(context.run_id, {MLFLOW_RUN_TAG: run.run_id})
        run.set_note(
            f"Trained by [Dagster run {context.run_id[:8]}]({link}) as "
            f"[{TRAINED_KEY.to_user_string()}]({tracking.dagster_url}/assets/{TRAINED_KEY.to_user_string()}) "
            f"on window set `{windows.digest[:16]}`."
        )
        _log_inputs(run, lake.lake, windows, settings)
        mlflow_page = tracking.mlflow_run_link(run.run_id)
        listeners = (TerminalProgress(), MlflowProgress(run), DagsterProgress(context, TRAINED_KEY, mlflow_page))
        # Resolved once: the weights, the lineage and the provenance are then of one version, even if the alias moves.
        begin_from = resolve_alias(settings.begin_from, tracking.store) if settings.begin_from else None
        earlier = load_forecaster(begin_from, tracking.store) if begin_from else None
        if begin_from and (run_id := training_run_id(begin_from, tracking.store)):
            run.set_tags({BEGAN_FROM_TAG: run_id})
        result = train(
            windows, settings, checkpoint_folder=folder, progress=CombinedProgress(listeners), begin_from=earlier
        )
        for record in result.history:
            run.log_epoch(record)
        log_origin(run, windows, settings.model_copy(update={"begin_from": begin_from}), result)
    context.add_output_metadata(
        {
            **settings.model_dump(mode="json", exclude_none=True),
            **result.facts(),
            "MLflow run": dg.MetadataValue.url(mlflow_page),
            "path": dg.MetadataValue.path(folder),
        }
    )
    return TrainedValue(
        folder=str(folder),
        settings=settings,
        window_set_folder=window_set.folder,
        mlflow_run_id=run.run_id,
        dagster_run_id=context.run_id,
    )


@dg.graph_asset(
    group_name="forecasting",
    kinds={"pytorch", "mlflow"},
    config=as_op_config("train", TrainingSettings),
    code_version=code_version(__name__),
)
def trained_forecaster(window_set: WindowSetValue) -> TrainedValue:
    """A forecaster trained on the training windows, with the weights of the best epoch on the validation windows."""
    value: TrainedValue = train_op(window_set)
    return value


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(
            "finite_weights", asset=trained_forecaster, blocking=True, description="No weight is NaN or infinite."
        ),
        dg.AssetCheckSpec(
            "learning_went_down",
            asset=trained_forecaster,
            description="The validation loss of the best epoch is below that of the first.",
        ),
    ]
)
def training_checks(trained_forecaster: TrainedValue) -> Iterator[dg.AssetCheckResult]:
    """Check the weights and the learning curve of a training."""
    from torch import isfinite

    from voltpipe.forecasting.training.training_result import read_result

    result = read_result(Path(trained_forecaster.folder))
    weights = result.forecaster.module.state_dict()
    bad = [name for name, tensor in weights.items() if not bool(isfinite(tensor).all())]
    yield dg.AssetCheckResult(check_name="finite_weights", passed=not bad, metadata={"not finite": ", ".join(bad)})
    losses = [record.validation_loss for record in result.history]
    yield dg.AssetCheckResult(
        check_name="learning_went_down",
        passed=len(losses) > 1 and min(losses) < losses[0],
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"first": losses[0], "best": min(losses), "epochs": len(losses)},
    )


def training_folder(lake: Lake, window_set_digest: str, settings: TrainingSettings, root_run_id: str) -> Path:
    """Return the folder of a training's checkpoints.

    A run and its retries share a folder. Another run with the same data and settings resumes an unfinished training,
    however that ended. If there is none, it starts its own.
    """
    from voltpipe.forecasting.training.training_result import FORECASTER_FOLDER

    key = content_digest({"window_set": window_set_digest, **settings.model_dump(mode="json")})[:12]
    own = lake.checkpoints / f"{settings.architecture.value}-{key}-{root_run_id[:8]}"
    if own.exists():
        return own
    others = sorted(lake.checkpoints.glob(f"{settings.architecture.value}-{key}-*"))
    unfinished = [folder for folder in others if not (folder / FORECASTER_FOLDER).exists()]
    return unfinished[0] if unfinished else own


def _log_inputs(run: "TrackedRun", lake: Lake, windows: "WindowSet", settings: TrainingSettings) -> None:
    """Log parameters, environment and inputs before the first epoch."""
    from voltpipe.code_revision import code_revision
    from voltpipe.tracking.tracked_run import RunInput

    run.log_parameters({"training": settings, "windows": windows.settings})
    run.log_environment(device=settings.device.value, revision=code_revision())
    roles = {key: role for role, keys in windows.manifest.roles.items() for key in keys}
    run.log_inputs(
        RunInput(
            recording.key,
            recording.digest,
            roles[recording.key],
            lake.conditioned_path(RecordingKey.parse(recording.key)),
        )
        for recording in windows.recordings
    )
