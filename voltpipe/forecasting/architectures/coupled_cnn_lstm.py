"""The coupled CNN-LSTM: the same small causal network for every channel, which also hears the spikes of the others."""

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from voltpipe.forecasting.architectures.every_step import EveryStepModule, EveryStepSettings
from voltpipe.forecasting.baselines.lagged_regression import LaggedRegression, LaggedRegressionSettings
from voltpipe.forecasting.coupling.coupling import Coupling
from voltpipe.forecasting.coupling.estimate import estimate_coupling, evidence_of_training
from voltpipe.forecasting.coupling.evidence import Evidence
from voltpipe.forecasting.coupling.memory import CouplingMemory
from voltpipe.forecasting.coupling.messages import Messages
from voltpipe.forecasting.coupling.spikes import onsets
from voltpipe.forecasting.coupling.window_couplings import WindowCouplings
from voltpipe.forecasting.module import Dimensions, TrainedModule
from voltpipe.forecasting.point_mass import find_point_mass
from voltpipe.forecasting.training_rows import training_stretches, training_values_mv
from voltpipe.settings import Settings
from voltpipe.windows.window_set import WindowSet


class CoupledCnnLstmSettings(EveryStepSettings):
    """Its sizes, all small: the weights are used once a channel and sample."""

    lags_samples: int = Field(3, ge=1, le=100, description="samples in which a spike has its effect on other channels")
    ahead_samples: int = Field(
        6, ge=1, le=100, description="samples ahead for which other channels' spikes are expected"
    )
    kernel_samples: int = Field(4, ge=1, le=101, description="samples that the convolution sees, none of them later")
    filters: int = Field(48, ge=1, le=1024, description="filters of the convolution over time")
    hidden_units: int = Field(16, ge=1, le=1024, description="units of the LSTM")
    spikes_are_visible: bool = Field(
        True, description="whether channels stand still after a spike; otherwise a lagged regression is learned from"
    )
    unknown_share: float = Field(
        0.1, ge=0, lt=1, description="share of training windows whose network is treated as one never seen"
    )


class CoupledCnnLstm(EveryStepModule):
    """A causal convolution and an LSTM over each channel's own past and what the others send it.

    Each network (organoid) has a coupling of its own, estimated before gradient descent begins (see
    `coupling.estimate`), and learned from with a coupling that the same stretch did not give. Networks that were not
    trained on are forecast with the coupling that is usual (`for_network(None)`), or with one that is estimated from
    their own past (`adapted_to`): the weights are the same. Where spikes cannot be seen, as in field
    potentials, the network learns what a lagged regression leaves over, which holds what coupling validation finds
    worth having.
    """

    settings_type: ClassVar[type[Settings]] = CoupledCnnLstmSettings

    coupling_mv: Tensor
    """(network, type of sender, sender, receiver): of the one network that is forecast, or of each window's."""

    def __init__(self, settings: CoupledCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.filters + settings.hidden_units)
        self.kernel_samples = settings.kernel_samples
        self.unknown_share = settings.unknown_share
        self.memory = CouplingMemory(settings.lags_samples, dimensions.n_networks, dimensions.n_channels)
        self.messages = Messages(len(self.look_up.table_mv), settings.ahead_samples)
        n_features = 2 + self.messages.n_messages
        # As one matrix product over the last samples: what nn.Conv1d computes, at a fifth of its time on a CPU.
        self.convolution = nn.Linear(n_features * settings.kernel_samples, settings.filters)
        self.lstm = nn.LSTM(n_features, settings.hidden_units, batch_first=True)
        self.lagged: LaggedRegression | None = None
        if not settings.spikes_are_visible:
            self.lagged = LaggedRegression(LaggedRegressionSettings(), dimensions)
            self.streams = False
            self.warm_up_samples = max(self.warm_up_samples, dimensions.context_samples // 2)
        self._couplings: WindowCouplings | None = None
        self._listen_to(torch.zeros(2, dimensions.n_channels, dimensions.n_channels))
        self.register_load_state_dict_post_hook(_listen_by_default)  # type: ignore[no-untyped-call]

    @classmethod
    def settings_for(cls, window_set: WindowSet) -> CoupledCnnLstmSettings:
        """With a lagged regression where no spikes can be seen in the training rows."""
        visible = find_point_mass(training_values_mv(window_set)) is not None
        return CoupledCnnLstmSettings(spikes_are_visible=visible)

    def fit(self, window_set: WindowSet) -> None:
        """Fit look-up and scale, and estimate the coupling of each network from the training rows."""
        super().fit(window_set)
        if self.lagged:
            self.lagged.fit(window_set)
            return
        evidence = estimate_coupling(window_set, n_lags=len(self.memory.delay_profile))
        if evidence:
            self.memory.fit(evidence)
            self.messages.fit(evidence.estimator.mean_steps.reset, window_set, self.look_up.bins)
            voltage_mv = next(training_stretches(window_set, n_before=0, n_after=0)).samples_mv()[None]
            first = self._listening_to(self.memory.known_mv(0))
            self.messages.scale_to(first._heard(voltage_mv, self.look_up.bins(voltage_mv)))
        _listen_by_default(self)

    def begin_from(self, other: TrainedModule, window_set: WindowSet) -> None:
        """Take over all but the networks that the other knows; measure those of the training rows instead."""
        of_networks = {f"memory.{name}" for name in self.memory.OF_NETWORKS}
        state = {name: tensor for name, tensor in other.state_dict().items() if name not in of_networks}
        self.load_state_dict(state, strict=False)
        if not self.memory.is_empty:
            mean_steps, n_lags = self.memory.estimator().mean_steps, len(self.memory.delay_profile)
            self.memory.measure(evidence_of_training(window_set, mean_steps, n_lags)[1])
        _listen_by_default(self)

    def _listen_to(self, coupling_mv: Float[Tensor, "*network 2 sender receiver"]) -> None:
        coupling_mv = coupling_mv.to(self.typical_mv.device)
        self.register_buffer("coupling_mv", coupling_mv.reshape(-1, *coupling_mv.shape[-3:]), persistent=False)
        self.bound_to_channels = True

    def _listening_to(self, coupling_mv: Float[Tensor, "2 sender receiver"]) -> "CoupledCnnLstm":
        """One that has its weights in common with this."""
        other = copy(self)
        other._buffers = dict(self._buffers)
        other._listen_to(coupling_mv)
        return other

    def for_network(self, network: int | None, n_channels: int) -> "CoupledCnnLstm":
        """The same weights for a network that was trained on, or (None) for one that nothing is known of."""
        if self.lagged:
            return self  # whose weights belong to the channels
        return self._listening_to(
            self.memory.usual_mv(n_channels) if network is None else self.memory.known_mv(network)
        )

    def adapted_to(self, evidence: Evidence) -> "CoupledCnnLstm":
        """The same weights for a network that was not trained on, whose own past shows this."""
        return self._listening_to(self.memory.adapted_mv(evidence))

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> Evidence | None:
        """What a stretch of voltages shows of the coupling; None where no spikes can be seen."""
        return None if self.memory.is_empty else self.memory.estimator().evidence(voltage_mv)

    def couplings(self) -> tuple[Coupling, ...]:
        """Of each network that was trained on; none where no spikes can be seen."""
        networks = range(0 if self.memory.is_empty else self.dimensions.n_networks)
        return tuple(self.memory.coupling(network) for network in networks)

    def prepare(self, window_set: WindowSet) -> None:
        """Estimate the couplings that windows are learned from and validated with."""
        self._couplings = None if self.memory.is_empty else WindowCouplings(self.memory, window_set)

    def recognise(self, windows: Int64[np.ndarray, " window"]) -> None:
        """Listen to the networks that windows are of; in training, some are treated as ones never seen."""
        if self._couplings is None:
            return
        self._listen_to(self._couplings.of_training(windows) if self.training else self._couplings.of_held_out(windows))
        if self.training:
            unknown = torch.rand(len(windows)) < self.unknown_share
            self.coupling_mv[unknown] = self._couplings.usual_mv

    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """The look-up's or the lagged regression's forecast."""
        if self.lagged:
            return self.lagged.expected_mv(history_mv, first_sample)
        return super().base_mv(history_mv, first_sample)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """One voltage among what each filter takes in of its last samples."""
        by_feature = self.convolution.weight.reshape(len(self.convolution.weight), -1, self.kernel_samples)
        return by_feature[:, 0].flip(1)

    def states(
        self,
        voltage_mv: Float[Tensor, "batch time channel"],
        bins: Int64[Tensor, "batch time channel"],
        first_sample: int,
    ) -> Float[Tensor, "batch channel step state"]:
        """The convolution's and the LSTM's output."""
        features = self._features(voltage_mv, bins)
        padded = pad(features, (0, 0, self.kernel_samples - 1, 0))
        last_samples = padded.unfold(1, self.kernel_samples, 1).flatten(2)[:, first_sample:]
        remembered: Tensor = self.lstm(features)[0][:, first_sample:]
        states = torch.cat([relu(self.convolution(last_samples)), remembered], dim=-1)
        return states.reshape(len(voltage_mv), -1, *states.shape[1:])

    def next_states(
        self, voltage_mv: Float[Tensor, "batch 1 channel"], bins: Int64[Tensor, "batch 1 channel"], past: Any
    ) -> tuple[Float[Tensor, "batch channel 1 state"], Any]:
        """The same after one more sample, from what the LSTM and the convolution remember."""
        if past is None:
            n_features = 2 + self.messages.n_messages
            past = _Past(
                voltage_mv[:, :0],
                bins[:, :0],
                voltage_mv.new_zeros(voltage_mv.numel(), n_features, self.kernel_samples),
                None,
            )
        last_mv, last_bins = torch.cat([past.voltage_mv, voltage_mv], dim=1), torch.cat([past.bins, bins], dim=1)
        features = self._features(last_mv, last_bins)[:, -1]
        last_samples = torch.cat([past.last_samples[..., 1:], features[..., None]], dim=-1)
        remembered, cell = self.lstm(features[:, None], past.lstm)
        states = torch.cat([relu(self.convolution(last_samples.flatten(1))), remembered[:, 0]], dim=-1)
        return states.reshape(len(voltage_mv), -1, 1, states.shape[-1]), _Past(
            last_mv[:, -2:], last_bins[:, -2:], last_samples, cell
        )

    def _features(
        self, voltage_mv: Float[Tensor, "batch time channel"], bins: Int64[Tensor, "batch time channel"]
    ) -> Float[Tensor, "sequence time feature"]:
        """All that is known of each channel at each sample."""
        heard = self._heard(voltage_mv, bins).permute(0, 3, 2, 1)
        return torch.cat([self.own_features(voltage_mv), heard], dim=-1).flatten(0, 1)

    def _heard(
        self, voltage_mv: Float[Tensor, "batch time channel"], bins: Int64[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch message time channel"]:
        at_reset = self.at_reset(voltage_mv)
        under_way = self.memory.under_way(voltage_mv, at_reset, self.coupling_mv)
        heard: Tensor = self.messages(onsets(at_reset), under_way, bins, self.coupling_mv)
        return heard


@dataclass(frozen=True)
class _Past:
    """What has to be remembered from one sample to the next."""

    voltage_mv: Tensor
    bins: Tensor
    last_samples: Tensor
    lstm: tuple[Tensor, Tensor] | None


def _listen_by_default(module: CoupledCnnLstm, *_: object) -> None:
    """To the network that it was trained on, or to a usual one where there were several."""
    is_only = module.dimensions.n_networks == 1
    memory = module.memory
    module._listen_to(memory.known_mv(0) if is_only else memory.usual_mv(module.dimensions.n_channels))
