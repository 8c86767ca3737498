"""The coupling of each window of a window set, for training and validation."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.forecasting.coupling.estimate import evidence_of_training
from voltpipe.forecasting.coupling.folds import N_FOLDS, Folds
from voltpipe.forecasting.coupling.memory import CouplingMemory
from voltpipe.windows.window_set import WindowSet


class WindowCouplings:
    """A table of couplings by window. A training window's coupling is estimated from all folds but its own.

    Args:
        memory: what is known of the organoids that were trained on.
        window_set: only its training rows are read.
        unknown_share: share of training windows that get the coupling expected of an unknown organoid.
    """

    def __init__(self, memory: CouplingMemory, window_set: WindowSet, *, unknown_share: float) -> None:
        self._window_set = window_set
        self._unknown_share = unknown_share
        self._folds = Folds(window_set)
        self.usual_mv: Float[Tensor, "2 sender receiver"] = memory.usual_mv(window_set.n_channels)
        shown, networks = evidence_of_training(
            window_set, memory.estimator().mean_steps, n_lags=len(memory.delay_profile)
        )
        others = [
            all_of_it - shown[network, fold] for network, all_of_it in enumerate(networks) for fold in range(N_FOLDS)
        ]
        cross_fitted_mv = torch.stack([memory.adapted_mv(evidence) for evidence in others])
        self._cross_fitted_mv = cross_fitted_mv.reshape(len(networks), N_FOLDS, *self.usual_mv.shape)
        self._known_mv = torch.stack([*(memory.known_mv(network) for network in range(len(networks))), self.usual_mv])
        known = {organoid: network for network, organoid in enumerate(window_set.training_organoids())}
        self._networks = torch.tensor([known.get(r.organoid, len(known)) for r in window_set.recordings])

    def of_training(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """The coupling that the other folds show; for a random share of the windows, that of an unknown organoid."""
        middle_rows = self._window_set.index["start_row"][windows] + self._window_set.settings.window_samples // 2
        networks, folds = map(torch.from_numpy, self._folds.of_rows(middle_rows))
        coupling_mv = self._cross_fitted_mv[networks, folds]
        unknown = torch.rand(len(windows)) < self._unknown_share
        return torch.where(unknown[:, None, None, None], self.usual_mv, coupling_mv)

    def of_held_out(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """The coupling that all training rows show, or the usual one for organoids that were not trained on."""
        return self._known_mv[self._networks[self._window_set.index["recording"][windows]]]
