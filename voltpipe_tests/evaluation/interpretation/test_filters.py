"""Filters are what a network does to the voltage, and their responses are those of the textbook."""

import re
from operator import attrgetter

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.interpretation.filters import filter_table, response_table
from voltpipe.evaluation.interpretation.text import filter_text
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import Split


@pytest.fixture(scope="module")
def window_set(window_set_of):
    noise_mv = np.random.default_rng(0).normal(-60, 5, (300, 3))
    return window_set_of([noise_mv, noise_mv], [Split.TRAIN, Split.TEST])


def test_two_equal_taps_pass_slow_changes_and_stop_the_fastest():
    response = response_table(pd.DataFrame({"filter": 0, "lag_ms": [0.0, 1.0], "weight": [0.5, 0.5]}), 1000.0)
    gain_db = response.set_index("frequency_hz")["gain_db"]
    assert gain_db[0] == pytest.approx(0)
    assert gain_db[250] == pytest.approx(20 * np.log10(np.cos(np.pi / 4)))
    assert gain_db[500] == pytest.approx(-80)
    assert re.findall(r"\d+", filter_text(response, "cnn_lstm")) == ["1", "1", "125", "0", "375", "0"]


def test_a_difference_passes_the_fastest_and_stops_what_stays():
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
def test_taps_are_what_a_change_of_each_sample_does_to_the_filter(window_set, name, layer, of_last_sample):
    """Measured with a gradient through the network itself."""
    forecaster = Forecaster.unfitted(name, window_set, {"hidden_units": 8} if name == "cnn_lstm" else None)
    forecaster.module.fit(window_set)
    heard = []
    attrgetter(layer)(forecaster.module).register_forward_hook(lambda _, __, output: heard.append(output))
    history_z = window_set.batch(window_set.windows(Split.TEST)[:1]).history_z.requires_grad_()
    forecaster.module.eval()(history_z, torch.full((1, 3), -60.0), torch.full((1, 3), 5.0))
    per_sd = 1.0 if name == "cnn_lstm" else 5.0 / float(forecaster.module.spread_mv)
    filters = filter_table(forecaster)
    for number in (0, 5):
        (gradient,) = torch.autograd.grad(of_last_sample(heard[-1], number)[1], history_z, retain_graph=True)
        expected = filters.loc[filters["filter"] == number, "weight"].to_numpy() * per_sd
        np.testing.assert_allclose(gradient[0, :, 1].flip(0).numpy()[: len(expected)], expected, rtol=1e-4, atol=1e-7)


def test_recurrences_are_filters_too_and_an_lstm_has_none(window_set):
    state_space = Forecaster.unfitted("state_space", window_set)
    assert filter_table(state_space)["lag_ms"].max() == state_space.module.memory_samples - 1
    assert len(filter_table(Forecaster.unfitted("multi_scale", window_set))) == 2 * 32
    lstm = filter_table(Forecaster.unfitted("lstm", window_set, {"hidden_units": 8}))
    assert lstm.empty
    assert re.findall(r"LSTM|\d", filter_text(response_table(lstm, 1000.0), "lstm")) == ["LSTM"]
