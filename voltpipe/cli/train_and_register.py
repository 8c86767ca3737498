"""`voltpipe train`: a training through the assets, and its result as text."""

from collections.abc import Iterator
from pathlib import Path

from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.files import read_json
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import RegisteredValue, ReportedValue, SearchValue, value_path
from voltpipe.pipeline.launcher import Launcher
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.windows.split_manifest import SplitManifest

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

    from voltpipe.evaluation.connectivity_scores import summarize_connectivity
    from voltpipe.evaluation.connectivity_table import CONNECTIVITY_FILE
    from voltpipe.reporting.connectivity_text import connectivity_verdict
    from voltpipe.reporting.score_tables import score_text
    from voltpipe.reporting.verdict import evaluation_verdict
    from voltpipe.tracking.model_registry import MODEL_NAME, version_tags

    split = SplitManifest.model_validate(read_json(value_path(lake, "recording_split", run_id=run_id)))
    report = ReportedValue.model_validate(read_json(value_path(lake, "evaluation_report", run_id=run_id)))
    registered = RegisteredValue.model_validate(read_json(value_path(lake, "registered_forecaster", run_id=run_id)))
    folder = Path(registered.evaluated.folder)
    evaluation = Evaluation.read(folder / EVALUATION_FILE)
    found = summarize_connectivity(pd.read_parquet(folder / CONNECTIVITY_FILE))
    tags = version_tags(TrackingStore.of(lake), registered.version)
    return "\n\n".join(
        (
            score_text(evaluation),
            evaluation_verdict(evaluation),
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


def search_settings(lake: Lake, settings: SearchSettings, organoid: str | None = None) -> str:
    """Search on the lake's recordings; return the trials, the best settings and the file that holds them, as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    run_id = Launcher(lake).search(split=split, search=settings.model_dump(mode="json", exclude_none=True))
    return search_summary(lake, run_id)


def search_summary(lake: Lake, run_id: str) -> str:
    """Return the result of one search as text, whatever other searches found meanwhile."""
    found = SearchValue.model_validate(read_json(value_path(lake, "found_settings", run_id=run_id)))
    assert found.run_config
    return "\n\n".join((found.table, Path(found.run_config).read_text().rstrip(), f"run config: {found.run_config}"))
