"""Trimming, the z-score from the recording's own beginning, and the Parquet file it ends in."""

import errno
import json
import re
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned

KEY = RecordingKey("org", "run")


@pytest.fixture
def conditioned(recording_of, tmp_path):
    """The conditioned form of an array in mV."""

    def make(samples_mv, settings=None, name="run.parquet", **facts):
        recording = recording_of(samples_mv, **facts)
        path = tmp_path / name
        condition(recording, path, settings or ConditioningSettings(), key=KEY, source_digest="d" * 64)
        return open_conditioned(path)

    return make


def test_mean_and_sd_are_those_of_the_calibration_span(conditioned):
    # At 10 Hz: one sample trimmed, then a calibration of four samples 1, 3, 1, 3 (mean 2, SD 1), then 12.
    samples_mv = np.array([[99], [1], [3], [1], [3], [12]])
    settings = ConditioningSettings(trim_ms=100, calibration_s=0.4, minimum_s=0.5)
    recording = conditioned(samples_mv, settings, rate_hz=10.0)
    assert recording.mean_mv.tolist() == [2]
    assert recording.sd_mv.tolist() == [1]
    assert recording.read_z(0, 5).ravel().tolist() == [-1, 1, -1, 1, 10]
    assert recording.read_mv(0, 5).ravel().tolist() == [1, 3, 1, 3, 12]
    assert (recording.first_sample, recording.calibration_samples, recording.n_samples) == (1, 4, 5)


def test_it_is_a_recording_that_restores_its_mv(conditioned, signal_mv):
    recording = conditioned(signal_mv, facts={"preparation": "organoid"})
    assert isinstance(recording, Recording)
    assert (recording.organoid, recording.recording) == ("org", "run")
    assert recording.channel_names == ("ch0", "ch1", "ch2")
    assert recording.facts == {"preparation": "organoid"}
    np.testing.assert_allclose(recording.read_mv(0, 4200), signal_mv[800:], atol=1e-5)
    np.testing.assert_array_equal(recording.read_z(4199, 4200), recording.read_z(0, 4200)[-1:])


def test_no_later_sample_changes_a_value_before_it(conditioned, signal_mv):
    before = conditioned(signal_mv, name="before.parquet")
    signal_mv[2800:] = 1000
    after = conditioned(signal_mv, name="after.parquet")
    np.testing.assert_array_equal(after.mean_mv, before.mean_mv)
    np.testing.assert_array_equal(after.sd_mv, before.sd_mv)
    np.testing.assert_array_equal(after.read_z(0, 2000), before.read_z(0, 2000))


def test_segments_are_counted_from_the_first_kept_sample(conditioned, signal_mv):
    assert conditioned(signal_mv, segment_starts=(0, 300, 800, 2000)).segment_starts == (0, 1200)


def test_the_file_is_read_by_anyone_who_reads_parquet(conditioned, signal_mv):
    recording = conditioned(signal_mv)
    file = pq.ParquetFile(recording.path)
    assert file.schema_arrow.names == ["ch0", "ch1", "ch2"]
    assert {str(field.type) for field in file.schema_arrow} == {"float"}
    said = json.loads(file.metadata.metadata[b"voltpipe"])
    assert said["rate_hz"] == 1000
    assert said["source_digest"] == "d" * 64
    assert said["settings"]["trim_ms"] == 800
    np.testing.assert_array_equal(file.read().to_pandas().to_numpy(), recording.read_z(0, 4200))


def test_a_range_over_several_row_groups_is_read(conditioned, signal_mv, monkeypatch):
    whole = conditioned(signal_mv, name="whole.parquet").read_z(0, 4200)
    monkeypatch.setattr("voltpipe.recordings.store.conditioned_writer.ROW_GROUP_SAMPLES", 500)
    parts = conditioned(signal_mv, name="parts.parquet")
    assert pq.ParquetFile(parts.path).num_row_groups == 9
    for start, stop in [(0, 4200), (499, 501), (500, 1000), (1200, 2700), (4199, 4200), (4200, 4200), (0, 0)]:
        np.testing.assert_array_equal(parts.read_z(start, stop), whole[start:stop])
    with pytest.raises(RecordingError, match=r"\[0, 4200\)") as refused:
        parts.read_z(4199, 4201)
    assert refused.value.code == "range-outside-recording"


def test_a_disk_that_fails_while_a_recording_is_written_is_not_passed_over(conditioned, signal_mv, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("voltpipe.recordings.store.conditioned_writer.ROW_GROUP_SAMPLES", 500)
    monkeypatch.setattr("voltpipe.recordings.store.conditioned_writer._sync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        conditioned(signal_mv)


def test_the_same_samples_have_the_same_digest_and_other_settings_another_name(conditioned, signal_mv):
    first, again = conditioned(signal_mv, name="1.parquet"), conditioned(signal_mv, name="2.parquet")
    assert (first.digest, first.samples_digest) == (again.digest, again.samples_digest)
    other = conditioned(signal_mv, ConditioningSettings(minimum_s=1), name="3.parquet")
    assert other.samples_digest == first.samples_digest
    assert other.digest != first.digest


@pytest.mark.parametrize(
    ("samples_mv", "code", "named"),
    [
        (np.ones((100, 2)), "recording-too-short", "100 samples, .*3800 "),
        (np.ones((5000, 2)), "channels-flat", "ch0, ch1"),
    ],
)
def test_what_cannot_be_scored_is_refused(conditioned, samples_mv, code, named):
    with pytest.raises(RecordingError, match=named) as refused:
        conditioned(samples_mv)
    assert refused.value.code == code


def test_memory_does_not_grow_with_the_recordings_length(made_recording, tmp_path, monkeypatch):
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", 30_000)

    def sine_mv(start, stop):
        return np.sin(np.arange(start, stop, dtype=np.float32)[:, None] + np.arange(3, dtype=np.float32))

    def peak_bytes(n_samples):
        recording = made_recording(sine_mv, n_samples)
        tracemalloc.start()
        condition(recording, tmp_path / "made.parquet", ConditioningSettings(), key=KEY, source_digest="d")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert recording.most_samples_read == 10_000
        return peak

    assert peak_bytes(2_000_000) < 1.2 * peak_bytes(100_000)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "gone"])
def test_a_damaged_file_is_named(conditioned, signal_mv, damage):
    recording = conditioned(signal_mv)
    content = bytearray(recording.path.read_bytes())
    if damage == "flipped":
        content[len(content) // 3] ^= 0xFF
    recording.path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "foreign":
        pq.write_table(pq.read_table(recording.path).replace_schema_metadata(None), recording.path)
    if damage == "gone":
        recording.path.unlink()
    with pytest.raises(RecordingError, match=r"run\.parquet") as refused:
        open_conditioned(recording.path).read_z(0, 4200)
    assert refused.value.code == f"conditioned-file-{'missing' if damage == 'gone' else 'damaged'}"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"profile": "spikes", "spikes_lowest_hz": 100, "spikes_highest_hz": 1500},
        {"profile": "lfp", "lfp_rate_hz": 400},
        {"profile": "lfp", "lfp_rate_hz": 1000, "common_reference": True},
        {"saturation_mv": 74, "saturated_share": 0.5},
    ],
    ids=str,
)
def test_no_result_depends_on_the_chunks_a_file_is_read_in(conditioned, make_signal, monkeypatch, settings):
    signal_mv = make_signal(25_000)
    settings = ConditioningSettings(**settings)
    whole = conditioned(signal_mv, settings, name="whole.parquet", rate_hz=5000.0, segment_starts=(0, 12_345))
    for chunk_values in (3 * 997, 3 * 64):
        monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", chunk_values)
        other = conditioned(signal_mv, settings, name="parts.parquet", rate_hz=5000.0, segment_starts=(0, 12_345))
        assert other.metadata.stretches == whole.metadata.stretches
        assert other.segment_starts == whole.segment_starts
        np.testing.assert_allclose(
            other.read_z(0, whole.n_samples), whole.read_z(0, whole.n_samples), rtol=0, atol=2e-5
        )


def test_filters_and_mean_come_before_the_score(conditioned, make_signal):
    recording = conditioned(make_signal(100_000), ConditioningSettings(profile="lfp"), rate_hz=20_000.0)
    assert (recording.rate_hz, recording.n_samples) == (1000, 4200)
    calibrated = recording.read_z(0, 2000).astype(np.float64)
    np.testing.assert_allclose(calibrated.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(calibrated.std(axis=0), 1, atol=1e-4)
    # White noise of 4 mV, of which the band up to about 400 of 10,000 Hz is left: 0.8 mV.
    np.testing.assert_allclose(recording.sd_mv, 0.8, rtol=0.1)


def test_every_step_and_the_raw_samples_it_was_made_of_are_told(conditioned, make_signal):
    settings = ConditioningSettings(profile="lfp", common_reference=True)
    metadata = conditioned(make_signal(100_000), settings, rate_hz=20_000.0, segment_starts=(0, 50_000)).metadata
    low_pass, delay, rates, reference = metadata.steps
    assert re.findall(r"-?[\d.]+ (?:Hz|dB)", low_pass) == ["300 Hz", "-60 dB", "500 Hz"]
    assert "9.1 ms" in delay
    assert "20000 to 1000 Hz" in rates
    assert "median" in reference
    assert metadata.settings == settings
    assert metadata.source_rate_hz == 20_000
    # The filter warms up in what is trimmed; behind the gap, its first 18.25 ms are dropped, in whole ms.
    assert metadata.stretches == ((16_000, 50_000), (50_380, 100_000))
    assert metadata.segment_starts == (0, 1700)


def test_what_is_common_to_all_channels_is_subtracted_whatever_their_levels(conditioned, make_signal):
    signal_mv = np.hstack([make_signal(5000, seed=seed) for seed in range(5)])
    common_mv = 30 * np.sin(np.arange(5000) / 20)[:, None]
    recording = conditioned(signal_mv + common_mv, ConditioningSettings(common_reference=True))
    left_mv = recording.read_mv(0, 4200) - signal_mv[800:]
    # The median of 15 channels of 4 mV has an SD of about 4 * sqrt(pi / 2 / 15) = 1.3 mV.
    assert left_mv.std() < 1.5


def test_a_stretch_forgets_what_was_before_it(conditioned, make_signal):
    settings = ConditioningSettings(profile="spikes")
    signal_mv = make_signal(100_000)
    recording = conditioned(signal_mv, settings, name="a.parquet", rate_hz=20_000.0, segment_starts=(0, 80_000))
    signal_mv[70_000:80_000] += 500
    after_step = conditioned(signal_mv, settings, name="b.parquet", rate_hz=20_000.0, segment_starts=(0, 80_000))
    start = recording.segment_starts[1]
    np.testing.assert_array_equal(
        after_step.read_z(start, recording.n_samples), recording.read_z(start, recording.n_samples)
    )


@pytest.mark.parametrize(
    ("settings", "rate_hz", "code", "named"),
    [
        ({"profile": "spikes"}, 1000.0, "rate-too-low-for-profile", "1000 Hz .*3000 Hz.*6000 Hz"),
        ({"profile": "lfp"}, 500.0, "rate-not-resamplable", "500 Hz .*1000 Hz"),
        ({"profile": "lfp"}, 19753.8, "rate-not-resamplable", r"1000 Hz.*lfp_rate_hz .*987\.69"),
    ],
)
def test_a_rate_that_does_not_fit_the_profile_is_refused(conditioned, make_signal, settings, rate_hz, code, named):
    with pytest.raises(RecordingError, match=named) as refused:
        conditioned(make_signal(100_000), ConditioningSettings(**settings), rate_hz=rate_hz)
    assert refused.value.code == code


def test_quantised_voltages_take_less_space_than_continuous_ones(conditioned, make_signal):
    signal_mv = make_signal(50_000)
    continuous = conditioned(signal_mv, name="continuous.parquet").path.stat().st_size
    quantised = conditioned(signal_mv.round(1), name="quantised.parquet").path.stat().st_size
    assert quantised < continuous / 2
