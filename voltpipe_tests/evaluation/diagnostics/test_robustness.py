"""Corruptions and bad channels have the effects that their kind and level imply."""

import re

import numpy as np
import pytest
import torch

from voltpipe.evaluation.diagnostics.corruptions import CorruptedInputs, corruptions
from voltpipe.evaluation.diagnostics.robustness import (
    DEAD,
    SWAPPED,
    bad_channels,
    failure_levels,
    planted_ranks,
    robustness,
)
from voltpipe.reporting.diagnostics_text import bad_channels_text
from voltpipe.windows.splits import Split

N_CHANNELS = 9


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Channels that change by 0.1 of their SD from sample to sample, each about its own level."""
    rng = np.random.default_rng(0)
    voltage_mv = np.zeros((2, 4000, N_CHANNELS))
    for row in range(1, 4000):
        voltage_mv[:, row] = 0.995 * voltage_mv[:, row - 1] + rng.normal(0, 0.3, (2, N_CHANNELS))
    return window_set_of(list(voltage_mv - 60 + np.arange(N_CHANNELS)), [Split.TRAIN, Split.TEST], stride=10)


@pytest.fixture(scope="module")
def persistence(window_set, forecaster_by):
    return forecaster_by("persistence", lambda z, *_: z[:, -1:].expand(-1, 3, -1), window_set)


def test_a_bad_channel_is_found_and_costs_independent_channels_nothing(window_set, persistence):
    ranks = planted_ranks(bad_channels(persistence, window_set))
    assert ranks.planted.tolist() == ["n1", "n1", "n4", "n4", "n7", "n7"]
    assert set(ranks.fault) == {DEAD, SWAPPED}
    assert ranks.found.all()
    assert (ranks.others_lose == 0).all()
    assert ranks.clean_rmse_mv.to_numpy() == pytest.approx(0.3, rel=0.3)
    text = bad_channels_text(bad_channels(persistence, window_set))
    assert re.search(f"{DEAD}.* 3 of 3 trials", text)


def test_a_bad_channel_costs_the_channels_that_use_it(window_set, forecaster_by):
    def mean_of_neighbours(z, *_):
        return (0.9 * z[:, -1:] + 0.1 * z[:, -1:].roll(1, 2)).expand(-1, 3, -1)

    table = bad_channels(forecaster_by("hears", mean_of_neighbours, window_set), window_set)
    changed = table[(table.rmse_mv != table.clean_rmse_mv) & (table.fault == DEAD)]
    assert set(zip(changed.planted, changed.channel, strict=True)) == {
        ("n1", "n1"),
        ("n1", "n2"),
        ("n4", "n4"),
        ("n4", "n5"),
        ("n7", "n7"),
        ("n7", "n8"),
    }


def test_a_single_channel_gives_an_empty_table(window_set_of, forecaster_by):
    one_mv = np.random.default_rng(0).normal(-60, 1, (200, 1))
    window_set = window_set_of([one_mv, one_mv], [Split.TRAIN, Split.TEST])
    table = bad_channels(forecaster_by("p", lambda z, *_: z[:, -1:].expand(-1, 3, -1), window_set), window_set)
    assert table.empty
    assert not re.search(r"\d", bad_channels_text(table))


BY_NAME = {corruption.name: corruption for corruption in corruptions(5.0)}


def shown() -> CorruptedInputs:
    history_mv = torch.from_numpy(np.random.default_rng(0).normal(-55, 2, (4, 30, 40)).astype(np.float32))
    mean_mv, sd_mv = torch.full((40,), -55.0), torch.full((40,), 2.0)
    return CorruptedInputs(history_mv, mean_mv, sd_mv, 1000.0).with_seed(1)


@pytest.mark.parametrize("corruption", corruptions(5.0), ids=lambda corruption: corruption.name)
def test_a_corruption_changes_more_at_higher_levels_and_nothing_at_zero(corruption):
    changes = [
        float((corruption.apply(shown(), level) - shown().history_mv).square().mean()) for level in corruption.levels
    ]
    assert changes[0] < 1e-9
    assert changes == sorted(changes)
    assert changes[-1] > 0


def test_corruptions_do_what_their_names_say():
    clean = shown().history_mv
    dropped = BY_NAME["dropped samples"].apply(shown(), 0.5)
    assert torch.equal(dropped[:, 0], clean[:, 0])
    repeated = (dropped[:, 1:] == dropped[:, :-1]).all(2)
    assert repeated.float().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(dropped[:, 1:][~repeated], clean[:, 1:][~repeated])
    swapped = BY_NAME["swapped channels"].apply(shown(), 0.5)
    assert torch.equal(swapped[0, 0].sort().values, clean[0, 0].sort().values)
    clipped = BY_NAME["saturation"].apply(shown(), 0.05)
    assert (clipped - shown().mean_mv).abs().max() == pytest.approx(1.96 * 2, rel=1e-3)
    late = BY_NAME["channels late"].apply(shown(), 2.0)
    lags = [
        next(lag for lag in range(3) if torch.equal(late[:, 5:, c], clean[:, 5 - lag : 30 - lag, c])) for c in range(40)
    ]
    assert set(lags) == {0, 1, 2}
    hum = BY_NAME["50 Hz hum"].apply(shown(), 1.0) - clean
    torch.testing.assert_close(hum[:, 20:], hum[:, :10], atol=1e-4, rtol=0)
    hum = BY_NAME["60 Hz hum"].apply(shown(), 1.0) - clean
    torch.testing.assert_close(hum[:, 25:], -hum[:, :5], atol=1e-4, rtol=0)
    torch.testing.assert_close(BY_NAME["gain error"].apply(shown(), 10.0) + 55, (clean + 55) * 1.1)


@pytest.fixture(scope="module")
def table(window_set_of, forecaster_by):
    """Robustness on white noise of SD 2 mV. Persistence has twice its variance as error, and the mean once."""
    voltage_mv = np.random.default_rng(0).normal(-55, 2, (2, 3000, 60))
    window_set = window_set_of(list(voltage_mv), [Split.TRAIN, Split.TEST])
    contenders = {
        "persistence": lambda history_z, *_: history_z[:, -1:].expand(-1, 3, -1),
        "half": lambda history_z, mean_mv, _: (0.5 * history_z[:, -1:] - 0.5 * 55).expand(-1, 3, -1),
    }
    return robustness({name: forecaster_by(name, rule, window_set) for name, rule in contenders.items()}, window_set)


def r2(table, corruption, level, forecaster):
    chosen = table.query("corruption == @corruption and level == @level and forecaster == @forecaster and horizon == 1")
    return chosen.r2.item()


def test_noise_of_known_sd_costs_its_theoretical_value(table):
    for name, weight in (("persistence", 1.0), ("half", 0.5)):
        clean = r2(table, "noise", 0.0, name)
        for sd_mv in (1.0, 2.0):
            assert clean - r2(table, "noise", sd_mv, name) == pytest.approx((weight * sd_mv) ** 2 / 4, abs=0.12)


def test_unused_inputs_cost_nothing(table):
    assert r2(table, "dead channels", 0.0, "half") == r2(table, "noise", 0.0, "half")
    assert r2(table, "dead channels", 0.5, "persistence") > r2(table, "dead channels", 0.0, "persistence") + 0.3


def test_failure_levels_are_those_at_which_another_forecaster_is_ahead(table):
    always = failure_levels(table, "persistence", 1)
    assert set(always) == set(BY_NAME)
    assert always["noise"] == 0.0
    assert failure_levels(table, "half", 1)["noise"] is None


@pytest.mark.parametrize(("typical_sd_mv", "mildest_mv", "worst_mv"), [(5.8, 0.1, 10.0), (0.04, 0.0005, 0.05)])
def test_levels_of_added_voltage_depend_on_the_sd(typical_sd_mv, mildest_mv, worst_mv):
    of_noise, *_ = corruptions(typical_sd_mv)
    assert of_noise.levels[1] == pytest.approx(mildest_mv)
    assert of_noise.levels[-1] == pytest.approx(worst_mv)
    assert 1 < worst_mv / typical_sd_mv <= 2
