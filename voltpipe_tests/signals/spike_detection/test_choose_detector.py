"""The kind of spikes is chosen by evidence, from simulated, real and misleading voltages."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from voltpipe.signals.spike_detection import (
    ActionPotential,
    DetectorChoice,
    ExactReset,
    Extracellular,
    NoisyReset,
    choose_detector,
)

DATA = np.load(Path(__file__).parents[1] / "data" / "action_potentials.npz")


def choose(voltage_mv: np.ndarray, rate_hz: float = 1000.0, kind: str = "auto") -> DetectorChoice:
    return choose_detector(
        {"organoid": [torch.from_numpy(np.ascontiguousarray(voltage_mv, np.float32))]}, rate_hz, kind
    )


def integrate_and_fire_mv(seed: int = 0, n_rows: int = 6000, n_channels: int = 10) -> np.ndarray:
    """Return voltages that stay at exactly -70 mV for two samples after a spike, and pass it at times."""
    rng = np.random.default_rng(seed)
    voltage_mv = np.full((n_rows, n_channels), -65.0)
    refractory = np.zeros(n_channels, int)
    for row in range(1, n_rows):
        before_mv = voltage_mv[row - 1]
        after_mv = before_mv + 0.1 * (-54 - before_mv) + rng.normal(0, 1.2, n_channels)
        spikes = (after_mv > -50) & (refractory == 0)
        resting = spikes | (refractory > 0)
        voltage_mv[row] = np.where(resting, -70, after_mv)
        refractory = np.where(spikes, 1, np.maximum(refractory - 1, 0))
    return voltage_mv


CLEAN_MV = integrate_and_fire_mv()
TRUE_ONSETS = (CLEAN_MV[1:] == -70) & (CLEAN_MV[:-1] != -70)


def f1_score(found: np.ndarray, true: np.ndarray) -> float:
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def test_a_clean_reset_is_exact():
    detector = choose(CLEAN_MV).detector
    assert isinstance(detector, ExactReset)
    assert detector.voltage_mv == -70


@pytest.mark.parametrize(("noise_mv", "step_mv"), [(0.01, 0), (0.1, 0), (0.1, 0.1), (0.5, 0), (0.5, 0.1), (0, 0.1)])
def test_a_reset_is_found_under_noise_and_converter_steps(noise_mv, step_mv):
    voltage_mv = CLEAN_MV + np.random.default_rng(1).normal(0, 1, CLEAN_MV.shape) * noise_mv
    if step_mv:
        voltage_mv = np.round(voltage_mv / step_mv) * step_mv
    choice = choose(voltage_mv)
    assert isinstance(choice.detector, NoisyReset)
    assert choice.detector.voltage_mv == pytest.approx(-70, abs=0.15)
    assert choice.detector.dwell_samples == 2
    found = choice.detector.detect(torch.from_numpy(voltage_mv).float()).onsets[1:].numpy()
    assert f1_score(found, TRUE_ONSETS) > 0.99


def test_action_potentials_of_a_real_cell_are_all_found():
    voltage_mv = DATA["patch_clamp_20khz_mv"].astype(np.float32)
    detector = choose(voltage_mv, 20_000.0).detector
    assert isinstance(detector, ActionPotential)
    overshoots = int(((voltage_mv[1:] >= 0) & (voltage_mv[:-1] < 0)).sum())
    assert overshoots > 0
    assert int(detector.detect(torch.from_numpy(voltage_mv)).onsets.sum()) == overshoots


def test_action_potentials_need_not_overshoot():
    voltage_mv = DATA["patch_clamp_20khz_mv"].astype(np.float32)
    resting_mv = np.median(voltage_mv)
    smaller_mv = resting_mv + 0.5 * (voltage_mv - resting_mv) - 10
    overshoots = int(((voltage_mv[1:] >= 0) & (voltage_mv[:-1] < 0)).sum())
    assert smaller_mv.max() < 0
    detector = choose(smaller_mv, 20_000.0).detector
    assert isinstance(detector, ActionPotential)
    assert int(detector.detect(torch.from_numpy(smaller_mv)).onsets.sum()) == overshoots


def test_a_driven_cell_fires_and_a_listening_cell_does_not():
    voltage_mv = DATA["multipatch_25khz_mv"].astype(np.float32)
    detector = choose(voltage_mv, 25_000.0).detector
    assert isinstance(detector, ActionPotential)
    onsets = detector.detect(torch.from_numpy(voltage_mv)).onsets
    assert onsets.sum(0).tolist() == [0, 2]


def electrodes_mv(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return three noisy electrodes at 20 kHz with spikes of 0.1 mV, and the sample of each spike."""
    rng = np.random.default_rng(seed)
    voltage_mv = rng.normal(0, 0.01, (60_000, 3))
    time = np.arange(40)
    spike_mv = -0.1 * np.exp(-(((time - 10) / 3) ** 2)) + 0.02 * np.exp(-(((time - 20) / 6) ** 2))
    starts = np.arange(1000, 59_000, 700)
    for start in starts:
        voltage_mv[start : start + 40, rng.integers(3)] += spike_mv
    return voltage_mv, starts


def test_extracellular_spikes_are_found():
    voltage_mv, starts = electrodes_mv()
    choice = choose(voltage_mv, 20_000.0)
    assert isinstance(choice.detector, Extracellular)
    onsets = choice.detector.detect(torch.from_numpy(voltage_mv)).onsets.any(1).nonzero()[:, 0].numpy()
    delays = onsets[:, None] - starts
    assert (((delays > 0) & (delays < 20)).sum(0) == 1).mean() > 0.97
    assert len(onsets) < 1.05 * len(starts)
    assert choice.evidence[-1].figures["n_by_chance"] < 2


def decaying_artefacts_mv() -> np.ndarray:
    voltage_mv = np.random.default_rng(0).normal(-60, 1, (20_000, 4))
    for start in range(100, 19_900, 97):
        voltage_mv[start : start + 10] += 60 * np.exp(-np.arange(10) / 1.5)[:, None]
    return voltage_mv


def pulses_mv(length: int, height_mv: float) -> np.ndarray:
    voltage_mv = np.random.default_rng(0).normal(-65, 0.3, (20_000, 2))
    for start in range(500, 19_000, 2 * length + 293):
        voltage_mv[start : start + length] += height_mv
    return voltage_mv


def rail_mv() -> np.ndarray:
    rng = np.random.default_rng(0)
    voltage_mv = rng.normal(-60, 1, (20_000, 4))
    for start in rng.integers(10, 19_900, 200):
        voltage_mv[start : start + rng.integers(1, 20)] = -100
    return voltage_mv


def inhibition_mv() -> np.ndarray:
    rng = np.random.default_rng(0)
    voltage_mv = rng.normal(-60, 0.5, (20_000, 4))
    for channel in range(4):
        for start in rng.integers(10, 19_900, 300):
            voltage_mv[start : start + 60, channel] -= rng.normal(10, 2) * np.exp(-np.arange(60) / 10)
    return voltage_mv


def heartbeats_mv(scale: float) -> np.ndarray:
    phase = np.arange(20_000) / 1000 % 0.8
    beat = np.exp(-(((phase - 0.3) / 0.012) ** 2)) - 0.25 * np.exp(-(((phase - 0.33) / 0.012) ** 2))
    return scale * (beat + np.random.default_rng(0).normal(0, 0.01, 20_000))[:, None]


RNG = np.random.default_rng(7)
SINE = np.sin(2 * np.pi * np.arange(20_000) / 1000)[:, None]
MISLEADING = {
    "white noise": (RNG.normal(-60, 5, (20_000, 4)), 1000.0),
    "strong white noise": (RNG.normal(-60, 30, (20_000, 2)), 1000.0),
    "heavy-tailed noise": (RNG.standard_t(2, (20_000, 4)) - 60, 1000.0),
    "noise of an electrode": (RNG.normal(0, 0.01, (60_000, 4)), 20_000.0),
    "brown noise": (RNG.normal(0, 1, (20_000, 4)).cumsum(0), 1000.0),
    "field potential": (RNG.normal(0, 0.01, (20_000, 4)).cumsum(0), 20_000.0),
    "slow sine": (50 * SINE, 1000.0),
    "fast sine": (50 * np.sin(2 * np.pi * 200 * np.arange(20_000) / 1000)[:, None], 1000.0),
    "clipped sine": (np.clip(50 * SINE, -45, 45), 1000.0),
    "heartbeats": (heartbeats_mv(1.0), 1000.0),
    "heartbeats in wrong units": (heartbeats_mv(60.0), 1000.0),
    "heartbeats at a low rate": (heartbeats_mv(1.0)[::10], 100.0),
    "saturated electrode": (rail_mv(), 1000.0),
    "inhibitory potentials": (inhibition_mv(), 1000.0),
    "decaying artefacts": (decaying_artefacts_mv(), 1000.0),
    "decaying artefacts at a high rate": (decaying_artefacts_mv(), 20_000.0),
    "brief pulses": (pulses_mv(4, 60), 1000.0),
    "brief pulses at a high rate": (pulses_mv(20, 60), 20_000.0),
    "current steps": (pulses_mv(500, 45), 1000.0),
    "constant": (np.full((2000, 2), -65.0), 1000.0),
    "constant at a high rate": (np.full((2000, 2), -65.0), 20_000.0),
    "one sample": (np.full((1, 2), -65.0), 1000.0),
}


@pytest.mark.parametrize("name", MISLEADING)
def test_what_only_resembles_spikes_is_refused(name):
    voltage_mv, rate_hz = MISLEADING[name]
    choice = choose(voltage_mv, rate_hz)
    assert choice.detector is None, choice.text
    assert choice.refusal is None
    assert not any(evidence.applies for evidence in choice.evidence)
    assert {evidence.kind for evidence in choice.evidence} == {
        "reset",
        "action-potential",
        "noisy-reset",
        "extracellular",
    }


@pytest.mark.parametrize("kind", ["reset", "noisy-reset", "action-potential", "extracellular"])
def test_a_forced_kind_is_refused_with_what_was_found(kind):
    choice = choose(MISLEADING["white noise"][0], kind=kind)
    assert choice.refusal == "spikes-not-found"
    assert [evidence.kind for evidence in choice.evidence] == [kind]


def test_no_spikes_can_be_asked_for():
    choice = choose(CLEAN_MV, kind="none")
    assert (choice.detector, choice.evidence, choice.refusal) == (None, (), None)


def test_a_forced_kind_replaces_the_choice():
    assert isinstance(choose(CLEAN_MV, kind="noisy-reset").detector, NoisyReset)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays]


def test_organoids_that_differ_in_kind_are_refused():
    noisy_mv = CLEAN_MV + np.random.default_rng(1).normal(0, 0.3, CLEAN_MV.shape)
    choice = choose_detector({"clean": tensors(CLEAN_MV), "noisy": tensors(noisy_mv)}, 1000.0)
    assert choice.refusal == "spikes-differ"
    assert {evidence.kind for evidence in choice.evidence} == {"reset", "noisy-reset"}


def test_a_silent_organoid_agrees_with_any_kind():
    silent_mv = np.random.default_rng(1).normal(-60, 1, CLEAN_MV.shape)
    choice = choose_detector({"firing": tensors(CLEAN_MV), "silent": tensors(silent_mv)}, 1000.0)
    assert choice.refusal is None
    assert isinstance(choice.detector, ExactReset)


def test_segments_are_not_joined():
    up_mv, down_mv = np.full((500, 1), -50.0), np.full((500, 1), -70.0)
    segments = tensors(*[part + np.random.default_rng(0).normal(0, 0.1, part.shape) for part in (up_mv, down_mv)] * 30)
    assert choose_detector({"organoid": segments}, 1000.0).detector is None


def test_a_choice_survives_json():
    for choice in (choose(CLEAN_MV), choose(MISLEADING["white noise"][0])):
        assert DetectorChoice.from_json(json.loads(json.dumps(choice.to_json()))) == choice
