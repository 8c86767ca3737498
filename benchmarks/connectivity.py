"""Accuracy of estimated connectivity on simulated networks, compared with estimates from spike trains alone.

    python benchmarks/connectivity.py [--folder FOLDER]

The connectivity of `organoid` is estimated from its 35 training recordings. In `brunel` each recording has its own
network: those of the held-out recordings are estimated from the first 7.2 s each, with a prior from the 35 training
networks. The true connectivity is read from the raw NWB files.
"""

import argparse
import time
from pathlib import Path

import h5py
import torch
from jaxtyping import Float
from reference import REFERENCE_FOLDER, reference_window_set
from torch import Tensor

from voltpipe.evaluation.connectivity_scores import auroc, average_precision, connectivity_accuracy
from voltpipe.forecasting.connectivity.connectivity import Connectivity, SenderType
from voltpipe.forecasting.connectivity.estimation import TrainingSpikeSums, estimate_connectivity
from voltpipe.forecasting.connectivity.spike_triggered_average import SpikeTriggeredSums
from voltpipe.signals.spike_trains import pairwise_spike_statistics
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.split_segments import segments
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

LAGS = 3
FIRST_SAMPLES = 7200

Rows = list[tuple[int, int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    organoid = reference_window_set(Preparation.ORGANOID, folder)
    began_s = time.monotonic()
    sums = spike_sums(organoid)
    coupling = sums.estimator.connectivity(*sums.by_organoid[0].measured_mv(sums.estimator.delay_profile))
    rows = list(organoid.train_rows())
    print(f"organoid, {len(rows)} training segments, connectivity estimated in {time.monotonic() - began_s:.1f} s")
    compare(coupling, spike_trains_of(organoid, rows, coupling), true_weights_mv(organoid, rows[0][0]))
    unseen_networks(reference_window_set(Preparation.BRUNEL, folder))


def true_weights_mv(window_set: WindowSet, recording: int) -> Float[Tensor, "sender receiver"]:
    """Read the connections of the simulated network from the scratch space of the raw file."""
    organoid, name = window_set.recordings[recording].key.split("--")
    weights_mv = torch.zeros(window_set.n_channels, window_set.n_channels)
    with h5py.File(window_set.folder.parents[1] / "raw" / organoid / f"{name}.nwb") as file:
        senders, receivers, found_mv = (file["scratch/connections"][c][:] for c in ("source", "target", "weight_mv"))
    weights_mv[senders, receivers] = torch.from_numpy(found_mv).float()
    return weights_mv


def spike_sums(window_set: WindowSet) -> TrainingSpikeSums:
    sums = estimate_connectivity(window_set, n_lags=LAGS)
    assert sums
    return sums


def spike_trains_of(window_set: WindowSet, rows: Rows, coupling: Connectivity) -> dict[str, Tensor]:
    """Return two scores of pairs that use spike trains only. A negative tiling coefficient indicates inhibition."""
    segment_list = segments(window_set, rows, n_before=LAGS + 1, n_after=LAGS)
    began_s = time.monotonic()
    measures = pairwise_spike_statistics(
        (segment.samples_mv() for segment in segment_list), coupling.reset, n_lags=LAGS
    )
    print(f"  spike trains analyzed in {time.monotonic() - began_s:.1f} s")
    return {"cross-correlogram": measures.correlogram_z, "spike time tiling": measures.tiling.abs()}


def compare(coupling: Connectivity, baselines: dict[str, Tensor], truth: Float[Tensor, "sender receiver"]) -> None:
    found = connectivity_accuracy(coupling, truth)
    inhibitory = truth.sum(1) < 0
    n_recognized = sum(
        coupling.sender_types[sender] is SenderType.INHIBITORY for sender in inhibitory.nonzero().flatten()
    )
    print(f"  {'coupling':18} AUROC {found.auroc:.4f}  AUPRC {found.average_precision:.4f}")
    estimated = coupling.standard_error_mv.isfinite()
    connected = truth[estimated] != 0
    for name, score in baselines.items():
        ranked = score[estimated]
        print(f"  {name:18} AUROC {auroc(ranked, connected):.4f}  AUPRC {average_precision(ranked, connected):.4f}")
    print(
        f"  sign accuracy {found.sign_accuracy:.4f}, senders named {found.senders_named:.2f}, inhibitory senders "
        f"recognized {n_recognized} of {int(inhibitory.sum())}"
    )


def unseen_networks(brunel: WindowSet) -> None:
    estimator = spike_sums(brunel).estimator
    test_recordings = sorted({recording for recording, _, _, role in brunel.manifest.spans if role == Split.TEST})
    for recording in test_recordings:
        start = brunel.recordings[recording].start_row
        rows = [(recording, start, start + FIRST_SAMPLES)]
        sums = sum(
            (
                estimator.spike_triggered_sums(one.samples_mv())
                for one in segments(brunel, rows, n_before=1, n_after=LAGS)
            ),
            SpikeTriggeredSums.zeros(LAGS, brunel.n_channels),
        )
        coupling = estimator.connectivity(*sums.measured_mv(estimator.delay_profile))
        print(f"{brunel.recordings[recording].key}, first {FIRST_SAMPLES} samples")
        compare(coupling, spike_trains_of(brunel, rows, coupling), true_weights_mv(brunel, recording))


if __name__ == "__main__":
    main()
