"""One step of gradient descent: the gradient of a batch, and the move of the weights."""

import math

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from voltpipe.forecasting.compute import Compute
from voltpipe.forecasting.connectivity.coupling_state import FoldCouplings
from voltpipe.forecasting.forecast_module import Adaptable, TrainableModule
from voltpipe.forecasting.recipe import Recipe
from voltpipe.forecasting.training.checkpoint import TrainingError
from voltpipe.windows.window_set import WindowSet


def make_optimizer(module: TrainableModule, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the optimizer of all weights of a module."""
    return torch.optim.Adam(
        module.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        decoupled_weight_decay=recipe.decoupled_weight_decay,
        fused=True,
    )


def couplings_by_window(module: TrainableModule, window_set: WindowSet) -> FoldCouplings | None:
    """Return the couplings that a module is trained and validated with; None if it uses none."""
    return module.window_couplings(window_set) if isinstance(module, Adaptable) else None


def backpropagate(
    module: TrainableModule,
    recipe: Recipe,
    window_set: WindowSet,
    compute: Compute,
    couplings: FoldCouplings | None,
    windows: Int64[ndarray, " window"],
) -> Float[Tensor, ""]:
    """Add the gradient of the mean loss over some windows to the module's, and return that loss."""
    stretch_z = window_set.segment(windows, window_set.settings.window_samples)
    calibration_mv = window_set.calibration_mv(window_set.index["recording"][windows])
    true_z, mean_mv, sd_mv = (tensor.to(compute.device.value) for tensor in (stretch_z, *calibration_mv))
    seen_z = true_z
    if recipe.noise_mv:
        seen_z = true_z + torch.randn_like(true_z) * (recipe.noise_mv / sd_mv[:, None])
    coupling = [couplings.of_training(windows).to(compute.device.value)] if couplings else []
    with compute.autocast():
        loss = module.training_loss(seen_z, true_z, mean_mv, sd_mv, *coupling)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def take_step(module: TrainableModule, optimizer: torch.optim.Optimizer, recipe: Recipe, loss: Tensor) -> float:
    """Clip the gradient, move the weights, and return the loss.

    Raises:
        TrainingError: loss or gradient is not finite. No weight has moved then.
    """
    gradient = torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
    loss_value, gradient_value = torch.stack([loss, gradient]).tolist()
    if not (math.isfinite(loss_value) and math.isfinite(gradient_value)):
        raise TrainingError(
            f"the training loss is {loss_value:g} and its gradient {gradient_value:g}; lower the learning rate, "
            "train in float32, or look for samples that are not finite. The last checkpoint is sound",
            code="training-diverged",
        )
    optimizer.step()
    return float(loss_value)
