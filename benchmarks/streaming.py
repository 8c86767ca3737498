"""Latency of a streaming forecast up to 20 ms ahead from each new sample of 100 channels, on one core.

    python benchmarks/streaming.py [--samples 3000] [--folder FOLDER]

The model is an untrained coupled CNN-LSTM on the reference window set, since weights do not change the time. Latency is
printed for a known organoid, for one whose connectivity is estimated from the stream, and for whole windows.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.inference.stream import REFRESH_SAMPLES, Stream
from voltpipe.simulation.settings import Preparation


def report(name: str, forecast: Callable[[int], object], n_samples: int) -> None:
    """Print the distribution of the time per sample."""
    times_ms = np.empty(n_samples)
    for sample in range(n_samples):
        began_s = time.perf_counter()
        forecast(sample)
        times_ms[sample] = 1000 * (time.perf_counter() - began_s)
    median, percentile_99, worst = np.percentile(times_ms[n_samples // 10 :], [50, 99, 100])
    print(f"{name:52s} median {median:.3f} ms, 99 % below {percentile_99:.3f} ms, slowest {worst:.3f} ms")


def main() -> None:
    """Print a line for each way of forecasting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    window_set = reference_window_set(Preparation.ORGANOID, arguments.folder)
    forecaster = Forecaster.unfitted("coupled_cnn_lstm", window_set)
    forecaster.module.fit(window_set)
    recording = window_set.recordings[-1]
    mean_mv, sd_mv = window_set.calibration_mv(len(window_set.recordings) - 1)
    voltage_mv = (window_set.samples_z[recording.start_row : recording.stop_row] * sd_mv + mean_mv).numpy()
    context = window_set.context
    known, adapting = Stream(forecaster), Stream(forecaster, adapt=True)
    report("streaming, known organoid", lambda n: known.push(voltage_mv[n]), arguments.samples)
    report(
        f"streaming, connectivity updated every {REFRESH_SAMPLES} samples",
        lambda n: adapting.push(voltage_mv[n]),
        arguments.samples,
    )
    report(
        "from the whole window for each sample",
        lambda n: forecaster.predict_mv(voltage_mv[n : n + context]),
        arguments.samples,
    )


if __name__ == "__main__":
    main()
