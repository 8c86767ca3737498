"""A prepared store, made once and copied, and evaluations with the scores that a test asks for."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from voltpipe.evaluation.evaluation import Evaluation, Provenance, Score
from voltpipe.evaluation.recording_errors import RecordingErrors
from voltpipe.evaluation.regimes import Regime
from voltpipe.forecasting.baselines.autoregression import Autoregression, AutoregressionSettings
from voltpipe.forecasting.forecaster import Forecaster, ForecasterConfig
from voltpipe.tracking import registry
from voltpipe.tracking.gate import GateDecision
from voltpipe.tracking.lifecycle import tracked_run
from voltpipe.tracking.promotion import settle
from voltpipe.tracking.promotion_reasons import NoChampion
from voltpipe.tracking.registration import register
from voltpipe.tracking.registry import RegisteredForecaster, in_use
from voltpipe.tracking.run import TrackedRun
from voltpipe.tracking.served_model import log_forecaster
from voltpipe.tracking.store import TrackingStore
from voltpipe.windows.settings import Protocol
from voltpipe.windows.window_set import Split


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:  # MLflow's own queries
            item.add_marker(pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"))


@pytest.fixture
def store(prepared_mlflow: Path, tmp_path: Path) -> TrackingStore:
    return TrackingStore(shutil.copytree(prepared_mlflow, tmp_path / "mlflow"))


HELD_OUT = ("organoid_1--2", "organoid_1--7", "organoid_1--9")


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    """By horizon the R2; `by_recording` says by recording and type of channel how much higher it is there."""

    def make(
        r2: Mapping[int, float],
        *,
        regime: Regime = Regime.TEST,
        baselines: Mapping[str, float] = {"persistence": 0.6, "autoregression": 0.65},
        digest: str = "d1",
        protocol: Protocol = Protocol.HELD_OUT,
        ceiling: Mapping[int, float] = {},
        by_recording: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Evaluation:
        def score(forecaster: str, horizon: int, value: float) -> Score:
            return Score(
                forecaster=forecaster,
                regime=regime,
                horizon=horizon,
                r2=value,
                r2_channel_median=value - 0.01,
                rmse_mv=2.0,
                mae_mv=1.0,
                n_targets=400,
            )

        return Evaluation(
            forecaster="shared_cnn_lstm",
            scores=(
                *(score("shared_cnn_lstm", horizon, value) for horizon, value in r2.items()),
                *(score(name, horizon, value) for name, value in baselines.items() for horizon in r2),
            ),
            by_recording=tuple(
                RecordingErrors(
                    forecaster="shared_cnn_lstm",
                    regime=regime,
                    recording=key,
                    channel_type=channel_type,
                    horizons=tuple(r2),
                    squared_error_mv2=tuple(100 * (1 - value - more) for value in r2.values()),
                    total_mv2=(100.0,) * len(r2),
                    n_targets=100,
                )
                for key, types in (by_recording or {key: {"unknown": 0.0} for key in HELD_OUT}).items()
                for channel_type, more in types.items()
            ),
            ceiling_r2=dict(ceiling),
            ceiling_standard_error=dict.fromkeys(ceiling, 0.007),
            provenance=Provenance(
                window_set_digest=digest,
                protocol=protocol,
                preparation="organoid",
                organoids=("organoid_1",),
                recordings={
                    Split.TRAIN: ("organoid_1--0", "organoid_1--1"),
                    regime: tuple(by_recording or ("organoid_1--2",)),
                },
                n_channels=3,
                rate_hz=500.0,
                trained_on=("organoid_1",),
                settings={"training": {"seed": 1, "budget_s": 60.0}},
                code_revision="voltpipe 0.1.0, git 0123456789ab",
                created_utc=datetime(2026, 1, 2, tzinfo=UTC),
            ),
        )

    return make


@pytest.fixture
def forecaster() -> Forecaster:
    """Three channels about -60 mV (SD 10); 1 and 2 samples ahead a half and a quarter of the deviation is left."""
    config = ForecasterConfig(
        architecture="autoregression",
        architecture_settings={"n_lags": 1},
        context_samples=4,
        horizons_samples=(1, 2),
        rate_hz=500.0,
        channel_names=("a", "b", "c"),
        organoids=("organoid_1",),
        mean_mv=(-60.0, -60.0, -60.0),
        sd_mv=(10.0, 10.0, 10.0),
    )
    module = Autoregression(AutoregressionSettings(n_lags=1), config.dimensions)
    module.weights[:] = torch.tensor([0.5, 0.25])
    return Forecaster(module, config)


@pytest.fixture
def history_mv() -> np.ndarray:
    history = np.full((2, 4, 3), -60.0, np.float32)
    history[0, -1] = [-50.0, -60.0, -64.0]
    return history


@pytest.fixture
def run(store: TrackingStore) -> Iterator[TrackedRun]:
    with tracked_run(store, name="training", identity="a", tags={}) as run:
        yield run


@pytest.fixture
def promote() -> Callable[[TrackingStore, str], None]:
    """Lets a version pass the gate."""

    def make(store: TrackingStore, version: str) -> None:
        present = in_use(store)
        decision = GateDecision(True, (NoChampion(),), against=present.version if present else None)
        settle(store, version, decision, who="a test")

    return make


@pytest.fixture
def new_version(run: TrackedRun, forecaster: Forecaster, history_mv: np.ndarray) -> Callable[..., RegisteredForecaster]:
    """Registers a forecaster that leaves so much of each deviation."""

    def make(weight: float = 0.5) -> RegisteredForecaster:
        forecaster.module.weights[:] = weight
        model_uri = log_forecaster(run, forecaster, history_mv, {"test/r2/h1": weight})
        return register(run, model_uri, card=f"weight {weight}", tags={"device": "cpu"})

    return make


@pytest.fixture
def aliases(store: TrackingStore) -> Callable[[], dict[str, str]]:
    """What each alias names."""
    return lambda: registry.aliases(store)
