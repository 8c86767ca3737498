"""Connectivity of each pair of channels: by the forecaster, by spike trains alone, and the truth where known."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.compute import run_in_threads
from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.signals.spike_trains import PairwiseSpikeStatistics, pairwise_spike_statistics
from voltpipe.simulation.network import BRUNEL_NETWORK, draw_network
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.split_segments import segments
from voltpipe.windows.window_set import WindowSet

CONNECTIVITY_FILE = "connectivity.parquet"
LIKELY = 0.5
"""Probability above which a pair counts as connected."""
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
    """Return a table with one row for each pair of different channels of each organoid that was trained on.

    - `sender`, `receiver`: the channels.
    - `weight_mv`: expected shift of the receiver's voltage by one spike of the sender, given all training data.
    - `probability`: probability of a connection.
    - `sender_type`: effect of the sender's spikes on all receivers.
    - `measured_mv`: shift measured for the pair alone, with standard error (`standard_error_mv`) and 95 % interval
      (`low_mv`, `high_mv`); NaN if it could not be measured.
    - `correlogram_z`, `tiling`: statistics of the two spike trains alone (see `signals.spike_trains`).
    - `true_weight_mv`, `is_connected_truth`: missing if the truth is unknown.

    Args:
        forecaster: a forecaster; one without a coupling gives no rows.
        window_set: the window set that it was trained on; only training rows are read.
    """
    truth_mv = true_networks_mv(window_set)

    def table_of(learned: tuple[str, Connectivity]) -> pd.DataFrame:
        organoid, coupling = learned
        trains = _spike_trains(organoid, window_set, coupling)
        return _pairs(organoid, window_set.channel_names, coupling, trains, truth_mv)

    parts = list(run_in_threads(table_of, forecaster.couplings().items()))
    return pd.concat(parts, ignore_index=True).astype(_COLUMNS) if parts else no_connectivity()


def no_connectivity() -> pd.DataFrame:
    """Return a connectivity table without rows."""
    return pd.DataFrame(columns=list(_COLUMNS)).astype(_COLUMNS)


def true_networks_mv(window_set: WindowSet) -> dict[str, Float[np.ndarray, "sender receiver"]]:
    """Return the weights of the simulated networks in mV, by organoid; only if recordings name the network's seed.

    Only networks of preparation `organoid` can be drawn again, because Brian2 drew those of `brunel`. If channels were
    left out, it is unknown which ones remain, so nothing is returned.
    """
    if window_set.manifest.preparation != Preparation.ORGANOID or window_set.n_channels != BRUNEL_NETWORK.n_neurons:
        return {}
    return {organoid: draw_network(seed) for organoid, seed in window_set.manifest.network_seeds.items()}


def _spike_trains(organoid: str, window_set: WindowSet, coupling: Connectivity) -> PairwiseSpikeStatistics:
    """Return statistics of the spike trains in the training rows and at the lags that the coupling is from."""
    n_lags = len(coupling.delay_profile)
    rows = [row for row in window_set.train_rows() if window_set.recordings[row[0]].organoid == organoid]
    samples_mv = (each.samples_mv() for each in segments(window_set, rows, n_before=n_lags + 1, n_after=n_lags))
    return pairwise_spike_statistics(samples_mv, coupling.reset, n_lags=n_lags)


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
