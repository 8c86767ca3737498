"""The champion's forecasts in a backfill over all recordings, including some that it cannot forecast."""

import json
import re

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest

from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.partitions import RECORDINGS, range_tags, recording_keys
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.tracking.model_registry import champion

OTHER_RATE = RecordingKey("other", "fast")


@pytest.fixture(scope="module")
def materialized(materialized_copy):
    return materialized_copy


@pytest.fixture(scope="module")
def forecast_run(materialized, tmp_path_factory):
    """A run over every recording: six good ones, one in quarantine, one of another rate, one that names a way out."""
    lake, instance = materialized.lake, materialized.instance
    fast = tmp_path_factory.mktemp("fast") / "fast.npz"
    voltage_mv = np.random.default_rng(0).normal(-60, 3, (3000, 6)).astype(np.float32)
    np.savez(fast, voltage=voltage_mv, rate_hz=500.0, unit="mV")
    path = lake.conditioned_path(OTHER_RATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    condition(open_recording(fast), path, ConditioningSettings(), key=OTHER_RATE, source_digest="0" * 64)
    strange = [str(OTHER_RATE), "slice--../../outside"]
    instance.add_dynamic_partitions(RECORDINGS.name, strange)
    stale = lake.forecast_path(OTHER_RATE)
    stale.parent.mkdir(parents=True, exist_ok=True)
    stale.write_bytes(b"of an earlier champion")
    keys = recording_keys(instance)
    job = build_definitions(lake).resolve_job_def("forecast_recordings")
    config = {"ops": {"recording_forecast": {"config": {"every_ms": 40.0}}}}
    return job.execute_in_process(config, instance=instance, tags=range_tags(keys), raise_on_error=False)


def shown(instance, partition) -> dict:
    request = dg.AssetRecordsFilter(asset_key=dg.AssetKey("recording_forecast"), asset_partitions=[partition])
    (record,) = instance.fetch_materializations(request, limit=1).records
    return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_each_good_recording_is_forecast_with_quantiles(materialized, forecast_run):
    assert forecast_run.success
    for number in range(6):
        key = RecordingKey("slice", f"run_{number}")
        path = materialized.lake.forecast_path(key)
        table = pq.read_table(path)
        assert {"time_s", "channel", "horizon_ms", "forecast_mv", "q10_mv", "q50_mv", "q90_mv"} <= {*table.column_names}
        metadata = shown(materialized.instance, str(key))
        conditioned = open_conditioned(materialized.lake.conditioned_path(key))
        # A forecast each 10 samples of 1,300, but for the first 30, for 6 channels at 3 horizons.
        assert metadata["dagster/row_count"] == table.num_rows == 128 * 6 * 3
        assert metadata["version"] == champion(materialized.store).version == "1"
        assert metadata["recording_digest"] == conditioned.digest
        assert metadata["digest"] == file_digest(path)
        assert "out of distribution" in metadata["familiarity"]
        said = json.loads(table.schema.metadata[b"voltpipe"])
        assert (said["version"], said["recording"], said["recording_digest"]) == ("1", str(key), conditioned.digest)


def test_a_recording_that_cannot_be_forecast_has_a_reason_and_no_stale_forecast(materialized, forecast_run):
    instance = materialized.instance
    reasons = {
        "slice--run_broken": "channel_2",
        str(OTHER_RATE): "500 Hz.* 250 Hz",
        "slice--../../outside": re.escape("../../outside"),
    }
    for partition, reason in reasons.items():
        metadata = shown(instance, partition)
        assert metadata["forecast"] is False
        assert re.search(reason, metadata["reason"])
    assert shown(instance, "slice--run_broken")["code"] == "recording-quarantined"
    (check,) = forecast_run.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["refused"].value.keys() == reasons.keys()
    lake = materialized.lake
    assert sorted(path.stem for path in lake.forecasts.rglob("*.parquet")) == [f"run_{number}" for number in range(6)]


def test_without_a_champion_each_recording_has_the_reason_and_the_run_succeeds(trainable, instance):
    instance.add_dynamic_partitions(RECORDINGS.name, ["slice--run_0"])
    job = build_definitions(trainable).resolve_job_def("forecast_recordings")
    result = job.execute_in_process(instance=instance, partition_key="slice--run_0", raise_on_error=False)
    assert result.success
    metadata = shown(instance, "slice--run_0")
    assert (metadata["forecast"], metadata["code"]) == (False, "no-champion")
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["refused"].value.keys() == {"slice--run_0"}
    assert not trainable.forecasts.exists()
