"""What is left out is left out, nothing is put in its place, and time is cut there."""

import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition import calibrate
from voltpipe.recordings.conditioning.segments import Blanking
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned

UNTRIMMED = {"trim_ms": 0, "blanking_margin_ms": 0}


@pytest.fixture
def kept(recording_of):
    """The ranges of samples that are kept, at 1 kHz, seen in chunks of a length."""

    def ranges(samples_mv, *, intervals_s=(), chunk=1000, segment_starts=(0,), **settings):
        recording = recording_of(samples_mv, segment_starts=segment_starts)
        blanking = Blanking(recording, ConditioningSettings(**{**UNTRIMMED, **settings}), intervals_s)
        runs = []
        for start in range(0, len(samples_mv), chunk):
            for first, last in blanking.kept_runs(start, recording.read_mv(start, min(start + chunk, len(samples_mv)))):
                if runs and runs[-1][1] == first and first not in segment_starts:
                    first = runs.pop()[0]
                runs.append((first, last))
        return runs

    return ranges


@pytest.fixture
def quiet_mv():
    return np.zeros((100, 4), np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_stimulation_is_left_out_with_its_margin(kept, quiet_mv, chunk):
    intervals_s = ((0.020, 0.030), (0.0701, 0.0702))
    assert kept(quiet_mv, intervals_s=intervals_s, chunk=chunk) == [(0, 20), (30, 70), (71, 100)]
    assert kept(quiet_mv, intervals_s=intervals_s, chunk=chunk, blanking_margin_ms=5) == [(0, 20), (35, 70), (76, 100)]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_saturation_of_enough_channels_is_left_out_on_either_side(kept, quiet_mv, chunk):
    quiet_mv[40:43, :2] = 5
    quiet_mv[42, :2] = -5
    quiet_mv[60:70, 0] = 9  # one channel of four is less than half
    settings = {"saturation_mv": 5.0, "saturated_share": 0.5, "chunk": chunk}
    assert kept(quiet_mv, **settings) == [(0, 40), (43, 100)]
    assert kept(quiet_mv, **settings, blanking_margin_ms=10) == [(0, 40), (53, 100)]


def test_nothing_counts_as_saturated_unless_the_amplifiers_limit_is_said(kept, quiet_mv):
    quiet_mv[40:43] = 1e6
    assert kept(quiet_mv) == [(0, 100)]


def test_trimming_and_gaps_cut_too(kept, quiet_mv):
    assert kept(quiet_mv, trim_ms=10, segment_starts=(0, 5, 50)) == [(10, 50), (50, 100)]


def test_a_blank_ends_a_segment_and_its_samples_are_nowhere(recording_of, signal_mv, tmp_path):

    signal_mv[4000:4010] = 900
    recording = recording_of(signal_mv)
    settings = ConditioningSettings(saturation_mv=500.0, blanking_margin_ms=20)
    calibrated = calibrate(recording, settings, ((1.0, 1.1),))
    path = tmp_path / "run.parquet"
    metadata = calibrated.write(path, key=RecordingKey("org", "run"), source_digest="d" * 64)
    conditioned = open_conditioned(path)
    assert metadata.stretches == ((800, 1000), (1120, 4000), (4030, 5000))
    assert conditioned.segment_starts == (0, 200, 3080)
    expected = np.concatenate([signal_mv[start:stop] for start, stop in metadata.stretches])
    np.testing.assert_allclose(conditioned.read_mv(0, conditioned.n_samples), expected, atol=1e-4)
    # The calibration span is the first 2 s of what is kept.
    np.testing.assert_allclose(conditioned.mean_mv, expected[:2000].mean(axis=0), rtol=1e-5)
