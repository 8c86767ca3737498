"""Makes a registered forecaster again, from its recordings to its scores, and says whether it is the same."""

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
from voltpipe.recordings.raw.catalogue import read_history
from voltpipe.recordings.raw.raw_folder import raw_path
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
"""What R2 of the same weights may differ by at the same place: sums over other numbers of threads."""


class ReproductionError(TrackingError):
    """A forecaster that cannot be made again."""


@dataclass(frozen=True)
class ReproductionCheck:
    """One thing, then and now."""

    subject: str
    found: str
    matches: bool = True

    @property
    def line(self) -> str:
        """For the terminal."""
        return f"{'ok   ' if self.matches else 'OTHER'} {self.subject:11} {self.found}"


def reproduce(
    lake: Lake, store: TrackingStore, name: str, settings: ReproductionSettings, progress: TrainingProgress
) -> Iterator[ReproductionCheck]:
    """Make a registered forecaster again in a scratch folder, comparing step by step.

    Nothing in the lake or in MLflow changes.

    Args:
        lake: where its recordings lie.
        store: where it is registered.
        name: its version, or an alias.
        settings: where to train, and the tolerance.
        progress: listens to the training.

    Raises:
        TrackingError: there is no such version, or what it followed from was not kept.
        ReproductionError: a recording changed or is missing.
        DeviceError: the device is not to be had.
    """
    version = find_version(store, name)
    if version.run_id is None:
        raise ReproductionError(
            f"Version {version.version} belongs to no MLflow run, so its training is unknown. Name another version.",
            code="version-without-run",
        )
    origin = read_origin(store, version.run_id)
    yield ReproductionCheck("version", f"{version.version} of {MODEL_NAME}, a {origin.training.architecture.value}")
    yield _compared_code(origin)
    recordings = _unchanged_recordings(lake, origin)
    yield ReproductionCheck(
        "recordings", f"{len(recordings)} have the digests that they had{_without_raw(lake, recordings)}"
    )
    place = _place(origin, settings)
    yield ReproductionCheck(
        "place", place.label if place == origin.place else f"{place.label}; it was {origin.place.label}"
    )
    lake.windows.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".reproduce-", dir=lake.windows) as scratch, cpu_threads(origin.place.threads):
        window_set = build_window_set(Path(scratch) / "windows", origin.split, recordings)
        yield _compared_window_set(origin, window_set)
        forecaster = _trained_again(origin, place, window_set, Path(scratch) / "training", store, progress)
        yield ReproductionCheck(
            "training", f"{len(origin.epochs)} epochs as then, when it ended as {origin.stopped_because}"
        )
        identical_bits_expected = place == origin.place and place.device is Device.CPU
        yield _compared_weights(load_forecaster(version.uri, store), forecaster, expected=identical_bits_expected)
        tolerance = _ROUNDING_R2 if identical_bits_expected else settings.r2_tolerance
        yield _compared_scores(
            store, version.run_id, score_forecaster(forecaster, window_set, {})[0].metrics(), tolerance
        )


def _compared_code(origin: TrainingProvenance) -> ReproductionCheck:
    now = code_revision()
    if now != origin.code_revision:
        return ReproductionCheck("code", f"{now}; it was {origin.code_revision}")
    unsure = ", though what was not committed may differ" if now.endswith("-dirty") else ""
    return ReproductionCheck("code", f"{now}, as then{unsure}")


def _unchanged_recordings(lake: Lake, origin: TrainingProvenance) -> dict[str, ConditionedRecording]:
    found: dict[str, ConditionedRecording] = {}
    problems = []
    for entry in origin.split.recordings:
        try:
            found[entry.key] = _unchanged(lake, entry)
        except RecordingError as error:
            problems.append(f"{entry.key}: {error}")
    if problems:
        raise ReproductionError(
            f"{len(problems)} of {len(origin.split.recordings)} recordings have changed, so nothing was trained. "
            "Restore the raw files named here, and condition them with the former settings:\n  "
            + "\n  ".join(problems),
            code="recordings-changed",
        )
    return found


def _unchanged(lake: Lake, entry: SplitRecording) -> ConditionedRecording:
    """The conditioned recording as it was: the present one, or one kept since its raw file changed."""
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
            f"the raw file has SHA-256 {raw_digest[:12]}, the training had {entry.source_digest[:12]}",
            code="raw-file-changed",
        )
    if as_it_was is None:
        present = f"has digest {found[0].digest[:12]}" if found else "is missing"
        raise RecordingError(
            f"the conditioned recording {present}, the training had {entry.digest[:12]}",
            code="conditioned-recording-changed",
        )
    return as_it_was


def _raw_digest(lake: Lake, key: RecordingKey) -> str | None:
    """None where the raw file is gone: its conditioned recording, whose digest tells, is what is trained on."""
    try:
        return file_digest(raw_path(lake, key))
    except LakeError:
        return None


def _without_raw(lake: Lake, recordings: Iterable[str]) -> str:
    gone = [key for key in recordings if _raw_digest(lake, RecordingKey.parse(key)) is None]
    return f"; the raw files of {', '.join(gone)} are gone" if gone else ""


def _place(origin: TrainingProvenance, settings: ReproductionSettings) -> ComputeEnvironment:
    device = settings.device or origin.place.device
    precision = origin.place.precision if device is origin.place.device else Precision.AUTO
    compute = Compute.choose(device, precision)
    return ComputeEnvironment.here(compute.device, compute.precision).model_copy(
        update={"threads": origin.place.threads}
    )


def _compared_window_set(origin: TrainingProvenance, window_set: WindowSet) -> ReproductionCheck:
    same = window_set_content(window_set.folder) == origin.window_set_content
    size = f"{len(window_set.index):,} windows of {len(window_set.samples_z):,} samples"
    return ReproductionCheck(
        "window set", f"{size}, {'every bit as then' if same else 'not the same samples as then'}", same
    )


def _trained_again(
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


def _compared_weights(registered: Forecaster, rebuilt: Forecaster, *, expected: bool) -> ReproductionCheck:
    then, now = _tensors(registered), _tensors(rebuilt)
    if registered.config != rebuilt.config or {*then} != {*now}:
        return ReproductionCheck(
            "weights", "another architecture, other channels or another distribution", matches=False
        )
    numbers = sum(tensor.numel() for tensor in then.values())
    furthest = max(float((then[name] - now[name]).abs().max()) for name in then if then[name].numel())
    if all(torch.equal(then[name], now[name]) for name in then):
        return ReproductionCheck("weights", f"all {numbers:,} numbers are identical")
    hint = "" if expected else ", as is to be expected elsewhere; the scores decide"
    return ReproductionCheck("weights", f"they differ by up to {furthest:.2g}{hint}", matches=not expected)


def _tensors(forecaster: Forecaster) -> dict[str, torch.Tensor]:
    """Weights, and the tables of the predictive distribution."""
    tables = forecaster.distribution.state_dict() if forecaster.distribution else {}
    return {**forecaster.module.state_dict(), **{f"distribution.{name}": table for name, table in tables.items()}}


def _compared_scores(store: TrackingStore, run_id: str, now: dict[str, float], tolerance: float) -> ReproductionCheck:
    then = store.client.get_run(run_id).data.metrics
    names = [name for name in now if "/r2/" in name]
    lacking = [name for name in names if name not in then]
    if lacking:
        return ReproductionCheck(
            "scores", f"the run has no {', '.join(lacking)}, so it was never fully evaluated", matches=False
        )
    furthest = max(names, key=lambda name: abs(now[name] - then[name]))
    difference = abs(now[furthest] - then[furthest])
    found = f"R2 differs by {difference:.2g} at most, tolerance {tolerance:g}"
    if difference > 0:
        found += f" ({furthest}: {now[furthest]:.6f}, it was {then[furthest]:.6f})"
    return ReproductionCheck("scores", f"{len(names)} figures, {found}", difference <= tolerance)
