"""Influence shows the true senders, but only with learned weights."""

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.interpretation.channel_influence import (
    INFLUENCE,
    UNTRAINED,
    ShuffledChannels,
    influence_auroc,
    influence_table,
)
from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows
from voltpipe.evaluation.interpretation.sanity_check import sanity_check, with_random_weights
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.reporting.interpretation_text import influence_text
from voltpipe.windows.splits import Split

N = 12


@pytest.fixture(scope="module")
def truth():
    """True connectivity, with weights of plus or minus 0.25 and of 0.5 on the channel itself."""
    generator = np.random.default_rng(0)
    weights = generator.choice([0.0, 0.25, -0.25], (N, N), p=[0.8, 0.1, 0.1])
    np.fill_diagonal(weights, 0.5)
    return weights


@pytest.fixture(scope="module")
def network(window_set_of, truth):
    """Noise that propagates through a network, and a vector autoregression fitted to it."""
    generator = np.random.default_rng(1)
    recordings_mv = np.zeros((3, 1500, N))
    for sample in range(1, 1500):
        recordings_mv[:, sample] = recordings_mv[:, sample - 1] @ truth + generator.normal(0, 1, (3, N))
    window_set = window_set_of(list(recordings_mv), [Split.TRAIN, Split.VALIDATION, Split.TEST], stride=10)
    forecaster = Forecaster.unfitted("vector_autoregression", window_set)
    forecaster.module.fit(window_set)
    return forecaster, ReplacementWindows(window_set, window_set.windows(Split.TEST), 20)


@pytest.fixture(scope="module")
def both(network):
    """Influence in the trained forecaster, and with random weights."""
    forecaster, windows = network
    untrained = with_random_weights(forecaster, seed=0)
    return tuple(
        ShuffledChannels(lambda _, each=each: each, each.horizons, windows) for each in (forecaster, untrained)
    )


def test_trained_weights_show_the_true_senders_and_random_weights_do_not(both, truth):
    table = influence_table(*both)
    assert table["is_connected_truth"].isna().all()  # no simulation that can be drawn again
    assert influence_auroc(table) is None
    sender, receiver = (table[column].str[1:].astype(int).to_numpy() for column in ("sender", "receiver"))
    known = table.assign(is_connected_truth=pd.array(truth[sender, receiver] != 0))
    found = influence_auroc(known)
    assert found[INFLUENCE] > 0.95
    assert 0.3 < found[UNTRAINED] < 0.7


def test_learned_attributions_pass_the_sanity_check(both):
    check = sanity_check(*both)
    assert check.passed
    assert abs(check.rank_correlation) < 0.3
    assert f"{check.rank_correlation:.2f}" in check.finding


def test_attributions_equal_to_those_of_random_weights_fail_the_sanity_check(both):
    trained, _ = both
    check = sanity_check(trained, trained)
    assert not check.passed
    assert check.rank_correlation == pytest.approx(1.0)
    assert "1.00" in check.finding


def test_for_independent_channels_the_own_history_is_compared(alone, echo_set):
    windows = ReplacementWindows(echo_set, echo_set.windows(Split.TEST), 20)
    trained = ShuffledChannels(lambda _: alone, (1,), windows)
    assert "own history" in sanity_check(trained, trained).finding
    assert not sanity_check(trained, trained).passed
    table = influence_table(trained, trained)
    assert not table["influence_mv"].any()
    assert "mV" not in influence_text(table, None)


def test_constant_forecasts_have_no_attribution(forecaster_by, echo_set):
    constant = forecaster_by("lstm", lambda history_z, *_: 0 * history_z[:, -1:], echo_set, horizons=(1,))
    shuffled = ShuffledChannels(
        lambda _: constant, (1,), ReplacementWindows(echo_set, echo_set.windows(Split.TEST), 20)
    )
    check = sanity_check(shuffled, shuffled)
    assert (check.passed, check.rank_correlation) == (False, None)


def test_random_weights_are_the_same_weights_in_another_order(network):
    forecaster, _ = network
    before = {name: values.clone() for name, values in forecaster.module.state_dict().items()}
    other = with_random_weights(forecaster, seed=0).module.state_dict()
    assert all(torch.equal(forecaster.module.state_dict()[name], values) for name, values in before.items())
    for name, values in before.items():
        assert torch.equal(other[name].flatten().sort().values, values.flatten().sort().values)
        assert values.dim() < 2 or not torch.equal(other[name], values)
