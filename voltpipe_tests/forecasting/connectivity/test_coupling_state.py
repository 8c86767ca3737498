"""The arrival of a spike's effect is inferred from all of its receivers together."""

import math

import pytest
import torch

from voltpipe.forecasting.connectivity.coupling_state import arrival_posterior

SPIKES = torch.tensor([[[True, False, False], [False, False, False], [False, False, False]]])
"""Channel 0 spikes in the first of three samples; its effect on the other two is 2 mV and -1 mV."""
COUPLING_MV = torch.tensor([[[0.0, 2.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])


def probability_to_come(innovations_mv: list[float], free: list[bool], prior: float = 0.5) -> torch.Tensor:
    """Return the posterior after a step with these innovations, of variance 0.5 mV2, and one without any."""
    return arrival_posterior(
        SPIKES,
        torch.tensor([[innovations_mv, [0.0, 0.0, 0.0]]]),
        torch.tensor([[free, [True, True, True]]]),
        COUPLING_MV,
        innovation_variance_mv2=torch.tensor(0.5),
        arrival_log_odds=torch.logit(torch.tensor(prior)),
    )[0]


@pytest.mark.parametrize(
    ("innovations_mv", "log_odds"),
    [
        ([0.0, 2.0, -1.0], (2 * 2 - 2 + 1 - 0.5) / 0.5),  # the full effect
        ([0.0, 0.0, 0.0], (-2 - 0.5) / 0.5),
        ([9.0, 1.0, -0.5], 0.0),  # half of the effect; the sender itself does not count
    ],
)
def test_innovations_of_the_receivers_are_combined_by_bayes_rule(innovations_mv, log_odds):
    found = probability_to_come(innovations_mv, [True, True, True])
    assert found[1, 0].item() == pytest.approx(1 / (1 + math.exp(log_odds)), rel=1e-4)


def test_a_receiver_at_reset_is_ignored():
    found = probability_to_come([0.0, 0.0, -1.0], [True, False, True])
    assert found[1, 0].item() == pytest.approx(1 / (1 + math.exp((1 - 0.5) / 0.5)), rel=1e-4)
    assert probability_to_come([0.0, 0.0, 0.0], [True, False, False], prior=0.3)[1, 0].item() == pytest.approx(0.7)


def test_only_a_spike_one_sample_ago_has_an_effect_to_come():
    found = probability_to_come([0.0, 0.0, 0.0], [True, True, True])
    assert torch.nonzero(found).tolist() == [[1, 0]]


def test_the_effect_of_another_sender_is_no_evidence():
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
