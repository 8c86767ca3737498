"""Diagnostics have all their parts, and survive their files."""

import re
from dataclasses import replace
from html import escape

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.diagnostics.activity import ACTIVITY_MEASURES, rollout_activity_distance
from voltpipe.evaluation.diagnostics.corruptions import corruptions
from voltpipe.evaluation.diagnostics.diagnostics import Diagnostics, diagnose
from voltpipe.evaluation.diagnostics.novelty_detection import CLEAN
from voltpipe.evaluation.diagnostics.rollouts import DISTANCE, LEAD, SPIKES, rollout_horizon
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.training.fitting import fit_baselines, fit_novelty_detector
from voltpipe.reporting.diagnostics_text import calibration_text
from voltpipe.reporting.report import write_report
from voltpipe.windows.splits import Split


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Twelve independent channels that rise and are reset at -50 mV; two recordings are held out."""
    rng = np.random.default_rng(0)
    recordings_mv = np.full((4, 2600, 12), -70.0)
    for row in range(1, 2600):
        risen_mv = recordings_mv[:, row - 1] + 0.15 * (-50 - recordings_mv[:, row - 1]) + rng.normal(0, 1.5, (4, 12))
        recordings_mv[:, row] = np.where(risen_mv > -50, -70.0, risen_mv)
    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TEST]
    return window_set_of(list(recordings_mv), splits, stride=5)


@pytest.fixture(scope="module")
def diagnostics(slow_to_make, window_set) -> Diagnostics:
    baselines = fit_baselines(window_set)
    return diagnose(fit_novelty_detector(baselines["look_up"], window_set), baselines, window_set)


def test_all_diagnostics_are_made(diagnostics):
    kinds = set(diagnostics.errors_by_group.kind)
    assert {"channel", "recording", "present voltage", "time since its spike", "firing rate"} <= kinds
    assert set(diagnostics.errors_by_group.forecaster) == {"look_up"}
    assert set(diagnostics.robustness.corruption) == {corruption.name for corruption in corruptions(5.0)}
    assert set(diagnostics.out_of_distribution.corruption) == {CLEAN, *diagnostics.robustness.corruption}
    assert set(diagnostics.robustness.forecaster) == {"look_up", "autoregression"}
    assert set(diagnostics.resemblance.measure) <= {measure.name for measure in ACTIVITY_MEASURES}
    assert set(diagnostics.following.measure) == {DISTANCE, SPIKES, LEAD}
    assert diagnostics.bad_channels.is_planted.sum() == 9  # three channels dead, and three pairs swapped
    assert [check.passed for check in diagnostics.honesty] == [True] * 3


def test_roll_outs_of_independent_channels_are_independent(diagnostics):
    found = diagnostics.resemblance.set_index("measure")
    assert found.loc["spike-count correlation", "resembles"]


def test_diagnostics_survive_their_files(diagnostics, tmp_path):
    diagnostics.write(tmp_path)
    found = Diagnostics.read(tmp_path)
    for name in ("errors_by_group", "robustness", "bad_channels", "out_of_distribution", "resemblance", "following"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(diagnostics, name), check_dtype=False)
    assert found.honesty == diagnostics.honesty


@pytest.fixture(scope="module")
def page(diagnostics, window_set, no_connectivity, tmp_path_factory) -> str:
    baselines = fit_baselines(window_set)
    evaluation, errors = score_forecaster(baselines.pop("look_up"), window_set, baselines)
    folder = tmp_path_factory.mktemp("report")
    report = write_report(folder, evaluation, errors.detail(), no_connectivity, diagnostics)
    assert {
        "errors_by_group",
        "robustness",
        "out_of_distribution",
        "resemblance",
        "following",
    } <= report.figure_paths.keys()
    return report.html_path.read_text()


def test_the_page_shows_each_figure_once(page):
    for name in ("errors_by_group", "robustness", "out_of_distribution", "resemblance", "following"):
        assert page.count(f'id="figure-{name}"') == 1, name
    for drawn in ("present voltage", "50 Hz hum", "Fano factor"):
        assert drawn in page


def test_the_page_describes_the_findings(page, diagnostics):
    # Near the threshold a spike may or may not come: there the error is made.
    assert re.search(r"<p>1 ms ahead, \d+% .* 2\d% of the targets \(present voltage: -5\d.* mV", page)
    for name in ("leak_probe", "other_moments", "time_reversal"):
        assert f'data-check="{name}" data-passed="true"' in page
    assert all(escape(check.finding) in page for check in diagnostics.honesty)


def test_a_forecaster_that_cannot_roll_out_gives_empty_tables(window_set, forecaster_by):
    rule = forecaster_by("persistence", lambda history_z, *_: history_z[:, -1:].expand(-1, 3, -1), window_set)
    assert rollout_activity_distance(rule, window_set).empty
    assert rollout_horizon(rule, window_set).empty


def test_the_text_names_the_group_with_too_narrow_an_interval(diagnostics):
    def text_of(low, high):
        table = diagnostics.errors_by_group.assign(coverage80=0.8, coverage80_low=0.79, coverage80_high=0.81)
        first = (table.kind == "firing rate") & (table.horizon == 1)
        table.loc[table.index[first][0], ["coverage80", "coverage80_low", "coverage80_high"]] = [0.71, low, high]
        return calibration_text(replace(diagnostics, errors_by_group=table), "look_up", 1000.0)

    assert re.search(r"firing rate: below .* 1 ms .*71\.0% .*70\.0% to 72\.0%", text_of(0.70, 0.72))
    assert "firing rate" not in text_of(0.55, 0.85)
