"""Window sets of the reference preparations, shared by the benchmarks. They are made once and then reused."""

import tempfile
from pathlib import Path

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.recording_records import Verdict
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, open_conditioned
from voltpipe.simulation.raw_files import write_recording
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings
from voltpipe.simulation.simulate import simulate
from voltpipe.windows.build_window_set import build_window_set, window_set_folder
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import SplitManifest, make_split_manifest
from voltpipe.windows.splits import Role
from voltpipe.windows.window_set import WindowSet

REFERENCE_FOLDER = Path(tempfile.gettempdir()) / "voltpipe_reference"
"""Folder of the simulated recordings. Delete it after a change to simulation or conditioning."""

_TRAIN_SHARE, _VALIDATION_SHARE = 35 / 50, 8 / 50
_WINDOWS = WindowSettings()


def reference_window_set(
    preparation: Preparation, folder: Path, *, n_recordings: int = 50, settings: WindowSettings = _WINDOWS
) -> WindowSet:
    """Open the window set in `folder`; simulate, condition and window what is missing.

    Of 50 recordings, 0 to 34 are for training, 35 to 42 for validation, and 43 to 49 are held out. Smaller numbers are
    divided in the same shares. Each recording of `brunel` has its own network, and so its own organoid.
    """
    lake = Lake(folder / preparation.value)
    keys = [_key(preparation, run) for run in range(n_recordings)]
    missing = [run for run, key in enumerate(keys) if not lake.conditioned_path(key).exists()]
    if missing:
        simulation = SimulationSettings(
            preparation=preparation, first_recording=missing[0], n_recordings=n_recordings - missing[0]
        )
        for recording in simulate(simulation, folder / "brian2"):
            key = _key(preparation, recording.run)
            write_recording(recording, lake, key.organoid, RawFormat.NWB)
            outcome = condition_raw(lake, key, ConditioningSettings())
            assert outcome.verdict is Verdict.CONDITIONED, outcome.reason
            print(f"  {key} of {n_recordings}", end="\r", flush=True)
        print()
    recordings = {str(key): open_conditioned(lake.conditioned_path(key)) for key in keys}
    manifest = _split(recordings, settings)
    set_folder = window_set_folder(lake.windows, manifest)
    return WindowSet(set_folder) if set_folder.exists() else build_window_set(set_folder, manifest, recordings)


def _key(preparation: Preparation, run: int) -> RecordingKey:
    name = f"run_{run:03d}"
    organoid = f"brunel_{run:03d}" if preparation is Preparation.BRUNEL else "organoid_1"
    return RecordingKey(organoid, name)


def _split(recordings: dict[str, ConditionedRecording], settings: WindowSettings) -> SplitManifest:
    first_validation = round(_TRAIN_SHARE * len(recordings))
    first_test = first_validation + round(_VALIDATION_SHARE * len(recordings))
    roles = {
        key: Role.TRAIN if run < first_validation else Role.VALIDATION if run < first_test else Role.TEST
        for run, key in enumerate(recordings)
    }
    proposed = make_split_manifest(recordings, settings)
    return make_split_manifest(recordings, settings, proposed.model_copy(update={"roles": roles}))
