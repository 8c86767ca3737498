"""Roll-outs are compared with the truth until they diverge from it."""

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.diagnostics.rollouts import DISTANCE, LEAD, SPIKES, Rollouts, n_matching, rollout_horizon_table
from voltpipe.reporting.diagnostics_text import following_text
from voltpipe.signals.spike_detection import ResetVoltage

KNOWN, N_SAMPLES = 10, 60
RECORDINGS = ("a--0", "a--0", "a--1", "a--1")
OTHERS = [2, 3, 0, 1]
RESET = ResetVoltage(-70.0, 1e-3)


@pytest.fixture(scope="module")
def recorded_mv() -> np.ndarray:
    """Noise at -55 mV of four starts and five channels, with spikes at least five samples apart."""
    rng = np.random.default_rng(0)
    recorded_mv = rng.normal(-55, 2, (4, KNOWN + N_SAMPLES, 5)).astype(np.float32)
    for run in recorded_mv:
        for channel in range(5):
            run[rng.integers(0, 5) + KNOWN :: int(rng.integers(8, 20)), channel] = -70.0
    return recorded_mv


def table(imagined_mv, recorded_mv, reset: ResetVoltage | None = RESET) -> pd.DataFrame:
    return rollout_horizon_table(Rollouts(imagined_mv, recorded_mv, RECORDINGS, KNOWN, 1000.0, reset, ()))


def lead(found: pd.DataFrame) -> list[float]:
    return found.loc[found.measure == LEAD, ["own", "own_low", "own_high"]].iloc[0].tolist()


def test_a_copy_of_the_truth_has_each_spike_and_no_distance(recorded_mv):
    found = table(recorded_mv, recorded_mv)
    assert (found[found.measure == DISTANCE].own == 0).all()
    assert (found[found.measure == SPIKES].own == 1).all()
    assert (found[found.measure == SPIKES].shuffled < 0.9).all()
    assert found[found.measure == SPIKES].time_ms.tolist() == [5, 10, 20, 50]
    assert lead(found) == [N_SAMPLES] * 3
    assert "at least 60 ms" in following_text(found)
    assert "1.00 over 5 ms" in following_text(found)


def test_a_roll_out_that_turns_into_another_recording_follows_the_truth_until_then(recorded_mv):
    imagined_mv = recorded_mv.copy()
    imagined_mv[:, KNOWN + 20 :] = recorded_mv[OTHERS][:, KNOWN + 20 :]
    found = table(imagined_mv, recorded_mv)
    assert lead(found) == [20.0] * 3
    assert (found[found.measure == DISTANCE].own.to_numpy() == 0).tolist() == [True] * 20 + [False] * 40
    assert (found[found.measure == DISTANCE].shuffled == 0).tolist() == [False] * 20 + [True] * 40


@pytest.mark.parametrize(("late", "f1"), [(2, 1.0), (3, 0.0)])
def test_a_spike_counts_within_two_milliseconds(late, f1):
    recorded_mv = np.full((4, KNOWN + N_SAMPLES, 2), -55.0, np.float32)
    recorded_mv[:, KNOWN + 1 :: 11, 0] = -70.0
    found = table(np.roll(recorded_mv, late, axis=1), recorded_mv)
    assert found[found.measure == SPIKES].own.to_numpy() == pytest.approx(f1)


def test_each_spike_is_used_once():
    assert n_matching(np.array([10, 11]), np.array([12]), 2) == 1
    assert n_matching(np.array([3, 10, 30]), np.array([1, 8, 12, 33]), 2) == 2
    assert n_matching(np.array([5]), np.array([], np.int64), 2) == 0


def test_the_distance_is_the_root_of_the_mean_square(recorded_mv):
    found = table(recorded_mv + np.float32(3), recorded_mv, reset=None)
    assert found[found.measure == DISTANCE].own.to_numpy() == pytest.approx(3, rel=1e-4)
    assert set(found.measure) == {DISTANCE, LEAD}
    assert "F1" not in following_text(found)
