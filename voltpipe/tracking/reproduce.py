"""Reproduction of a registered forecaster, from its recordings to its scores, with a comparison of each step."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from voltpipe.code_revision import code_revision
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.compute import Compute, cpu_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import Device, Precision
from voltpipe.forecasting.training.train import train
from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.progress import TrainingProgress
from voltpipe.recordings.raw.raw_folder import raw_path
from voltpipe.recordings.raw.recording_records import read_history
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, open_conditioned
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, find_version, load_forecaster
from voltpipe.tracking.settings import ReproductionSettings
from voltpipe.tracking.training_provenance import (
    ComputeEnvironment,
    TrainingProvenance,
    read_origin,
    window_set_content,
)
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.split_manifest import SplitRecording
from voltpipe.windows.window_set import WindowSet

_ROUNDING_R2 = 1e-6
"""Tolerance of R2 in the same compute environment: sums over another number of threads round differently."""


class ReproductionError(TrackingError):
    """A forecaster that cannot be reproduced."""


@dataclass(frozen=True)
class ReproductionCheck:
    """Comparison of one result of the reproduction with the original."""

    subject: str
    found: str
    matches: bool = True

    @property
    def line(self) -> str:
        """The comparison as a line for the terminal."""
        return f"{'ok   ' if self.matches else 'OTHER'} {self.subject:11} {self.found}"


def reproduce(
    lake: Lake, store: TrackingStore, name: str, settings: ReproductionSettings, progress: TrainingProgress
) -> Iterator[ReproductionCheck]:
    """Reproduce a registered forecaster in a scratch folder, and yield the comparison of each step.

    Nothing in the lake or in MLflow changes.

    Args:
        lake: the lake with its recordings.
        store: the store in which it is registered.
        name: its version or alias.
        settings: the device to train on, and the tolerance of R2.
        progress: listener to the training.

    Raises:
        TrackingError: the version does not exist, or its training provenance is missing.
        ReproductionError: the version has no run, or a recording changed or is missing.
        DeviceError: the device is not available.
    """
    version = find_version(store, name)
    if version.run_id is None:
        raise ReproductionError(
            f"Version {version.version} has no MLflow run, so its training is unknown. Name another version.",
            code="version-without-run",
        )
    origin = read_origin(store, version.run_id)
    yield ReproductionCheck("version", f"{version.version} of {MODEL_NAME}, a {origin.training.architecture.value}")
    yield _compare_code(origin)
    recordings = _open_unchanged_recordings(lake, origin)
    yield ReproductionCheck(
        "recordings", f"{len(recordings)} have the same digests as before{_note_missing_raw(lake, recordings)}"
    )
    place = _choose_environment(origin, settings)
    yield ReproductionCheck(
        "place", place.label if place == origin.place else f"{place.label}; it was {origin.place.label}"
    )
    lake.windows.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".reproduce-", dir=lake.windows) as scratch, cpu_threads(origin.place.threads):
        window_set = build_window_set(Path(scratch) / "windows", origin.split, recordings)
        yield _compare_window_set(origin, window_set)
        forecaster = _train_again(origin, place, window_set, Path(scratch) / "training", store, progress)
        yield ReproductionCheck(
            "training", f"{len(origin.epochs)} epochs as before (end of the original: {origin.stopped_because})"
        )
        identical_bits_expected = place == origin.place and place.device is Device.CPU
        yield _compare_weights(load_forecaster(version.uri, store), forecaster, expected=identical_bits_expected)
        tolerance = _ROUNDING_R2 if identical_bits_expected else settings.r2_tolerance
        scores, _ = score_forecaster(forecaster, window_set, {})
        yield _compare_scores(store, version.run_id, scores.metrics(), tolerance)


def _compare_code(origin: TrainingProvenance) -> ReproductionCheck:
    now = code_revision()
    if now != origin.code_revision:
        return ReproductionCheck("code", f"{now}; it was {origin.code_revision}")
    caveat = ", though uncommitted changes may differ" if now.endswith("-dirty") else ""
    return ReproductionCheck("code", f"{now}, as before{caveat}")


def _open_unchanged_recordings(lake: Lake, origin: TrainingProvenance) -> dict[str, ConditionedRecording]:
    found: dict[str, ConditionedRecording] = {}
    problems = []
    for entry in origin.split.recordings:
        try:
            found[entry.key] = _open_unchanged(lake, entry)
        except RecordingError as error:
            problems.append(f"{entry.key}: {error}")
    if problems:
        raise ReproductionError(
            f"{len(problems)} of {len(origin.split.recordings)} recordings have changed, so nothing was trained. "
            "Restore these raw files, and condition them with the former settings:\n  " + "\n  ".join(problems),
            code="recordings-changed",
        )
    return found


def _open_unchanged(lake: Lake, entry: SplitRecording) -> ConditionedRecording:
    """Open the conditioned recording as it was: the present one, or a version kept since its raw file changed."""
    key = RecordingKey.parse(entry.key)
    history = read_history(lake, key)
    former = [lake.former_path(key, each.version) for each in history.versions] if history else []
    found = [open_conditioned(path) for path in (lake.conditioned_path(key), *former) if path.exists()]
    as_it_was = next((recording for recording in found if recording.digest == entry.digest), None)
    if as_it_was is not None and as_it_was.path in former:
        return as_it_was
    raw_digest = _raw_digest(lake, key)
    if raw_digest not in (entry.source_digest, None):
        raise RecordingError(
            f"the raw file has SHA-256 {raw_digest[:12]}, in the training it had {entry.source_digest[:12]}",
            code="raw-file-changed",
        )
    if as_it_was is None:
        present = f"has digest {found[0].digest[:12]}" if found else "is missing"
        raise RecordingError(
            f"the conditioned recording {present}, in the training it had {entry.digest[:12]}",
            code="conditioned-recording-changed",
        )
    return as_it_was


def _raw_digest(lake: Lake, key: RecordingKey) -> str | None:
    """Return the digest of the raw file; None if it is missing, since only the conditioned recording is trained on."""
    try:
        return file_digest(raw_path(lake, key))
    except LakeError:
        return None


def _note_missing_raw(lake: Lake, recordings: Iterable[str]) -> str:
    missing = [key for key in recordings if _raw_digest(lake, RecordingKey.parse(key)) is None]
    return f"; the raw files of {', '.join(missing)} are missing" if missing else ""


def _choose_environment(origin: TrainingProvenance, settings: ReproductionSettings) -> ComputeEnvironment:
    device = settings.device or origin.place.device
    precision = origin.place.precision if device is origin.place.device else Precision.AUTO
    compute = Compute.choose(device, precision)
    return ComputeEnvironment.here(compute.device, compute.precision).model_copy(
        update={"threads": origin.place.threads}
    )


def _compare_window_set(origin: TrainingProvenance, window_set: WindowSet) -> ReproductionCheck:
    same = window_set_content(window_set.folder) == origin.window_set_content
    size = f"{len(window_set.index):,} windows of {len(window_set.samples_z):,} samples"
    return ReproductionCheck(
        "window set", f"{size}, {'identical in every bit' if same else 'not the same samples as before'}", same
    )


def _train_again(
    origin: TrainingProvenance,
    place: ComputeEnvironment,
    window_set: WindowSet,
    folder: Path,
    store: TrackingStore,
    progress: TrainingProgress,
) -> Forecaster:
    settings = origin.training.model_copy(update={"device": place.device, "precision": place.precision})
    earlier = load_forecaster(settings.begin_from, store) if settings.begin_from else None
    return train(
        window_set, settings, checkpoint_folder=folder, progress=progress, begin_from=earlier, repeat=origin.epochs
    ).forecaster


def _compare_weights(registered: Forecaster, rebuilt: Forecaster, *, expected: bool) -> ReproductionCheck:
    then, now = _tensors(registered), _tensors(rebuilt)
    if registered.config != rebuilt.config or {*then} != {*now}:
        return ReproductionCheck(
            "weights", "another architecture, other channels or another distribution", matches=False
        )
    numbers = sum(tensor.numel() for tensor in then.values())
    furthest = max(float((then[name] - now[name]).abs().max()) for name in then if then[name].numel())
    if all(torch.equal(then[name], now[name]) for name in then):
        return ReproductionCheck("weights", f"all {numbers:,} numbers are identical")
    hint = "" if expected else ", as expected in another environment; the scores decide"
    return ReproductionCheck("weights", f"they differ by up to {furthest:.2g}{hint}", matches=not expected)


def _tensors(forecaster: Forecaster) -> dict[str, torch.Tensor]:
    """Return the weights and the tables of the predictive distribution, by name."""
    tables = forecaster.distribution.state_dict() if forecaster.distribution else {}
    return {**forecaster.module.state_dict(), **{f"distribution.{name}": table for name, table in tables.items()}}


def _compare_scores(store: TrackingStore, run_id: str, now: dict[str, float], tolerance: float) -> ReproductionCheck:
    then = store.client.get_run(run_id).data.metrics
    names = [name for name in now if "/r2/" in name]
    missing = [name for name in names if name not in then]
    if missing:
        return ReproductionCheck(
            "scores", f"the run has no {', '.join(missing)}, so its evaluation is incomplete", matches=False
        )
    furthest = max(names, key=lambda name: abs(now[name] - then[name]))
    difference = abs(now[furthest] - then[furthest])
    found = f"R2 differs by at most {difference:.2g}, tolerance {tolerance:g}"
    if difference > 0:
        found += f" ({furthest}: {now[furthest]:.6f}, it was {then[furthest]:.6f})"
    return ReproductionCheck("scores", f"{len(names)} values, {found}", difference <= tolerance)
