"""Assets of the registry: a registered version, and the champion that the promotion review decides on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation
from voltpipe.pipeline.asset_values import EvaluatedValue, PromotionValue, RegisteredValue, TrainedValue
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.dagster_home import REGISTRY_POOL
from voltpipe.pipeline.metadata import audit_metadata, promotion_metadata, report_link
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.resources import TrackingResource
from voltpipe.pipeline.retries import retry_transient
from voltpipe.pipeline.runs import DAGSTER_RUN_TAG, SCHEDULE_TAG, SENSOR_TAG
from voltpipe.tracking.audit_log import AuditLog, current_user
from voltpipe.tracking.promotion_rules import PromotionRule
from voltpipe.tracking.settings import PromotionSettings

if TYPE_CHECKING:
    from voltpipe.forecasting.training.training_result import TrainingResult
    from voltpipe.windows.window_set import WindowSet


PROMOTION_CHECKS = {
    PromotionRule.BEATS_BASELINES: "Its R2 on held-out targets exceeds those of persistence and autoregression.",
    PromotionRule.BEATS_CHAMPION: "Its mean R2 on recordings that neither learned from exceeds the champion's.",
    PromotionRule.NO_GROUP_WORSE: "Its R2 on each organoid and channel type is at most a bound below the champion's.",
    PromotionRule.NOT_ROLLED_BACK: "It was not rolled back by a person.",
}


@dg.asset(
    group_name="registry",
    kinds={"mlflow"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "serves",
            asset="registered_forecaster",
            blocking=True,
            description="The version loaded from the registry, without pickle, gives the evaluated forecasts.",
        )
    ],
)
@retry_transient
def registered_forecaster(
    context: dg.AssetExecutionContext, tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.Output[RegisteredValue] | dg.AssetCheckResult]:
    """A version of `voltage-forecaster` with its model card and the alias `challenger`."""
    import numpy as np

    from voltpipe.evaluation.held_out_windows import regime_windows
    from voltpipe.forecasting.training.training_result import read_result
    from voltpipe.reporting.model_card import model_card
    from voltpipe.tracking.model_registry import load_forecaster
    from voltpipe.tracking.registration import register
    from voltpipe.tracking.retention import WINDOW_SET_TAG
    from voltpipe.tracking.served_model import log_forecaster
    from voltpipe.tracking.tracked_run import RunInput, TrackedRun
    from voltpipe.windows.window_set import WindowSet

    trained = forecast_evaluation.trained
    evaluation = Evaluation.read(Path(forecast_evaluation.folder) / EVALUATION_FILE)
    result = read_result(Path(trained.folder))
    forecaster = result.forecaster
    windows = WindowSet(Path(trained.window_set_folder))
    held_out = next(iter(regime_windows(result.forecaster, windows).values()))
    history_mv = windows.batch(held_out[:2]).history_mv().numpy()
    run = TrackedRun(tracking.store, trained.mlflow_run_id)
    scored_on = RunInput("window_set", windows.digest, "evaluation", windows.folder)
    model_uri = log_forecaster(run, forecaster, history_mv, evaluation.metrics(), scored_on)
    card = model_card(evaluation, forecaster, _model_card_links(tracking, trained, result))
    registered = register(
        run,
        model_uri,
        card=card,
        tags={
            DAGSTER_RUN_TAG: trained.dagster_run_id,
            "architecture": trained.settings.architecture.value,
            "organoids": ", ".join(forecaster.config.organoids),
            "recordings": _recordings_by_role(windows),
            WINDOW_SET_TAG: windows.digest,
            "trained_on": f"{result.device} in {result.precision}",
            "training_s": f"{result.elapsed_s:.0f}",
            "revision": evaluation.provenance.code_revision,
        },
    )
    page = tracking.version_link(registered.version)
    yield dg.Output(
        RegisteredValue(version=registered.version, evaluated=forecast_evaluation),
        metadata={
            "version": registered.version,
            "registry page": dg.MetadataValue.url(page),
            "model card": dg.MetadataValue.md(card),
        },
    )
    loaded = load_forecaster(registered.uri, tracking.store)
    difference_mv = float(np.abs(loaded.predict_mv(history_mv) - forecaster.predict_mv(history_mv)).max())
    yield dg.AssetCheckResult(
        check_name="serves", passed=difference_mv < 1e-3, metadata={"largest difference (mV)": difference_mv}
    )


@dg.asset(
    group_name="registry",
    kinds={"mlflow"},
    code_version=code_version(__name__),
    pool=REGISTRY_POOL,
    freshness_policy=dg.FreshnessPolicy.time_window(warn_window=timedelta(days=14), fail_window=timedelta(days=30)),
    config_schema=op_config_schema(PromotionSettings),
    check_specs=[
        dg.AssetCheckSpec(rule.value, asset="champion_forecaster", description=description)
        for rule, description in PROMOTION_CHECKS.items()
    ],
)
@retry_transient
def champion_forecaster(
    context: dg.AssetExecutionContext, tracking: TrackingResource, registered_forecaster: RegisteredValue
) -> Iterator[dg.Output[PromotionValue] | dg.AssetCheckResult]:
    """The decision of the promotion review on the registered version, and the champion after it.

    A refusal is also a decision: it is materialized with its reasons, and the champion stays. Every materialization
    reviews the version again, no matter who requested it and what the checks reported before.
    """
    from voltpipe.tracking.promotion_review import review_candidate
    from voltpipe.windows.window_set import WindowSet

    settings = settings_from_config(PromotionSettings, context.op_execution_context.op_config)
    evaluated = registered_forecaster.evaluated
    candidate = Evaluation.read(Path(evaluated.folder) / EVALUATION_FILE)
    windows = WindowSet(Path(evaluated.trained.window_set_folder))
    version = registered_forecaster.version
    decision = review_candidate(tracking.store, version, candidate, windows, settings, who=requested_by(context.run))
    context.log.info(f"version {version} is {decision.decision}: {decision.reason}")
    metadata = {
        "version": version,
        "registry page": dg.MetadataValue.url(tracking.version_link(version)),
        **promotion_metadata(decision),
        "audit log": audit_metadata(AuditLog.of(tracking.store)),
    }
    present = version if decision.promoted else decision.against
    yield dg.Output(
        PromotionValue(candidate=version, promoted=decision.promoted, champion=present),
        metadata={"champion": present or "none", **metadata},
    )
    for rule in PromotionRule:
        passed = rule not in decision.failed
        # A warning, because a refusal is not a failure.
        yield dg.AssetCheckResult(
            check_name=rule.value, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=metadata
        )


def requested_by(run: dg.DagsterRun) -> str:
    """Name the requester of a run: a schedule, a sensor, or the user who owns the process."""
    requester = next((run.tags[tag] for tag in (SCHEDULE_TAG, SENSOR_TAG) if tag in run.tags), current_user())
    return f"{requester}, Dagster run {run.run_id[:8]}"


def _model_card_links(tracking: TrackingResource, trained: TrainedValue, result: "TrainingResult") -> dict[str, str]:
    return {
        "training": f"{result.elapsed_s:.0f} s on {result.device} in {result.precision}",
        "parameters": f"{result.n_parameters:,}",
        "trained by": f"[Dagster run]({tracking.dagster_run_link(trained.dagster_run_id)})",
        "tracked by": f"[MLflow run]({tracking.mlflow_run_link(trained.mlflow_run_id)})",
        "report": f"[report.html]({report_link(tracking, trained.mlflow_run_id)})",
        "reproduced by": "`voltpipe reproduce VERSION`",
    }


def _recordings_by_role(windows: "WindowSet") -> str:
    """Return the number of recordings, in total and by role, as text."""
    roles = {role: len(keys) for role, keys in windows.manifest.roles.items() if keys}
    return f"{sum(roles.values())}: {', '.join(f'{count} {role}' for role, count in roles.items())}"
