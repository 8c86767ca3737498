"""Work of `voltpipe demo`: simulate an organoid, condition its recordings, and train, evaluate and register on them."""

from voltpipe.cli.train_and_register import train_and_register
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.launcher import Launcher
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.simulation.raw_files import write_raw_files
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings

_ORGANOID = "demo_organoid"
_SIMULATION = SimulationSettings(preparation=Preparation.ORGANOID, n_recordings=16, seconds=10.0)
_TRAININGS = (
    TrainingSettings(architecture=Architecture.SHARED_CNN_LSTM, budget_s=30.0),
    TrainingSettings(architecture=Architecture.COUPLED_CNN_LSTM, budget_s=80.0),
    TrainingSettings(architecture=Architecture.CNN_LSTM, budget_s=25.0),
)
"""Three forecasters. The first uses each channel alone; the second beats it by using connectivity; the third is refused
promotion."""


def run_demo(lake: Lake) -> None:
    """Run simulated recordings through the whole pipeline, and print the scores of three forecasters."""
    n_recordings, seconds = _SIMULATION.n_recordings, _SIMULATION.seconds
    _print_heading(f"Simulating {n_recordings} recordings of one organoid, {seconds:g} s each, into {lake.raw}")
    for path in write_raw_files(_SIMULATION, lake, _ORGANOID, RawFormat.NWB):
        print(f"  {path.name}", flush=True)
    _print_heading("Conditioning the recordings: trim, check, z-score")
    keys: list[RecordingKey] = [key for key in list_raw(lake).found if key.organoid == _ORGANOID]
    Launcher(lake).ingest(keys)
    for settings in _TRAININGS:
        _print_heading(
            f"Training {settings.architecture.value} for {settings.budget_s:g} s, then evaluating and registering it"
        )
        print(train_and_register(lake, settings, _ORGANOID), flush=True)
    print(f"\nall recordings: {lake.page}")
    _print_heading(
        "`make up` shows the results in Dagster and MLflow. README.md describes how to use your own recordings."
    )


def _print_heading(text: str) -> None:
    print(f"\n== {text}", flush=True)
