"""One epoch of gradient descent."""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.device import Compute
from voltpipe.forecasting.module import TrainedModule
from voltpipe.forecasting.recipe import Recipe
from voltpipe.windows.window_set import WindowSet


class TrainingError(VoltpipeError):
    """A training that cannot go on; its last checkpoint is sound."""


def backpropagate(
    module: TrainedModule,
    recipe: Recipe,
    window_set: WindowSet,
    compute: Compute,
    windows: Int64[ndarray, " window"],
) -> Float[Tensor, ""]:
    """Add the gradient of the mean loss over some windows to the module's, and return that loss."""
    stretch_z = window_set.stretch(windows, window_set.settings.window_samples)
    calibration_mv = window_set.calibration_mv(window_set.index["recording"][windows])
    true_z, mean_mv, sd_mv = (tensor.to(compute.device.value) for tensor in (stretch_z, *calibration_mv))
    seen_z = true_z
    if recipe.noise_mv:
        seen_z = true_z + torch.randn_like(true_z) * (recipe.noise_mv / sd_mv[:, None])
    module.recognise(windows)
    with compute.autocast():
        loss = module.training_loss(seen_z, true_z, mean_mv, sd_mv)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


@runtime_checkable
class Helpers(Protocol):
    """Whoever shares the work of a step."""

    def backpropagate(
        self, windows: Int64[ndarray, " window"], own_share: Callable[[Int64[ndarray, " share"]], Tensor]
    ) -> Tensor:
        """Set the module's gradient to that of the mean loss over windows, some of which `own_share` takes."""


class Descent:
    """A module, the optimizer that moves its weights, and the windows it learns from.

    Args:
        module: to be trained, on the device of `compute`.
        recipe: batch size, optimizer and noise.
        window_set: of which only the windows asked for are read.
        compute: device and precision.
        helpers: who shares the work, if anybody does.
    """

    def __init__(
        self,
        module: TrainedModule,
        recipe: Recipe,
        window_set: WindowSet,
        compute: Compute,
        helpers: Helpers | None = None,
    ) -> None:
        self.helpers = helpers
        self.module = module
        self.recipe = recipe
        self.window_set = window_set
        self.compute = compute
        self.optimizer = torch.optim.Adam(
            module.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            decoupled_weight_decay=recipe.decoupled_weight_decay,
            fused=True,
        )

    def run(
        self,
        windows: Int64[ndarray, " window"],
        *,
        learning_rate: Callable[[float], float],
        out_of_time: Callable[[int], bool],
    ) -> tuple[float, int]:
        """Learn from windows in their order, until all are seen or time is out.

        Args:
            windows: positions in the window set's index.
            learning_rate: by the fraction of the epoch that is done.
            out_of_time: asked after each step, by the number of windows seen.

        Returns:
            The mean training loss, and how many windows were seen.

        Raises:
            TrainingError: a loss or gradient is not finite. No weight has moved then.
        """
        self.module.train()
        loss_sum, seen = 0.0, 0
        while seen < len(windows) and not (seen and out_of_time(seen)):
            batch = windows[seen : seen + self.recipe.batch_size]
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(seen / len(windows))
            loss_sum += self._step(batch) * len(batch)
            seen += len(batch)
        return loss_sum / seen, seen

    def _step(self, windows: Int64[ndarray, " window"]) -> float:
        self.optimizer.zero_grad()
        if self.helpers:
            loss = self.helpers.backpropagate(windows, self._backpropagate)
        else:
            loss = self._backpropagate(windows)
        gradient = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip_norm)
        loss_value, gradient_value = torch.stack([loss, gradient]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(gradient_value)):
            raise TrainingError(
                f"the training loss is {loss_value:g} and its gradient {gradient_value:g}; lower the learning rate, "
                "train in float32, or look for samples that are not finite. The last checkpoint is sound",
                code="training-diverged",
            )
        self.optimizer.step()
        return float(loss_value)

    def _backpropagate(self, windows: Int64[ndarray, " window"]) -> Float[Tensor, ""]:
        return backpropagate(self.module, self.recipe, self.window_set, self.compute, windows)

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state under flat names."""
        return {
            f"{number}.{name}": tensor.detach().cpu()
            for number, entry in self.optimizer.state_dict()["state"].items()
            for name, tensor in entry.items()
        }

    def restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Set what `optimizer_tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for flat_name, tensor in tensors.items():
            number, name = flat_name.split(".")
            state.setdefault(int(number), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
