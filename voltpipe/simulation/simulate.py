"""The one way to simulated recordings.

Brian2 runs in processes of its own, never in the caller's: its seed, clock, preferences and log are global variables.
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

_MOST_PROCESSES = 8


def simulate(settings: SimulationSettings, cache: Path) -> Iterator[SimulatedRecording]:
    """Simulate the recordings that `settings` ask for, in order, spread over the processors.

    A recording depends on the preparation, the network seed, its number and the code target alone, not on which
    others are asked for with it; a shorter one is the beginning of a longer one.

    Args:
        settings: which recordings.
        cache: a folder for compiled code; the first simulation spends half a minute to fill it.

    Warns:
        UserWarning: without a C++ compiler the random draws come in another order than the published ones.
    """
    batches = _batches(settings)
    wanted = range(settings.first_recording, settings.first_recording + settings.n_recordings)
    n_processes = min(len(batches), os.cpu_count() or 1, _MOST_PROCESSES)
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
        for recordings in pool.map(partial(_simulate_batch, settings=settings, cache=cache), batches):
            if recordings[0].code_target != "cython":
                warnings.warn(
                    "Brian2 found no C++ compiler and simulates with numpy: slower, and with other random numbers than "
                    "the published ones; install one (such as g++) to reproduce them",
                    stacklevel=2,
                )
            yield from (recording for recording in recordings if recording.run in wanted)


def _batches(settings: SimulationSettings) -> range:
    """What is simulated at once: one run of `brunel`, or one group of recordings of `organoid`."""
    stop = settings.first_recording + settings.n_recordings
    size = 1 if settings.preparation is Preparation.BRUNEL else GROUP_SIZE
    return range(settings.first_recording // size, -(-stop // size))


def _simulate_batch(batch: int, settings: SimulationSettings, cache: Path) -> list[SimulatedRecording]:
    # Brian2 imports matplotlib, which would keep a list of fonts in the user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(cache))
    from voltpipe.simulation.brian2_model import set_compile_folder
    from voltpipe.simulation.preparations import record_brunel, record_organoid

    code_target = set_compile_folder(cache)
    if settings.preparation is Preparation.BRUNEL:
        return [record_brunel(batch, settings.network_seed, settings.seconds, code_target)]
    return record_organoid(batch, settings.network_seed, settings.seconds, code_target)
