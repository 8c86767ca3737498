"""Simulation of recordings in parallel processes.

Brian2 runs only in worker processes, because its seed, clock, preferences and log are global variables.
"""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from voltpipe.simulation.network import GROUP_SIZE
from voltpipe.simulation.settings import Preparation, SimulationSettings
from voltpipe.simulation.simulated_recording import SimulatedRecording

_MAX_PROCESSES = 8


def simulate(settings: SimulationSettings, cache: Path) -> Iterator[SimulatedRecording]:
    """Simulate recordings in parallel, and yield them in order.

    A recording depends only on the preparation, the network seed, its number and the code target, not on the other
    recordings of the call. A shorter recording is the beginning of a longer one.

    Args:
        settings: the recordings to simulate.
        cache: a folder for compiled code. The first simulation takes half a minute to fill it.

    Warns:
        UserWarning: there is no C++ compiler, so the order of random draws differs from the published one.
    """
    batches = _batches(settings)
    wanted = range(settings.first_recording, settings.first_recording + settings.n_recordings)
    n_processes = min(len(batches), os.cpu_count() or 1, _MAX_PROCESSES)
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        for recordings in pool.map(partial(_simulate_batch, settings=settings, cache=cache), batches):
            if recordings[0].code_target != "cython":
                warnings.warn(
                    "Brian2 found no C++ compiler and uses numpy. This is slower, and the random numbers differ from "
                    "the published ones. Install a compiler (such as g++) to reproduce them.",
                    stacklevel=2,
                )
            yield from (recording for recording in recordings if recording.run in wanted)


def _batches(settings: SimulationSettings) -> range:
    """Number the batches that cover the recordings: one recording of `brunel`, or one group of `organoid`."""
    stop = settings.first_recording + settings.n_recordings
    size = 1 if settings.preparation is Preparation.BRUNEL else GROUP_SIZE
    return range(settings.first_recording // size, -(-stop // size))


def _simulate_batch(batch: int, settings: SimulationSettings, cache: Path) -> list[SimulatedRecording]:
    # Brian2 imports matplotlib, which would otherwise write a list of fonts to the home folder.
    os.environ.setdefault("MPLCONFIGDIR", str(cache))
    from voltpipe.simulation.brian2_model import set_compile_folder
    from voltpipe.simulation.preparations import record_brunel, record_organoid

    code_target = set_compile_folder(cache)
    if settings.preparation is Preparation.BRUNEL:
        return [record_brunel(batch, settings.network_seed, settings.seconds, code_target)]
    return record_organoid(batch, settings.network_seed, settings.seconds, code_target)
