"""A predictive distribution is calibrated, and uses validation windows only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.training.fitting import fit_baselines, fit_distribution, with_distribution
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet


@pytest.fixture
def persistence(write_window_set, ar1_mv) -> Forecaster:
    """Persistence one sample ahead, for a single channel with mean -60 mV and SD 1 mV."""
    window_set = write_window_set([(Split.TRAIN, ar1_mv(0, 100, 1))], horizons_samples=(1,))
    forecaster = Forecaster.unfitted("persistence", window_set)
    return replace(forecaster, config=forecaster.config.model_copy(update={"mean_mv": (-60.0,), "sd_mv": (1.0,)}))


def fitted(persistence: Forecaster, present_mv, truth_mv):
    """Fit the distribution of single-channel forecasts of the present voltage."""
    samples_mv = torch.tensor(np.stack([present_mv, truth_mv], axis=1)[..., None], dtype=torch.float32)
    return fit_distribution(persistence, samples_mv, samples_mv[:, :1])


def quantiles_mv(distribution, present_mv: float, levels) -> list[float]:
    present = torch.tensor([[present_mv]])
    return distribution.quantiles_mv(present, present[:, None], levels).flatten().tolist()


def test_the_kth_of_nine_residuals_is_the_quantile_at_k_tenths(persistence):
    residuals_mv = np.array([3, 1, 2, 5, 4, 9, 7, 8, 6])
    distribution = fitted(persistence, np.full(9, -60.0) + np.arange(9), -60 + np.arange(9) + residuals_mv)
    assert not distribution.sees_spikes
    assert quantiles_mv(distribution, -50.0, [0.1, 0.5, 0.75, 0.9]) == pytest.approx([-49, -45, -42.5, -41], abs=0.02)
    # Quantiles do not exceed the observed residuals.
    assert quantiles_mv(distribution, -50.0, [0.01, 0.99]) == pytest.approx([-49, -41], abs=1e-3)


@pytest.fixture
def spiking(persistence):
    """Twenty of 200 voltages are at reset and leave it; every fourth of the others spikes, the rest rise by 1 mV."""
    present_mv = np.r_[np.full(20, -70.0), np.linspace(-65, -50, 180)]
    truth_mv = np.r_[np.full(20, -66.0), np.where(np.arange(180) % 4 == 0, -70.0, present_mv[20:] + 1)]
    return fitted(persistence, present_mv, truth_mv)


def test_quantiles_reflect_the_probability_of_the_reset(spiking):
    reset_mv, tolerance_mv = -70.0, float(spiking.tolerance_mv)
    assert spiking.sees_spikes
    # Only the reset lies below -60 mV, with a probability of a quarter; 0.1 is in its lower half, 0.2 is not.
    low_mv, high_mv, median_mv = quantiles_mv(spiking, -60.0, [0.1, 0.2, 0.5])
    assert reset_mv - tolerance_mv < low_mv < reset_mv < high_mv < reset_mv + tolerance_mv
    assert (low_mv, high_mv) == pytest.approx((reset_mv - 0.2 * tolerance_mv, reset_mv + 0.6 * tolerance_mv), abs=1e-4)
    assert median_mv == pytest.approx(-59, abs=1e-3)
    assert quantiles_mv(spiking, -70.0, [0.1, 0.9]) == pytest.approx([-66, -66], abs=1e-3)


def test_samples_are_at_the_reset_as_often_as_the_truth(spiking):
    level = torch.linspace(0.005, 0.995, 100).reshape(-1, 1, 1)
    present_mv = torch.full((100, 1), -60.0)
    drawn_mv = spiking.sample_mv(present_mv, present_mv[:, None], level)
    assert int((drawn_mv == -70).sum()) == 25
    assert drawn_mv[25:].flatten().tolist() == pytest.approx([-59] * 75, abs=1e-3)


def test_spike_probability_is_the_share_of_spikes(spiking):
    present_mv = torch.tensor([[-60.0], [-70.0]])
    chance = spiking.spike_chance(present_mv, present_mv[:, None]).flatten().tolist()
    assert chance == pytest.approx([45.5 / 181, 0.5 / 21])


def test_a_spike_counts_from_the_horizon_of_its_onset(spiking):
    spiking.config = spiking.config.model_copy(update={"horizons_samples": (1, 2, 3)})
    samples_mv = torch.tensor([[-60.0, -55, -70, -70], [-70, -70, -60, -70], [-60, -60, -60, -60]])[..., None]
    assert spiking.spikes_within(samples_mv)[..., 0].tolist() == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]


def test_intervals_have_their_coverage_in_calm_and_in_variable_states(persistence):
    random = np.random.default_rng(0)

    def draw(n):
        present_mv = random.uniform(-70, -50, n)
        return present_mv, present_mv + random.normal(0, np.where(present_mv > -60, 4.0, 0.5))

    distribution = fitted(persistence, *draw(20_000))
    present_mv, truth_mv = (torch.tensor(values, dtype=torch.float32)[:, None] for values in draw(20_000))
    low_mv, high_mv = distribution.quantiles_mv(present_mv, present_mv[:, None], [0.1, 0.9])[:, :, 0]
    inside = (truth_mv >= low_mv) & (truth_mv <= high_mv)
    for calm in (True, False):
        chosen = (present_mv < -60) == calm
        assert inside[chosen].float().mean() == pytest.approx(0.8, abs=0.015)
    width_mv = (high_mv - low_mv).flatten()
    assert width_mv[present_mv.flatten() > -59].mean() > 6 * width_mv[present_mv.flatten() < -61].mean()


def test_without_a_reset_each_channel_has_its_own_scale(write_window_set, ar1_mv):
    scales = np.array([1.0, 1.0, 10.0, 0.1])

    def scaled_mv(seed):
        return (-60 + (ar1_mv(seed, 3000) + 60) * scales).astype(np.float32)

    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
    window_set = write_window_set([(split, scaled_mv(seed)) for seed, split in enumerate(splits)])
    batch = window_set.batch(window_set.windows(Split.TEST))
    forecaster = fit_baselines(window_set)["autoregression"]
    quantiles = torch.from_numpy(forecaster.predict_quantiles_mv(batch.history_mv().numpy(), [0.1, 0.9]))
    covered = ((batch.target_mv() >= quantiles[0]) & (batch.target_mv() <= quantiles[1])).float().mean((0, 1))
    assert covered.tolist() == pytest.approx([0.8] * 4, abs=0.06)
    width_mv = (quantiles[1] - quantiles[0]).mean((0, 1))
    assert (width_mv / width_mv[0]).tolist() == pytest.approx(scales.tolist(), rel=0.25)


def test_quantiles_increase_with_the_level(spiking):
    random = np.random.default_rng(0)
    present_mv, forecast_mv = (torch.tensor(random.uniform(-80, -40, (500, 1)), dtype=torch.float32) for _ in range(2))
    present_mv[:50] = -70
    quantiles = spiking.quantiles_mv(present_mv, forecast_mv[:, None], np.linspace(0, 1, 101).tolist())
    assert (quantiles.diff(dim=0) >= 0).all()


def test_a_distribution_uses_validation_windows_only(write_window_set, ar1_mv):
    def tables(changed: Split | None) -> dict[str, torch.Tensor]:
        splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
        recordings = [(split, ar1_mv(seed + 10 * (split is changed))) for seed, split in enumerate(splits)]
        window_set = write_window_set(recordings, f"changed_{changed}")
        forecaster = with_distribution(Forecaster.unfitted("persistence", window_set), window_set)
        assert forecaster.distribution
        scales = {"centre_mv", "scale_mv"}
        return {name: table for name, table in forecaster.distribution.state_dict().items() if name not in scales}

    before = tables(None)
    assert all(torch.equal(table, before[name]) for name, table in tables(Split.TEST).items())
    assert not torch.equal(tables(Split.VALIDATION)["residuals"], before["residuals"])


def test_a_saved_forecaster_keeps_its_distribution(ar1_windows: WindowSet, tmp_path):
    forecaster = fit_baselines(ar1_windows)["look_up"]
    forecaster.save(tmp_path / "saved")
    again = Forecaster.load(tmp_path / "saved")
    history_mv = ar1_windows.batch(ar1_windows.windows(Split.TEST)).history_mv().numpy()
    levels = [0.025, 0.5, 0.975]
    np.testing.assert_array_equal(
        again.predict_quantiles_mv(history_mv, levels), forecaster.predict_quantiles_mv(history_mv, levels)
    )
    assert forecaster.predict_quantiles_mv(history_mv[0], levels).shape == (3, 3, 4)


def test_missing_distribution_and_invisible_spikes_are_refused(ar1_windows: WindowSet):
    history_mv = np.full((30, 4), -60, np.float32)
    with pytest.raises(ForecasterError, match="persistence", check=lambda error: error.code == "distribution-missing"):
        Forecaster.unfitted("persistence", ar1_windows).predict_quantiles_mv(history_mv, [0.5])
    with pytest.raises(ForecasterError, check=lambda error: error.code == "spikes-not-visible"):
        fit_baselines(ar1_windows)["persistence"].spike_chance(history_mv)


def test_a_damaged_distribution_is_refused_with_its_file(ar1_windows: WindowSet, tmp_path):
    fit_baselines(ar1_windows)["persistence"].save(tmp_path / "saved")
    (tmp_path / "saved" / "distribution.json").write_text("{}")
    with pytest.raises(
        ForecasterError, match=r"distribution\.json", check=lambda error: error.code == "forecaster-file-damaged"
    ):
        Forecaster.load(tmp_path / "saved")
