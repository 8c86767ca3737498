"""Every forecaster is interpreted in true words, whatever it is and whatever was recorded."""

import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.evaluate import evaluate
from voltpipe.evaluation.interpretation.figures import interpretation_figures
from voltpipe.evaluation.interpretation.interpretation import Interpretation, interpret
from voltpipe.evaluation.interpretation.section import interpretation_section
from voltpipe.evaluation.interpretation.text import metrics
from voltpipe.evaluation.isolation import attempt_each
from voltpipe.evaluation.page import filled, on_page
from voltpipe.evaluation.report import write_report
from voltpipe.forecasting.architectures.registry import ARCHITECTURES
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import Split

SMALL = {"hidden_units": 8}


def noise_mv(seed: int, n_channels: int, n_samples: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(-60, 5, (n_samples, n_channels))


def held_out(window_set_of, n_channels: int, n_samples: int = 300):
    recordings_mv = [noise_mv(seed, n_channels, n_samples) for seed in range(3)]
    return window_set_of(recordings_mv, [Split.TRAIN, Split.VALIDATION, Split.TEST], stride=5)


def section_of(forecaster, window_set, no_connectivity, interpretation=None):
    """The page's section, and which figures it shows."""
    evaluation, _ = evaluate(forecaster, window_set, {})
    interpretation = interpretation or interpret(forecaster, window_set)
    drawn, undrawn = attempt_each(interpretation_figures(evaluation, interpretation))
    assert not undrawn
    section = interpretation_section(evaluation, interpretation, no_connectivity)
    return filled(
        "sections/interpretation.html", interpretation=section, figures=on_page(drawn), failed={}, undrawn={}
    ), set(drawn)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_interpreted(name, window_set_of):
    window_set = held_out(window_set_of, 2)
    small = SMALL if ARCHITECTURES[name].settings_type.model_fields.keys() >= SMALL.keys() else None
    forecaster = Forecaster.unfitted(name, window_set, small)
    forecaster.module.fit(window_set)
    found = interpret(forecaster, window_set)
    assert found.asked
    assert found.filters.empty == name.startswith("lstm")
    assert np.isfinite(found.ablations["r2_lost"]).all()
    assert (found.attribution["attribution_mv"] > 0).any()


def test_what_is_written_is_read(hearing, echo_set, tmp_path):
    interpretation = interpret(hearing, echo_set)
    interpretation.write(tmp_path)
    again = Interpretation.read(tmp_path)
    for name, value in asdict(interpretation).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(again, name), value)
    assert again.sanity == interpretation.sanity
    coupling = interpretation.ablations.set_index("ablation").loc["coupling"]
    assert metrics(again) == {"interpretation/r2_lost/coupling/h1": coupling["r2_lost"]}


@pytest.mark.slow
def test_the_page_says_what_forecasts_follow_from(hearing, echo_set, tmp_path, no_connectivity):
    evaluation, errors = evaluate(hearing, echo_set, {})
    interpretation = interpret(hearing, echo_set)
    report = write_report(tmp_path, evaluation, errors.detail(), no_connectivity, interpretation=interpretation)
    page, figures = report.html_path.read_text(), report.figure_paths
    section = page[page.index('id="interpretation"') :]
    assert re.search(r"<summary>.* 5 ms .* 0\.001 .*</summary>", section)
    assert re.search(r'data-part="attribution">.*integrated gradients.* 0\.0%', section)
    assert re.search(r'data-part="influence">.* alpha .* n3 on n', section)
    assert "AUROC" not in section
    assert {"ablations", "attribution", "influence"} <= set(figures)
    assert "filters" not in figures


def test_a_single_channel_has_no_others(window_set_of, forecaster_by, no_connectivity):
    window_set = held_out(window_set_of, 1)
    forecaster = forecaster_by("lstm", lambda history_z, *_: history_z[:, -3:-2], window_set, horizons=(1,))
    page, figures = section_of(forecaster, window_set, no_connectivity)
    assert not re.search(r'data-part="influence">.*mV', page)
    assert "influence" not in figures


def test_too_little_held_out_is_said(window_set_of, forecaster_by, tmp_path, no_connectivity):
    window_set = held_out(window_set_of, 2, n_samples=40)
    forecaster = forecaster_by("lstm", lambda history_z, *_: history_z[:, -1:], window_set, horizons=(1,))
    interpretation = interpret(forecaster, window_set)
    interpretation.write(tmp_path)
    interpretation = Interpretation.read(tmp_path)
    assert not interpretation.asked
    assert not interpretation.sanity.passed
    page, figures = section_of(forecaster, window_set, no_connectivity, interpretation)
    assert "Not asked: " in page
    assert 'data-part="attribution"' not in page
    assert "attribution" not in figures


def test_at_a_high_rate_only_whole_milliseconds_within_a_window_are_cut(window_set_of, forecaster_by, no_connectivity):
    said_mv = [np.random.default_rng(seed).normal(0, 1, 800) for seed in range(3)]
    recordings_mv = [np.stack([each_mv, np.roll(each_mv, 18)], 1) for each_mv in said_mv]
    window_set = window_set_of(recordings_mv, [Split.TRAIN, Split.VALIDATION, Split.TEST])
    window_set.rate_hz = 15_000.0
    forecaster = forecaster_by(
        "lstm", lambda history_z, *_: history_z[:, -18:-17].flip(2) * torch.tensor([0, 1]), window_set, horizons=(1,)
    )
    page, _ = section_of(forecaster, window_set, no_connectivity)
    assert re.search(r"<summary>.* 1 ms back .* R².*</summary>", page)
    assert re.search(r'data-part="attribution">.* 1 to 1\.33 ms .*other channels', page)
