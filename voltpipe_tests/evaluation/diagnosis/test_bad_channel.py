"""A channel that is bad comes out first in the errors by channel."""

import re

import numpy as np
import pytest

from voltpipe.evaluation.diagnosis.bad_channel import DEAD, SWAPPED, bad_channels, planted_ranks
from voltpipe.evaluation.diagnosis.text import bad_channels_text
from voltpipe.windows.window_set import Split

N_CHANNELS = 9


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Channels that change by 0.1 of their spread from sample to sample, each about a level of its own."""
    rng = np.random.default_rng(0)
    voltage_mv = np.zeros((2, 4000, N_CHANNELS))
    for row in range(1, 4000):
        voltage_mv[:, row] = 0.995 * voltage_mv[:, row - 1] + rng.normal(0, 0.3, (2, N_CHANNELS))
    return window_set_of(list(voltage_mv - 60 + np.arange(N_CHANNELS)), [Split.TRAIN, Split.TEST], stride=10)


@pytest.fixture(scope="module")
def persistence(window_set, forecaster_by):
    return forecaster_by("persistence", lambda z, *_: z[:, -1:].expand(-1, 3, -1), window_set)


def test_it_is_found_and_costs_those_nothing_that_do_not_hear_it(window_set, persistence):
    ranks = planted_ranks(bad_channels(persistence, window_set))
    assert ranks.planted.tolist() == ["n1", "n1", "n4", "n4", "n7", "n7"]
    assert set(ranks.fault) == {DEAD, SWAPPED}
    assert ranks.found.all()
    assert (ranks.others_lose == 0).all()
    assert ranks.clean_rmse_mv.to_numpy() == pytest.approx(0.3, rel=0.3)
    text = bad_channels_text(bad_channels(persistence, window_set))
    assert re.search(f"{DEAD}.* 3 of 3 trials", text)


def test_it_costs_those_that_hear_it(window_set, forecaster_by):
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


def test_a_single_channel_has_no_others(window_set_of, forecaster_by):
    one_mv = np.random.default_rng(0).normal(-60, 1, (200, 1))
    window_set = window_set_of([one_mv, one_mv], [Split.TRAIN, Split.TEST])
    table = bad_channels(forecaster_by("p", lambda z, *_: z[:, -1:].expand(-1, 3, -1), window_set), window_set)
    assert table.empty
    assert "Not asked" in bad_channels_text(table)
