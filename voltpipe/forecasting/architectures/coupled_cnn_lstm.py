"""The coupled CNN-LSTM: one small causal model for every channel, whose inputs include the spikes of other channels.

Shapes: B windows, T samples, C channels, L lags, H horizons, A samples ahead (`ahead_samples`), K = 2 + A signals of
each sender, S states. V (B, T, C) is the voltage in mV. W (B, 2, C, C) is the coupling in mV: the expected effect of a
spike of a sender (row) on a receiver (column), split into excitation and inhibition. W is an argument of each call.

    r(t) = |V(t) - reset| < tolerance               (B, T, C)         at reset, where a channel stays after a spike
    x(t) = r(t) and not r(t-1)                      (B, T, C)         spike onset; never in the first sample
    e(t) = V(t+1) - V(t) - m(V(t))                  (B, T-1, C)       innovation; m: mean step, by bins of V;
                                                                      e(t) = 0 if r(t) or r(t+1)
    u(t) = x(t-1) P(still to come | x, e, W)        (B, T, C)         expected share of the effect still to come
    p_k(t) = P(x(t+k) | V(t)),  k = 1 .. A          (B, T, C) each    spike probabilities, by bins of V
    h = [x, u, p_1 .. p_A] W / scale                (B, 2K, T, C)     coupling features: K excitatory, K inhibitory
    f = [(V - mean) / SD, r, h]                     (B C, T, 2 + 2K)  inputs
    s = [relu(conv(f)), LSTM(f)]                    (B, C, T, S)      conv: the last `kernel_samples` samples
    forecast = table(V) + SD * MLP(s)               (B, T, H, C)      table: mean voltage at each horizon, by bins of V

P(still to come | x, e, W) uses x and e up to t-1 and W summed over both sender types (`arrival_posterior`). Mean and SD
are scalars over the training samples of all channels. Reset, tolerance, mean, SD, scale, the tables (m, p, forecast)
and the prior of couplings are fitted in closed form on the training rows (`fit`); conv, LSTM and MLP are trained by
gradient descent. A forecast of a window uses its last `memory_samples` samples; the loss counts every step after the
warm-up.

The W of an organoid is estimated from its spike-triggered averages over L lags and the prior
(`voltpipe.forecasting.connectivity.estimation`). In training, the fold of the window itself is left out of the
estimate. For a share of the training windows (`unknown_share`), W is the one expected of an unknown organoid. The same
weights thus serve training organoids, organoids with an adapted coupling, and unknown ones.
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
    """Settings of the coupled CNN-LSTM. All sizes are small, since it runs once for each channel and sample."""

    lags_samples: int = Field(
        3, ge=1, le=100, description="Number of samples after a spike in which its effect on other channels arrives."
    )
    ahead_samples: int = Field(
        6, ge=1, le=100, description="Number of samples ahead for which spikes of other channels are expected."
    )
    kernel_samples: int = Field(4, ge=1, le=101, description="Number of samples in the causal convolution kernel.")
    filters: int = Field(48, ge=1, le=1024, description="Number of filters of the convolution over time.")
    hidden_units: int = Field(16, ge=1, le=1024, description="Number of units of the LSTM.")
    spikes_are_visible: Literal[True] = Field(
        True, description="Always true. Version 0.1.0 also saved false; those forecasters load as lagged_cnn_lstm."
    )
    unknown_share: float = Field(
        0.1, ge=0, lt=1, description="Share of training windows whose organoid is treated as unknown."
    )


@dataclass(frozen=True)
class _Past:
    """Streaming state: the last voltages, the last inputs of the convolution, and the state of the LSTM."""

    voltage_mv: Tensor
    last_features: Tensor
    lstm: tuple[Tensor, Tensor] | None


class CoupledCnnLstm(CausalModule):
    """Causal convolution and LSTM over each channel's own past and its coupling features."""

    settings_type: ClassVar[type[Settings]] = CoupledCnnLstmSettings
    bound_to_channels = True

    def __init__(self, settings: CoupledCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.filters + settings.hidden_units)
        self.kernel_samples = settings.kernel_samples
        self.unknown_share = settings.unknown_share
        self.memory = CouplingState(settings.lags_samples, dimensions.n_organoids, dimensions.n_channels)
        self.messages = CouplingFeatures(len(self.look_up.table_mv), settings.ahead_samples)
        n_features = 2 + self.messages.n_features
        # One matrix product over the last samples computes the same as nn.Conv1d, five times faster on a CPU.
        self.convolution = nn.Linear(n_features * settings.kernel_samples, settings.filters)
        self.lstm = nn.LSTM(n_features, settings.hidden_units, batch_first=True)

    def fit(self, window_set: WindowSet) -> None:
        """Fit lookup table, scale and reset, and estimate the connectivity of each training organoid."""
        super().fit(window_set)
        training = estimate_connectivity(window_set, n_lags=len(self.memory.delay_profile))
        if training:
            self.memory.fit(training)
            self.messages.fit(training.estimator.mean_steps.reset, window_set, self.look_up.bins)
            voltage_mv = next(training_segments(window_set, n_before=0, n_after=0)).samples_mv()[None]
            self.messages.set_scale(self.coupling_features(voltage_mv, self.coupling_of(0, window_set.n_channels)))

    def begin_from(self, other: TrainableModule, window_set: WindowSet) -> None:
        """Copy the weights of another model, but measure the couplings of the organoids in this window set."""
        by_organoid = {f"memory.{name}" for name in self.memory.BY_ORGANOID}
        state = {name: tensor for name, tensor in other.state_dict().items() if name not in by_organoid}
        self.load_state_dict(state, strict=False)
        if not self.memory.is_empty:
            mean_steps, n_lags = self.memory.estimator().mean_steps, len(self.memory.delay_profile)
            self.memory.store_measurements(training_spike_sums(window_set, mean_steps, n_lags)[1])

    def couplings(self) -> tuple[Connectivity, ...]:
        """Return the connectivity of each training organoid; empty if no spikes were detected."""
        organoids = range(0 if self.memory.is_empty else self.dimensions.n_organoids)
        return tuple(self.memory.connectivity(organoid) for organoid in organoids)

    def coupling_of(self, organoid: int | None, n_channels: int) -> Float[Tensor, "1 2 sender receiver"]:
        """Return the coupling of a training organoid, or the expected one of an unknown organoid, in mV."""
        if organoid is None:
            return self.memory.expected_coupling_mv(n_channels)[None]
        return self.memory.coupling_mv(organoid)[None]

    def spike_triggered_sums(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums | None:
        """Compute the spike-triggered sums of a segment in mV; None if no spikes were detected in training."""
        return None if self.memory.is_empty else self.memory.estimator().spike_triggered_sums(voltage_mv)

    def adapted_coupling(self, sums: SpikeTriggeredSums) -> Float[Tensor, "1 2 sender receiver"]:
        """Estimate the coupling of an unknown organoid from its own past, in mV."""
        return self.memory.adapted_coupling_mv(sums)[None]

    def window_couplings(self, window_set: WindowSet) -> FoldCouplings | None:
        """Estimate the couplings for training and validation windows; None if no spikes were detected."""
        if self.memory.is_empty:
            return None
        return FoldCouplings(self.memory, window_set, unknown_share=self.unknown_share)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the convolution's filters of the channel's own voltage, most recent sample first."""
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
        """Compute the states after one more sample, and the `past` for the next call."""
        n_features = 2 + self.messages.n_features
        past = past or _Past(
            voltage_mv[:, :0], voltage_mv.new_zeros(voltage_mv.numel(), n_features, self.kernel_samples), None
        )
        last_mv = torch.cat([past.voltage_mv, voltage_mv], dim=1)
        features = self._features(last_mv, coupling_mv)[:, -1]
        last_features = torch.cat([past.last_features[..., 1:], features[..., None]], dim=-1)
        lstm_states, lstm = self.lstm(features[:, None], past.lstm)
        states = torch.cat([relu(self.convolution(last_features.flatten(1))), lstm_states[:, 0]], dim=-1)
        states = states.reshape(len(voltage_mv), -1, 1, states.shape[-1])
        return states, _Past(last_mv[:, -2:], last_features, lstm)

    def _features(
        self, voltage_mv: Float[Tensor, "batch time channel"], coupling_mv: CouplingMv
    ) -> Float[Tensor, "sequence time feature"]:
        assert coupling_mv is not None, "this model needs the coupling as an input"
        received = self.coupling_features(voltage_mv, coupling_mv).permute(0, 3, 2, 1)
        return torch.cat([self.own_features(voltage_mv), received], dim=-1).flatten(0, 1)

    def coupling_features(
        self, voltage_mv: Float[Tensor, "batch time channel"], coupling_mv: Float[Tensor, "#batch 2 channel channel"]
    ) -> Float[Tensor, "batch feature time channel"]:
        """Compute the coupling features of each channel: h in the equations of this module."""
        at_reset = self.at_reset(voltage_mv)
        share_to_come = self.memory.share_to_come(voltage_mv, at_reset, coupling_mv)
        features: Tensor = self.messages(
            spike_onsets(at_reset), share_to_come, self.look_up.bins(voltage_mv), coupling_mv
        )
        return features
