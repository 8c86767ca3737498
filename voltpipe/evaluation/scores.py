"""The scores of a forecaster, from sums that grow batch by batch."""

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from voltpipe.evaluation.evaluation import EvaluationError


class ErrorSums:
    """What R2, RMSE and MAE of one forecaster in one regime need to know of its targets.

    R2 = 1 - SSE / SST in mV. SST is taken about each channel's *training* mean, so that R2 = 0 is what a
    forecaster reaches that knows nothing but that mean.

    Args:
        n_horizons: how many horizons are forecast.
        train_mean_mv: each channel's mean over the training samples.
    """

    def __init__(self, n_horizons: int, train_mean_mv: Float[Tensor, " channel"]) -> None:
        self._train_mean_mv = train_mean_mv
        self._squared, self._absolute, self._total = np.zeros((3, n_horizons, len(train_mean_mv)))
        self._n_windows = 0

    def add(
        self, forecast_mv: Float[Tensor, "batch horizon channel"], truth_mv: Float[Tensor, "batch horizon channel"]
    ) -> None:
        """Take in a batch of windows."""
        error_mv = (forecast_mv - truth_mv).double()
        self._squared += error_mv.square().sum(0).numpy()
        self._absolute += error_mv.abs().sum(0).numpy()
        self._total += (truth_mv - self._train_mean_mv).double().square().sum(0).numpy()
        self._n_windows += len(error_mv)

    def include(self, others: "ErrorSums") -> None:
        """Take in what others took in."""
        self._squared += others._squared
        self._absolute += others._absolute
        self._total += others._total
        self._n_windows += others._n_windows

    def of_channels(
        self, chosen: Bool[np.ndarray, " channel"]
    ) -> tuple[Float64[np.ndarray, " horizon"], Float64[np.ndarray, " horizon"], int]:
        """SSE and SST in mV squared, and the scored values at each horizon, of some of the channels."""
        squared, total = (sums[:, chosen].sum(1) for sums in (self._squared, self._total))
        return squared, total, self._n_windows * int(chosen.sum())

    @property
    def n_targets(self) -> int:
        """Scored values at each horizon: windows times channels."""
        return self._n_windows * len(self._train_mean_mv)

    def r2(self) -> Float64[np.ndarray, " horizon"]:
        """R2 pooled over all channels.

        Raises:
            EvaluationError: R2 does not exist, because a forecast is not finite or no target varies.
        """
        if not np.isfinite(self._squared).all():
            raise EvaluationError(
                "A forecast is NaN or infinite on held-out windows. Expected finite mV everywhere. "
                "Look at the training's loss and at the recordings' quality.",
                code="forecast-not-finite",
            )
        if not self._total.sum(1).all():
            raise EvaluationError(
                "Every held-out target equals its channel's training mean. Expected voltage that varies. "
                "Look at the recordings that are held out.",
                code="targets-constant",
            )
        return np.asarray(1 - self._squared.sum(1) / self._total.sum(1))

    def r2_by_channel(self) -> Float64[np.ndarray, "horizon channel"]:
        """R2 of each channel on its own; NaN for a channel that never leaves its training mean."""
        return np.asarray(1 - self._squared / np.where(self._total > 0, self._total, np.nan))

    def rmse_mv(self) -> Float64[np.ndarray, " horizon"]:
        """Root of the mean squared error."""
        return np.asarray(np.sqrt(self._squared.sum(1) / self.n_targets))

    def mae_mv(self) -> Float64[np.ndarray, " horizon"]:
        """Mean of the absolute error."""
        return np.asarray(self._absolute.sum(1) / self.n_targets)
