"""The coupled CNN-LSTM: the same small causal network for every channel, which also receives the spikes of the others.

Shapes: B windows, T samples, C channels, L lags, H horizons, K sent signals (2 + ahead), S states. V (B, T, C) is the
voltage in mV; W (B, 2, C, C) is the coupling in mV: what a spike of a sender (row) adds to a receiver (column), as an
excitatory sender and as an inhibitory one. W is an argument of each call; nothing selects it behind the scenes.

    r = |V - reset| < tolerance                 (B, T, C)     at reset, where a channel stays after a spike
    x = r(t) and not r(t-1)                     (B, T, C)     onset: the spike is first seen
    e = (V(t+1) - V(t) - m(V(t))) [free]        (B, T-1, C)   innovation: the step beyond the mean step m from V
    u = x(t-1) P(still to come | e, W)          (B, T, C)     share of a spike's effect that has yet to arrive (landing)
    p_k = P(spike k samples ahead | V)          (B, T, C)     from a table over bins of V, k = 1 .. ahead
    h = [x, u, p_1 .. p_ahead] W / scale        (B, 2K, T, C) coupling features, excitation and inhibition apart
    f = [(V - mean) / SD, r, h]                 (B C, T, 2 + 2K)
    s = [relu(conv(f)), LSTM(f)]                (B, C, T, S)  conv sees the last `kernel_samples` samples
    forecast = table(V) + SD * MLP(s)           (B, T, H, C)  table: mean voltage H samples later, by bins of V

Table, m, p, scale and the distribution of couplings are estimated from the training rows in closed form (`fit`); conv,
LSTM and MLP by gradient descent. W of an organoid follows from its spike-triggered averages over L lags and that
distribution (`coupling.estimate`). In training, W is estimated without the window's own fold, and for a share of the
windows (`unknown_share`) replaced by what is expected of an unknown organoid, so that the same weights serve organoids
that were trained on, organoids that are adapted to, and unknown ones.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from voltpipe.forecasting.architectures.causal_base import (
    CausalModule,
    CausalSettings,
    CouplingMv,
    cnn_lstm_states,
    own_voltage_filters,
)
from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.connectivity.coupling_features import CouplingFeatures
from voltpipe.forecasting.connectivity.coupling_state import CouplingState, FoldCouplings
from voltpipe.forecasting.connectivity.estimation import estimate_connectivity, training_spike_sums
from voltpipe.forecasting.connectivity.spike_triggered_average import SpikeTriggeredSums
from voltpipe.forecasting.forecast_module import Dimensions, TrainableModule
from voltpipe.schema import Settings
from voltpipe.signals.spike_detection import spike_onsets
from voltpipe.windows.split_segments import training_segments
from voltpipe.windows.window_set import WindowSet


class CoupledCnnLstmSettings(CausalSettings):
    """Its sizes, all small: the weights are used once a channel and sample."""

    lags_samples: int = Field(3, ge=1, le=100, description="samples in which a spike has its effect on other channels")
    ahead_samples: int = Field(
        6, ge=1, le=100, description="samples ahead for which other channels' spikes are expected"
    )
    kernel_samples: int = Field(4, ge=1, le=101, description="samples that the convolution sees, none of them later")
    filters: int = Field(48, ge=1, le=1024, description="filters of the convolution over time")
    hidden_units: int = Field(16, ge=1, le=1024, description="units of the LSTM")
    spikes_are_visible: Literal[True] = Field(
        True, description="version 0.1.0 also saved false, which is loaded as lagged_cnn_lstm"
    )
    unknown_share: float = Field(
        0.1, ge=0, lt=1, description="share of training windows whose network is treated as one never seen"
    )


@dataclass(frozen=True)
class _Past:
    """Streaming state: the last samples that are still needed, the convolution's inputs, and the LSTM's state."""

    voltage_mv: Tensor
    last_features: Tensor
    lstm: tuple[Tensor, Tensor] | None


class CoupledCnnLstm(CausalModule):
    """A causal convolution and an LSTM over each channel's own past and what the other channels send it."""

    settings_type: ClassVar[type[Settings]] = CoupledCnnLstmSettings
    bound_to_channels = True

    def __init__(self, settings: CoupledCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.filters + settings.hidden_units)
        self.kernel_samples = settings.kernel_samples
        self.unknown_share = settings.unknown_share
        self.memory = CouplingState(settings.lags_samples, dimensions.n_networks, dimensions.n_channels)
        self.messages = CouplingFeatures(len(self.look_up.table_mv), settings.ahead_samples)
        n_features = 2 + self.messages.n_messages
        # As one matrix product over the last samples: what nn.Conv1d computes, at a fifth of its time on a CPU.
        self.convolution = nn.Linear(n_features * settings.kernel_samples, settings.filters)
        self.lstm = nn.LSTM(n_features, settings.hidden_units, batch_first=True)

    def fit(self, window_set: WindowSet) -> None:
        """Fit look-up and scale, and estimate the coupling of each organoid from the training rows."""
        super().fit(window_set)
        evidence = estimate_connectivity(window_set, n_lags=len(self.memory.delay_profile))
        if evidence:
            self.memory.fit(evidence)
            self.messages.fit(evidence.estimator.mean_steps.reset, window_set, self.look_up.bins)
            voltage_mv = next(training_segments(window_set, n_before=0, n_after=0)).samples_mv()[None]
            self.messages.scale_to(self.coupling_features(voltage_mv, self.coupling_of(0, window_set.n_channels)))

    def begin_from(self, other: TrainableModule, window_set: WindowSet) -> None:
        """Take over all but the organoids that the other knows; measure those of the training rows instead."""
        of_networks = {f"memory.{name}" for name in self.memory.OF_NETWORKS}
        state = {name: tensor for name, tensor in other.state_dict().items() if name not in of_networks}
        self.load_state_dict(state, strict=False)
        if not self.memory.is_empty:
            mean_steps, n_lags = self.memory.estimator().mean_steps, len(self.memory.delay_profile)
            self.memory.measure(training_spike_sums(window_set, mean_steps, n_lags)[1])

    def couplings(self) -> tuple[Connectivity, ...]:
        """Report the coupling of each organoid that was trained on."""
        networks = range(0 if self.memory.is_empty else self.dimensions.n_networks)
        return tuple(self.memory.coupling(network) for network in networks)

    def coupling_of(self, network: int | None, n_channels: int) -> Float[Tensor, "1 2 sender receiver"]:
        """Return the coupling of an organoid that was trained on, or the expected one of an unknown organoid."""
        if network is None:
            return self.memory.usual_mv(n_channels)[None]
        return self.memory.known_mv(network)[None]

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums | None:
        """Sum up what a segment shows of the coupling between its channels."""
        return None if self.memory.is_empty else self.memory.estimator().evidence(voltage_mv)

    def adapted_coupling(self, evidence: SpikeTriggeredSums) -> Float[Tensor, "1 2 sender receiver"]:
        """Estimate the coupling of an unknown organoid from its own past."""
        return self.memory.adapted_mv(evidence)[None]

    def window_couplings(self, window_set: WindowSet) -> FoldCouplings | None:
        """Estimate the couplings that windows are trained and validated with."""
        if self.memory.is_empty:
            return None
        return FoldCouplings(self.memory, window_set, unknown_share=self.unknown_share)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Read the filters of a channel's own voltage out of the convolution."""
        return own_voltage_filters(self.convolution, self.kernel_samples)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate the outputs of convolution and LSTM."""
        features = self._features(voltage_mv, coupling_mv)
        states = cnn_lstm_states(features, self.convolution, self.lstm, first_sample)
        return states.reshape(len(voltage_mv), -1, *states.shape[1:])

    def next_states(
        self, voltage_mv: Float[Tensor, "batch 1 channel"], past: _Past | None, coupling_mv: CouplingMv = None
    ) -> tuple[Float[Tensor, "batch channel 1 state"], _Past]:
        """Compute the states after one more sample from the states of LSTM and convolution before it."""
        n_features = 2 + self.messages.n_messages
        past = past or _Past(
            voltage_mv[:, :0], voltage_mv.new_zeros(voltage_mv.numel(), n_features, self.kernel_samples), None
        )
        last_mv = torch.cat([past.voltage_mv, voltage_mv], dim=1)
        features = self._features(last_mv, coupling_mv)[:, -1]
        last_features = torch.cat([past.last_features[..., 1:], features[..., None]], dim=-1)
        remembered, lstm = self.lstm(features[:, None], past.lstm)
        states = torch.cat([relu(self.convolution(last_features.flatten(1))), remembered[:, 0]], dim=-1)
        states = states.reshape(len(voltage_mv), -1, 1, states.shape[-1])
        return states, _Past(last_mv[:, -2:], last_features, lstm)

    def _features(
        self, voltage_mv: Float[Tensor, "batch time channel"], coupling_mv: CouplingMv
    ) -> Float[Tensor, "sequence time feature"]:
        assert coupling_mv is not None, "the coupling is an input of this network; hand it over with the history"
        received = self.coupling_features(voltage_mv, coupling_mv).permute(0, 3, 2, 1)
        return torch.cat([self.own_features(voltage_mv), received], dim=-1).flatten(0, 1)

    def coupling_features(
        self, voltage_mv: Float[Tensor, "batch time channel"], coupling_mv: Float[Tensor, "#batch 2 channel channel"]
    ) -> Float[Tensor, "batch feature time channel"]:
        """Sum up what each channel receives from the others: h above."""
        at_reset = self.at_reset(voltage_mv)
        under_way = self.memory.under_way(voltage_mv, at_reset, coupling_mv)
        received: Tensor = self.messages(spike_onsets(at_reset), under_way, self.look_up.bins(voltage_mv), coupling_mv)
        return received
