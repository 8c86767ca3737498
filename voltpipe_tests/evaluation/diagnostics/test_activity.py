"""The activity of a network is told from that of another, and not from itself."""

from dataclasses import replace

import numpy as np
import pytest
from ceilings.stepper import NetworkState

from voltpipe.evaluation.diagnostics.activity import ACTIVITY_MEASURES, Activity, activity_distance
from voltpipe.signals.spike_detection import ResetVoltage
from voltpipe.simulation.network import BRUNEL_NETWORK, draw_network

RESET = ResetVoltage(-70.0, 1e-3)
RATE_HZ = 1000.0
N_SAMPLES = 2000
OF = {measure.name: measure.of for measure in ACTIVITY_MEASURES}


def activity(spikes: np.ndarray, seed: int = 0) -> Activity:
    """Noise about -55 mV, at the reset for two samples from each spike on."""
    voltage_mv = np.random.default_rng(seed).normal(-55, 2, spikes.shape).astype(np.float32)
    voltage_mv[spikes] = voltage_mv[1:][spikes[:-1]] = -70.0
    return Activity.of(voltage_mv, RATE_HZ, RESET)


def poisson(seed: int, rate_hz: float = 20.0, *, together: float = 0.0, n_channels: int = 12) -> Activity:
    """Independent spikes, and a share of moments at which a third of all channels spike together."""
    rng = np.random.default_rng(seed)
    spikes = rng.random((4000, n_channels)) < rate_hz / RATE_HZ
    bursts = (rng.random((4000, 1)) < together) & (rng.random((4000, n_channels)) < 1 / 3)
    spikes = (spikes | bursts)[:-1]
    spikes[1:] &= ~spikes[:-1]
    return activity(np.concatenate([spikes, spikes[:1] & False]), seed)


def clock(period: int, n_channels: int = 3) -> Activity:
    spikes = np.zeros((4000, n_channels), bool)
    spikes[10::period] = True
    return activity(spikes)


def test_the_measures_of_a_clock_are_known():
    regular = clock(20)
    np.testing.assert_allclose(OF["firing rate"](regular), 50, rtol=0.01)
    assert set(OF["interval between spikes"](regular)) == {20.0}
    np.testing.assert_allclose(OF["irregularity (CV)"](regular), 0)
    assert OF["Fano factor"](regular).max() < 0.15
    np.testing.assert_allclose(OF["spike-count correlation"](regular), 1)
    assert set(OF["avalanche size"](regular)) == {3.0}
    assert OF["population activity"](regular).tolist()[:4] == [0.0, 3.0, 0.0, 3.0]


def test_the_measures_of_a_poisson_process_are_known():
    random = poisson(0)
    assert OF["irregularity (CV)"](random).mean() == pytest.approx(1, abs=0.1)
    assert OF["Fano factor"](random).mean() == pytest.approx(1, abs=0.1)
    assert OF["spike-count correlation"](random).mean() == pytest.approx(0, abs=0.02)
    assert OF["spike-time tiling"](random).mean() == pytest.approx(0, abs=0.02)


def test_the_bursts_of_a_train_are_known():
    """Three times in four seconds five spikes 5 ms apart, and single spikes half a second apart from them."""
    spikes = np.zeros((4000, 2), bool)
    for first in (500, 1500, 2500):
        spikes[first : first + 25 : 5, 0] = True
    spikes[[1000, 2000, 3000], 0] = True
    spikes[10::100, 1] = True
    bursting = activity(spikes)
    assert OF["bursts of a channel"](bursting).tolist() == [0.75, 0.0]
    assert OF["share of spikes in bursts"](bursting).tolist() == pytest.approx([15 / 18, 0.0])


def test_the_balance_of_excitation_and_inhibition_is_known():
    spikes = np.zeros((4000, 3), bool)
    spikes[10::20, :2] = spikes[15::50, 2] = True
    balanced = replace(activity(spikes), effects=(1, 0, -1))
    assert OF["excitatory share of spikes"](balanced) == pytest.approx(5 / 7)
    assert len(OF["excitatory share of spikes"](activity(spikes))) == 0


def test_a_tone_stands_out_of_the_spectrum():
    time_s = np.arange(4096) / RATE_HZ
    voltage_mv = np.random.default_rng(0).normal(0, 0.1, (4096, 2)) + np.sin(2 * np.pi * 125 * time_s)[:, None]
    spectrum_db = OF["power spectrum"](Activity.of(voltage_mv.astype(np.float32), RATE_HZ, None))
    assert spectrum_db.argmax() + 1 == pytest.approx(125 / 1000 * 256, abs=1)


def test_more_of_the_same_resembles_it():
    recorded = [poisson(seed, together=0.01) for seed in range(4)]
    found = activity_distance([poisson(9, together=0.01)], recorded)
    # None of these channels bursts, nor is it known what they do.
    assert set(OF) - set(found.measure) == {"excitatory share of spikes"}
    assert found.resembles.all()


def test_spikes_that_do_not_come_together_are_told_by_what_depends_on_it():
    recorded = [poisson(seed, together=0.03) for seed in range(4)]
    alone = activity_distance([poisson(9, rate_hz=20 + 10)], recorded).set_index("measure")
    assert alone.loc[["firing rate", "voltage", "power spectrum"], "resembles"].all()
    assert not alone.loc[["spike-count correlation", "population activity", "avalanche size"], "resembles"].any()


def test_without_visible_spikes_the_voltage_alone_is_compared():
    rng = np.random.default_rng(0)
    recorded = [Activity.of(rng.normal(size=(1000, 3)).astype(np.float32), RATE_HZ, None) for _ in range(3)]
    assert activity_distance(recorded[:1], recorded).measure.tolist() == [
        "voltage",
        "power spectrum",
        "voltage correlation",
    ]


@pytest.fixture(scope="module")
def of_networks() -> list[Activity]:
    """Two seconds of the reference network, recorded eight times."""
    rng = np.random.default_rng(0)
    state = NetworkState.start(draw_network(72)[None], 8, rng)
    state.advance(100, rng)
    samples_mv = []
    for _ in range(N_SAMPLES):
        state.advance(1, rng)
        samples_mv.append(state.voltage_mv[0])
    effects = (1,) * BRUNEL_NETWORK.n_excitatory + (-1,) * BRUNEL_NETWORK.n_inhibitory
    return [Activity.of(run_mv, RATE_HZ, RESET, effects) for run_mv in np.stack(samples_mv, axis=1)]


@pytest.mark.slow
def test_the_true_network_passes_and_a_shuffled_one_does_not(of_networks):
    *recorded, once_more, again = of_networks
    assert activity_distance([once_more, again], recorded).resembles.all()
    rng = np.random.default_rng(0)
    order = rng.permuted(np.arange(N_SAMPLES)[:, None].repeat(100, axis=1), axis=0)
    shuffled_mv = np.take_along_axis(once_more.voltage_mv, order, axis=0)
    shuffled = activity_distance([Activity.of(shuffled_mv, RATE_HZ, RESET, once_more.effects)], recorded)
    told = set(shuffled.measure[~shuffled.resembles])
    assert {"power spectrum", "interval between spikes", "irregularity (CV)", "Fano factor"} <= told
    assert "voltage" not in told
