"""Compares registered forecasters on what none of them learned from."""

from collections.abc import Sequence
from pathlib import Path

from voltpipe.evaluation.comparison_page import verdicts, write_comparison
from voltpipe.evaluation.evaluate import evaluate
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.held_out import held_out_digests
from voltpipe.evaluation.version_comparison import compare_versions
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake import Lake
from voltpipe.tracking.lineage import lineages
from voltpipe.tracking.registry import RegisteredForecaster, find_version, load_forecaster
from voltpipe.tracking.store import TrackingError, TrackingStore
from voltpipe.tracking.targets import choose_targets
from voltpipe.windows.window_set import MANIFEST_FILE, WindowSet


def compare_registered(lake: Lake, store: TrackingStore, names: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Score versions (numbers or aliases) on the lake's newest window set, and write the page of their comparison.

    Returns:
        The page, and a sentence for each version after the first.

    Raises:
        TrackingError: a version is not registered, one is named twice, or there is no window set.
        EvaluationError: they cannot be scored on the same targets.
    """
    versions = [find_version(store, name) for name in names]
    numbers = [version.version for version in versions]
    if len(set(numbers)) < 2 or len(set(numbers)) < len(numbers):
        raise TrackingError(f"versions {', '.join(numbers)} were named; name two different ones at least")
    window_set = _newest(lake)
    evaluations: dict[str, Evaluation] = {}
    for version in versions:
        forecaster = load_forecaster(version.uri, store)
        evaluations[f"version {version.version}"], _ = evaluate(forecaster, window_set, {})
    recordings = _unseen(store, versions, forecaster, window_set)
    comparison = compare_versions(evaluations, recordings)
    page = write_comparison(lake.reports / f"comparison_{'_'.join(numbers)}", comparison)
    return page, verdicts(comparison)


def _newest(lake: Lake) -> WindowSet:
    manifests = sorted(lake.windows.glob(f"*/{MANIFEST_FILE}"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise TrackingError(f"there is no window set in {lake.windows} to compare on; materialize window_set")
    return WindowSet(manifests[-1].parent)


def _unseen(
    store: TrackingStore, versions: Sequence[RegisteredForecaster], forecaster: Forecaster, window_set: WindowSet
) -> frozenset[str]:
    regime, digests = held_out_digests(forecaster, window_set)
    first, *others = (lineages(store, version.run_id) for version in versions)
    of_others = [lineage for of_one in others for lineage in of_one]
    share = window_set.settings.time_fraction
    return choose_targets(digests, first, of_others, regime, share, fresh_recordings=len(digests) + 1).recordings
