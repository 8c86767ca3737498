"""The validation loss and R2 of a module in training."""

import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from voltpipe.forecasting.compute import Compute
from voltpipe.forecasting.connectivity.coupling_state import FoldCouplings
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.windows.window_set import WindowSet

_BATCH_WINDOWS = 32


@torch.no_grad()
def validate(
    module: TrainableModule,
    window_set: WindowSet,
    windows: Int64[ndarray, " window"],
    compute: Compute,
    couplings: FoldCouplings | None,
) -> tuple[float, dict[int, float]]:
    """Mean squared error in z-units over all targets, and R2 in mV about the training mean by horizon in samples."""
    module.eval()
    device = compute.device.value
    horizons = module.dimensions.horizons_samples
    columns = [window_set.horizons.index(horizon) for horizon in horizons]
    train_mean_mv = window_set.train_mean_mv()
    squared_z, squared_mv, about_mean_mv = (torch.zeros(len(horizons), dtype=torch.float64) for _ in range(3))
    n_targets = 0
    for first in range(0, len(windows), _BATCH_WINDOWS):
        positions = windows[first : first + _BATCH_WINDOWS]
        batch = window_set.batch(positions)
        inputs = [batch.history_z, batch.mean_mv, batch.sd_mv]
        if couplings:
            inputs.append(couplings.of_held_out(positions))
        with compute.autocast():
            forecast = module(*(tensor.to(device) for tensor in inputs))
        error_z = forecast.float().cpu() - batch.target_z[:, columns]
        squared_z += _sum_of_squares(error_z)
        squared_mv += _sum_of_squares(error_z * batch.sd_mv[:, None])
        about_mean_mv += _sum_of_squares(batch.target_mv()[:, columns] - train_mean_mv)
        n_targets += error_z[:, 0].numel()
    r2 = 1 - squared_mv / about_mean_mv.clamp(min=torch.finfo(torch.float32).tiny)
    return float(squared_z.mean() / n_targets), dict(zip(horizons, r2.tolist(), strict=True))


def _sum_of_squares(values: Tensor) -> Tensor:
    return values.double().square().sum(dim=(0, 2))
