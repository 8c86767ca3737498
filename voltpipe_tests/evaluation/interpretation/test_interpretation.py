"""Filters match the gradient of the model, and their responses match theory."""

import re
from dataclasses import asdict
from operator import attrgetter

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.interpretation.interpretation import (
    Interpretation,
    filter_table,
    interpret,
    interpretation_metrics,
    response_table,
)
from voltpipe.evaluation.isolation import attempt_each
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.reporting.figures.interpretation_figures import interpretation_figures
from voltpipe.reporting.interpretation_text import TOO_FEW_WINDOWS, filter_text, interpretation_section
from voltpipe.reporting.page import render_template, template_figures
from voltpipe.reporting.report import write_report
from voltpipe.windows.splits import Split

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def window_set(window_set_of):
    noise_mv = np.random.default_rng(0).normal(-60, 5, (300, 3))
    return window_set_of([noise_mv, noise_mv], [Split.TRAIN, Split.TEST])


def test_two_equal_taps_pass_low_and_stop_high_frequencies():
    response = response_table(pd.DataFrame({"filter": 0, "lag_ms": [0.0, 1.0], "weight": [0.5, 0.5]}), 1000.0)
    gain_db = response.set_index("frequency_hz")["gain_db"]
    assert gain_db[0] == pytest.approx(0)
    assert gain_db[250] == pytest.approx(20 * np.log10(np.cos(np.pi / 4)))
    assert gain_db[500] == pytest.approx(-80)
    assert re.findall(r"\d+", filter_text(response, "cnn_lstm")) == ["1", "1", "125", "0", "375", "0"]


def test_a_difference_passes_high_and_stops_low_frequencies():
    response = response_table(pd.DataFrame({"filter": 0, "lag_ms": [0.0, 1.0], "weight": [1.0, -1.0]}), 1000.0)
    gain_db = response.set_index("frequency_hz")["gain_db"]
    assert (gain_db[0], gain_db[500]) == (pytest.approx(-80), pytest.approx(20 * np.log10(2)))


@pytest.mark.parametrize(
    ("name", "layer", "of_last_sample"),
    [
        ("shared_cnn_lstm", "convolutions.0", lambda output, number: output[:, number, -1]),
        ("coupled_cnn_lstm", "convolution", lambda output, number: output[:, -1, number]),
        ("attention", "token", lambda output, number: output[0, -1, :, number]),
        ("cnn_lstm", "convolutions.0", lambda output, number: output[0, number]),
    ],
)
def test_taps_are_the_gradient_of_the_filter(window_set, name, layer, of_last_sample):
    """Compare with a gradient through the model."""
    forecaster = Forecaster.unfitted(name, window_set, {"hidden_units": 8} if name == "cnn_lstm" else None)
    forecaster.module.fit(window_set)
    outputs = []
    attrgetter(layer)(forecaster.module).register_forward_hook(lambda _, __, output: outputs.append(output))
    history_z = window_set.batch(window_set.windows(Split.TEST)[:1]).history_z.requires_grad_()
    forecaster.module.eval()(history_z, torch.full((1, 3), -60.0), torch.full((1, 3), 5.0))
    per_sd = 1.0 if name == "cnn_lstm" else 5.0 / float(forecaster.module.spread_mv)
    filters = filter_table(forecaster)
    for number in (0, 5):
        (gradient,) = torch.autograd.grad(of_last_sample(outputs[-1], number)[1], history_z, retain_graph=True)
        expected = filters.loc[filters["filter"] == number, "weight"].to_numpy() * per_sd
        np.testing.assert_allclose(gradient[0, :, 1].flip(0).numpy()[: len(expected)], expected, rtol=1e-4, atol=1e-7)


def test_state_space_and_multi_scale_have_filters_and_an_lstm_has_none(window_set):
    state_space = Forecaster.unfitted("state_space", window_set)
    assert filter_table(state_space)["lag_ms"].max() == state_space.module.memory_samples - 1
    assert len(filter_table(Forecaster.unfitted("multi_scale", window_set))) == 2 * 32
    lstm = filter_table(Forecaster.unfitted("lstm", window_set, {"hidden_units": 8}))
    assert lstm.empty
    assert re.findall(r"LSTM|\d", filter_text(response_table(lstm, 1000.0), "lstm")) == ["LSTM"]


SMALL = {"hidden_units": 8}


def noise_mv(seed: int, n_channels: int, n_samples: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(-60, 5, (n_samples, n_channels))


def held_out(window_set_of, n_channels: int, n_samples: int = 300):
    recordings_mv = [noise_mv(seed, n_channels, n_samples) for seed in range(3)]
    return window_set_of(recordings_mv, [Split.TRAIN, Split.VALIDATION, Split.TEST], stride=5)


def section_of(forecaster, window_set, no_connectivity, interpretation=None):
    """Return the section of the page, and the names of its figures."""
    evaluation, _ = score_forecaster(forecaster, window_set, {})
    interpretation = interpretation or interpret(forecaster, window_set)
    drawn, undrawn = attempt_each(interpretation_figures(evaluation, interpretation))
    assert not undrawn
    section = interpretation_section(evaluation, interpretation, no_connectivity)
    return render_template(
        "sections/interpretation.html", interpretation=section, figures=template_figures(drawn), failed={}, undrawn={}
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


def test_an_interpretation_survives_its_files(hearing, echo_set, tmp_path):
    interpretation = interpret(hearing, echo_set)
    interpretation.write(tmp_path)
    again = Interpretation.read(tmp_path)
    for name, value in asdict(interpretation).items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(again, name), value)
    assert again.sanity == interpretation.sanity
    coupling = interpretation.ablations.set_index("ablation").loc["coupling"]
    assert interpretation_metrics(again) == {"interpretation/r2_lost/coupling/h1": coupling["r2_lost"]}


def test_the_page_describes_the_interpretation(hearing, echo_set, tmp_path, no_connectivity):
    evaluation, errors = score_forecaster(hearing, echo_set, {})
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


def test_a_single_channel_has_no_influence(window_set_of, forecaster_by, no_connectivity):
    window_set = held_out(window_set_of, 1)
    forecaster = forecaster_by("lstm", lambda history_z, *_: history_z[:, -3:-2], window_set, horizons=(1,))
    page, figures = section_of(forecaster, window_set, no_connectivity)
    assert not re.search(r'data-part="influence">.*mV', page)
    assert "influence" not in figures


def test_the_page_says_if_too_little_is_held_out(window_set_of, forecaster_by, tmp_path, no_connectivity):
    window_set = held_out(window_set_of, 2, n_samples=40)
    forecaster = forecaster_by("lstm", lambda history_z, *_: history_z[:, -1:], window_set, horizons=(1,))
    interpretation = interpret(forecaster, window_set)
    interpretation.write(tmp_path)
    interpretation = Interpretation.read(tmp_path)
    assert not interpretation.asked
    assert not interpretation.sanity.passed
    page, figures = section_of(forecaster, window_set, no_connectivity, interpretation)
    assert TOO_FEW_WINDOWS in page
    assert 'data-part="attribution"' not in page
    assert "attribution" not in figures


def test_at_a_high_rate_only_whole_milliseconds_within_a_window_are_kept(window_set_of, forecaster_by, no_connectivity):
    noise_mv_by_recording = [np.random.default_rng(seed).normal(0, 1, 800) for seed in range(3)]
    recordings_mv = [np.stack([each_mv, np.roll(each_mv, 18)], 1) for each_mv in noise_mv_by_recording]
    window_set = window_set_of(recordings_mv, [Split.TRAIN, Split.VALIDATION, Split.TEST])
    window_set.rate_hz = 15_000.0
    forecaster = forecaster_by(
        "lstm", lambda history_z, *_: history_z[:, -18:-17].flip(2) * torch.tensor([0, 1]), window_set, horizons=(1,)
    )
    page, _ = section_of(forecaster, window_set, no_connectivity)
    assert re.search(r"<summary>.* 1 ms .* R².*</summary>", page)
    assert re.search(r'data-part="attribution">.* 1 to 1\.33 ms .*other channels', page)
