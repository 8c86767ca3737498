"""Sensors that keep the lake's page and Dagster's runs up to date."""

import hashlib
import time
from collections.abc import Mapping, Sequence, Set
from itertools import islice
from typing import NamedTuple

import dagster as dg
from pydantic import Field, ValidationError

from voltpipe.lake.files import content_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.pipeline.jobs import CONDITIONED_KEY, INGEST_JOB, ingest_recordings, train_forecaster
from voltpipe.pipeline.partitions import RECORDINGS, batches, partitions_of, range_tags, recording_keys
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining_requests import training_request
from voltpipe.pipeline.runs import fail_orphaned_runs, unfinished_runs
from voltpipe.recordings.raw.arrivals import Arrivals, find_arrivals
from voltpipe.schema import FrozenModel

lake_changes = dg.AutomationConditionSensorDefinition(
    "lake_changes",
    target=dg.AssetSelection.assets("lake_report"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Rewrites the page of all recordings when a recording is judged or the split changes.",
)


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def dead_runs(context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource) -> dg.SkipReason:
    """Mark the Dagster and MLflow runs of killed processes as failed."""
    buried = fail_orphaned_runs(lake.lake, context.instance, tracking.store)
    return dg.SkipReason(f"runs ended because their process is gone: {', '.join(buried) or 'none'}")


RECORDINGS_PER_TICK, RUNS_PER_TICK = 128, 4
"""Limits of one tick. The daemon records twice for each recording that it is planned, one commit each: 10 to
20 ms a recording."""
RECORDINGS_UNDER_WAY = 1024
"""Nothing more is requested while so many recordings wait."""
FIRST_REST_S, LONGEST_REST_S = 120.0, 3600.0
"""Delay before a recording is requested again whose run came to no verdict, because of a full disk for example. It
doubles each time."""
NAMED = 5
"""Number of recordings or files that a skip reason names."""


class IngestRequest(NamedTuple):
    """A recording that was requested and has no verdict yet. Kept short: every tick's cursor holds it."""

    content: str
    """Digest of the state of its raw file."""
    times: int
    at_s: int

    @classmethod
    def again(cls, former: "IngestRequest | None", state: str, now_s: float) -> "IngestRequest":
        """Return the next request: one time more for the same content, the first time for other content."""
        content = _short(state)
        return cls(content, former.times + 1 if former and former.content == content else 1, int(now_s))

    def rests(self, state: str, now_s: float) -> bool:
        """Return whether it is too early to request the same content. A clock that was set back ends the delay."""
        rest_s = min(FIRST_REST_S * 2 ** (self.times - 1), LONGEST_REST_S)
        return self.content == _short(state) and 0 <= now_s - self.at_s < rest_s


class ArrivalCursor(FrozenModel):
    """State of the sensor between ticks. It holds nothing of recordings that have a verdict."""

    asked: dict[str, IngestRequest] = Field({}, description="requests without a verdict, by key")
    growing: dict[str, str] = Field({}, description="the state of raw files that may not be there whole, by key")

    @classmethod
    def read(cls, text: str | None) -> "ArrivalCursor":
        """Read the sensor's cursor. One that cannot be read counts as empty, since nothing depends on it."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()


@dg.sensor(job=ingest_recordings, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def raw_recordings(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult:
    """Make new and changed raw files partitions and condition them, many in a run, once they no longer grow."""
    now_s, known = time.time(), recording_keys(context.instance)
    cursor = ArrivalCursor.read(context.cursor)
    arrivals = find_arrivals(lake.lake, {RecordingKey.parse(key): state for key, state in cursor.growing.items()})
    ready = {str(key): state for key, state in arrivals.ready.items()}
    asked = {key: each for key, each in cursor.asked.items() if key in ready}
    under_way = _under_way(context.instance, known) & ready.keys()
    resting = {key for key in asked.keys() - under_way if asked[key].rests(ready[key], now_s)}
    due = sorted(ready.keys() - under_way - resting)[: min(RECORDINGS_PER_TICK, RECORDINGS_UNDER_WAY - len(under_way))]
    new = sorted(set(due) - set(known))
    requests = []
    for batch in islice(batches([*known, *new], set(due)), RUNS_PER_TICK):
        asked |= {key: IngestRequest.again(asked.get(key), ready[key], now_s) for key in batch}
        requests.append(_request(batch, {key: asked[key] for key in batch}))
    growing = {str(key): state for key, state in arrivals.growing.items()}
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else _nothing_to_ask_for(arrivals, under_way, resting),
        dynamic_partitions_requests=[RECORDINGS.build_add_request(new)] if new else [],
        cursor=ArrivalCursor(asked=asked, growing=growing).model_dump_json(),
    )


def _short(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:10]


def _under_way(instance: dg.DagsterInstance, known: Sequence[str]) -> set[str]:
    """Return the recordings that an unfinished run conditions, whoever requested it."""
    return partitions_of((run for run in unfinished_runs(instance) if _conditions(run)), known)


def _conditions(run: dg.DagsterRun) -> bool:
    return run.job_name == INGEST_JOB or CONDITIONED_KEY in (run.asset_selection or ())


def _request(batch: Sequence[str], asked: Mapping[str, IngestRequest]) -> dg.RunRequest:
    run_key = content_digest({key: [each.content, each.times] for key, each in asked.items()})
    if len(batch) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=batch[0])
    return dg.RunRequest(run_key=run_key, tags=range_tags(batch))


def _nothing_to_ask_for(arrivals: Arrivals, under_way: Set[str], resting: Set[str]) -> str:
    """Say what the sensor waits for."""
    parts = [f"no new raw file; {arrivals.n_known} known"]
    if under_way:
        parts.append(f"{len(under_way)} being conditioned")
    if arrivals.growing:
        parts.append(f"{len(arrivals.growing)} still growing")
    if arrivals.touched:
        parts.append(f"{len(arrivals.touched)} touched, to be digested next")
    if resting:
        parts.append(f"{len(resting)} came to no verdict and are asked for again later: {_some(sorted(resting))}")
    if arrivals.refused:
        reasons = [f"{name}: {reason}" for name, reason in arrivals.refused.items()]
        parts.append(f"{len(reasons)} not usable: {_some(reasons)}")
    return ", ".join(parts)


def _some(names: Sequence[str]) -> str:
    """Name the first few of what may be thousands."""
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + rest


@dg.sensor(job=train_forecaster, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def retraining(
    context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource
) -> dg.RunRequest | dg.SkipReason:
    """Train again when enough is new to the champion, or its skill decays; `retraining_policy` shows the state."""
    return training_request(context.instance, lake.lake, tracking.store, at_night=False)


policy_changes = dg.AutomationConditionSensorDefinition(
    "policy_changes",
    target=dg.AssetSelection.assets("retraining_policy"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Updates the policy's state when recordings are judged, or a version is registered or reviewed.",
)


live_scoring = dg.AutomationConditionSensorDefinition(
    "live_scoring",
    target=dg.AssetSelection.assets("live_skill"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Scores the champion on recordings that came after it, and a new champion on those before.",
)
