"""From an evaluated forecaster to a version in the registry, and to the champion if it passes the promotion review."""

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


GROUP = "registry"
GATE_CHECKS = {
    PromotionRule.BEATS_BASELINES: "On held-out targets, its R2 exceeds persistence and autoregression.",
    PromotionRule.BEATS_CHAMPION: "On recordings that neither learned from, its mean R2 exceeds the champion's.",
    PromotionRule.NO_GROUP_WORSE: "It is not much worse than the champion on any organoid or channel type.",
    PromotionRule.NOT_ROLLED_BACK: "Nobody rolled it back by hand.",
}


@dg.asset(
    group_name=GROUP,
    kinds={"mlflow"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "serves",
            asset="registered_forecaster",
            blocking=True,
            description="what the registry gives back, loaded without pickle, forecasts what was evaluated",
        )
    ],
)
@retry_transient
def registered_forecaster(
    context: dg.AssetExecutionContext, tracking: TrackingResource, forecast_evaluation: EvaluatedValue
) -> Iterator[dg.Output[RegisteredValue] | dg.AssetCheckResult]:
    """A version of `voltage-forecaster` with its model card, and the alias `challenger`."""
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
    card = model_card(evaluation, forecaster, _origin(tracking, trained, result))
    registered = register(
        run,
        model_uri,
        card=card,
        tags={
            DAGSTER_RUN_TAG: trained.dagster_run_id,
            "architecture": trained.settings.architecture.value,
            "organoids": ", ".join(forecaster.config.organoids),
            "recordings": _counted(windows),
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
    group_name=GROUP,
    kinds={"mlflow"},
    code_version=code_version(__name__),
    pool=REGISTRY_POOL,
    freshness_policy=dg.FreshnessPolicy.time_window(warn_window=timedelta(days=14), fail_window=timedelta(days=30)),
    config_schema=op_config_schema(PromotionSettings),
    check_specs=[
        dg.AssetCheckSpec(rule.value, asset="champion_forecaster", description=description)
        for rule, description in GATE_CHECKS.items()
    ],
)
@retry_transient
def champion_forecaster(
    context: dg.AssetExecutionContext, tracking: TrackingResource, registered_forecaster: RegisteredValue
) -> Iterator[dg.Output[PromotionValue] | dg.AssetCheckResult]:
    """The decision whether the registered version becomes champion.

    A refusal is a decision too: it is materialized with its reasons, and the champion stays. The review takes place
    here, each time, whoever asks for it and whatever the checks said before.
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
    shown = {
        "version": version,
        "registry page": dg.MetadataValue.url(tracking.version_link(version)),
        **promotion_metadata(decision),
        "trail": audit_metadata(AuditLog.of(tracking.store)),
    }
    present = version if decision.promoted else decision.against
    yield dg.Output(
        PromotionValue(candidate=version, promoted=decision.promoted, champion=present),
        metadata={"champion": present or "none", **shown},
    )
    for rule in PromotionRule:
        passed = rule not in decision.failed
        # Yellow, not red: a refusal is not a failure.
        yield dg.AssetCheckResult(
            check_name=rule.value, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=shown
        )


def requested_by(run: dg.DagsterRun) -> str:
    """Name who asked for a run: a schedule, a sensor, or the person whose process it is."""
    asker = next((run.tags[tag] for tag in (SCHEDULE_TAG, SENSOR_TAG) if tag in run.tags), current_user())
    return f"{asker}, Dagster run {run.run_id[:8]}"


def _origin(tracking: TrackingResource, trained: TrainedValue, result: "TrainingResult") -> dict[str, str]:
    return {
        "training": f"{result.elapsed_s:.0f} s on {result.device} in {result.precision}",
        "parameters": f"{result.n_parameters:,}",
        "trained by": f"[Dagster run]({tracking.dagster_run_link(trained.dagster_run_id)})",
        "tracked by": f"[MLflow run]({tracking.mlflow_run_link(trained.mlflow_run_id)})",
        "report": f"[report.html]({report_link(tracking, trained.mlflow_run_id)})",
        "made again by": "`voltpipe reproduce VERSION`",
    }


def _counted(windows: "WindowSet") -> str:
    """Count the recordings by role."""
    roles = {role: len(keys) for role, keys in windows.manifest.roles.items() if keys}
    return f"{sum(roles.values())}: {', '.join(f'{number} {role}' for role, number in roles.items())}"
