"""Lineage: the recordings that a forecaster learned from, directly or through its initial weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation, EvaluationError
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.tracked_run import DIGEST_LENGTH, REPORT_FOLDER, SPLIT_TAG
from voltpipe.windows.splits import Role

BEGAN_FROM_TAG = "voltpipe.began_from"
"""Run tag that names the MLflow run whose weights a training began with."""


@dataclass(frozen=True)
class Lineage:
    """Recordings of one training."""

    roles: Mapping[str, str]
    """Role of each recording, by the beginning of its raw file's digest, so that a renamed file is recognized."""
    time_fraction: float
    """Fraction of each training recording, at its end, that was held out."""

    def knew(self, digest: str) -> bool:
        """Return whether a recording was in the window set, in any split."""
        return digest[:DIGEST_LENGTH] in self.roles

    def learned_from(self, digest: str, regime: Regime, time_fraction: float) -> bool:
        """Return whether the training learned from a recording.

        In regime TIME, only the last `time_fraction` of the recording is meant.
        """
        role = self.roles.get(digest[:DIGEST_LENGTH])
        if role == Role.TRAIN:
            return regime is not Regime.TIME or time_fraction > self.time_fraction
        return role == Role.VALIDATION


def lineages(store: TrackingStore, run_id: str | None) -> tuple[Lineage, ...]:
    """List the lineage of a run's forecaster, then that of the forecaster it began from, and so on.

    The list ends at a run that was deleted. The recordings of that run then count as unseen, which favors the champion.
    """
    from mlflow.exceptions import MlflowException

    found: dict[str, Lineage] = {}
    while run_id is not None and run_id not in found:
        try:
            run = store.client.get_run(run_id)
        except MlflowException:
            break
        inputs = run.inputs.dataset_inputs if run.inputs else []
        roles = {each.dataset.digest: tag.value for each in inputs for tag in each.tags if tag.key == SPLIT_TAG}
        found[run_id] = Lineage(roles, float(run.data.params.get("windows.time_fraction", 0)))
        run_id = run.data.tags.get(BEGAN_FROM_TAG)
    return tuple(found.values())


def logged_evaluation(store: TrackingStore, run_id: str | None) -> Evaluation | None:
    """Read the evaluation that was logged with a run; None if it is missing or unreadable."""
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch:
        try:
            path = store.client.download_artifacts(str(run_id), f"{REPORT_FOLDER}/{EVALUATION_FILE}", scratch)
            return Evaluation.read(Path(path))
        except (MlflowException, OSError, EvaluationError):
            return None
