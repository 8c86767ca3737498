"""All diagnostics as one result: where a forecaster fails, and the leakage checks of its scores."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from voltpipe.evaluation.diagnostics.activity import rollout_activity_distance
from voltpipe.evaluation.diagnostics.group_errors import errors_by_group
from voltpipe.evaluation.diagnostics.leakage_checks import LeakageCheck, run_leakage_checks
from voltpipe.evaluation.diagnostics.novelty_detection import novelty_detection_table
from voltpipe.evaluation.diagnostics.robustness import bad_channels, robustness
from voltpipe.evaluation.diagnostics.rollouts import rollout_horizon
from voltpipe.evaluation.isolation import Failure, attempt, read_failures, write_failures
from voltpipe.forecasting.compute import run_in_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import atomic_write, read_json, write_json
from voltpipe.progress import NO_EVALUATION_PROGRESS, EvaluationProgress
from voltpipe.windows.window_set import WindowSet

LOOK_UP, AUTOREGRESSION = "look_up", "autoregression"
BASELINES_USED = (LOOK_UP, AUTOREGRESSION)
"""Names of the baselines that diagnostics use."""
DIAGNOSTIC_TABLES = ("errors_by_group", "robustness", "bad_channels", "out_of_distribution", "resemblance", "following")
"""Names of the diagnostics that give a table."""
_HONESTY_FILE = "honesty.json"
_FAILURES_FILE = "failed_diagnostics.json"


@dataclass(frozen=True)
class Diagnostics:
    """Tidy tables, and leakage checks, of the strictest regime that has windows.

    The table of a diagnostic that failed is empty.
    """

    errors_by_group: pd.DataFrame
    robustness: pd.DataFrame
    bad_channels: pd.DataFrame
    out_of_distribution: pd.DataFrame
    """Novelty detection; empty for a forecaster without a novelty detector."""
    resemblance: pd.DataFrame
    """Activity of roll-outs; empty if the forecaster cannot roll out, or too little was held out to compare with."""
    following: pd.DataFrame
    """Distance of roll-outs to the recorded future; empty in the same cases."""
    honesty: tuple[LeakageCheck, ...]
    """Leakage checks."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Reasons of the diagnostics that failed, by name."""

    def with_check(self, check: LeakageCheck) -> "Diagnostics":
        """Return a copy with one more check."""
        return replace(self, honesty=(*self.honesty, check))

    def write(self, folder: Path) -> None:
        """Write each table as Parquet, checks and failures as JSON, each as an atomic write."""
        for name in DIAGNOSTIC_TABLES:
            with atomic_write(folder / f"{name}.parquet") as aside:
                getattr(self, name).to_parquet(aside, index=False)
        write_json(folder / _HONESTY_FILE, {check.name: asdict(check) for check in self.honesty})
        write_failures(folder / _FAILURES_FILE, self.failed)

    @classmethod
    def read(cls, folder: Path) -> "Diagnostics":
        """Read diagnostics that `write` wrote."""
        return cls(
            **{name: pd.read_parquet(folder / f"{name}.parquet") for name in DIAGNOSTIC_TABLES},
            honesty=tuple(LeakageCheck(**check) for check in read_json(folder / _HONESTY_FILE).values()),
            failed=read_failures(folder / _FAILURES_FILE),
        )


def diagnose(
    forecaster: Forecaster,
    baselines: Mapping[str, Forecaster],
    window_set: WindowSet,
    progress: EvaluationProgress = NO_EVALUATION_PROGRESS,
) -> Diagnostics:
    """Diagnose a forecaster on held-out windows, next to the lookup table and the autoregression.

    Diagnostics are isolated from each other: one that raises is noted as failed and does not stop the others.

    Args:
        forecaster: the forecaster, which is named after its architecture.
        baselines: baselines by name; the lookup table is required.
        window_set: window set with held-out windows.
        progress: listener that is called after each diagnostic.
    """
    used = {name: baselines[name] for name in BASELINES_USED if name in baselines}
    forecasters = {forecaster.config.architecture: forecaster, **used}
    parts: dict[str, Callable[[], object]] = {
        "errors_by_group": lambda: errors_by_group(forecaster, baselines[LOOK_UP], window_set),
        "robustness": lambda: robustness(forecasters, window_set),
        "bad_channels": lambda: bad_channels(forecaster, window_set),
        "out_of_distribution": lambda: novelty_detection_table(forecaster, window_set),
        "resemblance": lambda: rollout_activity_distance(forecaster, window_set),
        "following": lambda: rollout_horizon(forecaster, window_set),
        "honesty": lambda: run_leakage_checks(forecaster, baselines[LOOK_UP], window_set),
    }
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, result in zip(parts, run_in_threads(_attempt_inference, parts.values()), strict=True):
        if isinstance(result, Failure):
            failed[name] = result.reason
        found[name] = pd.DataFrame() if isinstance(result, Failure) else result
        progress("diagnosed", len(found), len(parts))
    return Diagnostics(**found, failed=failed)


@torch.inference_mode()
def _attempt_inference(part: Callable[[], object]) -> object:
    return attempt(part)
