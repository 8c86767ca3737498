"""Work of `voltpipe train` and `voltpipe search`: materialize the assets, and return the result as text."""

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

_MAX_NAMED = 3
"""Maximum number of excluded recordings that are named for each reason."""


def train_and_register(lake: Lake, settings: TrainingSettings, organoid: str | None = None) -> str:
    """Materialize everything from the split to the registry; return scores, decision and report path as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    run_id = Launcher(lake).train(split=split, training=settings.model_dump(mode="json", exclude_none=True))
    return run_summary(lake, run_id)


def run_summary(lake: Lake, run_id: str) -> str:
    """Return the result of one training run as text, even if later runs have replaced the newest values."""
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
    connectivity = summarize_connectivity(pd.read_parquet(folder / CONNECTIVITY_FILE))
    tags = version_tags(TrackingStore.of(lake), registered.version)
    return "\n\n".join(
        (
            score_text(evaluation),
            evaluation_verdict(evaluation),
            connectivity_verdict(connectivity, evaluation.forecaster),
            *_excluded_recordings(split),
            f"{MODEL_NAME} version {registered.version} is {tags['gate.decision']}: {tags['gate.reason']}",
            f"report: {report.html}",
        )
    )


def _excluded_recordings(manifest: SplitManifest) -> Iterator[str]:
    """Name the conditioned recordings that were not used, one line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for key, reason in manifest.excluded.items():
        by_reason.setdefault(reason.removeprefix(key).strip(), []).append(key)
    for reason, keys in by_reason.items():
        named = ", ".join(keys[:_MAX_NAMED]) + (", ..." if len(keys) > _MAX_NAMED else "")
        yield f"left out: {len(keys)} recordings ({named}). Each {reason}"


def search_settings(lake: Lake, settings: SearchSettings, organoid: str | None = None) -> str:
    """Search for training settings; return the trials, the best settings and the path of their file as text.

    Raises:
        RunError: a step failed.
    """
    split = {"organoid": organoid} if organoid else {}
    run_id = Launcher(lake).search(split=split, search=settings.model_dump(mode="json", exclude_none=True))
    return search_summary(lake, run_id)


def search_summary(lake: Lake, run_id: str) -> str:
    """Return the result of one search as text, even if later searches have replaced the newest values."""
    result = SearchValue.model_validate(read_json(value_path(lake, "found_settings", run_id=run_id)))
    assert result.run_config
    return "\n\n".join((result.table, Path(result.run_config).read_text().rstrip(), f"run config: {result.run_config}"))
