"""Scores of forecasts and predictive distributions match values by hand."""

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from voltpipe.evaluation.accumulators import INTERVALS, LEVELS, ErrorSums, SpikeSums, bounds
from voltpipe.evaluation.figure_data_file import read_figure_data, write_figure_data
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import EvaluationError
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.training.fitting import with_distribution
from voltpipe.inference.forecast_recording import forecast_recording
from voltpipe.reporting.report import write_report
from voltpipe.reporting.score_tables import distribution_table
from voltpipe.windows.splits import Split

HORIZONS = (1, 2, 5)
SPLITS = [Split.TRAIN, Split.VALIDATION, Split.TEST]


def expect_minus_60_mv(history_z, mean_mv, sd_mv):
    return ((-60 - mean_mv) / sd_mv)[:, None].expand(-1, len(HORIZONS), -1)


@pytest.fixture(scope="module")
def uniform(window_set_of, forecaster_by):
    """Uniform voltages from -70 to -50 mV, and a forecaster of -60 mV with the right distribution."""
    random = np.random.default_rng(0)
    window_set = window_set_of([random.uniform(-70, -50, (4000, 3)) for _ in SPLITS], SPLITS)
    return window_set, with_distribution(forecaster_by("look_up", expect_minus_60_mv, window_set), window_set)


@pytest.fixture(scope="module")
def spiking(window_set_of, forecaster_by):
    """Samples at the reset voltage, -70 mV, with probability 0.2, and otherwise uniform from -60 to -50 mV."""
    random = np.random.default_rng(1)

    def voltage_mv():
        return np.where(random.random((4000, 3)) < 0.2, -70, random.uniform(-60, -50, (4000, 3)))

    window_set = window_set_of([voltage_mv() for _ in SPLITS], SPLITS)
    return window_set, with_distribution(forecaster_by("look_up", expect_minus_60_mv, window_set), window_set)


@pytest.fixture(scope="module")
def evaluated(uniform):
    window_set, forecaster = uniform
    evaluation, errors = score_forecaster(forecaster, window_set, {})
    return evaluation, errors.detail()


@pytest.fixture(scope="module")
def evaluated_spikes(spiking):
    window_set, forecaster = spiking
    evaluation, errors = score_forecaster(forecaster, window_set, {})
    return evaluation, errors.detail()


def test_each_interval_has_its_levels_as_ends():
    assert [(LEVELS[low], LEVELS[high]) for low, high in map(bounds, (50, 80, 95))] == [
        (0.25, 0.75),
        (0.1, 0.9),
        (0.025, 0.975),
    ]


def test_scores_of_a_uniform_voltage_have_their_theoretical_values(evaluated):
    evaluation, _ = evaluated
    for horizon in HORIZONS:
        score = evaluation.find_distribution("look_up", Regime.TEST, horizon)
        # For a uniform distribution of width w, known exactly, the CRPS is w / 6 and the pinball loss w p (1 - p) / 2.
        assert score.crps_mv == pytest.approx(20 / 6, rel=0.02)
        assert score.pinball_mv[0.5] == pytest.approx(20 / 8, rel=0.03)
        assert score.pinball_mv[0.1] == pytest.approx(20 * 0.09 / 2, rel=0.05)
        for percent in INTERVALS:
            assert score.coverage[percent] == pytest.approx(percent / 100, abs=0.03)
            assert score.width_mv[percent] == pytest.approx(20 * percent / 100, abs=0.6)
        low, high = score.coverage80_channels
        assert 0.77 < low <= score.coverage[80] <= high < 0.83
        assert score.coverage80_recordings == pytest.approx((score.coverage[80],) * 2)
        assert score.spikes is None


def test_spike_probabilities_are_right_for_random_spikes(evaluated_spikes):
    evaluation, _ = evaluated_spikes
    # First seen within n samples, from a sample off the reset: 1 - 0.8**n. From one at the reset (0.2 of all), the
    # first sample cannot be an onset unless one off the reset lies between: 0 for n = 1, 0.8 * 0.2 for n = 2.
    rates = {1: 0.8 * 0.2, 2: 0.8 * (1 - 0.8**2) + 0.2 * (0.8 * 0.2)}
    for horizon, rate in rates.items():
        spikes = evaluation.find_distribution("look_up", Regime.TEST, horizon).spikes
        assert spikes.rate == pytest.approx(rate, abs=0.01)
        for some in spikes.reliability:
            assert some.frequency == pytest.approx(some.chance, abs=0.02)
    nearest = evaluation.find_distribution("look_up", Regime.TEST, 1).spikes
    # All spikes, and 0.64 of 0.84 of the silent targets, were given 0.2, the other silent ones nothing.
    assert nearest.auc == pytest.approx(1 - 0.5 * 0.64 / 0.84, abs=0.02)
    assert nearest.brier == pytest.approx(0.8 * 0.2 * 0.8, abs=0.01)


def test_spike_scores_of_four_targets_match_values_by_hand():
    sums = SpikeSums()
    sums.add(torch.tensor([[0.1, 0.1], [0.8, 0.8]]), torch.tensor([[False, True], [True, True]]))
    score = sums.score()
    assert score.rate == 0.75
    # Of the three spikes, one is level with the silent target and two lie above it.
    assert score.auc == pytest.approx(2.5 / 3)
    assert score.brier == pytest.approx((0.1**2 + 0.9**2 + 0.2**2 + 0.2**2) / 4)
    assert [(b.frequency, b.n_targets) for b in score.reliability] == [(0.5, 2), (1.0, 2)]
    assert [b.chance for b in score.reliability] == pytest.approx([0.1, 0.8])


def test_there_is_no_spike_score_if_no_target_or_every_target_has_a_spike():
    for spiked in (False, True):
        sums = SpikeSums()
        sums.add(torch.tensor([[0.1, 0.2]]), torch.tensor([[spiked, spiked]]))
        assert sums.score() is None


def test_metrics_of_the_distribution_have_their_names(evaluated_spikes, evaluated):
    metrics = evaluated_spikes[0].metrics()
    score = evaluated_spikes[0].find_distribution("look_up", Regime.TEST, 5)
    assert metrics["test/crps_mv/h5"] == score.crps_mv
    assert metrics["test/coverage80/h5"] == score.coverage[80]
    assert metrics["test/spike_auc/h5"] == score.spikes.auc
    assert "test/spike_auc/h5" not in evaluated[0].metrics()


def test_baselines_are_scored_beside(uniform, forecaster_by):
    window_set, forecaster = uniform
    plain = forecaster_by("net", expect_minus_60_mv, window_set)
    evaluation, errors = score_forecaster(plain, window_set, {"look_up": forecaster})
    assert evaluation.metrics()["baseline/look_up/coverage80/h1"] == pytest.approx(0.8, abs=0.03)
    assert "test/coverage80/h1" not in evaluation.metrics()
    assert distribution_table(evaluation, Regime.TEST) == {}
    assert all(example.band_mv is None for example in errors.detail().examples)


def test_the_table_has_a_row_for_each_score(evaluated_spikes):
    table = distribution_table(evaluated_spikes[0], Regime.TEST)
    assert list(table) == [
        "CRPS (mV)",
        "truth inside the 50 % interval",
        "truth inside the 80 % interval",
        "truth inside the 95 % interval",
        "mean width of the 80 % interval (mV)",
        "targets with a spike",
        "AUC of the spike probability",
        "Brier score of the spike probability",
    ]
    assert all(len(cells) == len(HORIZONS) for cells in table.values())


@pytest.mark.slow
def test_the_report_shows_the_distribution(evaluated_spikes, no_connectivity, tmp_path):
    evaluation, detail = evaluated_spikes
    assert all(example.band_mv.shape == (2, len(HORIZONS)) for example in detail.examples)
    write_figure_data(tmp_path / "detail.npz", detail)
    again = read_figure_data(tmp_path / "detail.npz")
    np.testing.assert_array_equal(again.examples[0].band_mv, detail.examples[0].band_mv)
    report = write_report(tmp_path, evaluation, again, no_connectivity)
    page = report.html_path.read_text()
    assert "calibration" in report.figure_paths
    assert "truth inside the 80 % interval" in page
    assert re.search(r"<text[^>]*>80 % interval</text>", page)


@dataclass(frozen=True)
class Still:
    """Channels that stay at -55 mV."""

    channel_names: tuple[str, ...]
    n_samples: int = 100
    rate_hz: float = 1000.0
    segment_starts: tuple[int, ...] = (0,)
    channel_types: tuple[str, ...] = ()
    positions_um: None = None
    facts: dict[str, str] = field(default_factory=dict)

    def read_mv(self, start_sample, stop_sample):
        return np.full((stop_sample - start_sample, len(self.channel_names)), -55, np.float32)


def test_forecasts_of_a_recording_include_quantiles_and_spike_probabilities(spiking, tmp_path):
    window_set, forecaster = spiking

    path = tmp_path / "forecast.parquet"
    forecast_recording(forecaster, Still(window_set.channel_names), path, every_ms=10.0)
    frame = pq.read_table(path).to_pandas()
    assert list(frame.columns[3:]) == ["forecast_mv", "q10_mv", "q50_mv", "q90_mv", "spike_chance"]
    assert frame.q10_mv.to_numpy() == pytest.approx(-70, abs=0.02)
    # Off the reset, the quantile at level p lies (p - 0.2) / 0.8 of the way from -60 to -50 mV.
    assert frame.q50_mv.mean() == pytest.approx(-60 + 10 * 0.3 / 0.8, abs=0.5)
    assert frame.q90_mv.mean() == pytest.approx(-60 + 10 * 0.7 / 0.8, abs=0.5)
    assert frame[frame.horizon_ms == 1].spike_chance.mean() == pytest.approx(0.2, abs=0.03)


def sums_of(forecast_mv, truth_mv, train_mean_mv):
    """Return the accumulator of one horizon, from one row per window and one column per channel."""
    sums = ErrorSums(1, torch.tensor(train_mean_mv))
    sums.add(torch.tensor(forecast_mv)[:, None], torch.tensor(truth_mv)[:, None])
    return sums


def test_scores_of_two_windows_of_two_channels_match_values_by_hand():
    sums = sums_of([[-69.0, -60.0], [-70.0, -62.0]], [[-70.0, -60.0], [-68.0, -64.0]], [-69.0, -62.0])

    # errors 1, -2 and 0, 2; deviations from the training mean -1, 1 and 2, -2
    assert sums.r2() == pytest.approx([1 - 9 / 10])
    assert sums.r2_by_channel()[0] == pytest.approx([1 - 5 / 2, 1 - 4 / 8])
    assert sums.rmse_mv() == pytest.approx([1.5])
    assert sums.mae_mv() == pytest.approx([5 / 4])
    assert sums.n_targets == 4


def test_a_perfect_forecast_scores_1():
    truth_mv = [[-70.0, -55.0], [-51.0, -62.0]]

    assert sums_of(truth_mv, truth_mv, [-60.0, -60.0]).r2() == [1.0]


def test_the_training_mean_scores_0_even_where_the_held_out_mean_differs():
    assert sums_of([[-60.0], [-60.0]], [[-50.0], [-52.0]], [-60.0]).r2() == [0.0]


def test_batches_add_up_to_all_windows():
    generator = torch.Generator().manual_seed(1)
    forecast_mv, truth_mv = torch.randn(2, 30, 2, 3, generator=generator)
    whole, parts = ErrorSums(2, torch.zeros(3)), ErrorSums(2, torch.zeros(3))

    whole.add(forecast_mv, truth_mv)
    for part in range(3):
        parts.add(forecast_mv[part::3], truth_mv[part::3])

    assert parts.r2() == pytest.approx(whole.r2(), rel=1e-12)
    assert parts.mae_mv() == pytest.approx(whole.mae_mv(), rel=1e-12)
    assert parts.n_targets == whole.n_targets == 90


def test_many_small_errors_are_not_lost_beside_a_large_sum():
    sums = ErrorSums(1, torch.zeros(1))
    sums.add(torch.full((1, 1, 1), 1e4), torch.zeros(1, 1, 1))
    for _ in range(100):
        sums.add(torch.full((1, 1, 1), 0.5), torch.zeros(1, 1, 1))

    assert sums.rmse_mv() == pytest.approx([np.sqrt((1e8 + 25) / 101)], rel=1e-12)


def test_a_channel_that_stays_at_its_training_mean_has_no_r2_of_its_own():
    sums = sums_of([[0.0, 1.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 3.0]], [0.0, 0.0])

    assert np.isnan(sums.r2_by_channel()[0, 0])
    assert sums.r2() == pytest.approx([1 - 1 / 10])


def test_a_forecast_that_is_not_finite_is_refused():
    with pytest.raises(EvaluationError, check=lambda error: error.code == "forecast-not-finite"):
        sums_of([[float("nan")], [0.0]], [[1.0], [2.0]], [0.0]).r2()


def test_targets_that_never_vary_are_refused():
    with pytest.raises(EvaluationError, check=lambda error: error.code == "targets-constant"):
        sums_of([[1.0], [2.0]], [[0.0], [0.0]], [0.0]).r2()
