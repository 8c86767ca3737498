"""The simulated network in Brian2: its neurons, their external input, and the recorded traces.

Import this module only in the worker processes of `simulate`. It imports Brian2, which keeps its seed, clock and
preferences in global variables and adds logging hooks.
"""

from dataclasses import dataclass
from pathlib import Path

import brian2
import numpy as np
from brian2 import Hz, ms, mV
from brian2.devices.device import auto_target
from brian2.utils.logger import BrianLogger, clean_up_logging
from jaxtyping import Float32, Float64, Int64

from voltpipe.simulation.network import BRUNEL_NETWORK

clean_up_logging()  # removes the log file and the copy of the script that the import leaves in the temp folder
BrianLogger.log_level_error()

# Strict arithmetic gives the same spikes on every processor. -O1 compiles faster than Brian2's -O3 and runs as fast.
brian2.prefs.codegen.cpp.extra_compile_args_gcc = ["-w", "-O1", "-ffp-contract=off", "-std=c++11"]
brian2.defaultclock.dt = BRUNEL_NETWORK.step_ms * ms

# The noise is a variable, not a term of the derivative, to keep the order of the published random draws.
_MEMBRANE = """
dv/dt = (rest - v) / tau + noise / noise_tau : volt (unless refractory)
noise : volt
"""


@dataclass(frozen=True, eq=False)
class RecordedTrace:
    """Voltages and spikes recorded from a group of neurons."""

    voltage_mv: Float32[np.ndarray, "time neuron"]
    spike_times_ms: Float64[np.ndarray, " spike"]
    spike_neurons: Int64[np.ndarray, " spike"]


def set_compile_folder(cache: Path) -> str:
    """Set the folder `cache` as the place for compiled code.

    Returns:
        Brian2's code target: "cython", or "numpy" if there is no C++ compiler.
    """
    brian2.prefs.codegen.runtime.cython.cache_dir = str(cache.resolve())
    return str(auto_target().class_name)


def neuron_group(n_neurons: int) -> brian2.NeuronGroup:
    """Create `n_neurons` with random start voltages and noise, without connections and external input."""
    group = brian2.NeuronGroup(
        n_neurons,
        _MEMBRANE,
        threshold="v > threshold",
        reset="v = rest",
        refractory=BRUNEL_NETWORK.refractory_ms * ms,
        method="euler",
        namespace={
            "rest": BRUNEL_NETWORK.rest_mv * mV,
            "threshold": BRUNEL_NETWORK.threshold_mv * mV,
            "tau": BRUNEL_NETWORK.tau_ms * ms,
            "noise_tau": BRUNEL_NETWORK.noise_tau_ms * ms,
            "noise_sd": BRUNEL_NETWORK.noise_sd_mv * mV,
        },
    )
    group.v = BRUNEL_NETWORK.rest_mv * mV + np.random.normal(0, BRUNEL_NETWORK.start_sd_mv, n_neurons) * mV  # noqa: NPY002 (Brian2 seeds this one)
    group.run_regularly("noise = noise_sd * randn()", dt=brian2.defaultclock.dt)
    return group


def record(group: brian2.NeuronGroup, synapses: tuple[brian2.Synapses, ...], seconds: float) -> RecordedTrace:
    """Run a connected group with external input for `seconds`, and record all neurons."""
    drive = brian2.PoissonInput(
        group,
        "v",
        BRUNEL_NETWORK.external_inputs,
        BRUNEL_NETWORK.external_rate_hz * Hz,
        weight=BRUNEL_NETWORK.external_mv * mV,
    )
    spikes = brian2.SpikeMonitor(group)
    voltage = brian2.StateMonitor(group, "v", record=True, dt=BRUNEL_NETWORK.sample_ms * ms)
    brian2.Network(group, *synapses, drive, spikes, voltage).run(seconds * brian2.second)
    return RecordedTrace(
        voltage_mv=np.ascontiguousarray((np.asarray(voltage.v) * 1e3).T.astype(np.float32)),
        spike_times_ms=np.round(np.asarray(spikes.t) * 1e3, 3),
        spike_neurons=np.asarray(spikes.i).astype(np.int64),
    )
