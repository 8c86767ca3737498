"""Every detector is causal, has a finite memory, and agrees with itself in windows, chunks and whole recordings."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from voltpipe.signals.spike_detection import (
    ActionPotential,
    ExactReset,
    Extracellular,
    NoisyReset,
    SpikeDetector,
    SpikeStream,
    detector_from_json,
)
from voltpipe.signals.spike_detection.detector_registry import DETECTORS

RATE_HZ = 10_000.0
ALL = (
    ExactReset(-70.0, 0.01),
    NoisyReset(-70.0, 0.6, 5.0, 3),
    ActionPotential(-60.0, 4),
    Extracellular(RATE_HZ, (1.0, 2.0), 8),
)
N_ROWS = 400


def voltages_mv(seed: int) -> torch.Tensor:
    """Return random voltages on a coarse grid, in which every detector finds spikes."""
    voltage_mv = np.random.default_rng(seed).normal(-65, 4, (N_ROWS, 2))
    return torch.from_numpy(np.where(voltage_mv < -68, -70, voltage_mv.round(1)).astype(np.float32))


def test_each_kind_is_checked():
    assert {detector.kind for detector in ALL} == set(DETECTORS)


@pytest.mark.parametrize("detector", ALL, ids=lambda d: d.kind)
def test_each_detector_finds_spikes_here(detector):
    states = detector.detect(voltages_mv(0))
    assert states.onsets.any()
    assert (states.in_spike | ~states.onsets).all()
    assert not states.onsets.all()


@pytest.mark.parametrize("detector", ALL, ids=lambda d: d.kind)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, N_ROWS), max_size=6))
def test_chunks_give_exactly_what_the_whole_gives(detector: SpikeDetector, seed: int, cuts: list[int]):
    voltage_mv = voltages_mv(seed)
    whole = detector.detect(voltage_mv)
    stream = SpikeStream(detector)
    borders = [0, *sorted(cuts), N_ROWS]
    parts = [stream.add(voltage_mv[a:b]) for a, b in pairwise(borders)]
    assert torch.equal(torch.cat([part.onsets for part in parts]), whole.onsets)
    assert torch.equal(torch.cat([part.in_spike for part in parts]), whole.in_spike)


@pytest.mark.parametrize("detector", ALL, ids=lambda d: d.kind)
@given(seed=st.integers(0, 1000), first=st.integers(0, N_ROWS - 200), length=st.integers(1, 200))
def test_windows_give_exactly_what_the_whole_gives_after_the_memory(
    detector: SpikeDetector, seed: int, first: int, length: int
):
    voltage_mv = voltages_mv(seed)
    whole = detector.detect(voltage_mv)
    window = detector.detect(torch.stack([voltage_mv[first : first + length]] * 2))
    known = slice(detector.memory_samples, None)
    for found, expected in ((window.onsets, whole.onsets), (window.in_spike, whole.in_spike)):
        assert torch.equal(found[1, known], expected[first : first + length][known])


@pytest.mark.parametrize("detector", ALL, ids=lambda d: d.kind)
def test_a_detector_survives_json(detector):
    assert detector_from_json(json.loads(json.dumps(detector.to_json()))) == detector


@pytest.mark.parametrize("detector", ALL, ids=lambda d: d.kind)
def test_no_rows_have_no_spikes(detector):
    assert detector.detect(torch.zeros(0, 2)).onsets.shape == (0, 2)


def column(*values_mv: float) -> torch.Tensor:
    return torch.tensor(values_mv, dtype=torch.float32)[:, None]


def rows(states: torch.Tensor) -> list[int]:
    return states[:, 0].nonzero()[:, 0].tolist()


def test_a_noisy_reset_is_a_fall_that_stays_near_the_reset():
    found = NoisyReset(-70.0, 0.5, 5.0, 3).detect(
        column(-50, -70.2, -69.8, -65, -70, -50, -60, -70.1, -69.9, -70, -70, -55)
    )
    assert rows(found.onsets) == [1, 4, 7]
    assert rows(found.in_spike) == [1, 2, 4, 7, 8, 9]


def test_a_slow_return_to_the_reset_is_no_spike():
    assert not NoisyReset(-70.0, 0.5, 5.0, 3).detect(column(-66, -68, -70, -70)).in_spike.any()


def test_an_action_potential_lasts_for_its_dead_time():
    found = ActionPotential(-20.0, 3).detect(column(-60, 10, 20, -50, -60, -60, -10, -60))
    assert rows(found.onsets) == [1, 6]
    assert rows(found.in_spike) == [1, 2, 3, 6, 7]


def test_crossings_within_the_dead_time_prolong_it():
    found = ActionPotential(0.0, 3).detect(column(-1, 1, -1, 1, -1, 1, -1, -1, -1, 1))
    assert rows(found.onsets) == [1, 9]


@pytest.mark.parametrize("offset_mv", [0.0, -65.0, 500.0])
def test_the_band_pass_ignores_a_constant_voltage(offset_mv):
    noise_mv = np.random.default_rng(0).normal(0, 0.01, (3000, 2))
    noise_mv[1500:1504] -= 0.2
    detector = Extracellular(RATE_HZ, (0.05, 0.05), 10)
    states = detector.detect(torch.from_numpy(noise_mv + offset_mv))
    assert abs(int(states.onsets[:, 0].nonzero()[0, 0]) - 1500) <= 1


def test_other_numbers_of_channels_share_the_median_threshold():
    detector = Extracellular(RATE_HZ, (0.05, 0.06, 0.07), 10)
    shared = Extracellular(RATE_HZ, (0.06,), 10)
    voltage_mv = torch.from_numpy(np.random.default_rng(0).normal(0, 0.05, (2000, 1)))
    assert torch.equal(detector.detect(voltage_mv).onsets, shared.detect(voltage_mv).onsets)
