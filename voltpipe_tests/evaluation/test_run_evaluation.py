"""An optional part that fails leaves its reason, and stops neither the scores nor other parts."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from voltpipe.evaluation.diagnostics.activity import rollout_activity_distance
from voltpipe.evaluation.diagnostics.rollouts import make_rollouts, rollout_horizon
from voltpipe.evaluation.interpretation.interpretation import interpret
from voltpipe.evaluation.isolation import attempt, read_failures, write_failures
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import EvaluationError
from voltpipe.evaluation.run_evaluation import FullEvaluation, run_diagnostics, run_scoring
from voltpipe.forecasting.training.fitting import with_distribution
from voltpipe.reporting.diagnostics_text import following_text
from voltpipe.reporting.report import write_report
from voltpipe.windows.splits import Split

GROWTH = 1.5


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Three channels of noise; two recordings are held out."""
    recordings_mv = [np.random.default_rng(seed).normal(-60, 5, (1100, 3)) for seed in range(4)]
    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TEST]
    return window_set_of(recordings_mv, splits, stride=5, means_mv=[-60.0] * 4, sds_mv=[5.0] * 4)


@pytest.fixture(scope="module")
def unstable(window_set, forecaster_by):
    """A linear autoregression with a coefficient above one, whose roll-outs diverge.

    It has no gradient, so attribution by gradients fails.
    """

    def grow(history_z, *_):
        last_z = torch.from_numpy(history_z[:, -1:].numpy())
        return last_z * torch.tensor([GROWTH**horizon for horizon in (1, 2, 5)])[:, None]

    return with_distribution(forecaster_by("lstm", grow, window_set), window_set)


@pytest.fixture(scope="module")
def folder(slow_to_make, unstable, window_set, tmp_path_factory):
    """Folder into which each of the three runs has written its results."""
    folder = tmp_path_factory.mktemp("evaluation")
    scores = run_scoring(unstable, window_set)
    scores.write(folder)
    run_diagnostics(unstable, window_set, scores.evaluation).write(folder)
    interpret(unstable, window_set).write(folder)
    return folder


def test_an_error_says_when_and_how_often_roll_outs_diverge(unstable, window_set):
    with pytest.raises(EvaluationError) as diverged:
        make_rollouts(unstable, window_set, n_samples=100, n_starts=3)
    assert diverged.value.code == "roll-out-diverges"
    n_diverged, n_starts, first_ms = map(float, re.findall(r"\d+(?:\.\d+)?", str(diverged.value))[:3])
    assert (n_diverged, n_starts) == (6, 6)
    # About 1.5 to the power of the steps, from one SD to ten ranges of some seven SDs.
    assert 5 <= first_ms <= 25


def test_short_roll_outs_of_the_same_forecaster_are_bounded(unstable, window_set):
    runs = make_rollouts(unstable, window_set, n_samples=4, n_starts=3)
    assert np.isfinite(runs.imagined_mv).all()


@pytest.fixture(scope="module")
def partly_unstable(slow_to_make, window_set_of, forecaster_by):
    """Three held-out recordings, and a forecaster whose roll-outs diverge only in the one with a raised channel."""
    recordings_mv = [np.random.default_rng(seed).normal(-60, 5, (1100, 3)) for seed in range(5)]
    recordings_mv[3][:, 0] += 20
    splits = [Split.TRAIN, Split.VALIDATION, *[Split.TEST] * 3]
    window_set = window_set_of(recordings_mv, splits, stride=5, means_mv=[-60.0] * 5, sds_mv=[5.0] * 5)

    def grow_if_raised(history_z, *_):
        is_raised = history_z[:, :, 0].mean(1)[:, None, None] > 1
        return torch.where(is_raised, GROWTH * history_z[:, -1:], 0.0).expand(-1, 3, -1)

    return with_distribution(forecaster_by("lstm", grow_if_raised, window_set), window_set), window_set


def test_roll_outs_that_stay_bounded_are_measured_if_others_diverge(partly_unstable):
    rollouts = make_rollouts(*partly_unstable, n_samples=100, n_starts=3)
    assert rollouts.recordings == ("alpha--run_2",) * 3 + ("alpha--run_4",) * 3
    assert rollouts.imagined_mv.shape == rollouts.recorded_mv.shape == (6, 120, 3)
    assert np.isfinite(rollouts.imagined_mv).all()
    assert rollouts.divergence() == {
        "n_all_starts": 9,
        "n_diverged": 3,
        "diverged_after_ms": min(rollouts.diverged_after_ms),
    }
    following, resemblance = rollout_horizon(*partly_unstable), rollout_activity_distance(*partly_unstable)
    assert following["n_starts"].unique().tolist() == [16]
    assert re.search(r"after \d+ ms in 8 of 24 starts", following_text(following))
    assert resemblance[["n_all_starts", "n_diverged"]].drop_duplicates().to_numpy().tolist() == [[3, 1]]


def test_parts_fail_independently(folder):
    found = FullEvaluation.read(folder)
    assert all(np.isfinite(score.r2) for score in found.evaluation.scores)
    assert found.evaluation.score("lstm", Regime.TEST, 1).r2 < 0
    assert found.detail is not None
    assert found.diagnostics.failed.keys() == {"resemblance", "following"}
    assert all(len(table) for table in (found.diagnostics.errors_by_group, found.diagnostics.robustness))
    assert [check.name for check in found.diagnostics.honesty] == [
        "leak_probe",
        "other_moments",
        "time_reversal",
        "seed_spread",
    ]
    assert found.interpretation.failed.keys() == {"attribution"}
    assert len(found.interpretation.ablations)
    assert found.interpretation.sanity.rank_correlation is not None
    assert found.metrics()["test/r2/h1"] == found.evaluation.score("lstm", Regime.TEST, 1).r2


def test_the_page_shows_failures_in_their_sections(folder, tmp_path):
    found = FullEvaluation.read(folder)
    report = write_report(tmp_path, connectivity=found.connectivity, **vars(found))
    page = report.html_path.read_text()
    failed = dict(re.findall(r'<details class="section" id="(\w+)"[^>]* data-failed="([\w ]+)"', page))
    assert failed == {"resemblance": "resemblance following", "interpretation": "attribution"}
    for reason in found.diagnostics.failed.values():
        assert reason in page
    assert not report.undrawn
    assert {"errors_by_group", "robustness", "ablations", "r2_by_horizon"} <= report.figure_paths.keys()
    assert not {"resemblance", "following", "attribution"} & report.figure_paths.keys()


def test_a_figure_that_cannot_be_drawn_is_named_on_the_page(folder, tmp_path):
    found = FullEvaluation.read(folder)
    damaged = replace(found.diagnostics, robustness=found.diagnostics.robustness.drop(columns="r2"))
    report = write_report(tmp_path, connectivity=found.connectivity, **vars(replace(found, diagnostics=damaged)))
    page = report.html_path.read_text()
    assert report.undrawn.keys() == {"robustness"}
    assert re.findall(r'data-undrawn="(\w+)"', page) == ["robustness", "corruptions"]
    assert "KeyError" in report.undrawn["robustness"]
    assert "errors_by_group" in report.figure_paths


def test_a_page_without_figure_data_still_shows_the_scores(folder, tmp_path):
    found = replace(FullEvaluation.read(folder), detail=None, failed={"figure_data": "no space for arrays"})
    page = write_report(tmp_path, connectivity=found.connectivity, **vars(found)).html_path.read_text()
    assert 'id="forecasts" data-failed="figure_data"' in page
    assert "no space for arrays" in page
    assert 'id="figure-robustness"' in page
    assert 'id="figure-r2_by_horizon"' not in page


def test_failures_are_read_as_written_and_a_damaged_list_is_refused(tmp_path):
    path = tmp_path / "failed.json"
    assert read_failures(path) == {}
    write_failures(path, {"following": "why"})
    assert read_failures(path) == {"following": "why"}
    path.write_text("[1]")
    with pytest.raises(EvaluationError, match=r"failed\.json", check=lambda error: error.code == "failures-unreadable"):
        read_failures(path)


def test_an_unexpected_error_names_its_type_and_line():
    failure = attempt(lambda: np.linalg.inv(np.zeros((2, 2))))
    assert failure.code == "unexpected"
    assert failure.reason.startswith("LinAlgError: ")
    assert re.search(r"\(\w+\.py, line \d+\)$", failure.reason)
    expected = attempt(lambda: (_ for _ in ()).throw(EvaluationError("why", code="a-cause")))
    assert (expected.code, expected.reason) == ("a-cause", "why")
