"""A forecaster and its baselines are scored on held-out windows only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from voltpipe.evaluation.figure_data_file import read_figure_data, write_figure_data
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation, EvaluationError
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.progress import EpochRecord
from voltpipe.windows.settings import Protocol
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowedSpan

HORIZONS = (1, 2, 5)


def persist(history_z, mean_mv, sd_mv):
    """Repeat the last value."""
    return history_z[:, -1:].expand(-1, len(HORIZONS), -1)


def repeat_period(history_z, mean_mv, sd_mv):
    """Forecast a signal with a period of 10 samples exactly."""
    return torch.stack([history_z[:, horizon - 11] for horizon in HORIZONS], 1)


def waves_mv(n_samples, n_channels, phase=0):
    """Return sine waves with a period of 10 samples about -60 mV."""
    return -60 + 5 * np.sin(2 * np.pi * (np.arange(n_samples)[:, None] + phase + np.arange(n_channels)) / 10)


def noise(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_perfect_forecaster_scores_1_at_every_horizon_in_both_regimes(window_set_of, forecaster_by):
    window_set = window_set_of(
        [waves_mv(200, 3), waves_mv(100, 3, 4), waves_mv(100, 3, 7)],
        [Split.TRAIN, Split.TEST, Split.TIME],
        means_mv=[-60.0, -61.0, -59.0],
        sds_mv=[3.0, 4.0, 5.0],
    )

    evaluation, _ = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})

    assert evaluation.regimes == (Regime.TEST, Regime.TIME)
    for regime in evaluation.regimes:
        for horizon in HORIZONS:
            assert evaluation.score("waves", regime, horizon).r2 == pytest.approx(1, abs=1e-9)


def test_persistence_on_a_random_walk_loses_one_step_variance_a_sample(window_set_of, forecaster_by):
    steps = noise((20_000, 2))
    walk_mv = np.cumsum(steps, 0) - 60
    window_set = window_set_of([np.full((100, 2), -60.0), walk_mv], [Split.TRAIN, Split.TEST], stride=7)

    evaluation, _ = score_forecaster(forecaster_by("persistence", persist, window_set), window_set, {})

    for horizon in HORIZONS:
        score = evaluation.score("persistence", Regime.TEST, horizon)
        assert score.rmse_mv == pytest.approx(np.sqrt(horizon), rel=0.03)
        total = np.mean((walk_mv[20:] + 60) ** 2)
        assert score.r2 == pytest.approx(1 - horizon / total, abs=0.1 * horizon / total)


def test_noise_of_known_sd_gives_that_rmse_in_mv_for_any_z_score(window_set_of, forecaster_by):
    window_set = window_set_of(
        [noise((200, 2)), -60 + 0.5 * noise((20_000, 2), 2)],
        [Split.TRAIN, Split.TEST],
        means_mv=[0.0, -57.0],
        sds_mv=[1.0, 8.0],
        stride=3,
    )

    def mean_of_the_noise(history_z, mean_mv, sd_mv):
        return ((-60 - mean_mv) / sd_mv)[:, None].expand(-1, len(HORIZONS), -1)

    evaluation, _ = score_forecaster(forecaster_by("mean", mean_of_the_noise, window_set), window_set, {})

    score = evaluation.score("mean", Regime.TEST, 2)
    assert score.rmse_mv == pytest.approx(0.5, rel=0.03)
    assert score.mae_mv == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.03)


def test_each_regime_is_scored_on_its_own_windows(window_set_of, forecaster_by):
    flat, waves = np.full((60, 1), -50.0), waves_mv(60, 1)
    window_set = window_set_of([waves, waves, flat], [Split.TRAIN, Split.TEST, Split.TIME])

    evaluation, _ = score_forecaster(forecaster_by("persistence", persist, window_set), window_set, {})

    assert evaluation.score("persistence", Regime.TEST, 5).r2 == pytest.approx(-3, abs=0.05)
    assert evaluation.score("persistence", Regime.TIME, 5).r2 == 1
    assert evaluation.score("persistence", Regime.TEST, 5).n_targets == 60 - 25 + 1


def test_a_regime_without_windows_is_absent(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TIME])

    evaluation, errors = score_forecaster(forecaster_by("persistence", persist, window_set), window_set, {})

    assert evaluation.regimes == (Regime.TIME,)
    assert errors.detail().regime == Regime.TIME
    assert not [name for name in evaluation.metrics() if name.startswith("test/")]


def test_nothing_held_out_is_refused(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 1)], [Split.TRAIN])

    with pytest.raises(EvaluationError, check=lambda error: error.code == "nothing-held-out"):
        score_forecaster(forecaster_by("persistence", persist, window_set), window_set, {})


def test_baselines_are_scored_on_the_same_targets_at_all_their_horizons(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 2), waves_mv(60, 2)], [Split.TRAIN, Split.TEST])

    def next_only(history_z, mean_mv, sd_mv):
        return repeat_period(history_z, mean_mv, sd_mv)[:, :1]

    evaluation, _ = score_forecaster(
        forecaster_by("one_step", next_only, window_set, horizons=(1,)),
        window_set,
        {"persistence": forecaster_by("persistence", persist, window_set)},
    )

    assert evaluation.horizons == (1,)
    assert evaluation.baselines == ("persistence",)
    own = evaluation.score("one_step", Regime.TEST, 1)
    assert evaluation.score("persistence", Regime.TEST, 1).n_targets == own.n_targets
    assert evaluation.score("persistence", Regime.TEST, 5).r2 < 0
    with pytest.raises(
        EvaluationError, match=r"one_step.* 5 samples", check=lambda error: error.code == "score-unknown"
    ):
        evaluation.score("one_step", Regime.TEST, 5)


def test_a_horizon_without_targets_is_refused(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])

    with pytest.raises(EvaluationError, match=r"\[7\]", check=lambda error: error.code == "horizons-not-in-windows"):
        score_forecaster(forecaster_by("far", persist, window_set, horizons=(1, 7)), window_set, {})


def test_a_longer_history_than_the_windows_have_is_refused(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])

    with pytest.raises(EvaluationError, match=r"21 .* 20\b", check=lambda error: error.code == "context-too-short"):
        score_forecaster(forecaster_by("long", persist, window_set, context=21), window_set, {})


def test_a_planted_bad_channel_has_the_lowest_r2(window_set_of, forecaster_by):
    recording_mv = waves_mv(300, 5)
    recording_mv[:, 3] = -60 + noise(300)
    window_set = window_set_of([waves_mv(300, 5), recording_mv], [Split.TRAIN, Split.TEST])

    _, errors = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})
    detail = errors.detail()

    r2 = detail.r2_by_channel["waves"][0]
    assert r2.argmin() == 3
    assert r2[3] < 0
    assert np.delete(r2, 3) == pytest.approx(1, abs=1e-9)


def test_changing_training_samples_changes_no_error(window_set_of, forecaster_by):
    held_out = waves_mv(100, 2) + noise((100, 2))
    scores = []
    for training in (waves_mv(60, 2), -60 + 100 * noise((60, 2))):
        window_set = window_set_of([training, held_out], [Split.TRAIN, Split.TEST])
        evaluation, _ = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})
        scores.append(evaluation.score("waves", Regime.TEST, 1).rmse_mv)

    assert scores[0] == scores[1]


@pytest.fixture
def noisy_detail(window_set_of, forecaster_by):
    recording_mv = waves_mv(400, 4) + noise((400, 4))
    window_set = window_set_of([waves_mv(60, 4), recording_mv], [Split.TRAIN, Split.TEST])
    record = EpochRecord(1, 2.0, 0.9, 0.8, {1: 0.5}, 1e-3, 40.0, 0.0)
    _, errors = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})
    detail = errors.detail([record])
    return detail, recording_mv


def test_examples_are_sorted_from_easy_to_hard_and_show_the_recording(noisy_detail):
    detail, recording_mv = noisy_detail

    errors = [np.mean((e.forecast_mv - e.truth_mv[[0, 1, 4]]) ** 2) for e in detail.examples]
    assert errors[0] < errors[2] < errors[-1]
    for example in detail.examples:
        last_known = round(example.origin_s * 1000)
        channel_mv = recording_mv[:, detail.channel_names.index(example.channel)]
        assert example.history_mv[-1] == pytest.approx(channel_mv[last_known], abs=1e-4)
        assert example.truth_mv == pytest.approx(channel_mv[last_known + 1 : last_known + 6], abs=1e-4)


def test_the_worst_forecasts_have_the_largest_errors_and_do_not_overlap(noisy_detail):
    detail, recording_mv = noisy_detail
    truth_mv, forecast_mv = recording_mv[20:396], recording_mv[10:386]  # the forecast repeats the last period
    largest_mv = np.abs(forecast_mv - truth_mv).max()

    errors_mv = [abs(e.forecast_mv[0] - e.truth_mv[0]) for e in detail.worst]
    assert errors_mv[0] == pytest.approx(largest_mv, abs=1e-4)
    assert errors_mv == sorted(errors_mv, reverse=True)
    origins = np.sort([e.origin_s for e in detail.worst])
    assert np.diff(origins).min() >= 0.025 - 1e-9
    assert 10 <= len(detail.worst) <= 400 // 25


def test_the_example_segment_has_a_forecast_at_each_sample(noisy_detail):
    detail, recording_mv = noisy_detail
    stretch = detail.stretch
    start = round(stretch.start_s * 1000)
    columns = [detail.channel_names.index(channel) for channel in stretch.channels]

    assert stretch.truth_mv == pytest.approx(recording_mv[start : start + 250, columns], abs=1e-4)
    # A forecast 1 sample ahead repeats the sample 9 samples back.
    assert stretch.forecast_mv[:, 0] == pytest.approx(recording_mv[start - 9 : start + 241, columns], abs=1e-4)


def test_histograms_count_every_error_of_the_forecaster(noisy_detail):
    detail, _ = noisy_detail
    n_targets = (400 - 25 + 1) * 4

    centres_mv = (detail.error_edges_mv[1:] + detail.error_edges_mv[:-1]) / 2
    counts = detail.error_counts[0]
    assert counts.sum() == pytest.approx(n_targets, abs=5)
    # The errors are differences of two noises of SD 1 mV.
    assert np.sqrt(np.average(centres_mv**2, weights=counts)) == pytest.approx(np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ("other", "code", "facts"),
    [
        ({"rate_hz": 20_000.0}, "rate-differs", "alpha .*1000 Hz.* 20000 Hz"),
        ({"conditioning": {"profile": "spikes"}}, "conditioning-differs", "membrane .* spikes"),
    ],
)
def test_a_forecaster_is_not_scored_on_recordings_that_it_does_not_fit(
    window_set_of, forecaster_by, other, code, facts
):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])
    forecaster = forecaster_by("waves", repeat_period, window_set)
    forecaster = replace(forecaster, config=forecaster.config.model_copy(update=other))
    with pytest.raises(ForecasterError, match=facts, check=lambda error: error.code == code):
        score_forecaster(forecaster, window_set, {})


def test_weights_of_particular_channels_are_not_scored_on_others(window_set_of, forecaster_by):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])
    bound = forecaster_by("waves", repeat_period, window_set)
    bound.module.bound_to_channels = True
    bound = replace(bound, config=bound.config.model_copy(update={"channel_names": ("elsewhere",)}))
    with pytest.raises(
        ForecasterError, match=r"alpha.*\(1: n0\).* waves", check=lambda error: error.code == "channels-differ"
    ):
        score_forecaster(bound, window_set, {})


def test_the_published_protocol_has_no_example_segment(window_set_of, forecaster_by):
    window_set = window_set_of(
        [waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST], protocol=Protocol.PUBLISHED
    )
    spans = (WindowedSpan(0, 0, 60, Split.TRAIN), WindowedSpan(1, 60, 120, Split.TRAIN))
    window_set.manifest = window_set.manifest.model_copy(update={"spans": spans})

    _, errors = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})
    detail = errors.detail()

    assert detail.stretch is None


def test_figure_data_survive_their_file(noisy_detail, tmp_path):
    detail, _ = noisy_detail

    write_figure_data(tmp_path / "detail.npz", detail)
    restored = read_figure_data(tmp_path / "detail.npz")

    np.testing.assert_equal(vars(restored.stretch), vars(detail.stretch))
    np.testing.assert_equal([vars(e) for e in restored.examples], [vars(e) for e in detail.examples])
    np.testing.assert_equal([vars(e) for e in restored.worst], [vars(e) for e in detail.worst])
    assert restored.history == detail.history
    nested = {"stretch", "examples", "worst", "history"}
    np.testing.assert_equal(
        {name: value for name, value in vars(restored).items() if name not in nested},
        {name: value for name, value in vars(detail).items() if name not in nested},
    )


def test_an_error_names_damaged_figure_data(tmp_path):
    path = tmp_path / "detail.npz"
    path.write_bytes(b"not a zip")

    with pytest.raises(
        EvaluationError, match=r"detail\.npz", check=lambda error: error.code == "figure-data-unreadable"
    ):
        read_figure_data(path)


def test_metrics_have_the_names_of_the_design(window_set_of, forecaster_by):
    window_set = window_set_of(
        [waves_mv(60, 1), waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST, Split.TIME]
    )
    forecaster = forecaster_by("waves", repeat_period, window_set)
    baseline = forecaster_by("persistence", persist, window_set)

    evaluation, _ = score_forecaster(
        forecaster, window_set, {"persistence": baseline}, ceiling_r2={1: 0.787}, observable_ceiling_r2={1: 0.785}
    )
    metrics = evaluation.metrics()

    own = {f"{regime}/{name}/h{h}" for regime in ("test", "time") for h in HORIZONS for name in ("r2", "rmse_mv")}
    assert own <= metrics.keys()
    assert metrics["test/mae_mv/h1"] == evaluation.score("waves", Regime.TEST, 1).mae_mv
    assert metrics["baseline/persistence/r2/h5"] == evaluation.score("persistence", Regime.TEST, 5).r2
    assert metrics["time/baseline/persistence/r2/h5"] == evaluation.score("persistence", Regime.TIME, 5).r2
    assert metrics["ceiling/r2/h1"] == 0.787
    assert metrics["observable_ceiling/r2/h1"] == 0.785


def test_an_evaluation_survives_json_and_has_its_provenance(window_set_of, forecaster_by, tmp_path):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])
    forecaster = forecaster_by("waves", repeat_period, window_set)

    evaluation, _ = score_forecaster(
        forecaster, window_set, {}, ceiling_r2={1: 0.8}, ceiling_standard_error={1: 0.01}, training={"device": "cpu"}
    )
    evaluation.write(tmp_path / "metrics.json")

    assert Evaluation.read(tmp_path / "metrics.json") == evaluation
    assert evaluation.provenance.window_set_digest == window_set.digest
    assert evaluation.provenance.recordings == {Split.TRAIN: ("alpha--run_0",), Split.TEST: ("alpha--run_1",)}
    assert evaluation.provenance.settings["training"] == {"device": "cpu"}
    assert evaluation.provenance.settings["architecture"] == {"name": "waves", "width": 3}
    assert evaluation.provenance.code_revision.startswith("voltpipe ")


def test_a_score_that_is_nan_is_refused_on_reading(window_set_of, forecaster_by, tmp_path):
    window_set = window_set_of([waves_mv(60, 1), waves_mv(60, 1)], [Split.TRAIN, Split.TEST])
    evaluation, _ = score_forecaster(forecaster_by("waves", repeat_period, window_set), window_set, {})
    path = tmp_path / "metrics.json"
    evaluation.write(path)
    r2 = evaluation.scores[0].r2
    path.write_text(path.read_text().replace(f'"r2": {r2},', '"r2": NaN,', 1))

    with pytest.raises(
        EvaluationError, match=r"metrics\.json", check=lambda error: error.code == "evaluation-unreadable"
    ):
        Evaluation.read(path)
