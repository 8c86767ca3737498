"""Connectivity table: estimate, spike-train statistics and truth for each pair of channels."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.compute import run_in_threads
from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import atomic_write
from voltpipe.signals.spike_trains import PairwiseSpikeStatistics, pairwise_spike_statistics
from voltpipe.simulation.network import BRUNEL_NETWORK, draw_network
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.split_segments import segments
from voltpipe.windows.window_set import WindowSet

CONNECTIVITY_FILE = "connectivity.parquet"
LIKELY = 0.5
"""Pairs of a higher probability are called connected."""

_Z_OF_95_PERCENT = 1.96
_COLUMNS = {
    "organoid": "str",
    "sender": "str",
    "receiver": "str",
    "sender_type": "str",
    "weight_mv": "float32",
    "measured_mv": "float32",
    "standard_error_mv": "float32",
    "low_mv": "float32",
    "high_mv": "float32",
    "probability": "float32",
    "correlogram_z": "float32",
    "tiling": "float32",
    "true_weight_mv": "float32",
    "is_connected_truth": "boolean",
}


def connectivity_table(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """A row for each pair of different channels of each organoid that was trained on.

    `sender` and `receiver` are channels. `weight_mv` is the expected shift of the receiver's voltage by one spike of
    the sender given all evidence, `probability` that there is a connection, and `sender_type` what the sender's spikes
    do to all. `measured_mv` is the shift as measured for the pair alone, with its standard error and 95 % interval
    (`low_mv`, `high_mv`); NaN where nothing could be measured. `correlogram_z` and `tiling` are what spike trains alone
    say of the pair (see `forecasting.coupling.spike_trains`). `true_weight_mv` and `is_connected_truth` are missing
    where the truth is not known.

    Args:
        forecaster: one without a coupling gives no rows.
        window_set: what it was trained on; only training rows are read.
    """
    truth_mv = true_networks_mv(window_set)

    def of(learned: tuple[str, Connectivity]) -> pd.DataFrame:
        organoid, coupling = learned
        trains = _spike_trains(organoid, window_set, coupling)
        return _pairs(organoid, window_set.channel_names, coupling, trains, truth_mv)

    parts = list(run_in_threads(of, forecaster.couplings().items()))
    return pd.concat(parts, ignore_index=True).astype(_COLUMNS) if parts else no_connectivity()


def no_connectivity() -> pd.DataFrame:
    """Return a connectivity table without rows."""
    return pd.DataFrame(columns=list(_COLUMNS)).astype(_COLUMNS)


def true_networks_mv(window_set: WindowSet) -> dict[str, Float[np.ndarray, "sender receiver"]]:
    """The simulated networks, by organoid, as far as the recordings name the seed that they were drawn from.

    Only those of preparation `organoid` can be drawn again; Brian2 drew those of `brunel`. Where channels were left
    out, it is not known which are left.
    """
    if window_set.manifest.preparation != Preparation.ORGANOID or window_set.n_channels != BRUNEL_NETWORK.n_neurons:
        return {}
    return {organoid: draw_network(seed) for organoid, seed in window_set.manifest.network_seeds.items()}


def write_connectivity(path: Path, table: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    with atomic_write(path) as aside:
        table.to_parquet(aside, index=False)


def _spike_trains(organoid: str, window_set: WindowSet, coupling: Connectivity) -> PairwiseSpikeStatistics:
    """Compute spike-train statistics of the same training rows, at the same lags."""
    n_lags = len(coupling.delay_profile)
    rows = [row for row in window_set.train_rows() if window_set.recordings[row[0]].organoid == organoid]
    pieces = segments(window_set, rows, n_before=n_lags + 1, n_after=n_lags)
    return pairwise_spike_statistics((piece.samples_mv() for piece in pieces), coupling.reset, n_lags=n_lags)


def _pairs(
    organoid: str,
    channel_names: tuple[str, ...],
    coupling: Connectivity,
    spike_trains: PairwiseSpikeStatistics,
    truth_mv: dict[str, Float[np.ndarray, "sender receiver"]],
) -> pd.DataFrame:
    n_channels = len(channel_names)
    pairs = np.nonzero(~np.eye(n_channels, dtype=bool))

    def of_pairs(matrix: Float[Tensor, "sender receiver"]) -> np.ndarray:
        return np.asarray(matrix.numpy()[pairs])

    names, (senders, receivers) = np.array(channel_names), pairs
    error_mv = of_pairs(coupling.standard_error_mv)
    error_mv = np.where(np.isfinite(error_mv), error_mv, np.nan)
    measured_mv = np.where(np.isnan(error_mv), np.nan, of_pairs(coupling.measured_mv))
    true_mv = truth_mv[organoid][pairs] if organoid in truth_mv else np.nan
    return pd.DataFrame(
        {
            "organoid": organoid,
            "sender": names[senders],
            "receiver": names[receivers],
            "sender_type": np.array([kind.value for kind in coupling.sender_types])[senders],
            "weight_mv": of_pairs(coupling.weights_mv),
            "measured_mv": measured_mv,
            "standard_error_mv": error_mv,
            "low_mv": measured_mv - _Z_OF_95_PERCENT * error_mv,
            "high_mv": measured_mv + _Z_OF_95_PERCENT * error_mv,
            "probability": of_pairs(coupling.probability),
            "correlogram_z": of_pairs(spike_trains.correlogram_z),
            "tiling": of_pairs(spike_trains.tiling),
            "true_weight_mv": true_mv,
            "is_connected_truth": true_mv != 0 if organoid in truth_mv else pd.NA,
        }
    )
