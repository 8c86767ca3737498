"""One epoch of gradient descent."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.device import Compute
from voltpipe.forecasting.module import TrainedModule
from voltpipe.forecasting.recipe import Recipe
from voltpipe.windows.window_set import WindowSet


class TrainingError(VoltpipeError):
    """A training that cannot go on; its last checkpoint is sound."""


class Descent:
    """A module, the optimizer that moves its weights, and the windows it learns from.

    Args:
        module: to be trained, on the device of `compute`.
        recipe: batch size, optimizer and noise.
        window_set: of which only the windows asked for are read.
        compute: device and precision.
    """

    def __init__(self, module: TrainedModule, recipe: Recipe, window_set: WindowSet, compute: Compute) -> None:
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
        out_of_time: Callable[[], bool],
    ) -> tuple[float, int]:
        """Learn from windows in their order, until all are seen or time is out.

        Args:
            windows: positions in the window set's index.
            learning_rate: by the fraction of the epoch that is done.
            out_of_time: asked after each step.

        Returns:
            The mean training loss, and how many windows were seen.

        Raises:
            TrainingError: a loss or gradient is not finite. No weight has moved then.
        """
        self.module.train()
        loss_sum, seen = 0.0, 0
        while seen < len(windows) and not (seen and out_of_time()):
            batch = windows[seen : seen + self.recipe.batch_size]
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(seen / len(windows))
            loss_sum += self._step(batch) * len(batch)
            seen += len(batch)
        return loss_sum / seen, seen

    def _step(self, windows: Int64[ndarray, " window"]) -> float:
        true_z, mean_mv, sd_mv = (tensor.to(self.compute.device.value) for tensor in self._gathered(windows))
        seen_z = true_z
        if self.recipe.noise_mv:
            seen_z = true_z + torch.randn_like(true_z) * (self.recipe.noise_mv / sd_mv[:, None])
        self.module.recognise(windows)
        with self.compute.autocast():
            loss = self.module.training_loss(seen_z, true_z, mean_mv, sd_mv)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip_norm)
        loss_value, gradient_value = torch.stack([loss.detach(), gradient]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(gradient_value)):
            raise TrainingError(
                f"the training loss is {loss_value:g} and its gradient {gradient_value:g}; lower the learning rate, "
                "train in float32, or look for samples that are not finite. The last checkpoint is sound"
            )
        self.optimizer.step()
        return float(loss_value)

    def _gathered(self, windows: Int64[ndarray, " window"]) -> tuple[Tensor, Tensor, Tensor]:
        stretch_z = self.window_set.stretch(windows, self.window_set.settings.window_samples)
        return stretch_z, *self.window_set.calibration_mv(self.window_set.index["recording"][windows])

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
