"""Sensors, in the order of the data: ingestion, lake report, live skill, retraining, and orphaned runs."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

import dagster as dg
from pydantic import Field, ValidationError

from voltpipe.lake.files import content_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.jobs import CONDITIONED_KEY, INGEST_JOB, ingest_recordings, train_forecaster
from voltpipe.pipeline.partitions import RECORDINGS, batches, partitions_of, range_tags, recording_keys
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining_requests import training_request
from voltpipe.pipeline.runs import fail_orphaned_runs, unfinished_runs
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.schema import FrozenModel

RECORDINGS_PER_TICK, RUNS_PER_TICK = 128, 4
"""Limits of one tick. For each planned recording the daemon writes two events, one commit each: 10 to 20 ms."""
MAX_IN_PROGRESS = 1024
"""Number of recordings in progress above which no more are requested."""
MIN_DELAY_S, MAX_DELAY_S = 120.0, 3600.0
"""Delay before a recording is requested again if its run reached no verdict, for example because the disk was full. It
doubles each time."""
MAX_NAMED = 5
"""Maximum number of recordings or files that a skip reason names."""


class WaitReason(StrEnum):
    """Reason why a raw recording is not requested in this tick."""

    CONDITIONING = "being conditioned"
    GROWING = "still growing"
    TOUCHED = "touched, to be read in the next tick"
    DELAYED = "without a verdict, to be requested again later"
    UNUSABLE = "not usable"


_NAMED_REASONS = (WaitReason.DELAYED, WaitReason.UNUSABLE)
"""Reasons for which the skip reason names the recordings, because a person may have to act."""


class IngestRequest(NamedTuple):
    """A recording that was requested and has no verdict yet. It is short, because every tick's cursor holds it."""

    content: str
    """Short digest of the state of its raw file."""
    times: int
    """Number of requests for this content."""
    at_s: int
    """Time of the last request, in s since 1970."""

    @classmethod
    def next(cls, former: "IngestRequest | None", state: str, now_s: float) -> "IngestRequest":
        """Return the next request. The count starts again when the content has changed."""
        content = _short_digest(state)
        return cls(content, former.times + 1 if former and former.content == content else 1, int(now_s))

    def is_delayed(self, state: str, now_s: float) -> bool:
        """Return whether it is too early to request the same content. A clock that was set back ends the delay."""
        delay_s = min(MIN_DELAY_S * 2 ** (self.times - 1), MAX_DELAY_S)
        return self.content == _short_digest(state) and 0 <= now_s - self.at_s < delay_s


class ArrivalCursor(FrozenModel):
    """State of the sensor between ticks. It holds no recording that has a verdict."""

    asked: dict[str, IngestRequest] = Field({}, description="Requests without a verdict, by key.")
    growing: dict[str, str] = Field({}, description="State of raw files that may be incomplete, by key.")

    @classmethod
    def read(cls, text: str | None) -> "ArrivalCursor":
        """Read the sensor's cursor. An unreadable one counts as empty, which loses nothing but the delays."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


@dataclass(frozen=True)
class IngestPlan:
    """Decision of one tick on the raw recordings."""

    batches: tuple[Mapping[str, IngestRequest], ...]
    """Requests by key, one batch of adjacent partitions for each run."""
    new: list[str]
    """Keys that become partitions."""
    n_known: int
    """Number of raw recordings in the lake."""
    waiting: Mapping[WaitReason, Sequence[str]]
    """Recordings or files that are not requested, by reason."""
    cursor: ArrivalCursor

    @property
    def skip_reason(self) -> str:
        """The text that Dagster shows for a tick without requests."""
        parts = [f"No new raw file: {self.n_known} known"]
        for reason, names in self.waiting.items():
            if names:
                named = f" ({_first_names(names)})" if reason in _NAMED_REASONS else ""
                parts.append(f"{len(names)} {reason.value}{named}")
        return ", ".join(parts)


@dg.sensor(job=ingest_recordings, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def raw_recordings(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
    """Condition new and changed raw files once they no longer grow, many in a run."""
    plan = plan_ingest(context.instance, lake.lake, ArrivalCursor.read(context.cursor), time.time())
    return dg.SensorResult(
        run_requests=[_run_request(batch) for batch in plan.batches],
        skip_reason=None if plan.batches else plan.skip_reason,
        dynamic_partitions_requests=[RECORDINGS.build_add_request(plan.new)] if plan.new else [],
        cursor=plan.cursor.model_dump_json(),
    )


def plan_ingest(instance: dg.DagsterInstance, lake: Lake, cursor: ArrivalCursor, now_s: float) -> IngestPlan:
    """Decide which raw recordings to request now, and why the others wait.

    Args:
        instance: Dagster's instance, which knows the partitions and the unfinished runs.
        lake: the lake with the raw files.
        cursor: the state after the previous tick.
        now_s: the present time, in s since 1970.
    """
    known = recording_keys(instance)
    arrivals = find_arrivals(lake, {RecordingKey.parse(key): state for key, state in cursor.growing.items()})
    ready = {str(key): state for key, state in arrivals.ready.items()}
    requests = {key: request for key, request in cursor.asked.items() if key in ready}
    in_progress = _in_progress(instance, known) & ready.keys()
    delayed = {key for key in requests.keys() - in_progress if requests[key].is_delayed(ready[key], now_s)}
    n_most = max(0, min(RECORDINGS_PER_TICK, MAX_IN_PROGRESS - len(in_progress)))
    due = sorted(ready.keys() - in_progress - delayed)[:n_most]
    new = sorted(set(due) - set(known))
    requested = []
    for batch in islice(batches([*known, *new], set(due)), RUNS_PER_TICK):
        requested.append({key: IngestRequest.next(requests.get(key), ready[key], now_s) for key in batch})
        requests |= requested[-1]
    growing = {str(key): state for key, state in arrivals.growing.items()}
    return IngestPlan(
        batches=tuple(requested),
        new=new,
        n_known=arrivals.n_known,
        waiting={
            WaitReason.CONDITIONING: sorted(in_progress),
            WaitReason.GROWING: sorted(growing),
            WaitReason.TOUCHED: sorted(map(str, arrivals.touched)),
            WaitReason.DELAYED: sorted(delayed),
            WaitReason.UNUSABLE: [f"{name}: {reason}" for name, reason in arrivals.refused.items()],
        },
        cursor=ArrivalCursor(asked=requests, growing=growing),
    )


def _in_progress(instance: dg.DagsterInstance, known: Sequence[str]) -> set[str]:
    """Return the recordings of all unfinished runs that condition, no matter who requested them."""
    runs = unfinished_runs(instance)
    return partitions_of((run for run in runs if _conditions_recordings(run)), known)


def _conditions_recordings(run: dg.DagsterRun) -> bool:
    return run.job_name == INGEST_JOB or CONDITIONED_KEY in (run.asset_selection or ())


def _run_request(batch: Mapping[str, IngestRequest]) -> dg.RunRequest:
    run_key = content_digest({key: [request.content, request.times] for key, request in batch.items()})
    keys = list(batch)
    if len(keys) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=keys[0])
    return dg.RunRequest(run_key=run_key, tags=range_tags(keys))


def _short_digest(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:10]


def _first_names(names: Sequence[str]) -> str:
    """Name the first few of what may be thousands."""
    rest = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return "; ".join(names[:MAX_NAMED]) + rest


lake_changes = dg.AutomationConditionSensorDefinition(
    "lake_changes",
    target=dg.AssetSelection.assets("lake_report"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Rewrite the lake report when a recording gets a verdict or the split changes.",
)

live_scoring = dg.AutomationConditionSensorDefinition(
    "live_scoring",
    target=dg.AssetSelection.assets("live_skill"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Score the champion on recordings that came after its training, and a new champion on earlier ones.",
)


@dg.sensor(job=train_forecaster, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def retraining(
    context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource
) -> dg.RunRequest | dg.SkipReason:
    """Start a training when there are enough new recordings, or the champion's live skill has decayed.

    The asset `retraining_policy` shows the state.
    """
    return training_request(context.instance, lake.lake, tracking.store, at_night=False)


policy_changes = dg.AutomationConditionSensorDefinition(
    "policy_changes",
    target=dg.AssetSelection.assets("retraining_policy"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Update the state of the retraining policy when there is a new recording, version or promotion review.",
)


@dg.sensor(name="dead_runs", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def orphaned_runs(context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource) -> dg.SkipReason:
    """Mark the Dagster and MLflow runs of killed processes as failed."""
    failed = fail_orphaned_runs(lake.lake, context.instance, tracking.store)
    return dg.SkipReason(f"Orphaned runs marked as failed: {', '.join(failed) or 'none'}.")
