"""How recordings are partitioned: one partition a recording, its key is `str(RecordingKey)`."""

import dagster as dg

RECORDINGS = dg.DynamicPartitionsDefinition(name="recordings")


def recording_keys(instance: dg.DagsterInstance) -> list[str]:
    """Partition keys of all recordings that Dagster knows."""
    return list(instance.get_dynamic_partitions(RECORDINGS.name or ""))
