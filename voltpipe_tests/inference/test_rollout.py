"""Roll-outs have the statistics of the recordings."""

import numpy as np
import pytest
import torch

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.training.fitting import fit_baselines, with_distribution
from voltpipe.inference import rollout as module
from voltpipe.inference.rollout import roll_out
from voltpipe.windows.splits import Split

RESET_MV = -70.0


@pytest.fixture(scope="module")
def neurons_mv(simulate_planted):
    """Three recordings of twelve spontaneously spiking, unconnected neurons."""
    return [simulate_planted(np.zeros((12, 12)), n_samples=12_000, seed=seed) for seed in range(3)]


@pytest.fixture
def lookup_table(neurons_mv, write_window_set) -> Forecaster:
    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
    return fit_baselines(write_window_set(list(zip(splits, neurons_mv, strict=True))))["look_up"]


def rate(voltage_mv) -> float:
    """Return the number of spikes per sample and channel."""
    at_reset = np.abs(voltage_mv - RESET_MV) < 1e-3
    return float((at_reset[1:] & ~at_reset[:-1]).mean())


@pytest.mark.slow
def test_spike_rate_and_voltage_quantiles_match_the_recording(lookup_table, neurons_mv):
    recorded_mv = neurons_mv[2]
    run_mv = roll_out(lookup_table, recorded_mv[:30], 2000, seed=0)[100:]
    assert run_mv.shape == (1900, 12)
    assert rate(run_mv) == pytest.approx(rate(recorded_mv), rel=0.1)
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(run_mv, quantile) == pytest.approx(np.quantile(recorded_mv, quantile), abs=0.4)


def test_the_seed_determines_the_draws_and_rollouts_of_a_batch_differ(lookup_table, neurons_mv):
    history_mv = np.stack([neurons_mv[2][:30]] * 2)
    run_mv = roll_out(lookup_table, history_mv, 20, seed=1)
    assert run_mv.shape == (2, 20, 12)
    np.testing.assert_array_equal(run_mv, roll_out(lookup_table, history_mv, 20, seed=1))
    assert not np.array_equal(run_mv, roll_out(lookup_table, history_mv, 20, seed=2))
    assert not np.array_equal(run_mv[0], run_mv[1])


def test_a_roll_out_needs_a_horizon_of_one_sample(neurons_mv, write_window_set):
    splits = [Split.TRAIN, Split.VALIDATION]
    window_set = write_window_set(list(zip(splits, neurons_mv[:2], strict=True)), horizons_samples=(2, 5))
    with pytest.raises(ForecasterError, check=lambda error: error.code == "horizon-missing"):
        roll_out(fit_baselines(window_set)["persistence"], neurons_mv[2][:30], 10, seed=0)


def test_stepwise_roll_outs_equal_those_from_windows(planted_windows, monkeypatch):
    torch.manual_seed(0)
    forecaster = Forecaster.unfitted("coupled_cnn_lstm", planted_windows)
    forecaster.module.fit(planted_windows)
    torch.nn.init.normal_(forecaster.module.read_out[-1].weight, std=0.1)
    forecaster = with_distribution(forecaster, planted_windows)
    history_mv = planted_windows.batch(planted_windows.windows(Split.TEST)[:2]).history_mv().numpy()
    stepwise_mv = roll_out(forecaster, history_mv, 10, seed=0)
    monkeypatch.setattr(module, "_step_by_step", lambda *_: None)
    windowed_mv = roll_out(forecaster, history_mv, 10, seed=0)
    np.testing.assert_allclose(stepwise_mv[:, 0], windowed_mv[:, 0], atol=0.05)
    # A forecast on the border of two bins of the distribution may fall on either side.
    assert np.mean(np.abs(stepwise_mv - windowed_mv) < 0.1) > 0.85
