"""What `voltpipe train` does: a training through the assets, and what came of it."""

from collections.abc import Iterator
from pathlib import Path

from voltpipe.evaluation.evaluation import EVALUATION_FILE, REPORT_FILE, Evaluation
from voltpipe.files import read_json
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake import Lake
from voltpipe.pipeline.launch import Launcher
from voltpipe.pipeline.resources import value_path
from voltpipe.pipeline.values import RegisteredValue
from voltpipe.tracking.store import TrackingStore
from voltpipe.windows.manifest import SplitManifest

_NAMED = 3
"""Of the recordings that are left out for one reason."""


def train_and_register(lake: Lake, settings: TrainingSettings, organoid: str | None = None) -> str:
    """Materialize everything from the split to the registry; returns scores, decision and the report's place as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    Launcher(lake).train(split=split, training=settings.model_dump(mode="json", exclude_none=True))
    return _summary(lake)


def _summary(lake: Lake) -> str:
    import pandas as pd

    from voltpipe.evaluation.connectivity import CONNECTIVITY_FILE
    from voltpipe.evaluation.connectivity_summary import summaries
    from voltpipe.evaluation.connectivity_text import connectivity_verdict
    from voltpipe.evaluation.tables import score_text
    from voltpipe.evaluation.verdict import verdict
    from voltpipe.tracking.registry import MODEL_NAME, version_tags

    registered = RegisteredValue.model_validate(read_json(value_path(lake, "registered_forecaster")))
    folder = Path(registered.evaluated.folder)
    evaluation = Evaluation.read(folder / EVALUATION_FILE)
    found = summaries(pd.read_parquet(folder / CONNECTIVITY_FILE))
    tags = version_tags(TrackingStore.of(lake), registered.version)
    return "\n\n".join(
        (
            score_text(evaluation),
            verdict(evaluation),
            connectivity_verdict(found, evaluation.forecaster),
            *_left_out(SplitManifest.load(lake.windows)),
            f"{MODEL_NAME} version {registered.version} is {tags['gate.decision']}: {tags['gate.reason']}",
            f"report: {folder / REPORT_FILE}",
        )
    )


def _left_out(manifest: SplitManifest | None) -> Iterator[str]:
    """Which conditioned recordings were not used, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in (manifest.excluded if manifest else {}).items():
        by_reason.setdefault(reason.removeprefix(key).strip(), []).append(key)
    for reason, keys in by_reason.items():
        named = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
        yield f"left out, {len(keys)} of the recordings ({named}): each {reason}"
