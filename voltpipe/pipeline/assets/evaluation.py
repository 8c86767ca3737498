"""From a trained forecaster to its scores beside all baselines, and the report."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg

from voltpipe.evaluation.evaluation import EVALUATION_FILE, Evaluation, EvaluationError
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.patience import patient
from voltpipe.pipeline.progress import DagsterEvaluationProgress
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.shown import connectivity_metadata, figure_metadata, report_metadata, score_metadata
from voltpipe.pipeline.values import EvaluatedValue, ReportedValue, TrainedValue

GROUP = "evaluation"

HONESTY = {
    "leak_probe": "a memoriser of the training windows does not beat the look-up on held-out ones",
    "other_moments": "forecasts say nothing of the truth of other moments",
    "time_reversal": "the future is forecast better than the past",
    "seed_spread": "the lead over the best baseline is more than another seed would change",
    "attribution_sanity": "what forecasts are said to follow from is not said of random weights as well",
}


@dg.asset(
    group_name=GROUP,
    kinds={"pytorch"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(name, asset="forecast_evaluation", description=description)
        for name, description in HONESTY.items()
    ],
)
@patient
def forecast_evaluation(
    context: dg.AssetExecutionContext, lake: LakeResource, trained_forecaster: TrainedValue
) -> Iterator[dg.Output[EvaluatedValue] | dg.AssetCheckResult]:
    """Scores on held-out recordings and on held-out time, beside baselines fitted on the same training rows."""
    from voltpipe.evaluation.examination import examine
    from voltpipe.forecasting.training_result import read_result
    from voltpipe.windows.window_set import WindowSet

    result = read_result(Path(trained_forecaster.folder))
    folder = lake.lake.reports / Path(trained_forecaster.folder).name
    examination = examine(
        result.forecaster,
        WindowSet(Path(trained_forecaster.window_set_folder)),
        history=result.history,
        training={**trained_forecaster.settings.model_dump(mode="json", exclude_none=True), **result.facts()},
        others=_readable(path for path in lake.lake.reports.glob(f"*/{EVALUATION_FILE}") if path.parent != folder),
        progress=DagsterEvaluationProgress(context.op_execution_context, context.asset_key),
    )
    examination.write(folder)
    # Numbers under their MLflow names: Dagster plots them from one materialization to the next.
    yield dg.Output(
        EvaluatedValue(folder=str(folder), trained=trained_forecaster),
        metadata={
            **score_metadata(examination.evaluation),
            **connectivity_metadata(examination.connectivity, examination.evaluation),
            **examination.metrics(),
        },
    )
    for check in examination.diagnosis.honesty:
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"finding": check.finding, "R2": check.r2},
        )
    sanity = examination.interpretation.sanity
    yield dg.AssetCheckResult(
        check_name="attribution_sanity",
        passed=sanity.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"finding": sanity.finding, "rank correlation": sanity.rank_correlation},
    )


def _readable(paths: Iterable[Path]) -> Iterator[Evaluation]:
    for path in paths:
        with suppress(EvaluationError):  # of former versions, or damaged: no reason to fail this one
            yield Evaluation.read(path)


@dg.asset(group_name=GROUP, kinds={"html", "mlflow"}, code_version=code_version(__name__))
@patient
def evaluation_report(
    context: dg.AssetExecutionContext, tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> ReportedValue:
    """One self-contained HTML page: what the scores are worth, shown; also among the MLflow run's artifacts."""
    from voltpipe.evaluation.examination import Examination
    from voltpipe.evaluation.report import write_report
    from voltpipe.tracking.run import TrackedRun

    folder = Path(forecast_evaluation.folder)
    examination = Examination.read(folder)
    trained = forecast_evaluation.trained
    run = TrackedRun(tracking.store, trained.mlflow_run_id)
    links = {
        "trained by": tracking.dagster_run_link(trained.dagster_run_id),
        "tracked by": tracking.mlflow_run_link(run.run_id),
    }
    report = write_report(folder, **vars(examination), links=links)
    run.log_report(examination.metrics(), folder)
    context.add_output_metadata(
        {
            **report_metadata(tracking, run.run_id, report.html_path),
            "MLflow run": dg.MetadataValue.url(tracking.mlflow_run_link(run.run_id)),
            **score_metadata(examination.evaluation),
            **connectivity_metadata(examination.connectivity, examination.evaluation),
            **figure_metadata(report.figure_paths),
        }
    )
    return ReportedValue(html=str(report.html_path))
