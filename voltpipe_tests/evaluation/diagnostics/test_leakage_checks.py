"""Leakage checks detect an evaluation with a leak."""

import numpy as np
import pytest
import torch

from voltpipe.evaluation.diagnostics.leakage_checks import run_leakage_checks
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.splits import Split


def ramps_mv(seed: int, n_channels: int = 4, *, level_mv: float = 0.0, falls: float = 0.03) -> np.ndarray:
    """Return channels that rise by 0.1 mV a sample, with noise, and fall to 0 at random times: asymmetric in time."""
    rng = np.random.default_rng(seed)
    steps_mv = np.where(rng.random((600, n_channels)) < falls, -np.inf, 0.1)
    voltage_mv = np.zeros_like(steps_mv)
    for row in range(1, len(voltage_mv)):
        voltage_mv[row] = np.maximum(voltage_mv[row - 1] + steps_mv[row], 0)
    return level_mv + voltage_mv + rng.normal(0, 0.02, voltage_mv.shape)


def on_time(history_z, *_):
    """Forecast a rise at the same rate."""
    return history_z[:, -1:] + 0.1 * torch.tensor([1.0, 2.0, 5.0])[:, None]


def checks(window_set, forecaster):
    look_up = Forecaster.unfitted("look_up", window_set)
    look_up.module.fit(window_set)
    return {check.name: check for check in run_leakage_checks(forecaster, look_up, window_set)}


def test_a_valid_evaluation_passes_and_findings_give_r2(window_set_of, forecaster_by):
    window_set = window_set_of([ramps_mv(0), ramps_mv(1)], [Split.TRAIN, Split.TEST])
    found = checks(window_set, forecaster_by("ramp", on_time, window_set))
    assert [check.passed for check in found.values()] == [True] * 3
    assert found["other_moments"].r2 < 0
    assert f"R2 {found['leak_probe'].r2:.3f}" in found["leak_probe"].finding
    assert f"R2 is {found['time_reversal'].r2:.3f} instead of 0.9" in found["time_reversal"].finding


def test_held_out_samples_in_the_training_data_are_detected(window_set_of, forecaster_by):
    same_mv = ramps_mv(0)
    window_set = window_set_of([ramps_mv(1), same_mv, same_mv], [Split.TRAIN, Split.TRAIN, Split.TEST])
    leak = checks(window_set, forecaster_by("ramp", on_time, window_set))["leak_probe"]
    assert not leak.passed
    assert leak.r2 == pytest.approx(1.0)
    assert "were trained on" in leak.finding


def test_a_score_for_the_voltage_level_alone_is_detected(window_set_of, forecaster_by):
    window_set = window_set_of([ramps_mv(0), ramps_mv(1, level_mv=20.0)], [Split.TRAIN, Split.TEST])
    found = checks(window_set, forecaster_by("ramp", on_time, window_set))["other_moments"]
    assert not found.passed
    assert found.r2 > 0.9


def test_a_forecaster_of_the_past_is_detected(window_set_of, forecaster_by):
    backwards_mv = [ramps_mv(seed, falls=0.2)[::-1].copy() for seed in range(2)]
    window_set = window_set_of(backwards_mv, [Split.TRAIN, Split.TEST])
    assert not checks(window_set, forecaster_by("ramp", on_time, window_set))["time_reversal"].passed
