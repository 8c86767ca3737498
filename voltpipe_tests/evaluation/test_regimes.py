"""Regimes separate known, unseen and adapted organoids, and no organoid is forecast with the coupling of another."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voltpipe.evaluation import held_out_windows
from voltpipe.evaluation.held_out_windows import forecaster_for_regime, regime_windows
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.inference.forecast_file import adapt_to_beginning
from voltpipe.windows.splits import Split

N_CHANNELS = 12


def network_mv(weights_mv: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Simulate leaky neurons at -60 mV that spike above -53 mV. A spike shifts its receivers one sample later."""
    noise_mv = np.random.default_rng(seed).normal(0, 2, (n_samples, N_CHANNELS))
    voltage_mv = np.full((n_samples, N_CHANNELS), -60.0)
    spikes, held = np.zeros((2, N_CHANNELS))
    for sample in range(1, n_samples):
        free_mv = -60 + 0.9 * (voltage_mv[sample - 1] + 60) + spikes @ weights_mv + noise_mv[sample]
        spikes = (free_mv >= -53) & (held == 0)
        voltage_mv[sample] = np.where(spikes | (held > 0), -70.0, free_mv)
        held = np.where(spikes, 1, 0)
    return voltage_mv.astype(np.float32)


def drawn_weights_mv(seed: int) -> np.ndarray:
    """Draw weights: nine neurons each excite four others by 2.5 mV, and three each inhibit four others by 8 mV."""
    random = np.random.default_rng(seed)
    weights_mv = np.zeros((N_CHANNELS, N_CHANNELS), np.float32)
    for sender in range(N_CHANNELS):
        receivers = random.choice(np.delete(np.arange(N_CHANNELS), sender), 4, replace=False)
        weights_mv[sender, receivers] = 2.5 if sender < 9 else -8.0
    return weights_mv


@pytest.fixture(scope="module")
def two_organoids(window_set_of):
    """Window set of organoid `known`, with a training and a held-out recording, and `other`, which is held out."""
    known, other = drawn_weights_mv(0), drawn_weights_mv(1)
    recordings = [network_mv(known, 20_000, 0), network_mv(known, 1500, 1), network_mv(other, 12_000, 2)]
    return window_set_of(
        recordings,
        [Split.TRAIN, Split.TEST, Split.TEST],
        keys=("known--run_0", "known--run_1", "other--run_0"),
        stride=100,
    )


@pytest.fixture(scope="module")
def coupled(two_organoids) -> Forecaster:
    forecaster = Forecaster.unfitted("coupled_cnn_lstm", two_organoids)
    forecaster.module.fit(two_organoids)
    torch.manual_seed(0)
    torch.nn.init.normal_(forecaster.module.read_out[-1].weight, std=0.1)
    return forecaster


def test_regimes_depend_on_the_training_organoids(two_organoids, coupled, monkeypatch):
    monkeypatch.setattr(held_out_windows, "ADAPTATION_MS", 8000.0)
    windows = regime_windows(coupled, two_organoids)
    assert list(windows) == [Regime.TEST, Regime.ZERO_SHOT, Regime.ADAPTED]
    of = {regime: set(two_organoids.index["recording"][positions]) for regime, positions in windows.items()}
    assert of == {Regime.TEST: {1}, Regime.ZERO_SHOT: {2}, Regime.ADAPTED: {2}}
    first_target = two_organoids.index["start_row"][windows[Regime.ADAPTED]].min() + two_organoids.context
    assert 0 <= first_target - two_organoids.recordings[2].start_row - 8000 < 100


def test_too_many_windows_are_thinned_out_evenly(two_organoids, coupled, monkeypatch):
    every = regime_windows(coupled, two_organoids)[Regime.TEST]
    monkeypatch.setattr(held_out_windows, "_MOST_TARGETS", 7 * two_organoids.n_channels)
    chosen = regime_windows(coupled, two_organoids)[Regime.TEST]
    step = -(-len(every) // 7)
    assert step > 1
    np.testing.assert_array_equal(chosen, every[::step])


def test_a_forecaster_without_coupling_has_no_adapted_regime(two_organoids):
    forecaster = Forecaster.unfitted("shared_cnn_lstm", two_organoids)
    assert list(regime_windows(forecaster, two_organoids)) == [Regime.TEST, Regime.ZERO_SHOT]


def test_known_organoids_use_their_own_coupling_and_unseen_ones_use_none(two_organoids, coupled):
    known = forecaster_for_regime(coupled, two_organoids, Regime.TEST)(1)
    unseen = forecaster_for_regime(coupled, two_organoids, Regime.ZERO_SHOT)(2)
    truth = torch.from_numpy(drawn_weights_mv(0))
    found_mv = known.coupling_mv[0].sum(0)
    assert ((found_mv - truth).abs() < 0.25 * truth.abs() + 0.15).all()
    apart = ~torch.eye(N_CHANNELS, dtype=torch.bool)
    assert unseen.coupling_mv[0].sum(0)[apart].std() < 1e-6


def test_adaptation_estimates_the_unseen_network_from_earlier_samples_only(two_organoids, coupled, monkeypatch):
    monkeypatch.setattr(held_out_windows, "ADAPTATION_MS", 8000.0)
    adapted = forecaster_for_regime(coupled, two_organoids, Regime.ADAPTED)(2)
    truth = torch.from_numpy(drawn_weights_mv(1))
    found_mv = adapted.coupling_mv[0].sum(0)
    assert ((found_mv - truth).abs() < 0.25 * truth.abs() + 0.3).all()
    assert adapted.for_recording("known", two_organoids.channel_names) is adapted
    begin = two_organoids.recordings[2].start_row
    later = two_organoids.samples_z[begin + 8000 :].clone()
    try:
        two_organoids.samples_z[begin + 8000 :] = 0
        again = forecaster_for_regime(coupled, two_organoids, Regime.ADAPTED)(2)
    finally:
        two_organoids.samples_z[begin + 8000 :] = later
    assert torch.equal(again.coupling_mv, adapted.coupling_mv)


def test_all_forecasters_are_scored_on_the_same_windows_of_each_regime(two_organoids, coupled, monkeypatch):
    monkeypatch.setattr(held_out_windows, "ADAPTATION_MS", 8000.0)
    persistence = Forecaster.unfitted("persistence", two_organoids)
    evaluation, _ = score_forecaster(coupled, two_organoids, {"persistence": persistence})
    assert evaluation.regimes == (Regime.TEST, Regime.ZERO_SHOT, Regime.ADAPTED)
    for regime in evaluation.regimes:
        own, other = (evaluation.score(name, regime, 1) for name in ("coupled_cnn_lstm", "persistence"))
        assert own.n_targets == other.n_targets
    assert set(evaluation.provenance.recordings["zero_shot"]) == {"other--run_0"}
    assert "zero_shot/r2/h1" in evaluation.metrics()


def test_adapting_to_all_of_a_recording_or_without_coupling_is_refused(two_organoids, coupled):
    short = SimpleNamespace(
        rate_hz=1000.0,
        n_samples=500,
        segment_starts=(0,),
        positions_um=None,
        channel_names=two_organoids.channel_names,
        channel_types=two_organoids.channel_types,
        facts={},
        read_mv=lambda start_sample, stop_sample: np.zeros((stop_sample - start_sample, N_CHANNELS), np.float32),
    )
    with pytest.raises(ForecasterError, match="500 ms", check=lambda error: error.code == "adaptation-too-long"):
        adapt_to_beginning(coupled, short, 500.0)
    shared = Forecaster.unfitted("shared_cnn_lstm", two_organoids)
    with pytest.raises(ForecasterError, check=lambda error: error.code == "nothing-to-adapt"):
        adapt_to_beginning(shared, short, 100.0)


def test_an_unseen_organoid_may_have_other_channels_and_its_forecaster_cannot_be_saved(coupled, tmp_path):
    names = tuple(f"electrode_{channel}" for channel in range(5))
    history_mv = np.random.default_rng(0).normal(-60, 4, (1, 40, 5)).astype(np.float32)
    unseen = coupled.for_recording("another", names)
    with pytest.raises(ForecasterError, match="made for one recording"):
        unseen.save(tmp_path / "forecaster")
    assert unseen.predict_mv(history_mv).shape == (1, 3, 5)
    with pytest.raises(ForecasterError, match="5 channels"):
        coupled.predict_mv(history_mv)
