"""From a trained forecaster to its scores next to all baselines, its diagnostics, its interpretation, and the report.

Registration and promotion need the scores alone. Whatever else fails is a failed check with its reason.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import dagster as dg

from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation, EvaluationError
from voltpipe.pipeline.asset_values import EvaluatedValue, ReportedValue, TrainedValue
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.metadata import connectivity_metadata, figure_metadata, report_metadata, score_metadata
from voltpipe.pipeline.progress_listeners import DagsterEvaluationProgress
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retries import retry_transient

GROUP = "evaluation"

DIAGNOSTICS = {
    "errors_by_group": "errors by group of targets could be found",
    "robustness": "the cost of faults could be found",
    "bad_channels": "the cost of one bad channel could be found",
    "out_of_distribution": "novelty detection could be tried",
    "resemblance": "the activity of roll-outs could be compared with recordings",
    "following": "roll-outs could be compared with what followed",
}
HONESTY = {
    "leak_probe": "a memoriser of the training windows does not beat the look-up on held-out ones",
    "other_moments": "forecasts say nothing of the truth of other moments",
    "time_reversal": "the future is forecast better than the past",
    "seed_spread": "the lead over the best baseline is more than another seed would change",
}
INTERPRETATION = {
    "connectivity": "the connectivity that was learned could be read",
    "ablations": "the loss without other channels and older samples could be found",
    "channels": "the loss without each channel could be found",
    "attribution": "forecasts could be attributed to samples",
    "influence": "the influence of channels on each other could be found",
    "filters": "the temporal filters could be read",
    "responses": "the frequency responses of the filters could be found",
}
SANITY = "attribution_sanity"
_OPTIONAL = {"dagster/priority": "-1"}
"""Work that registration and promotion do not wait for."""


def _specs(asset: str, descriptions: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in descriptions.items()]


def _checks(names: Iterable[str], failed: Mapping[str, str]) -> Iterator[dg.AssetCheckResult]:
    """Report of each part whether it could be made; yellow, as scores stand without it."""
    for name in names:
        reason = {"reason": failed[name]} if name in failed else {}
        yield dg.AssetCheckResult(
            check_name=name, passed=name not in failed, severity=dg.AssetCheckSeverity.WARN, metadata=reason
        )


def _finding(name: str, passed: bool, finding: str, figure: str, value: float | None) -> dg.AssetCheckResult:
    metadata: dict[str, float | str] = {"finding": finding} | ({} if value is None else {figure: value})
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


@dg.asset(
    group_name=GROUP,
    kinds={"pytorch"},
    code_version=code_version(__name__),
    check_specs=_specs("forecast_evaluation", {"figure_data": "the data of the report's figures could be made"}),
)
@retry_transient
def forecast_evaluation(
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource, trained_forecaster: TrainedValue
) -> Iterator[dg.Output[EvaluatedValue] | dg.AssetCheckResult]:
    """Scores on held-out recordings and on held-out time, next to baselines fitted on the same training rows."""
    from voltpipe.evaluation.run_evaluation import run_scoring
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.tracking.tracked_run import TrackedRun
    from voltpipe.windows.window_set import WindowSet

    result = read_result(Path(trained_forecaster.folder))
    folder = lake.lake.reports / Path(trained_forecaster.folder).name
    scoring = run_scoring(
        result.forecaster,
        WindowSet(Path(trained_forecaster.window_set_folder)),
        history=result.history,
        training={**trained_forecaster.settings.model_dump(mode="json", exclude_none=True), **result.facts()},
        progress=DagsterEvaluationProgress(context.op_execution_context, context.asset_key),
    )
    scoring.write(folder)
    metrics = scoring.evaluation.metrics()
    TrackedRun(tracking.store, trained_forecaster.mlflow_run_id).log_scores(metrics, folder / EVALUATION_FILE)
    # Numbers under their MLflow names: Dagster plots them from one materialization to the next.
    yield dg.Output(
        EvaluatedValue(folder=str(folder), trained=trained_forecaster),
        metadata={**score_metadata(scoring.evaluation), **metrics},
    )
    yield from _checks(["figure_data"], scoring.failed)


@dg.asset(
    group_name=GROUP,
    kinds={"pytorch"},
    code_version=code_version(__name__),
    op_tags=_OPTIONAL,
    check_specs=_specs("diagnostics", DIAGNOSTICS | HONESTY),
)
@retry_transient
def diagnostics(
    context: dg.AssetExecutionContext, lake: LakeResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Where the forecaster fails, what faults cost, how it runs free, and checks of the scores themselves."""
    from voltpipe.evaluation.run_evaluation import run_diagnostics
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.windows.window_set import WindowSet

    folder, trained = Path(forecast_evaluation.folder), forecast_evaluation.trained
    found = run_diagnostics(
        read_result(Path(trained.folder)).forecaster,
        WindowSet(Path(trained.window_set_folder)),
        Evaluation.read(folder / EVALUATION_FILE),
        others=_readable(path for path in lake.lake.reports.glob(f"*/{EVALUATION_FILE}") if path.parent != folder),
        progress=DagsterEvaluationProgress(context.op_execution_context, context.asset_key),
    )
    found.write(folder)
    yield dg.MaterializeResult(metadata={"failed": dict(found.failed)})
    yield from _checks(DIAGNOSTICS, found.failed)
    made = {check.name: check for check in found.honesty}
    for name in HONESTY:
        if name in made:
            yield _finding(name, made[name].passed, made[name].finding, "R2", made[name].r2)
        else:
            yield _finding(name, False, found.failed["honesty"], "R2", None)


@dg.asset(
    group_name=GROUP,
    kinds={"pytorch"},
    code_version=code_version(__name__),
    op_tags=_OPTIONAL,
    check_specs=_specs("interpretation", INTERPRETATION | {SANITY: "attributions to random weights are different"}),
)
@retry_transient
def interpretation(forecast_evaluation: EvaluatedValue) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Who drives whom as far as it was learned, and what forecasts follow from."""
    from voltpipe.evaluation.run_evaluation import run_interpretation
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.windows.window_set import WindowSet

    folder, trained = Path(forecast_evaluation.folder), forecast_evaluation.trained
    forecaster = read_result(Path(trained.folder)).forecaster
    explanation = run_interpretation(forecaster, WindowSet(Path(trained.window_set_folder)))
    explanation.write(folder)
    failed, sanity = explanation.interpretation.failed, explanation.interpretation.sanity
    yield dg.MaterializeResult(
        metadata={
            "failed": dict(failed),
            **connectivity_metadata(explanation.connectivity, forecaster.config.architecture),
            **explanation.metrics(),
        }
    )
    yield from _checks(INTERPRETATION, failed)
    yield _finding(SANITY, sanity.passed, sanity.finding, "rank correlation", sanity.rank_correlation)


def _readable(paths: Iterable[Path]) -> Iterator[Evaluation]:
    for path in paths:
        with suppress(EvaluationError):  # of former versions, or damaged: no reason to fail this one
            yield Evaluation.read(path)


@dg.asset(
    group_name=GROUP,
    kinds={"html", "mlflow"},
    code_version=code_version(__name__),
    deps=[diagnostics, interpretation],
    op_tags=_OPTIONAL,
    check_specs=_specs("evaluation_report", {"figures": "all figures could be drawn"}),
)
@retry_transient
def evaluation_report(
    tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.Output[ReportedValue] | dg.AssetCheckResult]:
    """One self-contained HTML page that joins scores, diagnostics and interpretation; also an MLflow artifact."""
    from voltpipe.evaluation.run_evaluation import FullEvaluation
    from voltpipe.reporting.report import write_report
    from voltpipe.tracking.tracked_run import TrackedRun

    folder = Path(forecast_evaluation.folder)
    examination = FullEvaluation.read(folder)
    trained = forecast_evaluation.trained
    run = TrackedRun(tracking.store, trained.mlflow_run_id)
    links = {
        "trained by": tracking.dagster_run_link(trained.dagster_run_id),
        "tracked by": tracking.mlflow_run_link(run.run_id),
    }
    report = write_report(folder, **vars(examination), links=links)
    run.log_report(examination.metrics(), folder)
    yield dg.Output(
        ReportedValue(html=str(report.html_path)),
        metadata={
            **report_metadata(tracking, run.run_id, report.html_path),
            "MLflow run": dg.MetadataValue.url(tracking.mlflow_run_link(run.run_id)),
            **score_metadata(examination.evaluation),
            **connectivity_metadata(examination.connectivity, examination.evaluation.forecaster),
            **figure_metadata(report.figure_paths),
        },
    )
    yield dg.AssetCheckResult(
        check_name="figures",
        passed=not report.undrawn,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=dict(report.undrawn),
    )
