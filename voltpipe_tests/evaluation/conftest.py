"""Window sets written by hand, and forecasters whose scores are known."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.connectivity import connectivity_table
from voltpipe.files import write_json
from voltpipe.forecasting.coupling.coupling import Coupling, SenderType
from voltpipe.forecasting.forecaster import Forecaster, ForecasterConfig
from voltpipe.forecasting.module import ForecastModule, NoSettings
from voltpipe.forecasting.point_mass import PointMass
from voltpipe.windows.settings import Protocol, WindowSettings
from voltpipe.windows.window_set import (
    INDEX_DTYPE,
    INDEX_FILE,
    MANIFEST_FILE,
    SAMPLES_FILE,
    Split,
    WindowedRecording,
    WindowSet,
)

CONTEXT = 20
HORIZONS = (1, 2, 5)


class Rule(ForecastModule):
    """Forecasts by a plain function of history, mean and SD."""

    def __init__(self, rule, dimensions):
        super().__init__(NoSettings(), dimensions)
        self.rule = rule

    def forward(self, history_z, mean_mv, sd_mv):
        return self.rule(history_z, mean_mv, sd_mv)


@pytest.fixture(scope="session")
def forecaster_by() -> Callable[..., Forecaster]:
    """A forecaster of a name, from a function of (history_z, mean_mv, sd_mv)."""

    def make(name, rule, window_set, horizons=HORIZONS, context=CONTEXT):
        config = ForecasterConfig(
            architecture=name,
            architecture_settings={"width": 3},
            context_samples=context,
            horizons_samples=horizons,
            rate_hz=window_set.rate_hz,
            channel_names=window_set.channel_names,
            organoids=("alpha",),
            mean_mv=window_set.recordings[0].mean_mv,
            sd_mv=window_set.recordings[0].sd_mv,
        )
        return Forecaster(Rule(rule, config.dimensions), config)

    return make


@pytest.fixture(scope="session")
def window_set_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., WindowSet]:
    """A window set over recordings in mV, each with the split of its whole length.

    z = (mV - mean) / SD with the mean and SD given for each recording; the training mean is that of the training mV.
    """

    def make(
        recordings_mv,
        splits,
        *,
        means_mv=None,
        sds_mv=None,
        names=None,
        types=None,
        stride=1,
        calibration_samples=0,
        protocol=Protocol.HELD_OUT,
        keys=None,
    ):
        keys = keys or [f"alpha--run_{number}" for number in range(len(recordings_mv))]
        n_channels = recordings_mv[0].shape[1]
        means_mv = means_mv or [0.0] * len(recordings_mv)
        sds_mv = sds_mv or [1.0] * len(recordings_mv)
        settings = WindowSettings(
            context_samples=CONTEXT, stride_samples=stride, horizons_samples=HORIZONS, protocol=protocol
        )
        windowed, index, spans, start_row = [], [], [], 0
        for number, (mv, split) in enumerate(zip(recordings_mv, splits, strict=True)):
            stop_row = start_row + len(mv)
            windowed.append(
                WindowedRecording(
                    key=keys[number],
                    digest=f"{number:064d}",
                    start_row=start_row,
                    stop_row=stop_row,
                    calibration_stop_row=start_row + calibration_samples,
                    mean_mv=(means_mv[number],) * n_channels,
                    sd_mv=(sds_mv[number],) * n_channels,
                )
            )
            spans.append([number, start_row, stop_row, split])
            starts = range(start_row, stop_row - settings.window_samples + 1, stride)
            index += [(number, start, split.code) for start in starts]
            start_row = stop_row
        folder = tmp_path_factory.mktemp("window_set")
        samples_z = [(mv - mean) / sd for mv, mean, sd in zip(recordings_mv, means_mv, sds_mv, strict=True)]
        train_mv = [mv for mv, split in zip(recordings_mv, splits, strict=True) if split == Split.TRAIN]
        np.save(folder / SAMPLES_FILE, np.concatenate(samples_z).astype(np.float32))
        np.save(folder / INDEX_FILE, np.array(index, INDEX_DTYPE))
        write_json(
            folder / MANIFEST_FILE,
            {
                "digest": "d" * 64,
                "settings": settings.model_dump(mode="json"),
                "rate_hz": 1000.0,
                "channel_names": names or [f"n{c}" for c in range(n_channels)],
                "channel_types": types or ["excitatory"] * n_channels,
                "organoids": sorted({key.partition("--")[0] for key in keys}),
                "preparation": None,
                "roles": {},
                "recordings": [asdict(recording) for recording in windowed],
                "spans": spans,
                "train_mean_mv": np.concatenate(train_mv).mean(0).tolist(),
            },
        )
        return WindowSet(folder)

    return make


@pytest.fixture(scope="session")
def coupled(window_set_of, forecaster_by):
    """Three channels; n0 spikes every 40 samples, n1 a sample later, n2 never. n1 to n2 could not be measured."""
    voltage_mv = np.random.default_rng(0).normal(-55, 1, (400, 3))
    voltage_mv[5::40, 0] = voltage_mv[6::40, 1] = -60.0
    window_set = window_set_of([voltage_mv, voltage_mv], [Split.TRAIN, Split.TEST])
    forecaster = forecaster_by(
        "coupled_cnn_lstm", lambda history_z, *_: history_z[:, -1:].expand(-1, 3, -1), window_set
    )
    coupling = Coupling(
        weights_mv=torch.tensor([[0.0, 0.5, 0.0], [0.1, 0.0, -2.0], [0.0, 0.0, 0.0]]),
        measured_mv=torch.tensor([[0.0, 0.6, 0.1], [0.2, 0.0, 0.0], [0.0, 0.1, 0.0]]),
        standard_error_mv=torch.tensor([[torch.inf, 0.1, 0.1], [0.1, torch.inf, torch.inf], [0.1, 0.1, torch.inf]]),
        probability=torch.tensor([[0.0, 0.9, 0.2], [0.4, 0.0, 0.6], [0.0, 0.1, 0.0]]),
        sender_types=(SenderType.EXCITATORY, SenderType.INHIBITORY, SenderType.UNKNOWN),
        reset=PointMass(-60.0, 0.01),
        delay_profile=torch.tensor([1.0, 0.0]),
    )
    forecaster.module.couplings = lambda: (coupling,)
    return forecaster, window_set


@pytest.fixture(scope="session")
def connectivity(coupled) -> pd.DataFrame:
    """Who drives whom, pair by pair."""
    return connectivity_table(*coupled)


@pytest.fixture(scope="session")
def no_connectivity(coupled, forecaster_by) -> pd.DataFrame:
    """That of a forecaster without coupling."""
    forecaster = forecaster_by("cnn_lstm", lambda history_z, *_: history_z[:, -1:], coupled[1])
    return connectivity_table(forecaster, coupled[1])
