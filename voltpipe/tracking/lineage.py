"""What a forecaster learned from, as its MLflow run tells: its own recordings, and those behind its first weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.run import DIGEST_LENGTH, SPLIT_TAG
from voltpipe.tracking.store import TrackingStore
from voltpipe.windows.split import Role

BEGAN_FROM_TAG = "voltpipe.began_from"
"""Names the MLflow run whose forecaster's weights a training began with."""


@dataclass(frozen=True)
class Lineage:
    """The recordings of one training."""

    roles: Mapping[str, str]
    """What each was used for, by the beginning of the raw file's digest: a file under another name is known again."""
    time_fraction: float
    """Share of each training recording's end that was held out."""

    def knew(self, digest: str) -> bool:
        """Whether a recording was there at all."""
        return digest[:DIGEST_LENGTH] in self.roles

    def learned_from(self, digest: str, regime: Regime, time_fraction: float) -> bool:
        """Whether a recording that others hold out (or, in regime TIME, this share of its end) was learned from."""
        role = self.roles.get(digest[:DIGEST_LENGTH])
        if role == Role.TRAIN:
            return regime is not Regime.TIME or time_fraction > self.time_fraction
        return role == Role.VALIDATION


def lineages(store: TrackingStore, run_id: str | None) -> tuple[Lineage, ...]:
    """The lineage of a run's forecaster, then of the one that it began from, and so on.

    A run that is gone tells nothing. Whatever the champion may then have learned from counts in its favour.
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
