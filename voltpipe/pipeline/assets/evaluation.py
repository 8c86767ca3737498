"""From a trained forecaster to its scores beside all baselines, and the report."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import dagster as dg

from voltpipe.evaluation.evaluation import EVALUATION_FILE, Evaluation, EvaluationError
from voltpipe.pipeline.patience import patient
from voltpipe.pipeline.progress import DagsterEvaluationProgress
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.shown import connectivity_metadata, figure_metadata, score_metadata
from voltpipe.pipeline.values import EvaluatedValue, ReportedValue, TrainedValue

GROUP = "evaluation"
DETAIL_FILE = "detail.npz"


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
    code_version="6",
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
    from voltpipe.evaluation.connectivity import CONNECTIVITY_FILE, connectivity_table, write_connectivity
    from voltpipe.evaluation.connectivity_summary import metrics, summaries
    from voltpipe.evaluation.detail_file import write_detail
    from voltpipe.evaluation.diagnosis.diagnosis import diagnose
    from voltpipe.evaluation.diagnosis.seed_spread import seed_spread
    from voltpipe.evaluation.evaluate import evaluate
    from voltpipe.evaluation.interpretation.interpretation import interpret
    from voltpipe.evaluation.interpretation.text import metrics as interpretation_metrics
    from voltpipe.forecasting.baselines.fit import fit_baselines
    from voltpipe.forecasting.training_result import read_result
    from voltpipe.simulation.ceiling import ceiling_in_samples, observable_ceiling_in_samples
    from voltpipe.windows.window_set import WindowSet

    windows = WindowSet(Path(trained_forecaster.window_set_folder))
    ceiling = ceiling_in_samples(windows.manifest["preparation"], windows.rate_hz)
    observable = observable_ceiling_in_samples(windows.manifest["preparation"], windows.rate_hz)
    result = read_result(Path(trained_forecaster.folder))
    progress = DagsterEvaluationProgress(context.op_execution_context, context.asset_key)
    baselines = fit_baselines(windows)
    evaluation, detail = evaluate(
        result.forecaster,
        windows,
        baselines,
        ceiling_r2=ceiling.r2,
        ceiling_standard_error=ceiling.standard_error,
        observable_ceiling_r2=observable.r2,
        history=result.history,
        training={**trained_forecaster.settings.model_dump(mode="json", exclude_none=True), **result.facts()},
        progress=progress,
    )
    folder = lake.lake.reports / Path(trained_forecaster.folder).name
    evaluation.write(folder / EVALUATION_FILE)
    write_detail(folder / DETAIL_FILE, detail)
    connectivity = connectivity_table(result.forecaster, windows)
    write_connectivity(folder / CONNECTIVITY_FILE, connectivity)
    others = _readable(path for path in lake.lake.reports.glob(f"*/{EVALUATION_FILE}") if path.parent != folder)
    diagnosis = diagnose(result.forecaster, baselines, windows, progress).also(seed_spread(evaluation, others))
    diagnosis.write(folder)
    interpretation = interpret(result.forecaster, windows)
    interpretation.write(folder)
    # Numbers under their MLflow names: Dagster plots them from one materialization to the next.
    yield dg.Output(
        EvaluatedValue(folder=str(folder), trained=trained_forecaster),
        metadata={
            **score_metadata(evaluation),
            **connectivity_metadata(connectivity, evaluation),
            **evaluation.metrics(),
            **metrics(summaries(connectivity)),
            **interpretation_metrics(interpretation),
        },
    )
    for check in diagnosis.honesty:
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"finding": check.finding, "R2": check.r2},
        )
    sanity = interpretation.sanity
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


@dg.asset(group_name=GROUP, kinds={"html", "mlflow"}, code_version="4")
@patient
def evaluation_report(
    context: dg.AssetExecutionContext, tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> ReportedValue:
    """One self-contained HTML page: what the scores are worth, shown; also among the MLflow run's artifacts."""
    import pandas as pd

    from voltpipe.evaluation.connectivity import CONNECTIVITY_FILE
    from voltpipe.evaluation.connectivity_summary import metrics, summaries
    from voltpipe.evaluation.detail_file import read_detail
    from voltpipe.evaluation.diagnosis.diagnosis import Diagnosis
    from voltpipe.evaluation.interpretation.interpretation import Interpretation
    from voltpipe.evaluation.interpretation.text import metrics as interpretation_metrics
    from voltpipe.evaluation.report import write_report
    from voltpipe.tracking.run import TrackedRun

    folder = Path(forecast_evaluation.folder)
    evaluation = Evaluation.read(folder / EVALUATION_FILE)
    connectivity = pd.read_parquet(folder / CONNECTIVITY_FILE)
    trained = forecast_evaluation.trained
    run = TrackedRun(tracking.store, trained.mlflow_run_id)
    links = {
        "trained by": tracking.dagster_run_link(trained.dagster_run_id),
        "tracked by": tracking.mlflow_run_link(run.run_id),
    }
    diagnosis = Diagnosis.read(folder)
    interpretation = Interpretation.read(folder)
    detail = read_detail(folder / DETAIL_FILE)
    report = write_report(folder, evaluation, detail, connectivity, diagnosis, interpretation, links)
    run.log_evaluation(evaluation, folder)
    run.log_metrics({**metrics(summaries(connectivity)), **interpretation_metrics(interpretation)})
    context.add_output_metadata(
        {
            "report": dg.MetadataValue.path(report.html_path),
            "MLflow run": dg.MetadataValue.url(tracking.mlflow_run_link(run.run_id)),
            **score_metadata(evaluation),
            **connectivity_metadata(connectivity, evaluation),
            **figure_metadata(report.figure_paths),
        }
    )
    return ReportedValue(html=str(report.html_path), evaluated=forecast_evaluation)
