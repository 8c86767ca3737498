"""A diagnosis holds all its parts, and is read as it was written."""

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.activity import MEASURES
from voltpipe.evaluation.corruption import CORRUPTIONS
from voltpipe.evaluation.diagnosis import Diagnosis, diagnose
from voltpipe.evaluation.diagnosis_figures import resemblance_figure, robustness_figure
from voltpipe.evaluation.group_figure import group_figure
from voltpipe.evaluation.imagination import imagined_resemblance
from voltpipe.forecasting.baselines.fit import fit_baselines
from voltpipe.windows.window_set import Split


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Twelve channels that rise by themselves and are reset at -50 mV; two recordings are held out."""
    rng = np.random.default_rng(0)
    recordings_mv = np.full((4, 2600, 12), -70.0)
    for row in range(1, 2600):
        risen_mv = recordings_mv[:, row - 1] + 0.15 * (-50 - recordings_mv[:, row - 1]) + rng.normal(0, 1.5, (4, 12))
        recordings_mv[:, row] = np.where(risen_mv > -50, -70.0, risen_mv)
    splits = [Split.TRAIN, Split.VALIDATION, Split.TEST, Split.TEST]
    return window_set_of(list(recordings_mv), splits, stride=5)


@pytest.fixture(scope="module")
def diagnosis(window_set) -> Diagnosis:
    baselines = fit_baselines(window_set)
    return diagnose(baselines["look_up"], baselines, window_set)


def test_it_asks_everything(diagnosis):
    kinds = set(diagnosis.errors_by_group.kind)
    assert {"channel", "recording", "present voltage", "time since its spike", "firing rate"} <= kinds
    assert set(diagnosis.errors_by_group.forecaster) == {"look_up"}
    assert set(diagnosis.robustness.corruption) == {corruption.name for corruption in CORRUPTIONS}
    assert set(diagnosis.robustness.forecaster) == {"look_up", "autoregression"}
    assert diagnosis.resemblance.measure.tolist() == [measure.name for measure in MEASURES]
    assert [check.passed for check in diagnosis.honesty] == [True] * 3


def test_channels_that_do_not_hear_each_other_are_imagined_so(diagnosis):
    found = diagnosis.resemblance.set_index("measure")
    assert found.loc["spike-count correlation", "resembles"]


def test_it_is_read_as_it_was_written(diagnosis, tmp_path):
    diagnosis.write(tmp_path)
    found = Diagnosis.read(tmp_path)
    for name in ("errors_by_group", "robustness", "resemblance"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(diagnosis, name), check_dtype=False)
    assert found.honesty == diagnosis.honesty


def test_its_figures_are_drawn(diagnosis):
    drawn = (
        group_figure(diagnosis.errors_by_group, "look_up", rate_hz=1000.0, subtitle="held out"),
        robustness_figure(diagnosis.robustness, "look_up", rate_hz=1000.0, subtitle="held out"),
        resemblance_figure(diagnosis.resemblance, subtitle="held out"),
    )
    for figure in drawn:
        assert figure.svg.startswith("<svg")
    assert "present voltage" in drawn[0].svg
    assert "50 Hz hum" in drawn[1].svg
    assert "Fano factor" in drawn[2].svg


def test_what_cannot_run_free_is_not_asked_to(window_set, forecaster_by):
    rule = forecaster_by("persistence", lambda history_z, *_: history_z[:, -1:].expand(-1, 3, -1), window_set)
    assert imagined_resemblance(rule, window_set).empty
