"""The parts of an epoch: gradient of a batch, optimizer step, and validation."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.forecasting.compute import Compute
from voltpipe.forecasting.connectivity.coupling_state import FoldCouplings
from voltpipe.forecasting.forecast_module import Adaptable, TrainableModule
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.forecasting.training.checkpoint import TrainingError
from voltpipe.windows.window_set import WindowSet

_BATCH_WINDOWS = 32


def make_optimizer(module: TrainableModule, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the Adam optimizer of a module's parameters."""
    return torch.optim.Adam(
        module.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        decoupled_weight_decay=recipe.decoupled_weight_decay,
        fused=True,
    )


def couplings_by_window(module: TrainableModule, window_set: WindowSet) -> FoldCouplings | None:
    """Return the coupling of each window, for training and validation; None if the model uses none."""
    return module.window_couplings(window_set) if isinstance(module, Adaptable) else None


def backpropagate(
    module: TrainableModule,
    recipe: Recipe,
    window_set: WindowSet,
    compute: Compute,
    couplings: FoldCouplings | None,
    windows: Int64[np.ndarray, " window"],
) -> Float[Tensor, ""]:
    """Compute the mean loss over a batch of windows, accumulate its gradient in the parameters, and return the loss."""
    segment_z = window_set.segment(windows, window_set.settings.window_samples)
    calibration_mv = window_set.calibration_mv(window_set.index["recording"][windows])
    true_z, mean_mv, sd_mv = (tensor.to(compute.device.value) for tensor in (segment_z, *calibration_mv))
    seen_z = true_z
    if recipe.noise_mv:
        seen_z = true_z + torch.randn_like(true_z) * (recipe.noise_mv / sd_mv[:, None])
    coupling = [couplings.of_training(windows).to(compute.device.value)] if couplings else []
    with compute.autocast():
        loss = module.training_loss(seen_z, true_z, mean_mv, sd_mv, *coupling)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def take_step(module: TrainableModule, optimizer: torch.optim.Optimizer, recipe: Recipe, loss: Tensor) -> float:
    """Clip the gradient, update the weights, and return the loss.

    Raises:
        TrainingError: loss or gradient is not finite. The weights are then unchanged.
    """
    gradient = torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
    loss_value, gradient_value = torch.stack([loss, gradient]).tolist()
    if not (math.isfinite(loss_value) and math.isfinite(gradient_value)):
        raise TrainingError(
            f"The training loss is {loss_value:g} and the norm of its gradient {gradient_value:g}. Lower the learning "
            "rate, train in float32, or look for samples that are not finite. The last checkpoint is intact.",
            code="training-diverged",
        )
    optimizer.step()
    return float(loss_value)


@torch.no_grad()
def validate(
    module: TrainableModule,
    window_set: WindowSet,
    windows: Int64[np.ndarray, " window"],
    compute: Compute,
    couplings: FoldCouplings | None,
) -> tuple[float, dict[int, float]]:
    """Return the validation loss and, by horizon in samples, R2 in mV about the training mean.

    The loss is the mean squared error over all targets in z-units.
    """
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
