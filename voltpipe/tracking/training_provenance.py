"""Training provenance: everything needed to repeat a training, logged with its run."""

import importlib.metadata
import json
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from pydantic import Field, ValidationError

from voltpipe.code_revision import code_revision
from voltpipe.forecasting.settings import Device, Precision, TrainingSettings
from voltpipe.forecasting.training.training_result import TrainingResult
from voltpipe.lake.files import content_digest, file_digest
from voltpipe.progress import EpochRecord
from voltpipe.schema import FrozenModel
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import resolve_alias
from voltpipe.tracking.tracked_run import TrackedRun
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.window_set import INDEX_FILE, SAMPLES_FILE, WindowSet

ORIGIN_FILE = "origin.json"
_COMPUTING = ("torch", "numpy")


class ComputeEnvironment(FrozenModel):
    """Compute environment of a training. Identical bits are expected only in the same environment, on the CPU."""

    device: Device
    precision: Precision
    threads: int = Field(description="Number of threads for torch, unless the recipe sets it.")
    processor: str = Field(description="Architecture of the processor, and the instruction set that torch uses.")
    versions: dict[str, str] = Field(description="Versions of the numerical libraries.")

    @classmethod
    def here(cls, device: Device, precision: Precision) -> "ComputeEnvironment":
        """Describe this machine and process, with the device and precision of a training."""
        return cls(
            device=device,
            precision=precision,
            threads=torch.get_num_threads(),
            processor=f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            versions={name: importlib.metadata.version(name) for name in _COMPUTING},
        )

    @property
    def label(self) -> str:
        """The environment in a few words."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.device.value} in {self.precision.value}, {self.processor}, {self.threads} threads, {versions}"


class TrainingProvenance(FrozenModel):
    """Everything that determines the weights of a forecaster."""

    split: SplitManifest = Field(description="Recordings with digests and roles, and the settings of the windows.")
    window_set_content: str = Field(description="SHA-256 of the samples and the index of the window set.")
    training: TrainingSettings = Field(description="Settings; `begin_from` names a version, not an alias.")
    epochs: tuple[EpochRecord, ...] = Field(description="Epochs with their numbers of windows and learning rates.")
    stopped_because: str
    place: ComputeEnvironment
    code_revision: str


def log_origin(run: TrackedRun, window_set: WindowSet, settings: TrainingSettings, result: TrainingResult) -> None:
    """Log the training provenance of a completed training as an artifact of its run."""
    split = SplitManifest.load(window_set.folder)
    assert split is not None, "every window set contains its split"
    if settings.begin_from:
        settings = settings.model_copy(update={"begin_from": resolve_alias(settings.begin_from, run.store)})
    origin = TrainingProvenance(
        split=split,
        window_set_content=window_set_content(window_set.folder),
        training=settings,
        epochs=result.history,
        stopped_because=result.stopped_because,
        place=ComputeEnvironment.here(Device(result.device), Precision(result.precision)),
        code_revision=code_revision(),
    )
    run.store.client.log_text(run.run_id, json.dumps(origin.model_dump(mode="json"), indent=1), ORIGIN_FILE)


def read_origin(store: TrackingStore, run_id: str) -> TrainingProvenance:
    """Read the training provenance of a run.

    Raises:
        TrackingError: the provenance is missing, damaged, or from another version of voltpipe.
    """
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch:
        try:
            path = store.client.download_artifacts(run_id, ORIGIN_FILE, scratch)
            return TrainingProvenance.model_validate_json(Path(path).read_bytes())
        except (MlflowException, OSError) as error:
            raise TrackingError(
                f"MLflow run {run_id} has no {ORIGIN_FILE}: it was deleted, or an older version of voltpipe wrote "
                "the run. Train again to get one.",
                code="provenance-missing",
            ) from error
        except ValidationError as error:
            raise TrackingError(
                f"{ORIGIN_FILE} of MLflow run {run_id} is damaged or from another version of voltpipe ({error}). "
                "Use the version named in the run's tag `revision`.",
                code="provenance-unreadable",
            ) from error


def window_set_content(folder: Path) -> str:
    """Return the SHA-256 of a window set's samples and index."""
    return content_digest({name: file_digest(folder / name) for name in (SAMPLES_FILE, INDEX_FILE)})
