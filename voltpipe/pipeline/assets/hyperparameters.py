"""The asset of found training settings. MLflow tracks each trial, and a search can be resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.files import atomic_write, content_digest
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import SearchValue, WindowSetValue
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.dagster_home import TRAINING_POOL
from voltpipe.pipeline.jobs import SEARCH_JOB, TRAINED_KEY
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.progress_listeners import (
    PROGRESS_TAG,
    CombinedProgress,
    MlflowProgress,
    TerminalProgress,
    stop_if_run_ended,
)
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retries import retry_transient
from voltpipe.pipeline.runs import DAGSTER_LINK_TAG, DAGSTER_RUN_TAG, MLFLOW_RUN_TAG
from voltpipe.progress import EpochRecord, TrainingProgress

if TYPE_CHECKING:
    from voltpipe.forecasting.search.search_result import SearchResult
    from voltpipe.tracking.tracked_run import TrackedRun


RUN_CONFIG_FILE = "train_forecaster.yaml"


@dg.asset(
    group_name="forecasting",
    kinds={"optuna", "mlflow"},
    config_schema=op_config_schema(SearchSettings),
    pool=TRAINING_POOL,
    code_version=code_version(__name__),
)
@retry_transient
def found_settings(
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource, window_set: WindowSetValue
) -> Iterator[dg.Output[SearchValue]]:
    """The training settings with the lowest validation loss among the trials. Test recordings are not used.

    A run that also trains, such as "Materialize all", does not search, because its training would not wait for the
    result. It materializes the default settings. Launch the job `search_hyperparameters` to search.
    """
    from voltpipe.code_revision import code_revision
    from voltpipe.forecasting.search.search import search
    from voltpipe.tracking.run_lifecycle import tracked_run
    from voltpipe.windows.window_set import WindowSet

    op = context.op_execution_context
    if TRAINED_KEY in (op.run.asset_selection or ()):
        no_search = f"A run that also trains does not search. Launch the job {SEARCH_JOB}."
        yield dg.Output(SearchValue(settings=TrainingSettings()), metadata={"searched": False, "reason": no_search})
        return
    settings = settings_from_config(SearchSettings, op.op_config)
    folder = search_folder(lake.lake, window_set.digest, settings)
    link = tracking.dagster_run_link(op.run_id)
    tags = {DAGSTER_RUN_TAG: op.run_id, DAGSTER_LINK_TAG: link}
    with tracked_run(
        tracking.store,
        name=f"search {settings.architecture.value}",
        identity=folder.name,
        tags=tags,
        killed_by=(dg.DagsterExecutionInterruptedError,),
    ) as run:
        op.instance.add_run_tags(op.run_id, {MLFLOW_RUN_TAG: run.run_id})
        run.set_note(f"Searched by [Dagster run {op.run_id[:8]}]({link}) on window set `{window_set.digest[:16]}`.")
        run.log_parameters({"search": settings.identity()})
        run.log_environment(device=settings.device.value, revision=code_revision())
        result = search(
            WindowSet(Path(window_set.folder)),
            settings,
            folder=folder,
            progress=_TrackedTrials(op, run, folder.name, tags, settings.n_trials),
        )
        run_config = _write_run_config(folder, result.settings)
        _log_result(run, result, run_config)
    metadata = {
        "searched": True,
        **result.facts(),
        "trials": dg.MetadataValue.md(result.table()),
        "found": dg.MetadataValue.md(f"```yaml\n{run_config.read_text()}```"),
        "importance": dg.MetadataValue.json(dict(result.importance)),
        "MLflow run": dg.MetadataValue.url(tracking.mlflow_run_link(run.run_id)),
        "path": dg.MetadataValue.path(run_config),
    }
    value = SearchValue(
        table=result.table(), run_config=str(run_config), settings=result.settings, mlflow_run_id=run.run_id
    )
    yield dg.Output(value, metadata=metadata)


def search_folder(lake: Lake, window_set_digest: str, settings: SearchSettings) -> Path:
    """Return the folder of a search's journal. The same search with more trials shares it, and thus resumes."""
    key = content_digest({"window_set": window_set_digest, **settings.identity()})[:12]
    return lake.searches / f"{settings.architecture.value}-{key}"


@dataclass(frozen=True)
class _TrackedTrials:
    """Tracker of the trials: each is an MLflow run inside the search's run, and appears in the Dagster run's tag."""

    context: dg.OpExecutionContext
    parent: "TrackedRun"
    identity: str
    tags: dict[str, str]
    n_trials: int

    @contextmanager
    def trial(self, number: int, settings: TrainingSettings) -> Iterator[TrainingProgress]:
        """Track a trial. Its MLflow run ends KILLED if the trial is pruned, and FAILED if it diverges."""
        from optuna import TrialPruned

        from voltpipe.tracking.run_lifecycle import tracked_run

        with tracked_run(
            self.parent.store,
            name=f"trial {number}",
            identity=f"{self.identity}-{number}",
            tags=self.tags,
            killed_by=(dg.DagsterExecutionInterruptedError, TrialPruned),
            parent=self.parent,
        ) as run:
            run.log_parameters({"training": settings})
            progress = _TrialProgress(self.context, f"trial {number + 1} of {self.n_trials}")
            yield CombinedProgress((TerminalProgress(), MlflowProgress(run), progress))


@dataclass(frozen=True)
class _TrialProgress:
    """Listener that shows trial and epoch in the Dagster run's tag, and stops a search whose run has already ended."""

    context: dg.OpExecutionContext
    trial: str

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Show the trial."""
        del device, parameters
        self._tag(f"resumed after epoch {resumed_after_epoch}" if resumed_after_epoch else "first epoch")

    def epoch_finished(self, record: EpochRecord) -> None:
        """Show the epoch."""
        stop_if_run_ended(self.context)
        self._tag(f"epoch {record.epoch}")

    def _tag(self, progress: str) -> None:
        self.context.instance.add_run_tags(self.context.run_id, {PROGRESS_TAG: f"{self.trial}, {progress}"})


def _write_run_config(folder: Path, settings: TrainingSettings) -> Path:
    """Write the run config for the launchpad of `train_forecaster`, or for `dagster job launch --config`."""
    config: dict[str, Any] = settings.model_dump(mode="json", exclude_none=True)
    path = folder / RUN_CONFIG_FILE
    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump({"ops": {"trained_forecaster": {"config": config}}}, sort_keys=False))
    return path


def _log_result(run: "TrackedRun", result: "SearchResult", run_config: Path) -> None:
    """Log the loss of each trial, the importance of each setting, and the run config."""
    for trial in result.trials:
        if trial.validation_loss is not None:
            run.log_metrics({"validation/loss": trial.validation_loss}, step=trial.number)
    run.log_metrics({f"importance/{name}": share for name, share in result.importance.items()})
    run.log_file(run_config)
