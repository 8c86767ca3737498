"""All diagnostics as one result."""

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
DIAGNOSTIC_TABLES = ("errors_by_group", "robustness", "bad_channels", "out_of_distribution", "resemblance", "following")
"""Names of the diagnostics that give a table."""
_HONESTY_FILE = "honesty.json"
_FAILURES_FILE = "failed_diagnostics.json"


@dataclass(frozen=True)
class Diagnosis:
    """Tidy tables and leakage checks of the strictest regime that has windows.

    The table of a diagnostic that failed is empty.
    """

    errors_by_group: pd.DataFrame
    robustness: pd.DataFrame
    bad_channels: pd.DataFrame
    out_of_distribution: pd.DataFrame
    """Empty if the forecaster has no novelty detector."""
    resemblance: pd.DataFrame
    """Empty if the forecaster has no roll-outs, or too little was held out."""
    following: pd.DataFrame
    """Empty if the forecaster has no roll-outs, or too little was held out."""
    honesty: tuple[LeakageCheck, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    """Reasons why diagnostics failed, by name of the table."""

    def also(self, check: LeakageCheck) -> "Diagnosis":
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
    def read(cls, folder: Path) -> "Diagnosis":
        """Read what `write` wrote."""
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
) -> Diagnosis:
    """Diagnose a forecaster on held-out windows, next to the lookup table and the autoregression.

    Each diagnostic runs on its own. One that raises is recorded as failed and does not stop the others.

    Args:
        forecaster: named by its architecture.
        baselines: by name; the lookup table is required.
        window_set: window set with held-out windows.
        progress: called after each part.
    """
    others = {name: baselines[name] for name in (LOOK_UP, AUTOREGRESSION) if name in baselines}
    contenders = {forecaster.config.architecture: forecaster, **others}
    parts: dict[str, Callable[[], object]] = {
        "errors_by_group": lambda: errors_by_group(forecaster, baselines[LOOK_UP], window_set),
        "robustness": lambda: robustness(contenders, window_set),
        "bad_channels": lambda: bad_channels(forecaster, window_set),
        "out_of_distribution": lambda: novelty_detection_table(forecaster, window_set),
        "resemblance": lambda: rollout_activity_distance(forecaster, window_set),
        "following": lambda: rollout_horizon(forecaster, window_set),
        "honesty": lambda: run_leakage_checks(forecaster, baselines[LOOK_UP], window_set),
    }
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, made in zip(parts, run_in_threads(_inferring, parts.values()), strict=True):
        if isinstance(made, Failure):
            failed[name] = made.reason
        found[name] = pd.DataFrame() if isinstance(made, Failure) else made
        progress("diagnosed", len(found), len(parts))
    return Diagnosis(**found, failed=failed)


@torch.inference_mode()
def _inferring(part: Callable[[], object]) -> object:
    return attempt(part)
