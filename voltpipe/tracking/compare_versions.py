"""Comparison of registered forecasters on recordings that none of them learned from."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from voltpipe.evaluation.held_out_windows import held_out_digests
from voltpipe.evaluation.results import Evaluation
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.evaluation.version_comparison import compare_versions
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import read_json
from voltpipe.lake.paths import Lake
from voltpipe.reporting.comparison_page import verdicts, write_comparison
from voltpipe.tracking.lineage import lineages
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import RegisteredForecaster, find_version, load_forecaster, newest_versions
from voltpipe.tracking.promotion_rules import choose_comparison_set
from voltpipe.tracking.retention import WINDOW_SET_TAG
from voltpipe.windows.window_set import WINDOW_SET_MANIFEST_FILE, WindowSet

_OTHER_VERSIONS = 100
"""Number of other versions whose window sets are considered."""


def compare_registered(
    lake: Lake, store: TrackingStore, names: Sequence[str], window_set: str = ""
) -> tuple[Path, tuple[str, ...]]:
    """Score versions on one window set, and write a page that compares them.

    Args:
        lake: the data lake, which holds the window set.
        store: the store in which the versions are registered.
        names: numbers or aliases of the versions; all are compared with the first.
        window_set: beginning of the digest of the window set. If empty, the newest version that was made from a window
            set in the lake decides: first among the versions compared, then among all registered versions.

    Returns:
        The path of the page, and a sentence for each version after the first.

    Raises:
        TrackingError: a version is not registered or named twice, or no window set is found.
        EvaluationError: the versions cannot be scored on the same targets.
    """
    versions = [find_version(store, name) for name in names]
    numbers = [version.version for version in versions]
    if len(set(numbers)) < 2 or len(set(numbers)) < len(numbers):
        raise TrackingError(
            f"Found versions {', '.join(numbers)}. Expected at least two, all different.",
            code="versions-not-different",
        )
    windows = _named_set(lake, window_set) if window_set else _set_of_versions(lake, store, versions)
    evaluations: dict[str, Evaluation] = {}
    for version in versions:
        forecaster = load_forecaster(version.uri, store)
        evaluations[f"version {version.version}"], _ = score_forecaster(forecaster, windows, {})
    recordings = _unseen(store, versions, forecaster, windows)
    comparison = compare_versions(evaluations, recordings)
    page = write_comparison(lake.reports / f"comparison_{'_'.join(numbers)}", comparison)
    return page, verdicts(comparison)


def _named_set(lake: Lake, digest: str) -> WindowSet:
    known = _digests(lake)
    found = [folder for present, folder in known.items() if present.startswith(digest)]
    if len(found) != 1:
        raise TrackingError(
            f"{len(found)} window sets in {lake.windows} have a digest that begins with {digest!r}. "
            f"Name exactly one (present: {_short(known) or 'none'}).",
            code="window-set-unknown",
        )
    return WindowSet(found[0])


def _set_of_versions(lake: Lake, store: TrackingStore, versions: Sequence[RegisteredForecaster]) -> WindowSet:
    known = _digests(lake)
    compared = sorted(versions, key=lambda version: int(version.version), reverse=True)
    candidates = (*compared, *newest_versions(store, _OTHER_VERSIONS))
    digests = (version.tags.get(WINDOW_SET_TAG, "") for version in candidates)
    found = next((known[digest] for digest in digests if digest in known), None)
    if found is None:
        raise TrackingError(
            f"No registered version was made from a window set in {lake.windows}. "
            f"Materialize window_set, then name it with --window-set (present: {_short(known) or 'none'}).",
            code="window-set-missing",
        )
    return WindowSet(found)


def _digests(lake: Lake) -> dict[str, Path]:
    """Map the digest of each window set in the lake to its folder."""
    return {
        read_json(manifest)["digest"]: manifest.parent
        for manifest in sorted(lake.windows.glob(f"set-*/{WINDOW_SET_MANIFEST_FILE}"))
    }


def _short(digests: Iterable[str]) -> str:
    return ", ".join(digest[:16] for digest in digests)


def _unseen(
    store: TrackingStore, versions: Sequence[RegisteredForecaster], forecaster: Forecaster, window_set: WindowSet
) -> frozenset[str]:
    regime, digests = held_out_digests(forecaster, window_set)
    first, *others = (lineages(store, version.run_id) for version in versions)
    of_others = [lineage for of_one in others for lineage in of_one]
    share = window_set.settings.time_fraction
    return choose_comparison_set(digests, first, of_others, regime, share, fresh_recordings=len(digests) + 1).recordings
