"""Whether a spike's effect has arrived is judged by all of its receivers together."""

import math

import pytest
import torch

from voltpipe.forecasting.connectivity.coupling_state import arrival_posterior

SPIKES = torch.tensor([[[True, False, False], [False, False, False], [False, False, False]]])
"""Channel 0 spikes in the first of three samples; it drives the other two by 2 mV and by -1 mV."""
COUPLING_MV = torch.tensor([[[0.0, 2.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])


def under_way(innovations_mv: list[float], free: list[bool], before: float = 0.5) -> torch.Tensor:
    """After a step with these innovations, of variance 0.5 mV2; nothing happens in the next."""
    return arrival_posterior(
        SPIKES,
        torch.tensor([[innovations_mv, [0.0, 0.0, 0.0]]]),
        torch.tensor([[free, [True, True, True]]]),
        COUPLING_MV,
        innovation_variance_mv2=torch.tensor(0.5),
        arrival_log_odds=torch.logit(torch.tensor(before)),
    )[0]


@pytest.mark.parametrize(
    ("innovations_mv", "log_odds"),
    [
        ([0.0, 2.0, -1.0], (2 * 2 - 2 + 1 - 0.5) / 0.5),  # as if it had arrived
        ([0.0, 0.0, 0.0], (-2 - 0.5) / 0.5),
        ([9.0, 1.0, -0.5], 0.0),  # half of it; the sender itself does not count
    ],
)
def test_the_receivers_steps_are_weighed_by_bayes_rule(innovations_mv, log_odds):
    found = under_way(innovations_mv, [True, True, True])
    assert found[1, 0].item() == pytest.approx(1 / (1 + math.exp(log_odds)), rel=1e-4)


def test_a_receiver_that_stands_at_the_reset_tells_nothing():
    found = under_way([0.0, 0.0, -1.0], [True, False, True])
    assert found[1, 0].item() == pytest.approx(1 / (1 + math.exp((1 - 0.5) / 0.5)), rel=1e-4)
    assert under_way([0.0, 0.0, 0.0], [True, False, False], before=0.3)[1, 0].item() == pytest.approx(0.7)


def test_nothing_is_under_way_but_from_a_spike_of_one_sample_ago():
    found = under_way([0.0, 0.0, 0.0], [True, True, True])
    assert torch.nonzero(found).tolist() == [[1, 0]]


def test_what_another_sender_explains_is_no_evidence():
    coupling_mv = torch.zeros(1, 4, 4)
    coupling_mv[0, 0, 2] = coupling_mv[0, 0, 3] = coupling_mv[0, 1, 2] = 2.0
    found = arrival_posterior(
        torch.tensor([[[True, True, False, False], [False] * 4]]),
        torch.tensor([[[0.0, 0.0, 2.0, 2.0]]]),
        torch.ones(1, 1, 4, dtype=torch.bool),
        coupling_mv,
        innovation_variance_mv2=torch.tensor(0.5),
        arrival_log_odds=torch.tensor(0.0),
    )[0, 1]
    assert found[0] < 0.02
    assert found[1] > 0.95
