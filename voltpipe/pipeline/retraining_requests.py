"""Requests of automatic trainings, made by the retraining sensor and the nightly schedule.

A training is requested if there are enough new recordings, if the champion's live skill has decayed, or at night if
there is any new recording. The thresholds are in `retraining.yaml` in Dagster's home, which is read at every tick.
"""

import time
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from voltpipe.errors import VoltpipeError
from voltpipe.lake.files import atomic_write
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.retraining_policy import Failures, RetrainingPolicy, RetrainingState, decide_retraining
from voltpipe.pipeline.jobs import INGEST_JOB, TRAIN_JOB, TRAINED_KEY
from voltpipe.pipeline.op_config import settings_from_config
from voltpipe.pipeline.runs import unfinished_runs
from voltpipe.schema import setting_help
from voltpipe.tracking.mlflow_store import TrackingStore

POLICY_FILE = "retraining.yaml"
REASON_TAG, TRIGGER_TAG = "voltpipe/reason", "voltpipe/trigger"
_PRIORITY = {"dagster/priority": "1"}
"""Trainings start before queued conditioning runs."""
_MAX_RUNS_READ = 20


class PolicyError(VoltpipeError):
    """Policy file, or run config that it names, that cannot be used."""


def training_request(
    instance: dg.DagsterInstance, lake: Lake, store: TrackingStore, *, at_night: bool
) -> dg.RunRequest | dg.SkipReason:
    """Request a training if one is due, with the reason as a tag; otherwise return the reason for skipping."""
    policy = read_policy(lake)
    decision = decide_retraining(policy, retraining_state(instance, lake, store, policy), at_night=at_night)
    if decision.trigger is None:
        return dg.SkipReason(decision.reason)
    tags = {REASON_TAG: decision.reason, TRIGGER_TAG: decision.trigger.value, **_PRIORITY}
    return dg.RunRequest(run_config=_run_config(lake, policy), tags=tags)


def read_policy(lake: Lake) -> RetrainingPolicy:
    """Return the policy in Dagster's home; write the default policy if there is none.

    Raises:
        PolicyError: the file cannot be read or is not a YAML mapping.
        OpConfigError: it names an unknown setting, or one is out of bounds.
    """
    path = lake.dagster / POLICY_FILE
    if not path.exists():
        with atomic_write(path) as partial:
            partial.write_text(_template())
    return settings_from_config(RetrainingPolicy, _mapping(path))


def retraining_state(
    instance: dg.DagsterInstance, lake: Lake, store: TrackingStore, policy: RetrainingPolicy
) -> RetrainingState:
    """Collect the inputs of the decision from the lake, MLflow and Dagster."""
    from voltpipe.monitoring.live_skill import decayed_organoids
    from voltpipe.monitoring.new_recordings import find_new_recordings

    found = find_new_recordings(lake, store, policy.organoid)
    unfinished = unfinished_runs(instance)
    tried_by = found.later[0] if found.later else None
    return RetrainingState(
        champion=found.champion.version if found.champion else None,
        new=found.new,
        untried=found.untried,
        tried_by=f"version {tried_by.version}, {_decision_text(tried_by.tags)}" if tried_by else None,
        decayed=decayed_organoids(lake, found.champion.version) if found.champion else (),
        training=next((run.run_id for run in unfinished if _trains(run)), None),
        n_arriving=sum(run.job_name == INGEST_JOB for run in unfinished),
        failures=_failures(instance),
    )


def _trains(run: dg.DagsterRun) -> bool:
    return run.job_name == TRAIN_JOB or TRAINED_KEY in (run.asset_selection or ())


def _failures(instance: dg.DagsterInstance) -> Failures | None:
    """Count the trainings that failed or were stopped since the last success."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    records = instance.get_run_records(dg.RunsFilter(job_name=TRAIN_JOB, statuses=ended), limit=_MAX_RUNS_READ)
    failed = []
    for record in records:
        if record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            break
        failed.append(record)
    if not failed:
        return None
    ended_s = failed[0].end_time or failed[0].update_timestamp.timestamp()
    return Failures(
        n_times=len(failed), last_run_id=failed[0].dagster_run.run_id, hours_ago=(time.time() - ended_s) / 3600
    )


def _decision_text(tags: dict[str, str]) -> str:
    decision, reason = tags.get("gate.decision", "not reviewed yet"), tags.get("gate.reason")
    return f"{decision} ({reason})" if reason else decision


def _run_config(lake: Lake, policy: RetrainingPolicy) -> dict[str, Any]:
    """Return the run config of an automatic training."""
    config = _mapping(lake.dagster / policy.run_config) if policy.run_config else {}
    if policy.organoid:
        split = config.setdefault("ops", {}).setdefault("recording_split", {}).setdefault("config", {})
        split["organoid"] = policy.organoid
    return config


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise PolicyError(f"{path} cannot be read: {error}. Correct the file.", code="yaml-unreadable") from error
    if not isinstance(content, dict):
        raise PolicyError(
            f"{path} is not a YAML mapping. Expected `setting: value` lines. "
            "Correct the file, or delete it to restore the defaults.",
            code="yaml-no-mapping",
        )
    return content


def _template() -> str:
    """List every setting with its meaning, bounds and default."""
    lines = ["# Thresholds of automatic retraining. Edit them freely: this file is read at every tick."]
    for name, field in RetrainingPolicy.model_fields.items():
        lines += [f"# {setting_help(field)}", yaml.safe_dump({name: field.default}).strip()]
    return "\n".join(lines) + "\n"
