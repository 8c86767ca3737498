"""A forecaster: weights, and all that is needed to use them on a recording."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import ValidationError
from torch import Tensor

from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.forecast_module import Adaptable, EstimatesCoupling, ForecastModule
from voltpipe.forecasting.forecaster_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    ForecasterConfig,
    ForecasterError,
    read_config,
    read_distribution,
    read_novelty,
    read_weights,
    write_part,
    write_tensors,
)
from voltpipe.forecasting.module_registry import MODULES, suited
from voltpipe.forecasting.novelty import NoveltyDetector
from voltpipe.forecasting.predictive_distribution import PredictiveDistribution
from voltpipe.lake.files import atomic_write_folder, write_json
from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class Forecaster:
    """Voltage in, voltage out: a module, what is known of its channels, and the coupling that it forecasts with."""

    module: ForecastModule
    config: ForecasterConfig
    is_for_one_recording: bool = False
    """Whether it was made by `for_recording` or `adapted_to`, and so is not for other organoids' recordings."""
    coupling_mv: Float[Tensor, "1 2 sender receiver"] | None = None
    """The coupling of that recording's channels, if the module uses one; see `coupling`."""
    distribution: PredictiveDistribution | None = None
    """What the truth may be, given a forecast; None if that was never fitted (see `distribution.fit.calibrated`)."""
    familiarity: NoveltyDetector | None = None
    """What it recognises its training rows by; None if that was never learned (see `familiarity.fit.familiar`)."""

    @classmethod
    def unfitted(
        cls, name: str, window_set: WindowSet, architecture_settings: dict[str, Any] | None = None
    ) -> "Forecaster":
        """A forecaster with the named module as it is before anything is fitted, of the sizes of a window set.

        Raises:
            ForecasterError: the module is made for horizons that the window set lacks.
        """
        name = suited(name, window_set) if architecture_settings is None else name
        module_type = MODULES[name]
        horizons = module_type.only_horizons or window_set.horizons
        if not set(horizons) <= set(window_set.horizons):
            raise ForecasterError(
                f"{name} forecasts {horizons} samples ahead, the window set has targets at {window_set.horizons}; "
                "add the horizons to the window set",
                code="horizon-missing",
            )
        mean_mv, sd_mv = window_set.calibration_mv(np.array(sorted({r for r, _, _ in window_set.train_rows()})))
        settings = module_type.settings_type.model_validate(architecture_settings or {})
        config = ForecasterConfig(
            architecture=str(name),
            architecture_settings=settings.model_dump(),
            context_samples=window_set.context,
            horizons_samples=horizons,
            rate_hz=window_set.rate_hz,
            channel_names=window_set.channel_names,
            organoids=window_set.training_organoids(),
            mean_mv=tuple(mean_mv.mean(0).tolist()),
            sd_mv=tuple(sd_mv.mean(0).tolist()),
            conditioning=window_set.conditioning,
        )
        return cls(module_type(settings, config.dimensions), config)

    @property
    def horizons(self) -> tuple[int, ...]:
        """How many samples ahead it forecasts."""
        return self.config.horizons_samples

    def for_recording(self, organoid: str, channel_names: tuple[str, ...]) -> "Forecaster":
        """The same weights as they are to be used on a recording: of a known network, or of one never seen."""
        if self.is_for_one_recording:
            return self
        if not isinstance(self.module, Adaptable):
            return self
        known = organoid in self.config.organoids and channel_names == self.config.channel_names
        network = self.config.organoids.index(organoid) if known else None
        return self._with(self.module.coupling_of(network, len(channel_names)), channel_names)

    @property
    def adapts(self) -> bool:
        """Whether `adapted_to` makes a difference."""
        return isinstance(self.module, Adaptable) and bool(self.module.couplings())

    def adapted_to(
        self, pasts_mv: Iterable[Float32[np.ndarray, "time channel"]], channel_names: tuple[str, ...]
    ) -> "Forecaster":
        """The same weights with a coupling that is estimated from a recording's own past.

        Args:
            pasts_mv: stretches without a gap, in mV.
            channel_names: of the recording; need not be those that were trained on.
        """
        if not isinstance(self.module, Adaptable):
            return self
        shown = [self.module.evidence(torch.from_numpy(past_mv)) for past_mv in pasts_mv]
        evidence = [piece for piece in shown if piece is not None]
        if not evidence:
            return self._with(self.module.coupling_of(None, len(channel_names)), channel_names)
        return self._with(self.module.adapted_coupling(sum(evidence[1:], evidence[0])), channel_names)

    def _with(self, coupling_mv: Float[Tensor, "1 2 sender receiver"], channel_names: tuple[str, ...]) -> "Forecaster":
        mean_mv, sd_mv = self.config.mean_mv, self.config.sd_mv
        if len(channel_names) != len(mean_mv):
            mean_mv, sd_mv = ((sum(values) / len(values),) * len(channel_names) for values in (mean_mv, sd_mv))
        calibration = {"channel_names": channel_names, "mean_mv": mean_mv, "sd_mv": sd_mv}
        config = self.config.model_copy(update=calibration)
        return replace(self, config=config, coupling_mv=coupling_mv, is_for_one_recording=True)

    def couplings(self) -> dict[str, Connectivity]:
        """The estimated coupling by organoid that was trained on; empty if the module estimates none."""
        known = self.module.couplings() if isinstance(self.module, EstimatesCoupling) else ()
        return dict(zip(self.config.organoids, known, strict=False))

    def coupling(self) -> tuple[Float[Tensor, "1 2 sender receiver"], ...]:
        """The coupling that the module is handed with each history; none if it takes none.

        Unless a recording was chosen, it is that of the only organoid trained on, or the expected one if there were
        several.
        """
        if not isinstance(self.module, Adaptable):
            return ()
        if self.coupling_mv is not None:
            return (self.coupling_mv,)
        only = 0 if len(self.config.organoids) == 1 else None
        return (self.module.coupling_of(only, len(self.config.channel_names)),)

    def forecast_z(
        self,
        history_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units, differentiably and unchecked; otherwise like `predict_z`."""
        forecast_z: Tensor = self.module(history_z[:, -self.config.context_samples :], mean_mv, sd_mv, *self.coupling())
        return forecast_z

    def predict_z(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units. Mean and standard deviation in mV are those that made the z-units.

        Only the last `context_samples` samples are used.

        Raises:
            ForecasterError: the history is too short, has other channels, or holds NaN or infinity.
        """
        self._check(tuple(history_z.shape[1:]), bool(torch.isfinite(history_z).all()))
        self.module.eval()
        with torch.no_grad():
            return self.forecast_z(history_z, mean_mv, sd_mv)

    def predict_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> Float32[np.ndarray, "*batch horizon channel"]:
        """Forecast in mV from the last `context_samples` samples in mV, of one window or of a batch.

        Raises:
            ForecasterError: the history is too short, has other channels, or holds NaN or infinity.
        """
        *batch, n_samples, n_channels = history_mv.shape
        history = torch.from_numpy(np.ascontiguousarray(history_mv)).reshape(-1, n_samples, n_channels)
        mean_mv, sd_mv = self._calibration_mv(n_channels)
        self._check((n_samples, n_channels), bool(torch.isfinite(history).all()))
        mean_mv, sd_mv = mean_mv.expand(len(history), -1), sd_mv.expand(len(history), -1)
        forecast_z = self.predict_z((history - mean_mv[:, None]) / sd_mv[:, None], mean_mv, sd_mv)
        forecast_mv = forecast_z * sd_mv[:, None] + mean_mv[:, None]
        return forecast_mv.reshape(*batch, len(self.horizons), n_channels).numpy()

    def predict_quantiles_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"], levels: Sequence[float]
    ) -> Float32[np.ndarray, "level *batch horizon channel"]:
        """What the voltage stays below with each probability, in mV; the forecast itself is its mean, not its median.

        Raises:
            ForecasterError: as for `predict_mv`, or the forecaster has no predictive distribution.
        """
        present_mv, forecast_mv = self._present_and_forecast_mv(history_mv)
        return self.known_distribution().quantiles_mv(present_mv, forecast_mv, levels).numpy()

    def spike_chance(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> Float32[np.ndarray, "*batch horizon channel"]:
        """The chance that each channel spikes within each horizon.

        Raises:
            ForecasterError: as for `predict_mv`, or the forecaster has no predictive distribution, or spikes are not
                seen in its voltages.
        """
        if not self.known_distribution().sees_spikes:
            raise ForecasterError(
                "found no reset in the voltages that this forecaster was trained on, so it cannot see spikes; use one "
                "trained on membrane voltages",
                code="spikes-not-visible",
            )
        present_mv, forecast_mv = self._present_and_forecast_mv(history_mv)
        return self.known_distribution().spike_chance(present_mv, forecast_mv).numpy()

    def _present_and_forecast_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> tuple[Float[Tensor, "*batch channel"], Float[Tensor, "*batch horizon channel"]]:
        present_mv = np.ascontiguousarray(history_mv[..., -1, :])
        return torch.from_numpy(present_mv), torch.from_numpy(self.predict_mv(history_mv))

    def known_distribution(self) -> PredictiveDistribution:
        """The predictive distribution.

        Raises:
            ForecasterError: there is none.
        """
        if self.distribution is None:
            raise ForecasterError(
                f"this {self.config.architecture} has no predictive distribution, only its mean; train it again, "
                "or fit one with voltpipe.forecasting.distribution.fit.calibrated",
                code="distribution-missing",
            )
        return self.distribution

    def _calibration_mv(self, n_channels: int) -> tuple[Tensor, Tensor]:
        mean_mv, sd_mv = torch.tensor(self.config.mean_mv), torch.tensor(self.config.sd_mv)
        if self.module.bound_to_channels:
            return mean_mv, sd_mv
        return mean_mv.mean().expand(n_channels), sd_mv.mean().expand(n_channels)

    def _check(self, shape: tuple[int, ...], is_finite: bool) -> None:
        n_samples, n_channels = shape
        expected = len(self.config.channel_names)
        if self.module.bound_to_channels and n_channels != expected:
            raise ForecasterError(
                f"found {n_channels} channels, but this {self.config.architecture} was trained on {expected} and its "
                "weights belong to them; hand it those channels in their order, or train one on this recording",
                code="channels-mismatched",
            )
        if n_samples < self.config.context_samples:
            raise ForecasterError(
                f"found {n_samples} samples of history, but {self.config.context_samples} "
                f"({1000 * self.config.context_samples / self.config.rate_hz:g} ms) are needed; hand it more",
                code="history-too-short",
            )
        if not is_finite:
            raise ForecasterError(
                "the history holds NaN or infinity; forecast from a segment without them", code="history-not-finite"
            )

    def save(self, folder: Path) -> None:
        """Write weights and tables (safetensors) and configs (JSON) to a new folder, whole or not at all.

        Raises:
            ForecasterError: it was made for one recording, which is not kept.
        """
        if self.is_for_one_recording:
            raise ForecasterError(
                "this forecaster was made for one recording; save the one that it was made from, and make it again",
                code="forecaster-for-one-recording",
            )
        with atomic_write_folder(folder) as aside:
            write_tensors(aside / WEIGHTS_FILE, self.module.state_dict())
            write_json(aside / CONFIG_FILE, self.config.model_dump(mode="json"))
            if self.distribution:
                write_part(aside, "distribution", self.distribution)
            if self.familiarity:
                write_part(aside, "familiarity", self.familiarity)

    @classmethod
    def load(cls, folder: Path) -> "Forecaster":
        """Read what `save` wrote. Nothing in the folder can run code.

        Raises:
            ForecasterError: a file is missing, damaged, or does not fit the other.
        """
        config, convert = read_config(folder / CONFIG_FILE)
        module_type = MODULES[config.architecture]
        try:
            settings = module_type.settings_type.model_validate(config.architecture_settings)
            module = module_type(settings, config.dimensions)
        except ValidationError as error:
            raise ForecasterError(
                f"{folder / CONFIG_FILE} has unusable architecture settings: {error}",
                code="forecaster-settings-invalid",
            ) from error
        weights = read_weights(folder / WEIGHTS_FILE, module.state_dict(), convert)
        module.load_state_dict(weights)
        return cls(module, config, distribution=read_distribution(folder), familiarity=read_novelty(folder))
