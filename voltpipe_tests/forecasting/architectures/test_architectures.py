"""Guarantees of the architectures: causality, published sizes, shared weights, and the untrained forecast."""

import dataclasses

import numpy as np
import pytest
import torch

from voltpipe.forecasting.architectures.attention import Attention, AttentionSettings
from voltpipe.forecasting.architectures.causal_base import CausalModule
from voltpipe.forecasting.architectures.lstm import CnnLstm, Lstm, LstmResidual, LstmResidualSettings
from voltpipe.forecasting.architectures.multi_scale import MultiScale, MultiScaleSettings
from voltpipe.forecasting.architectures.shared_cnn_lstm import SharedCnnLstm, SharedCnnLstmSettings
from voltpipe.forecasting.architectures.state_space import Recurrence, StateSpaceSettings
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

DIMENSIONS = Dimensions(context_samples=30, horizons_samples=(1, 2, 5), n_channels=4)


@pytest.fixture
def shared(ar1_windows: WindowSet) -> SharedCnnLstm:
    """A fitted model whose read-out is not zero."""
    torch.manual_seed(0)
    module = SharedCnnLstm(SharedCnnLstmSettings(), DIMENSIONS)
    module.fit(ar1_windows)
    torch.nn.init.normal_(module.read_out[-1].weight, std=0.1)
    return module.eval()


@pytest.fixture(params=["shared_cnn_lstm", "attention", "multi_scale", "state_space"])
def causal(request, ar1_windows: WindowSet) -> CausalModule:
    """Each causal model that can stream, fitted and with a read-out that is not zero."""
    torch.manual_seed(0)
    module = ARCHITECTURES[request.param](ARCHITECTURES[request.param].settings_type(), DIMENSIONS)
    module.fit(ar1_windows)
    torch.nn.init.normal_(module.read_out[-1].weight, std=0.1)
    return module.eval()


def voltage_mv(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(seed)) * 5 - 60


PUBLISHED_PARAMETERS = {
    "lstm": 918_628,
    # Three layers of 4 x 512 x (inputs + 512 + 2 biases), layer norm, residual and read-out.
    "lstm_large": 2048 * (100 + 514 + 2 * (512 + 514)) + 2 * 512 + 512 * 101 + 100 * 513,
    "lstm_residual": 1536 * (100 + 386 + 384 + 386) + 2 * 384 + 384 * 101 + 100 * 385,
    "cnn_lstm": 2_188_168,
}


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_published_models_have_their_published_sizes(name: str):
    architecture = ARCHITECTURES[name]
    published = architecture(architecture.settings_type(), Dimensions(150, (1,), 100))
    assert sum(parameter.numel() for parameter in published.parameters()) == PUBLISHED_PARAMETERS[name]


@torch.no_grad()
def test_each_published_model_extends_the_one_before(ar1_windows: WindowSet):
    dimensions = dataclasses.replace(DIMENSIONS, horizons_samples=(1,))
    batch = ar1_windows.batch(ar1_windows.windows(Split.TEST)[:5])
    inputs = batch.history_z, batch.mean_mv, batch.sd_mv
    settings = LstmResidualSettings(hidden_units=8)
    plain, residual, convolved = (kind(settings, dimensions).eval() for kind in (Lstm, LstmResidual, CnnLstm))
    for module in (residual, convolved):
        module.load_state_dict(plain.state_dict(), strict=False)
    convolved.residual.load_state_dict(residual.residual.state_dict())
    assert not torch.isclose(plain(*inputs), residual(*inputs)).any()
    assert not torch.isclose(residual(*inputs), convolved(*inputs)).all()
    torch.nn.init.zeros_(convolved.convolutions[6].weight)  # the last batch norm: nothing is added to the input
    torch.testing.assert_close(residual(*inputs), convolved(*inputs))


@torch.no_grad()
def test_no_forecast_depends_on_a_later_sample(causal: CausalModule):
    history_mv = voltage_mv()
    changed_mv = history_mv.clone()
    changed_mv[:, 21:] += 3
    before, after = causal.forecast_mv(history_mv, 0), causal.forecast_mv(changed_mv, 0)
    assert torch.equal(before[:, :21], after[:, :21])
    assert (before[:, 21] != after[:, 21]).all()


@torch.no_grad()
def test_all_channels_share_the_same_weights(shared: SharedCnnLstm):
    order = torch.tensor([2, 0, 3, 1])
    history_mv = voltage_mv()
    torch.testing.assert_close(
        shared.forecast_mv(history_mv, 25)[..., order], shared.forecast_mv(history_mv[..., order], 25)
    )


@torch.no_grad()
def test_an_untrained_causal_model_is_the_lookup_table(causal: CausalModule, ar1_windows: WindowSet):
    torch.nn.init.zeros_(causal.read_out[-1].weight)
    batch = ar1_windows.batch(ar1_windows.windows(Split.TEST)[:5])
    inputs = batch.history_z, batch.mean_mv, batch.sd_mv
    torch.testing.assert_close(causal(*inputs), causal.look_up(*inputs))


@torch.no_grad()
def test_the_loss_is_the_mean_over_the_forecasts_of_every_step(shared: SharedCnnLstm, ar1_windows: WindowSet):
    windows = ar1_windows.windows(Split.TRAIN)[:3]
    segment_z = ar1_windows.segment(windows, 35)
    mean_mv, sd_mv = ar1_windows.calibration_mv(ar1_windows.index["recording"][windows])
    errors = []
    for step in range(20, 30):  # the first 20 samples are warm-up
        forecast_z = shared(segment_z[:, : step + 1], mean_mv, sd_mv)
        errors.append((forecast_z - segment_z[:, [step + 1, step + 2, step + 5]]) ** 2)
    loss = shared.training_loss(segment_z, segment_z, mean_mv, sd_mv)
    torch.testing.assert_close(loss, torch.stack(errors).mean())


@torch.no_grad()
def test_forecasts_depend_on_being_at_reset(causal: CausalModule):
    history_mv = voltage_mv()
    history_mv[:, -1] = -70.0
    without_reset = causal.forecast_mv(history_mv, 29)
    causal.reset_mv.fill_(-70.0)
    causal.reset_tolerance_mv.fill_(0.005)
    assert (without_reset != causal.forecast_mv(history_mv, 29)).all()


@torch.no_grad()
def test_a_recurrence_equals_its_convolution():
    torch.manual_seed(0)
    settings = StateSpaceSettings(width=2, modes=3)
    recurrence = Recurrence(settings)
    inputs = torch.randn(1, 12, 2)
    memory = torch.exp(torch.complex(-torch.exp(-recurrence.log_samples), recurrence.turn))
    read = torch.complex(*recurrence.read) * torch.exp(-0.5 * recurrence.log_samples)
    state, expected = torch.zeros(2, 3, dtype=torch.complex64), []
    for sample in inputs[0]:
        state = memory * state + sample[:, None]
        expected.append((read * state).sum(1).real + sample)
    torch.testing.assert_close(recurrence(inputs)[0], torch.stack(expected))


@torch.no_grad()
def test_the_widest_scale_reaches_back_32_samples(ar1_windows: WindowSet):
    dimensions = dataclasses.replace(DIMENSIONS, context_samples=60)
    module = MultiScale(MultiScaleSettings(), dimensions)
    module.fit(ar1_windows)
    history_mv = torch.full((1, 60, 1), -60.0)
    nudged_mv = history_mv.clone()
    nudged_mv[:, 10] += 3
    changed = (module.states(history_mv, 0) != module.states(nudged_mv, 0)).any(-1)
    assert changed[0, 0].nonzero().flatten().tolist() == list(range(10, 42))


@torch.no_grad()
def test_attention_passes_a_change_to_every_channel(ar1_windows: WindowSet):
    torch.manual_seed(0)
    module = Attention(AttentionSettings(), DIMENSIONS)
    module.fit(ar1_windows)
    torch.nn.init.normal_(module.read_out[-1].weight, std=0.1)
    history_mv = voltage_mv()
    nudged_mv = history_mv.clone()
    nudged_mv[:, -1, 0] += 3
    assert (module.forecast_mv(history_mv, 29) != module.forecast_mv(nudged_mv, 29)).all()


def test_noise_is_added_to_inputs_but_not_to_targets(ar1_windows: WindowSet):
    torch.manual_seed(0)
    module = CnnLstm(
        LstmResidualSettings(hidden_units=8), dataclasses.replace(DIMENSIONS, horizons_samples=(1,))
    ).eval()
    true_z = ar1_windows.segment(ar1_windows.windows(Split.TRAIN)[:2], 35)
    mean_mv, sd_mv = ar1_windows.calibration_mv(np.array([0, 0]))
    seen_z = true_z.clone()
    seen_z[:, 30:] += 100
    assert torch.equal(
        module.training_loss(seen_z, true_z, mean_mv, sd_mv), module.training_loss(true_z, true_z, mean_mv, sd_mv)
    )


def test_names_and_order_of_architectures():
    assert list(ARCHITECTURES) == [
        "lstm",
        "lstm_large",
        "lstm_residual",
        "cnn_lstm",
        "shared_cnn_lstm",
        "coupled_cnn_lstm",
        "lagged_cnn_lstm",
        "attention",
        "multi_scale",
        "state_space",
    ]
