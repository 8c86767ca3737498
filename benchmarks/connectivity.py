"""How much of simulated networks' connectivity is found, beside what spike trains alone say of it.

    python benchmarks/connectivity.py [--folder FOLDER]

The network of `organoid` is judged by its 35 training recordings. In `brunel` each recording is of a network of its
own: those of the held-out recordings are judged by their first 7.2 s each, with what the 35 networks trained on say of
such networks in general. The truth is read from the raw NWB files.
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
    shown = shown_by(organoid)
    coupling = shown.estimator.connectivity(*shown.by_organoid[0].measured_mv(shown.estimator.delay_profile))
    rows = list(organoid.train_rows())
    print(f"organoid, {len(rows)} training stretches, coupling estimated in {time.monotonic() - began_s:.1f} s")
    compare(coupling, spike_trains_of(organoid, rows, coupling), true_weights_mv(organoid, rows[0][0]))
    unseen_networks(reference_window_set(Preparation.BRUNEL, folder))


def true_weights_mv(window_set: WindowSet, recording: int) -> Float[Tensor, "sender receiver"]:
    """What the raw file's scratch space holds of the simulated network."""
    organoid, name = window_set.recordings[recording].key.split("--")
    weights_mv = torch.zeros(window_set.n_channels, window_set.n_channels)
    with h5py.File(window_set.folder.parents[1] / "raw" / organoid / f"{name}.nwb") as file:
        senders, receivers, found_mv = (file["scratch/connections"][c][:] for c in ("source", "target", "weight_mv"))
    weights_mv[senders, receivers] = torch.from_numpy(found_mv).float()
    return weights_mv


def shown_by(window_set: WindowSet) -> TrainingSpikeSums:
    shown = estimate_connectivity(window_set, n_lags=LAGS)
    assert shown
    return shown


def spike_trains_of(window_set: WindowSet, rows: Rows, coupling: Connectivity) -> dict[str, Tensor]:
    """The two measures by which pairs are ranked without the voltage; a tiling below zero tells of inhibition."""
    pieces = segments(window_set, rows, n_before=LAGS + 1, n_after=LAGS)
    began_s = time.monotonic()
    measures = pairwise_spike_statistics((piece.samples_mv() for piece in pieces), coupling.reset, n_lags=LAGS)
    print(f"  spike trains measured in {time.monotonic() - began_s:.1f} s")
    return {"cross-correlogram": measures.correlogram_z, "spike time tiling": measures.tiling.abs()}


def compare(coupling: Connectivity, baselines: dict[str, Tensor], truth: Float[Tensor, "sender receiver"]) -> None:
    found = connectivity_accuracy(coupling, truth)
    inhibitory = truth.sum(1) < 0
    recognised = sum(
        coupling.sender_types[sender] is SenderType.INHIBITORY for sender in inhibitory.nonzero().flatten()
    )
    print(f"  {'coupling':18} AUROC {found.auroc:.4f}  AUPRC {found.average_precision:.4f}")
    measured = coupling.standard_error_mv.isfinite()
    connected = truth[measured] != 0
    for name, score in baselines.items():
        ranked = score[measured]
        print(f"  {name:18} AUROC {auroc(ranked, connected):.4f}  AUPRC {average_precision(ranked, connected):.4f}")
    print(
        f"  sign accuracy {found.sign_accuracy:.4f}, senders named {found.senders_named:.2f}, inhibitory senders "
        f"recognised {recognised} of {int(inhibitory.sum())}"
    )


def unseen_networks(brunel: WindowSet) -> None:
    estimator = shown_by(brunel).estimator
    test_recordings = sorted({recording for recording, _, _, role in brunel.manifest.spans if role == Split.TEST})
    for recording in test_recordings:
        start = brunel.recordings[recording].start_row
        rows = [(recording, start, start + FIRST_SAMPLES)]
        pieces = segments(brunel, rows, n_before=1, n_after=LAGS)
        evidence = sum(
            (estimator.spike_triggered_sums(piece.samples_mv()) for piece in pieces),
            SpikeTriggeredSums.zeros(LAGS, brunel.n_channels),
        )
        coupling = estimator.connectivity(*evidence.measured_mv(estimator.delay_profile))
        print(f"{brunel.recordings[recording].key}, its first {FIRST_SAMPLES} samples")
        compare(coupling, spike_trains_of(brunel, rows, coupling), true_weights_mv(brunel, recording))


if __name__ == "__main__":
    main()
