"""How recordings are partitioned: one partition a recording, its key is `str(RecordingKey)`."""

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import groupby, islice

import dagster as dg

RECORDINGS = dg.DynamicPartitionsDefinition(name="recordings")
BATCH_SIZE = 64
"""At most so many recordings in a run: starting a run costs more than conditioning a recording."""

RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_PARTITION_TAG = "dagster/partition"


def recording_keys(instance: dg.DagsterInstance) -> list[str]:
    """Partition keys of all recordings that Dagster knows, in its order, which is that of their arrival."""
    return list(instance.get_dynamic_partitions(RECORDINGS.name or ""))


def batches(keys: Sequence[str], wanted: Set[str]) -> Iterator[list[str]]:
    """The wanted partitions, as runs can take them: stretches of neighbours, that Dagster names by their two ends.

    Args:
        keys: all partitions, in Dagster's order.
        wanted: those to be divided among runs.
    """
    for is_wanted, stretch in groupby(keys, wanted.__contains__):
        while is_wanted and (batch := list(islice(stretch, BATCH_SIZE))):
            yield batch


def range_tags(batch: Sequence[str]) -> dict[str, str]:
    """The tags that make a run one of a stretch of neighbouring partitions."""
    return {RANGE_START_TAG: batch[0], RANGE_END_TAG: batch[-1]}


def partitions_of(runs: Iterable[dg.DagsterRun], keys: Sequence[str]) -> set[str]:
    """The partitions that runs are of."""
    place = {key: number for number, key in enumerate(keys)}
    found: set[str] = set()
    for run in runs:
        ends = [run.tags.get(tag) for tag in (RANGE_START_TAG, RANGE_END_TAG)]
        start, stop = (place.get(end or "") for end in ends)
        if start is not None and stop is not None:
            found |= set(keys[start : stop + 1])
        elif _PARTITION_TAG in run.tags:
            found.add(run.tags[_PARTITION_TAG])
    return found
