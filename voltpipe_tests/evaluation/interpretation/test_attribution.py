"""A forecast is attributed to the samples that it uses."""

import re

import numpy as np
import pytest
import torch

from voltpipe.evaluation.interpretation.attribution import ExplainedForecasts, Method, attribution_table
from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows
from voltpipe.reporting.interpretation_text import attribution_text
from voltpipe.windows.splits import Split


@pytest.fixture(scope="module")
def windows(echo_set):
    return ReplacementWindows(echo_set, echo_set.windows(Split.TEST), 24)


def table_of(forecaster, windows):
    """Return the attribution of a forecaster without weights, which random weights do not change."""
    return attribution_table(lambda _: forecaster, lambda _: forecaster, (1,), windows)


def counting(table):
    return table[(table["attribution_mv"] > 0) & (table["weights"] == "trained")].itertuples()


def test_a_forecast_is_attributed_to_the_one_sample_that_it_uses(hearing, windows):
    table = table_of(hearing, windows)
    assert set(table["method"]) == {Method.INTEGRATED_GRADIENTS.value}
    assert table["missed"].max() < 1e-5
    (counts,) = counting(table)
    assert (counts.from_ms, counts.to_ms, counts.source) == (2.0, 5.0, "others")
    explained = ExplainedForecasts(lambda _: hearing, (1,), windows)
    change_mv = (windows.batch.history_z - explained.elsewhere_z)[:, -5, 3] * (explained.receivers != 3)
    assert counts.attribution_mv == pytest.approx(float(change_mv.abs().mean()))


def test_occlusion_equals_integrated_gradients_for_a_linear_forecaster(alone, windows):
    explained = ExplainedForecasts(lambda _: alone, (1,), windows)
    integrated_mv, missed = explained.integrated_mv(0)
    torch.testing.assert_close(explained.occluded_mv()[:, 0], integrated_mv, atol=1e-5, rtol=0)
    assert missed < 1e-5
    assert (integrated_mv[:, 0, 0] != 0).all()  # the last sample, of the channel itself
    assert (integrated_mv[..., 1] == 0).all()  # and nothing of the others


def test_without_gradients_occlusion_is_used_and_the_text_says_so(forecaster_by, echo_set, hearing, windows):
    rounding = forecaster_by("attention", lambda *seen: hearing.module(*seen).round(), echo_set, horizons=(1,))
    table = table_of(rounding, windows)
    integrated = table[table["method"] == Method.INTEGRATED_GRADIENTS.value]
    assert set(integrated["missed"]) == {1.0}
    assert (integrated["attribution_mv"] == 0).all()
    (counts,) = counting(table)
    assert (counts.method, counts.from_ms, counts.source) == (Method.OCCLUSION.value, 2.0, "others")
    text = attribution_text(table, "attention", 1000.0)
    assert re.findall(r"100%|2 to 5 ms|1\.00", text) == ["100%", "2 to 5 ms", "100%", "1.00"]


def test_a_single_channel_is_attributed_to_itself(window_set_of, forecaster_by):
    noise_mv = np.random.default_rng(0).normal(0, 1, (300, 1))
    window_set = window_set_of([noise_mv, noise_mv], [Split.TRAIN, Split.TEST])
    windows = ReplacementWindows(window_set, window_set.windows(Split.TEST), 8)
    for rule in (lambda history_z, *_: history_z[:, -3:-2], lambda history_z, *_: history_z[:, -3:-2].round()):
        forecaster = forecaster_by("lstm", rule, window_set, horizons=(1,))
        table = table_of(forecaster, windows)
        (counts,) = counting(table)
        assert (counts.from_ms, counts.source) == (2.0, "own")
        assert set(table["source"]) == {"own"}
