"""Samples are stored once, windows lie where they may, and training knows nothing of what is held out."""

import numpy as np
import pytest

from voltpipe.windows.build_window_set import build_window_set, window_set_folder
from voltpipe.windows.leakage import count_shared_samples, count_windows_over_borders
from voltpipe.windows.settings import Protocol, WindowSettings
from voltpipe.windows.split_manifest import SplitError, make_split_manifest
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import SAMPLES_FILE

HELD_OUT = (Split.VALIDATION, Split.TEST, Split.TIME)


@pytest.fixture
def build(tmp_path, settings):
    """Builds the window set of recordings with these settings."""

    def make(recordings, settings=settings):
        manifest = make_split_manifest(recordings, settings)
        return build_window_set(window_set_folder(tmp_path / "windows", manifest), manifest, recordings)

    return make


@pytest.fixture
def windows(build, five_recordings):
    return build(five_recordings)


def rows_of(window_set, split):
    """All rows that windows of a split touch, window by window."""
    starts = window_set.index["start_row"][window_set.windows(split)]
    return {row for start in starts for row in range(start, start + window_set.settings.window_samples)}


def test_the_samples_are_those_of_the_recordings_one_after_the_other(windows, five_recordings):
    expected = np.concatenate([recording.read_z(0, 1000) for recording in five_recordings.values()])
    assert np.array_equal(windows.samples_z.numpy(), expected)
    assert [(r.start_row, r.stop_row) for r in windows.recordings] == [(n * 1000, n * 1000 + 1000) for n in range(5)]


def test_overlapping_windows_are_stored_once(windows):
    window_samples = windows.settings.window_samples
    assert len(windows.index) * window_samples > 6 * len(windows.samples_z)
    header_bytes = (windows.folder / SAMPLES_FILE).stat().st_size - 5000 * 8 * 4
    assert 0 < header_bytes <= 128


def test_windows_are_views_of_the_samples(windows):
    views = windows.samples_z.unfold(0, windows.settings.window_samples, 1)
    assert views.untyped_storage().data_ptr() == windows.samples_z.untyped_storage().data_ptr()
    position = int(windows.windows(Split.TEST)[4])
    start = windows.index["start_row"][position]
    batch = windows.batch([position])
    assert np.array_equal(batch.history_z[0].numpy(), windows.samples_z[start : start + 20].numpy())
    assert np.array_equal(batch.target_z[0].numpy(), windows.samples_z[[start + 20, start + 24]].numpy())


def test_a_batch_gives_back_the_voltage_that_was_recorded(windows, noise_mv):
    position = int(windows.windows(Split.TEST)[0])
    start = windows.index["start_row"][position] - 2000
    history_mv = windows.batch([position]).history_mv()[0].numpy()
    np.testing.assert_allclose(history_mv, noise_mv(2)[start : start + 20], atol=1e-4)


def test_every_window_that_fits_is_there(windows):
    # Held-out recordings: from row 80 (the first target lies behind the 100 calibration samples) to 1000.
    assert len(windows.windows(Split.TEST)) == len(windows.windows(Split.VALIDATION)) == (920 - 25) // 3 + 1
    # The last 150 samples of three training recordings, and what lies a window before.
    assert len(windows.windows(Split.TIME)) == 3 * ((150 - 25) // 3 + 1)
    assert len(windows.windows(Split.TRAIN)) == 3 * ((825 - 25) // 3 + 1)


def test_no_sample_is_shared_between_splits(windows):
    seen = [rows_of(windows, split) for split in Split]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert count_shared_samples(windows) == 0


def test_no_window_crosses_a_recordings_border(windows):
    starts = windows.index["start_row"]
    assert np.array_equal(starts // 1000, (starts + 24) // 1000)
    assert np.array_equal(starts // 1000, windows.index["recording"])
    assert count_windows_over_borders(windows) == 0


def test_no_window_crosses_a_gap(build, conditioned, noise_mv):
    gaps = (0, 333, 700)
    recordings = {f"slice--run_{n}": conditioned(f"slice--run_{n}", noise_mv(n), segment_starts=gaps) for n in range(5)}
    windows = build(recordings)
    first = windows.index["start_row"] % 1000
    for gap in gaps[1:]:
        assert not np.any((first < gap) & (first + 25 > gap))
    assert {333, 700} <= set(first.tolist())
    assert count_shared_samples(windows) == count_windows_over_borders(windows) == 0


def test_the_first_held_out_target_lies_behind_the_calibration_span(windows):
    for split in HELD_OUT:
        index = windows.index[windows.windows(split)]
        calibrated = np.array([recording.calibration_stop_row for recording in windows.recordings])
        assert np.all(index["start_row"] + windows.context >= calibrated[index["recording"]])


def test_without_validation_recordings_validation_is_cut_from_training_recordings(build, five_recordings):
    windows = build({key: five_recordings[key] for key in ("slice--run_0", "slice--run_1")})
    assert len(windows.windows(Split.TEST)) == 0
    assert all(len(windows.windows(split)) for split in (Split.TRAIN, Split.VALIDATION, Split.TIME))
    assert count_shared_samples(windows) == count_windows_over_borders(windows) == 0


def test_the_training_mean_is_that_of_the_training_samples(windows, noise_mv):
    train_mv = np.concatenate([noise_mv(n)[: 850 - 25] for n in (0, 1, 3)])
    assert [row[1:] for row in windows.train_rows()] == [(0, 825), (1000, 1825), (3000, 3825)]
    np.testing.assert_allclose(windows.train_mean_mv().numpy(), train_mv.mean(0), atol=1e-4)


def test_no_held_out_sample_changes_what_training_sees(build, windows, conditioned, noise_mv):
    changed = {}
    for n in range(5):
        voltage_mv = noise_mv(n)
        held_out_from = 850 - 25 if n in (0, 1, 3) else 0
        voltage_mv[held_out_from:] = noise_mv(100 + n)[held_out_from:] - 10
        changed[f"slice--run_{n}"] = conditioned(f"slice--run_{n}", voltage_mv)
    other = build(changed)
    assert other.digest != windows.digest
    assert np.array_equal(other.train_mean_mv().numpy(), windows.train_mean_mv().numpy())
    assert other.train_rows() == windows.train_rows()
    ours, theirs = (each.batch(each.windows(Split.TRAIN)) for each in (windows, other))
    for field in ("history_z", "target_z", "mean_mv", "sd_mv"):
        assert np.array_equal(getattr(ours, field).numpy(), getattr(theirs, field).numpy())
    assert not np.array_equal(
        windows.batch(windows.windows(Split.TIME)).target_z.numpy(),
        other.batch(other.windows(Split.TIME)).target_z.numpy(),
    )


def test_a_recording_that_was_conditioned_anew_since_the_split_is_refused(
    five_recordings, conditioned, noise_mv, settings, tmp_path
):
    manifest = make_split_manifest(five_recordings, settings)
    anew = {**five_recordings, "slice--run_3": conditioned("slice--run_3", noise_mv(50))}
    with pytest.raises(SplitError, match="slice--run_3") as refused:
        build_window_set(tmp_path / "set", manifest, anew)
    assert refused.value.code == "split-outdated"
    assert not (tmp_path / "set").exists()


def test_where_gaps_leave_no_room_for_a_window_nothing_is_written(conditioned, noise_mv, settings, tmp_path):
    gaps = tuple(range(0, 1000, 24))
    recordings = {"slice--run_0": conditioned("slice--run_0", noise_mv(0), segment_starts=gaps)}
    manifest = make_split_manifest(recordings, settings)
    with pytest.raises(SplitError, match=r"25 samples .*train") as refused:
        build_window_set(tmp_path / "set", manifest, recordings)
    assert refused.value.code == "split-without-windows"
    assert not (tmp_path / "set").exists()


def test_the_published_protocol_gives_the_published_number_of_windows_and_is_marked(build, conditioned, noise_mv):
    recording = conditioned("brunel--run", noise_mv(0, 9200, 1), rate_hz=1000.0)
    settings = WindowSettings(protocol=Protocol.PUBLISHED, stride_samples=15, horizons_samples=(1,))
    windows = build({f"brunel--run_{n:02d}": recording for n in range(50)}, settings)
    # (50 x 9,200 - 151) // 15 + 1
    assert len(windows.index) == 30_657
    assert windows.settings.protocol is Protocol.PUBLISHED
    counts = {split: len(windows.windows(split)) for split in Split}
    assert counts == {Split.TRAIN: 21_460, Split.VALIDATION: 4_599, Split.TEST: 4_598, Split.TIME: 0}
    # Ten windows overlap with each sample, so hardly one is left to a single split.
    assert count_shared_samples(windows) > 0.9 * len(windows.samples_z)
    # Ten windows, or nine, reach over each of the 49 borders.
    crossing = windows.index["start_row"] // 9200 != (windows.index["start_row"] + 150) // 9200
    assert count_windows_over_borders(windows) == crossing.sum() == 490
    assert np.array_equal(windows.samples_z[-9200:].numpy(), recording.read_z(0, 9200))
