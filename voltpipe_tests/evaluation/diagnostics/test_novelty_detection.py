"""Visible corruptions are detected, severe ones better than mild ones, and invisible ones are not."""

import re

import numpy as np
import pytest

from voltpipe.evaluation.diagnostics.novelty_detection import CLEAN, novelty_detection_table
from voltpipe.forecasting.training.fitting import FALSE_ALARMS, fit_novelty_detector
from voltpipe.reporting.diagnostics_text import out_of_distribution_text
from voltpipe.windows.splits import Split


@pytest.fixture(scope="module")
def persistence(window_set_of, forecaster_by):
    """White noise of SD 2 mV about -55 mV on 20 equal channels, in training and held-out recordings."""
    rng = np.random.default_rng(0)
    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
    window_set = window_set_of([rng.normal(-55, 2, (12_000, 20)) for _ in splits], splits, stride=10)
    return forecaster_by("persistence", lambda z, *_: z[:, -1:].expand(-1, 3, -1), window_set), window_set


@pytest.fixture(scope="module")
def table(persistence):
    return novelty_detection_table(fit_novelty_detector(*persistence), persistence[1])


def auc(table, corruption: str) -> np.ndarray:
    return table[(table.corruption == corruption) & table.is_limit].auc.to_numpy()


def test_clean_windows_exceed_the_limit_at_the_set_rate(table):
    clean = table[table.corruption == CLEAN]
    assert len(clean) == 1
    assert clean.recognised.item() == pytest.approx(FALSE_ALARMS, abs=0.01)


@pytest.mark.parametrize("fault", ["noise", "50 Hz hum", "60 Hz hum", "drift", "dead channels", "gain error"])
def test_worse_corruptions_are_detected_better(table, fault):
    found = auc(table, fault)
    assert found[-1] > 0.99
    assert (np.diff(found) > -0.05).all()


@pytest.mark.parametrize("fault", ["swapped channels", "channels late"])
def test_invisible_corruptions_are_not_detected(table, fault):
    np.testing.assert_allclose(auc(table, fault), 0.5, atol=0.2)


def test_a_curve_ends_with_all_windows_detected(table):
    curves = table[(table.corruption != CLEAN) & ~table.is_limit]
    for _, curve in curves.groupby(["corruption", "level"]):
        assert curve.recognised.is_monotonic_increasing
        assert curve.recognised.iloc[-1] == 1
    dead = table[(table.corruption == "dead channels") & (table.level == 0.5)]
    assert (dead.recognised == 1).all()


def test_the_text_names_detected_and_undetected_corruptions(table):
    text = out_of_distribution_text(table)
    noticed, unnoticed = text.split("Not detected")
    assert re.search(r"50 Hz hum .*1 mV", noticed)
    assert "swapped channels, channels late" in unnoticed
    assert "1%" not in unnoticed.split("%", 1)[1]
    drifted = table.assign(recognised=table.recognised.where(table.corruption != CLEAN, 0.2))
    text = out_of_distribution_text(drifted)
    assert re.search(r"20\.0%.* 1% ", text)


def test_a_forecaster_without_novelty_detector_gives_an_empty_table(persistence):
    table = novelty_detection_table(*persistence)
    assert table.empty
    assert not re.search(r"\d", out_of_distribution_text(table))
