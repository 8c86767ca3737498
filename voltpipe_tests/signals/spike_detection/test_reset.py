"""The reset voltage is found if there is one, and only then."""

import pytest
import torch

from voltpipe.signals.spike_detection.reset import find_reset_voltage

NORMAL_MV = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 5 - 60


def test_a_voltage_with_three_percent_of_the_samples_is_the_reset():
    found = find_reset_voltage(torch.cat([NORMAL_MV, torch.full((3_000,), -70.0)]).sort().values)
    assert found is not None
    assert found.voltage_mv == pytest.approx(-70, abs=1e-3)
    assert found.tolerance_mv == pytest.approx(0.005, abs=5e-4)


def test_a_continuous_voltage_has_no_reset():
    assert find_reset_voltage(NORMAL_MV.sort().values) is None


@pytest.mark.parametrize("step_mv", [0.2, 2.0, 10.0])
def test_coarse_digitization_is_not_mistaken_for_a_reset(step_mv):
    assert find_reset_voltage(((NORMAL_MV / step_mv).round() * step_mv).sort().values) is None
