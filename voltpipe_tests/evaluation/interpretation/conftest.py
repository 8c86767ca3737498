"""Window set with known dependencies: every channel repeats channel n3 five samples later."""

import numpy as np
import pytest
import torch

from voltpipe.windows.splits import Split

N_CHANNELS, SENDER, KEPT = 4, 3, 5


def echo_mv(seed: int, n_samples: int = 400) -> np.ndarray:
    """Return noise in n3, which the other channels repeat five samples later."""
    noise = np.random.default_rng(seed).normal(0, 2, n_samples)
    voltage_mv = np.repeat(np.roll(noise, KEPT)[:, None], N_CHANNELS, 1)
    voltage_mv[:, SENDER] = noise
    return voltage_mv


def hear(history_z, *_):
    """Forecast the fifth sample of n3 from the end for all channels but n3, and zero for n3."""
    forecast_z = history_z[:, -KEPT, SENDER, None].repeat(1, N_CHANNELS)
    return (forecast_z * (torch.arange(N_CHANNELS) != SENDER))[:, None]


@pytest.fixture(scope="session")
def echo_set(window_set_of):
    """Four recordings, of which three are held out."""
    return window_set_of([echo_mv(seed) for seed in range(4)], [Split.TRAIN, *[Split.TEST] * 3])


@pytest.fixture(scope="session")
def hearing(forecaster_by, echo_set):
    """A forecaster that uses only n3, five samples back."""
    return forecaster_by("attention", hear, echo_set, horizons=(1,))


@pytest.fixture(scope="session")
def alone(forecaster_by, echo_set):
    """A forecaster whose channels use only their own history."""
    return forecaster_by("lstm", lambda history_z, *_: history_z[:, -2:-1] - history_z[:, -1:], echo_set, horizons=(1,))
