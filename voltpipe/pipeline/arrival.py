"""The sensor on the raw folder: new files become partitions, and are conditioned in batches."""

import hashlib
import time
from collections.abc import Mapping, Sequence, Set
from itertools import islice
from typing import NamedTuple

import dagster as dg
from pydantic import Field, ValidationError

from voltpipe.files import content_digest
from voltpipe.lake import RecordingKey
from voltpipe.pipeline.assets.recordings import CONDITIONED_KEY
from voltpipe.pipeline.jobs import INGEST_JOB, ingest_recordings
from voltpipe.pipeline.partitions import RECORDINGS, batches, partitions_of, range_tags, recording_keys
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.unfinished import unfinished_runs
from voltpipe.recordings.arrivals import Arrivals, find_arrivals
from voltpipe.settings import Settings

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


class Asked(NamedTuple):
    """A recording that was requested and has no verdict yet. Kept short: every tick's cursor holds it."""

    content: str
    """Digest of the state of its raw file."""
    times: int
    at_s: int

    @classmethod
    def again(cls, former: "Asked | None", state: str, now_s: float) -> "Asked":
        """Return the next request: one time more for the same content, the first time for other content."""
        content = _short(state)
        return cls(content, former.times + 1 if former and former.content == content else 1, int(now_s))

    def rests(self, state: str, now_s: float) -> bool:
        """Return whether it is too early to request the same content. A clock that was set back ends the delay."""
        rest_s = min(FIRST_REST_S * 2 ** (self.times - 1), LONGEST_REST_S)
        return self.content == _short(state) and 0 <= now_s - self.at_s < rest_s


class ArrivalCursor(Settings):
    """State of the sensor between ticks. It holds nothing of recordings that have a verdict."""

    asked: dict[str, Asked] = Field({}, description="requests without a verdict, by key")
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
        asked |= {key: Asked.again(asked.get(key), ready[key], now_s) for key in batch}
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


def _request(batch: Sequence[str], asked: Mapping[str, Asked]) -> dg.RunRequest:
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
