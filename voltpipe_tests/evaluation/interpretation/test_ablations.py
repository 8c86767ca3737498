"""An ablation costs exactly the contribution of the hidden input."""

import re

import numpy as np
import pytest

from voltpipe.evaluation.interpretation.ablations import ablation_table, kept_samples
from voltpipe.evaluation.interpretation.channel_influence import ON_ITSELF, ON_OTHERS, ShuffledChannels
from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows
from voltpipe.reporting.interpretation_text import ablation_text
from voltpipe.windows.splits import Split

pytestmark = pytest.mark.slow

ALL_THERE_IS = 3 / 4
"""R2 of a perfect forecast of three of four channels."""


@pytest.fixture(scope="module")
def windows(echo_set):
    return ReplacementWindows(echo_set, echo_set.windows(Split.TEST), 600)


def lost(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_hiding_samples_costs_everything_only_if_the_used_sample_is_hidden(hearing, windows):
    table = ablation_table(lambda _: hearing, (1,), windows, kept_ms=(4.0, 6.0))
    cut, kept = (lost(table, ablation="history", kept_ms=ms) for ms in (4.0, 6.0))
    assert cut["r2"] == pytest.approx(ALL_THERE_IS, abs=0.05)
    assert cut["r2_lost"] == pytest.approx(ALL_THERE_IS, abs=0.15)
    assert cut["low"] < ALL_THERE_IS < cut["high"]
    assert (kept["r2_lost"], kept["low"], kept["high"]) == (0, 0, 0)
    assert re.search(r" 6 ms .* 0\.001 ", ablation_text(table, 1000.0))


def test_the_loss_without_other_channels_is_their_contribution(hearing, windows):
    coupling = lost(ablation_table(lambda _: hearing, (1,), windows), ablation="coupling")
    assert coupling["r2_lost"] == pytest.approx(ALL_THERE_IS, abs=0.15)
    assert coupling["unit"] == "recordings"


def test_independent_channels_lose_nothing_without_the_others(alone, windows):
    table = ablation_table(lambda _: alone, (1,), windows)
    coupling = lost(table, ablation="coupling")
    assert (coupling["r2_lost"], coupling["low"], coupling["high"]) == (0, 0, 0)
    assert "95 %" not in ablation_text(table, 1000.0).split(".")[0]
    assert (table.loc[table["kept_ms"] >= 2, "r2_lost"] == 0).all()
    assert lost(table, ablation="history", kept_ms=1.0)["r2_lost"] != 0


def test_only_the_used_channel_has_a_loss(hearing, windows):
    table = ShuffledChannels(lambda _: hearing, (1,), windows).losses_by_channel().set_index("channel")
    assert table.loc["n3", "r2_lost"] == pytest.approx(ALL_THERE_IS, abs=0.15)
    assert (table.loc[["n0", "n1", "n2"], ["r2_lost", "low", "high"]] == 0).all(axis=None)


def test_losses_of_a_channel_itself_and_of_others_are_separate(hearing, alone, windows):
    of_hearing, of_alone = (
        ShuffledChannels(lambda _, each=each: each, (1,), windows).pooled_losses().set_index("ablation")["r2_lost"]
        for each in (hearing, alone)
    )
    assert of_hearing[ON_ITSELF] == 0
    assert of_hearing[ON_OTHERS] == pytest.approx(ALL_THERE_IS / 3, abs=0.1)  # only one of three channels is used
    assert of_alone[ON_OTHERS] == 0
    assert of_alone[ON_ITSELF] != 0


def test_few_recordings_are_resampled_by_blocks_of_windows(window_set_of, alone):
    noise_mv = np.random.default_rng(0).normal(0, 1, (300, 4))
    window_set = window_set_of([noise_mv, noise_mv], [Split.TRAIN, Split.TEST])
    table = ablation_table(lambda _: alone, (1,), ReplacementWindows(window_set, window_set.windows(Split.TEST), 40))
    assert set(table["unit"]) == {"blocks of windows"}
    assert table["low"].notna().all()


def test_times_are_whole_samples_within_a_window(echo_set):
    assert kept_samples(echo_set) == {1: 1.0, 2: 2.0, 5: 5.0, 10: 10.0}
    assert kept_samples(echo_set, (0.2, 1.2)) == {1: 1.0}


def test_movement_of_forecasts_is_the_loss_only_under_optimal_use(forecaster_by, hearing, echo_set, windows):
    wrong = forecaster_by("lstm", lambda *seen: -hearing.module(*seen), echo_set, horizons=(1,))
    of_right, of_wrong = (
        lost(ablation_table(lambda _, each=each: each, (1,), windows), ablation="coupling") for each in (hearing, wrong)
    )
    assert of_right["r2_moved"] == pytest.approx(ALL_THERE_IS, abs=0.15)
    assert of_wrong["r2_moved"] == pytest.approx(of_right["r2_moved"])
    assert (
        of_wrong["r2_lost"] < -2 * ALL_THERE_IS
    )  # a forecast of the opposite has an R2 of minus three quarters times three
