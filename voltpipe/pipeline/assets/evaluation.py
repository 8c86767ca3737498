"""Assets of the evaluation: scores with all baselines, diagnostics, interpretation, and the report.

Registration and promotion need only the scores. Any other part that fails is a failed check with its reason.
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

DIAGNOSTIC_CHECKS = {
    "errors_by_group": "The errors by group of targets were computed.",
    "robustness": "The loss of skill under corrupted inputs was computed.",
    "bad_channels": "The loss of skill from one bad channel was computed.",
    "out_of_distribution": "Novelty detection was tested.",
    "resemblance": "The activity of roll-outs was compared with recordings.",
    "following": "Roll-outs were compared with the recorded future.",
}
"""Descriptions of the checks whether each table of the diagnostics was made, by table."""
LEAKAGE_CHECKS = {
    "leak_probe": "On held-out windows, a nearest-neighbor memorizer does not beat the lookup table.",
    "other_moments": "Forecasts do not match the targets of other times.",
    "time_reversal": "The future is forecast better than the past.",
    "seed_spread": "The lead over the best baseline exceeds the difference between seeds.",
}
"""Descriptions of the leakage checks, by name."""
INTERPRETATION_CHECKS = {
    "connectivity": "The learned connectivity was read.",
    "ablations": "The loss without other channels and without older samples was computed.",
    "channels": "The loss without each channel was computed.",
    "attribution": "Forecasts were attributed to samples.",
    "influence": "The influence of channels on each other was computed.",
    "filters": "The temporal filters were read.",
    "responses": "The frequency responses of the filters were computed.",
}
"""Descriptions of the checks whether each part of the interpretation was made, by part."""
SANITY_CHECK = "attribution_sanity"
_OPTIONAL = {"dagster/priority": "-1"}
"""Low priority, for work that registration and promotion do not wait for."""


def _specs(asset: str, descriptions: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=asset, description=text) for name, text in descriptions.items()]


def _checks(names: Iterable[str], failed: Mapping[str, str]) -> Iterator[dg.AssetCheckResult]:
    """Report whether each part was made. A failure is only a warning, because the scores do not depend on it."""
    for name in names:
        yield dg.AssetCheckResult(
            check_name=name,
            passed=name not in failed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"reason": failed[name]} if name in failed else {},
        )


def _finding(name: str, passed: bool, finding: str, statistic: str, value: float | None) -> dg.AssetCheckResult:
    metadata: dict[str, float | str] = {"finding": finding} | ({} if value is None else {statistic: value})
    return dg.AssetCheckResult(check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata)


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch"},
    code_version=code_version(__name__),
    check_specs=_specs("forecast_evaluation", {"figure_data": "The data of the report's figures was collected."}),
)
@retry_transient
def forecast_evaluation(
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource, trained_forecaster: TrainedValue
) -> Iterator[dg.Output[EvaluatedValue] | dg.AssetCheckResult]:
    """Scores on held-out recordings and held-out time, with baselines fitted on the same training data."""
    from voltpipe.evaluation.run_evaluation import run_scoring
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.tracking.tracked_run import TrackedRun
    from voltpipe.windows.window_set import WindowSet

    result = read_result(Path(trained_forecaster.folder))
    folder = lake.lake.reports / Path(trained_forecaster.folder).name
    scores = run_scoring(
        result.forecaster,
        WindowSet(Path(trained_forecaster.window_set_folder)),
        history=result.history,
        training={**trained_forecaster.settings.model_dump(mode="json", exclude_none=True), **result.facts()},
        progress=DagsterEvaluationProgress(context.op_execution_context, context.asset_key),
    )
    scores.write(folder)
    metrics = scores.evaluation.metrics()
    TrackedRun(tracking.store, trained_forecaster.mlflow_run_id).log_scores(metrics, folder / EVALUATION_FILE)
    # Plain numbers under their MLflow names, so that Dagster plots them over successive materializations.
    yield dg.Output(
        EvaluatedValue(folder=str(folder), trained=trained_forecaster),
        metadata={**score_metadata(scores.evaluation), **metrics},
    )
    yield from _checks(["figure_data"], scores.failed)


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch"},
    code_version=code_version(__name__),
    op_tags=_OPTIONAL,
    check_specs=_specs("diagnostics", DIAGNOSTIC_CHECKS | LEAKAGE_CHECKS),
)
@retry_transient
def diagnostics(
    context: dg.AssetExecutionContext, lake: LakeResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Errors by group, robustness to corruptions, roll-outs, and leakage checks of the scores."""
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
    yield from _checks(DIAGNOSTIC_CHECKS, found.failed)
    by_name = {check.name: check for check in found.honesty}
    for name in LEAKAGE_CHECKS:
        if check := by_name.get(name):
            yield _finding(name, check.passed, check.finding, "R2", check.r2)
        else:
            yield _finding(name, False, found.failed["honesty"], "R2", None)


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch"},
    code_version=code_version(__name__),
    op_tags=_OPTIONAL,
    check_specs=_specs(
        "interpretation",
        INTERPRETATION_CHECKS | {SANITY_CHECK: "Attributions differ from those of a model with random weights."},
    ),
)
@retry_transient
def interpretation(forecast_evaluation: EvaluatedValue) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """The learned connectivity, and the inputs that forecasts depend on."""
    from voltpipe.evaluation.interpretation.interpretation import interpret
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.windows.window_set import WindowSet

    folder, trained = Path(forecast_evaluation.folder), forecast_evaluation.trained
    forecaster = read_result(Path(trained.folder)).forecaster
    found = interpret(forecaster, WindowSet(Path(trained.window_set_folder)))
    found.write(folder)
    failed, sanity = found.failed, found.sanity
    yield dg.MaterializeResult(
        metadata={
            "failed": dict(failed),
            **connectivity_metadata(found.connectivity, forecaster.config.architecture),
            **found.metrics(),
        }
    )
    yield from _checks(INTERPRETATION_CHECKS, failed)
    yield _finding(SANITY_CHECK, sanity.passed, sanity.finding, "rank correlation", sanity.rank_correlation)


def _readable(paths: Iterable[Path]) -> Iterator[Evaluation]:
    for path in paths:
        with suppress(EvaluationError):  # damaged, or of an earlier version of voltpipe
            yield Evaluation.read(path)


@dg.asset(
    group_name="evaluation",
    kinds={"html", "mlflow"},
    code_version=code_version(__name__),
    deps=[diagnostics, interpretation],
    op_tags=_OPTIONAL,
    check_specs=_specs("evaluation_report", {"figures": "All figures were drawn."}),
)
@retry_transient
def evaluation_report(
    tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.Output[ReportedValue] | dg.AssetCheckResult]:
    """A self-contained HTML page of scores, diagnostics and interpretation, also kept as an MLflow artifact."""
    from voltpipe.evaluation.run_evaluation import FullEvaluation
    from voltpipe.reporting.report import write_report
    from voltpipe.tracking.tracked_run import TrackedRun

    folder = Path(forecast_evaluation.folder)
    full = FullEvaluation.read(folder)
    trained = forecast_evaluation.trained
    run = TrackedRun(tracking.store, trained.mlflow_run_id)
    links = {
        "trained by": tracking.dagster_run_link(trained.dagster_run_id),
        "tracked by": tracking.mlflow_run_link(run.run_id),
    }
    report = write_report(folder, connectivity=full.connectivity, **vars(full), links=links)
    run.log_report(full.metrics(), folder)
    yield dg.Output(
        ReportedValue(html=str(report.html_path)),
        metadata={
            **report_metadata(tracking, run.run_id, report.html_path),
            "MLflow run": dg.MetadataValue.url(tracking.mlflow_run_link(run.run_id)),
            **score_metadata(full.evaluation),
            **connectivity_metadata(full.connectivity, full.evaluation.forecaster),
            **figure_metadata(report.figure_paths),
        },
    )
    yield dg.AssetCheckResult(
        check_name="figures",
        passed=not report.undrawn,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=dict(report.undrawn),
    )
