"""Messages in the terminal while a command waits for a Dagster pool."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from voltpipe.lake.paths import Lake
from voltpipe.pipeline.runs import run_holder, silent_runs

_CHECK_S = 5.0
_REPEAT_S = 60.0


def pool_waits(lake: Lake, instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Describe the pools that a run waits for: which run holds each, on which host and since when."""
    waits = []
    pools = instance.event_log_storage
    for pool in sorted(pools.get_concurrency_keys()):
        info = pools.get_concurrency_info(pool)
        if run_id in info.pending_run_ids:
            holders = [_holder(lake, instance, other) for other in sorted(info.active_run_ids - {run_id})]
            waits.append(
                f"Waiting for the pool {pool}, held by {'; '.join(holders) or 'runs that are about to start'}."
            )
    return waits


@contextmanager
def announced_pool_waits(lake: Lake, instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Announce the pools that a run waits for while the block executes it: initially, on changes, and every minute."""
    ended = threading.Event()
    announcing = threading.Thread(target=_announce, args=(lake, instance, run_id, ended), daemon=True)
    announcing.start()
    try:
        yield
    finally:
        ended.set()
        announcing.join()


def _announce(lake: Lake, instance: dg.DagsterInstance, run_id: str, ended: threading.Event) -> None:
    announced: list[str] = []
    since_print_s = 0.0
    while not ended.wait(_CHECK_S):
        try:
            waits = pool_waits(lake, instance, run_id)
        except Exception as error:  # if the database fails, the run itself fails too
            waits = [f"Cannot find out which pools this run waits for: {error}"]
        since_print_s += _CHECK_S
        if waits and (waits != announced or since_print_s >= _REPEAT_S):
            print("\n".join(waits), file=sys.stderr, flush=True)
            since_print_s = 0.0
        announced = waits


def _holder(lake: Lake, instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    holder = run_holder(lake, run_id)
    text = f"run {run_id} ({run.job_name if run else 'deleted'}), {holder or 'process unknown'}"
    for silent in silent_runs(lake, instance):
        if silent.run_id == run_id:
            text += f", silent for {silent.silence_s / 60:.0f} min (see `voltpipe doctor`)"
    return text
