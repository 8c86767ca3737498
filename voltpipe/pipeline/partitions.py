"""Partitions of recordings. Each recording is a partition; its key is `str(RecordingKey)`."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import groupby, islice
from typing import Any

import dagster as dg

RECORDINGS = dg.DynamicPartitionsDefinition(name="recordings")
BATCH_SIZE = 64
"""Maximum number of recordings in a run. Starting a run costs more than conditioning a recording."""

RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_PARTITION_TAG = "dagster/partition"


def recording_asset(**arguments: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare an asset that is partitioned by recording; a run takes up to BATCH_SIZE partitions.

    Without a backfill policy, Dagster would start a process for each recording. Dagster calls that parameter beta, so
    the warning is silenced for this call.

    Args:
        arguments: other arguments of `dagster.asset`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        policy = dg.BackfillPolicy.multi_run(max_partitions_per_run=BATCH_SIZE)
        decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition]
        decorate = dg.asset(partitions_def=RECORDINGS, backfill_policy=policy, **arguments)
    return decorate


def recording_keys(instance: dg.DagsterInstance) -> list[str]:
    """Return the partition keys of all recordings that Dagster knows, in the order of their arrival."""
    return list(instance.get_dynamic_partitions(RECORDINGS.name or ""))


def batches(keys: Sequence[str], wanted: Set[str]) -> Iterator[list[str]]:
    """Divide partitions among runs. A run takes adjacent partitions, which Dagster names by the first and the last.

    Args:
        keys: all partitions, in Dagster's order.
        wanted: the partitions to divide.
    """
    for is_wanted, adjacent in groupby(keys, wanted.__contains__):
        while is_wanted and (batch := list(islice(adjacent, BATCH_SIZE))):
            yield batch


def range_tags(batch: Sequence[str]) -> dict[str, str]:
    """Return the tags that assign a batch of adjacent partitions to a run."""
    return {RANGE_START_TAG: batch[0], RANGE_END_TAG: batch[-1]}


def partitions_of(runs: Iterable[dg.DagsterRun], keys: Sequence[str]) -> set[str]:
    """Return the partitions of runs, according to their tags.

    Args:
        runs: runs of one partition or of a range of them.
        keys: all partitions, in Dagster's order.
    """
    position = {key: number for number, key in enumerate(keys)}
    found: set[str] = set()
    for run in runs:
        start, stop = (position.get(run.tags.get(tag, "")) for tag in (RANGE_START_TAG, RANGE_END_TAG))
        if start is not None and stop is not None:
            found |= set(keys[start : stop + 1])
        elif _PARTITION_TAG in run.tags:
            found.add(run.tags[_PARTITION_TAG])
    return found
