"""What `voltpipe demo` does: an organoid is simulated, recorded, learned, evaluated and registered."""

from voltpipe.cli.train_and_register import train_and_register
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.launcher import Launcher
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.simulation.raw_files import write_raw_files
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings

ORGANOID = "demo_organoid"
RECORDINGS = SimulationSettings(preparation=Preparation.ORGANOID, n_recordings=16, seconds=10.0)
TRAININGS = (
    TrainingSettings(architecture=Architecture.SHARED_CNN_LSTM, budget_s=30.0),
    TrainingSettings(architecture=Architecture.COUPLED_CNN_LSTM, budget_s=80.0),
    TrainingSettings(architecture=Architecture.CNN_LSTM, budget_s=25.0),
)
"""The first hears each channel alone, the second beats it by what channels tell each other; the third is refused."""


def run_demo(lake: Lake) -> None:
    """Carry simulated recordings through the whole chain, and show what three forecasters are worth."""
    _say(f"Simulating {RECORDINGS.n_recordings} recordings of {RECORDINGS.seconds:g} s of one organoid into {lake.raw}")
    for path in write_raw_files(RECORDINGS, lake, ORGANOID, RawFormat.NWB):
        print(f"  {path.name}", flush=True)
    _say("Conditioning them: trimmed, checked, z-scored")
    keys: list[RecordingKey] = [key for key in list_raw(lake).found if key.organoid == ORGANOID]
    Launcher(lake).ingest(keys)
    for settings in TRAININGS:
        _say(f"Training {settings.architecture.value} for {settings.budget_s:g} s, then evaluating and registering it")
        print(train_and_register(lake, settings, ORGANOID), flush=True)
    print(f"\nall recordings: {lake.page}")
    _say("`make up` opens Dagster and MLflow on what was made; README.md says how to bring your own recordings.")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)
