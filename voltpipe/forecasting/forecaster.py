"""A forecaster: a model and everything needed to use it on a recording."""

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
from voltpipe.forecasting.module_registry import MODULES, suitable_architecture
from voltpipe.forecasting.novelty import NoveltyDetector
from voltpipe.forecasting.predictive_distribution import PredictiveDistribution
from voltpipe.lake.files import atomic_write_folder, write_json
from voltpipe.windows.window_set import WindowSet, to_mv


@dataclass(frozen=True)
class Forecaster:
    """Forecaster of voltage: a module, its config, and the optional coupling, distribution and novelty detector."""

    module: ForecastModule
    config: ForecasterConfig
    is_for_one_recording: bool = False
    """Whether it was made by `for_recording` or `adapted_to`, and so does not fit recordings of other organoids."""
    coupling_mv: Float[Tensor, "1 2 sender receiver"] | None = None
    """Coupling of that recording's channels in mV, if the module uses one; see `coupling`."""
    distribution: PredictiveDistribution | None = None
    """Distribution of the future voltage around a forecast; None if not fitted (see `fitting.with_distribution`)."""
    familiarity: NoveltyDetector | None = None
    """Novelty detector; None if not fitted (see `fitting.fit_novelty_detector`)."""

    @classmethod
    def unfitted(
        cls, name: str, window_set: WindowSet, architecture_settings: dict[str, Any] | None = None
    ) -> "Forecaster":
        """Build a forecaster for a window set, before anything is fitted.

        Args:
            name: module in `MODULES`. Without `architecture_settings`, `suitable_architecture` may replace it.
            window_set: source of sizes, channels and calibration.
            architecture_settings: settings of the module; None for the defaults.

        Raises:
            ForecasterError: the window set lacks horizons that the module requires.
        """
        name = suitable_architecture(name, window_set) if architecture_settings is None else name
        module_type = MODULES[name]
        horizons = module_type.only_horizons or window_set.horizons
        if not set(horizons) <= set(window_set.horizons):
            raise ForecasterError(
                f"{name} forecasts {horizons} samples ahead, but the window set has targets at {window_set.horizons}. "
                "Add the horizons to the window set.",
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
        """Horizons of the forecast, in samples."""
        return self.config.horizons_samples

    def for_recording(self, organoid: str, channel_names: tuple[str, ...]) -> "Forecaster":
        """Return the forecaster with the coupling of this organoid, or the expected one if it is unknown."""
        if self.is_for_one_recording or not isinstance(self.module, Adaptable):
            return self
        is_known = organoid in self.config.organoids and channel_names == self.config.channel_names
        number = self.config.organoids.index(organoid) if is_known else None
        return self._with_coupling(self.module.coupling_of(number, len(channel_names)), channel_names)

    @property
    def adapts(self) -> bool:
        """True if `adapted_to` has an effect."""
        return isinstance(self.module, Adaptable) and bool(self.module.couplings())

    def adapted_to(
        self, pasts_mv: Iterable[Float32[np.ndarray, "time channel"]], channel_names: tuple[str, ...]
    ) -> "Forecaster":
        """Return the forecaster with a coupling estimated from a recording's own past.

        Args:
            pasts_mv: segments of the past, in mV.
            channel_names: channels of the recording; they may differ from the training channels.
        """
        if not isinstance(self.module, Adaptable):
            return self
        by_segment = [self.module.spike_triggered_sums(torch.from_numpy(past_mv)) for past_mv in pasts_mv]
        sums = [of_segment for of_segment in by_segment if of_segment is not None]
        if not sums:
            return self._with_coupling(self.module.coupling_of(None, len(channel_names)), channel_names)
        return self._with_coupling(self.module.adapted_coupling(sum(sums[1:], sums[0])), channel_names)

    def _with_coupling(
        self, coupling_mv: Float[Tensor, "1 2 sender receiver"], channel_names: tuple[str, ...]
    ) -> "Forecaster":
        mean_mv, sd_mv = self.config.mean_mv, self.config.sd_mv
        if len(channel_names) != len(mean_mv):
            mean_mv, sd_mv = ((sum(values) / len(values),) * len(channel_names) for values in (mean_mv, sd_mv))
        calibration = {"channel_names": channel_names, "mean_mv": mean_mv, "sd_mv": sd_mv}
        config = self.config.model_copy(update=calibration)
        return replace(self, config=config, coupling_mv=coupling_mv, is_for_one_recording=True)

    def couplings(self) -> dict[str, Connectivity]:
        """Return the estimated connectivity by training organoid; empty if the module estimates none."""
        known = self.module.couplings() if isinstance(self.module, EstimatesCoupling) else ()
        return dict(zip(self.config.organoids, known, strict=False))

    def coupling(self) -> tuple[Float[Tensor, "1 2 sender receiver"], ...]:
        """Return the coupling argument of the module as a tuple; empty if the module has none.

        Unless the forecaster is for one recording, it is the coupling of the only training organoid, or the expected
        one if there are several.
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
        """Forecast in z-units like `predict_z`, but differentiably and without checks."""
        forecast_z: Tensor = self.module(history_z[:, -self.config.context_samples :], mean_mv, sd_mv, *self.coupling())
        return forecast_z

    def predict_z(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units; mean and SD in mV are the calibration of the z-units.

        Only the last `context_samples` samples are used.

        Raises:
            ForecasterError: the history is too short, has other channels, or contains NaN or infinity.
        """
        self._check(tuple(history_z.shape[1:]), bool(torch.isfinite(history_z).all()))
        self.module.eval()
        with torch.no_grad():
            return self.forecast_z(history_z, mean_mv, sd_mv)

    def predict_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> Float32[np.ndarray, "*batch horizon channel"]:
        """Forecast in mV from the last `context_samples` samples in mV, for one window or a batch.

        Raises:
            ForecasterError: the history is too short, has other channels, or contains NaN or infinity.
        """
        *batch, n_samples, n_channels = history_mv.shape
        history = torch.from_numpy(np.ascontiguousarray(history_mv)).reshape(-1, n_samples, n_channels)
        mean_mv, sd_mv = self._calibration_mv(n_channels)
        self._check((n_samples, n_channels), bool(torch.isfinite(history).all()))
        mean_mv, sd_mv = mean_mv.expand(len(history), -1), sd_mv.expand(len(history), -1)
        forecast_z = self.predict_z((history - mean_mv[:, None]) / sd_mv[:, None], mean_mv, sd_mv)
        forecast_mv = to_mv(forecast_z, mean_mv, sd_mv)
        return forecast_mv.reshape(*batch, len(self.horizons), n_channels).numpy()

    def predict_quantiles_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"], levels: Sequence[float]
    ) -> Float32[np.ndarray, "level *batch horizon channel"]:
        """Forecast the quantiles of the voltage at each level, in mV. The forecast itself is the mean, not the median.

        Raises:
            ForecasterError: as for `predict_mv`, or the forecaster has no predictive distribution.
        """
        present_mv, forecast_mv = self._present_and_forecast_mv(history_mv)
        return self.known_distribution().quantiles_mv(present_mv, forecast_mv, levels).numpy()

    def spike_chance(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> Float32[np.ndarray, "*batch horizon channel"]:
        """Forecast the probability that each channel spikes within each horizon.

        Raises:
            ForecasterError: as for `predict_mv`, or the forecaster has no predictive distribution, or no spikes were
                visible in training.
        """
        if not self.known_distribution().sees_spikes:
            raise ForecasterError(
                "The training voltages of this forecaster have no reset voltage, so it cannot detect spikes. Use a "
                "forecaster trained on membrane voltages.",
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
        """Return the predictive distribution.

        Raises:
            ForecasterError: the forecaster has none.
        """
        if self.distribution is None:
            raise ForecasterError(
                f"This {self.config.architecture} forecasts only the mean, without a predictive distribution. Train it "
                "again, or fit one with voltpipe.forecasting.training.fitting.with_distribution.",
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
                f"The history has {n_channels} channels, but the weights of this {self.config.architecture} belong to "
                f"the {expected} training channels. Use those channels in their order, or train on this recording.",
                code="channels-mismatched",
            )
        if n_samples < self.config.context_samples:
            raise ForecasterError(
                f"The history has {n_samples} samples, but the forecaster needs {self.config.context_samples} "
                f"({1000 * self.config.context_samples / self.config.rate_hz:g} ms). Use a longer history.",
                code="history-too-short",
            )
        if not is_finite:
            raise ForecasterError(
                "The history contains NaN or infinity. Forecast from a segment without them.",
                code="history-not-finite",
            )

    def save(self, folder: Path) -> None:
        """Write weights and tables (safetensors) and configs (JSON) to a new folder, in one atomic write.

        Raises:
            ForecasterError: the forecaster was made for one recording; such forecasters are not saved.
        """
        if self.is_for_one_recording:
            raise ForecasterError(
                "This forecaster was made for one recording and cannot be saved. Save the forecaster it was made from.",
                code="forecaster-for-one-recording",
            )
        with atomic_write_folder(folder) as new_folder:
            write_tensors(new_folder / WEIGHTS_FILE, self.module.state_dict())
            write_json(new_folder / CONFIG_FILE, self.config.model_dump(mode="json"))
            if self.distribution:
                write_part(new_folder, "distribution", self.distribution)
            if self.familiarity:
                write_part(new_folder, "familiarity", self.familiarity)

    @classmethod
    def load(cls, folder: Path) -> "Forecaster":
        """Load a saved forecaster. Its files cannot run code.

        Raises:
            ForecasterError: a file is missing or damaged, or the files do not match.
        """
        config, convert = read_config(folder / CONFIG_FILE)
        module_type = MODULES[config.architecture]
        try:
            settings = module_type.settings_type.model_validate(config.architecture_settings)
            module = module_type(settings, config.dimensions)
        except ValidationError as error:
            raise ForecasterError(
                f"{folder / CONFIG_FILE} has invalid architecture settings: {error}. Save or download it again.",
                code="forecaster-settings-invalid",
            ) from error
        weights = read_weights(folder / WEIGHTS_FILE, module.state_dict(), convert)
        module.load_state_dict(weights)
        return cls(module, config, distribution=read_distribution(folder), familiarity=read_novelty(folder))
