"""`voltpipe train`: a training through the assets, and its result as text."""

from collections.abc import Iterator
from pathlib import Path

from voltpipe.evaluation.evaluation import EVALUATION_FILE, Evaluation
from voltpipe.files import read_json
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake import Lake
from voltpipe.pipeline.launch import Launcher
from voltpipe.pipeline.resources import value_path
from voltpipe.pipeline.values import RegisteredValue, ReportedValue
from voltpipe.tracking.store import TrackingStore
from voltpipe.windows.manifest import SplitManifest

_NAMED = 3
"""Number of recordings that are named for one reason to leave them out."""


def train_and_register(lake: Lake, settings: TrainingSettings, organoid: str | None = None) -> str:
    """Materialize everything from the split to the registry; return scores, decision and the report's path as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    run_id = Launcher(lake).train(split=split, training=settings.model_dump(mode="json", exclude_none=True))
    return run_summary(lake, run_id)


def run_summary(lake: Lake, run_id: str) -> str:
    """Return the result of one run as text, whatever other runs made meanwhile."""
    import pandas as pd

    from voltpipe.evaluation.connectivity import CONNECTIVITY_FILE
    from voltpipe.evaluation.connectivity_summary import summaries
    from voltpipe.evaluation.connectivity_text import connectivity_verdict
    from voltpipe.evaluation.tables import score_text
    from voltpipe.evaluation.verdict import verdict
    from voltpipe.tracking.registry import MODEL_NAME, version_tags

    split = SplitManifest.model_validate(read_json(value_path(lake, "recording_split", run_id=run_id)))
    report = ReportedValue.model_validate(read_json(value_path(lake, "evaluation_report", run_id=run_id)))
    registered = RegisteredValue.model_validate(read_json(value_path(lake, "registered_forecaster", run_id=run_id)))
    folder = Path(registered.evaluated.folder)
    evaluation = Evaluation.read(folder / EVALUATION_FILE)
    found = summaries(pd.read_parquet(folder / CONNECTIVITY_FILE))
    tags = version_tags(TrackingStore.of(lake), registered.version)
    return "\n\n".join(
        (
            score_text(evaluation),
            verdict(evaluation),
            connectivity_verdict(found, evaluation.forecaster),
            *_left_out(split),
            f"{MODEL_NAME} version {registered.version} is {tags['gate.decision']}: {tags['gate.reason']}",
            f"report: {report.html}",
        )
    )


def _left_out(manifest: SplitManifest) -> Iterator[str]:
    """Name the conditioned recordings that were not used, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in manifest.excluded.items():
        by_reason.setdefault(reason.removeprefix(key).strip(), []).append(key)
    for reason, keys in by_reason.items():
        named = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
        yield f"left out, {len(keys)} of the recordings ({named}): each {reason}"
