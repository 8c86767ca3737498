"""A stream forecasts like windows do, and estimates unknown connectivity from its own past."""

import numpy as np
import pytest
import torch

from voltpipe.forecasting.architectures.causal_base import CausalModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.inference import stream as module
from voltpipe.inference.stream import Stream
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

STEP_BY_STEP = [name for name, kind in ARCHITECTURES.items() if issubclass(kind, CausalModule)]


def fitted(name: str, window_set: WindowSet) -> Forecaster:
    """Return a fitted forecaster whose read-out is not zero."""
    torch.manual_seed(0)
    forecaster = Forecaster.unfitted(name, window_set)
    forecaster.module.fit(window_set)
    torch.nn.init.normal_(forecaster.module.read_out[-1].weight, std=0.1)
    return forecaster


@pytest.mark.parametrize("name", STEP_BY_STEP)
def test_after_a_window_the_stream_forecasts_the_same_as_the_window(name, planted_windows):
    forecaster = fitted(name, planted_windows)
    history_mv = planted_windows.batch(planted_windows.windows(Split.TEST)[:1]).history_mv()[0].numpy()
    stream = Stream(forecaster)
    forecast_mv = [stream.push(sample_mv) for sample_mv in history_mv][-1]
    np.testing.assert_allclose(forecast_mv, forecaster.predict_mv(history_mv), atol=2e-3)


@pytest.mark.slow
def test_an_adapting_stream_estimates_connectivity_from_its_own_past(
    planted_windows, planted_mv, planted_weights_mv, monkeypatch
):
    monkeypatch.setattr(module, "REFRESH_SAMPLES", 4000)
    forecaster = fitted("coupled_cnn_lstm", planted_windows)
    stream = Stream(forecaster, adapt=True)
    prior_mv = stream.coupling[0][0].sum(0)
    for sample_mv in planted_mv[:3999]:
        stream.push(sample_mv)
    assert torch.equal(stream.coupling[0][0].sum(0), prior_mv)
    for sample_mv in planted_mv[3999:8000]:
        stream.push(sample_mv)
    adapted = forecaster.adapted_to([planted_mv[:4000], planted_mv[3996:7996]], forecaster.config.channel_names)
    torch.testing.assert_close(stream.coupling[0], adapted.coupling_mv, rtol=0.02, atol=0.02)
    connected = torch.from_numpy(planted_weights_mv != 0)
    found_mv = stream.coupling[0][0].sum(0)
    assert found_mv[connected].abs().min() > 1 > found_mv[~connected].abs().max()


def test_an_invalid_sample_is_refused_and_leaves_the_stream_unchanged(planted_windows, planted_mv):
    stream = Stream(fitted("coupled_cnn_lstm", planted_windows))
    stream.push(planted_mv[0])
    with pytest.raises(ForecasterError, match=r"\(12,\) and 1 ", check=lambda error: error.code == "sample-invalid"):
        stream.push(np.where(np.arange(12) == 3, np.nan, planted_mv[1]).astype(np.float32))
    with pytest.raises(ForecasterError, match=r"\(11,\)", check=lambda error: error.code == "sample-invalid"):
        stream.push(planted_mv[1, :11])
    assert stream.n_seen == 1


def test_forecasters_that_cannot_stream_or_adapt_are_refused(planted_windows):
    with pytest.raises(ForecasterError, match="look_up", check=lambda error: error.code == "streaming-unsupported"):
        Stream(Forecaster.unfitted("look_up", planted_windows))
    with pytest.raises(
        ForecasterError, match="shared_cnn_lstm", check=lambda error: error.code == "adaptation-unsupported"
    ):
        Stream(fitted("shared_cnn_lstm", planted_windows), adapt=True)
