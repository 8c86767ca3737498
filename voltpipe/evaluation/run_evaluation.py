"""The evaluation of a trained forecaster in three independent runs: scores, diagnostics, interpretation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from voltpipe.evaluation.connectivity_scores import connectivity_metrics, summarize_connectivity
from voltpipe.evaluation.connectivity_table import (
    CONNECTIVITY_FILE,
    connectivity_table,
    no_connectivity,
    write_connectivity,
)
from voltpipe.evaluation.diagnostics.diagnostics import Diagnosis, diagnose
from voltpipe.evaluation.diagnostics.leakage_checks import SEED_SPREAD, check_or_failure, seed_spread
from voltpipe.evaluation.figure_data import FigureData
from voltpipe.evaluation.figure_data_file import DETAIL_FILE, read_figure_data, write_figure_data
from voltpipe.evaluation.interpretation.interpretation import Interpretation, interpret, interpretation_metrics
from voltpipe.evaluation.isolation import Failure, attempt, read_failures, write_failures
from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.progress import NO_EVALUATION_PROGRESS, EpochRecord, EvaluationProgress
from voltpipe.simulation.ceiling import ceiling_by_horizon, observable_ceiling_by_horizon
from voltpipe.windows.window_set import WindowSet

FIGURE_DATA, CONNECTIVITY = "figure_data", "connectivity"
_FAILURES_FILE = "failed_figure_data.json"


@dataclass(frozen=True)
class Scoring:
    """All that promotion needs, and what figures show of it."""

    evaluation: Evaluation
    detail: FigureData | None
    """None if the data of the figures could not be made."""
    failed: Mapping[str, str]
    """Reason why figure data are missing, under FIGURE_DATA."""

    def write(self, folder: Path) -> None:
        """Write scores and figure data in files of their own, each as an atomic write."""
        self.evaluation.write(folder / EVALUATION_FILE)
        if self.detail:
            write_figure_data(folder / DETAIL_FILE, self.detail)
        write_failures(folder / _FAILURES_FILE, self.failed)


def run_scoring(
    forecaster: Forecaster,
    window_set: WindowSet,
    *,
    history: Sequence[EpochRecord] = (),
    training: Mapping[str, Any] | None = None,
    progress: EvaluationProgress = NO_EVALUATION_PROGRESS,
) -> Scoring:
    """Score a forecaster next to baselines fitted on the same training rows, and next to known ceilings.

    Args:
        forecaster: trained on the window set.
        window_set: window set with held-out windows.
        history: epochs of the training.
        training: settings and facts of the training, as JSON values.
        progress: called after each recording.

    Raises:
        EvaluationError: nothing is held out, or the forecaster returns NaN.
    """
    preparation, rate_hz = window_set.manifest.preparation, window_set.rate_hz
    ceiling = ceiling_by_horizon(preparation, rate_hz)
    evaluation, errors = score_forecaster(
        forecaster,
        window_set,
        fit_baselines(window_set),
        ceiling_r2=ceiling.r2,
        ceiling_standard_error=ceiling.standard_error,
        observable_ceiling_r2=observable_ceiling_by_horizon(preparation, rate_hz).r2,
        training=training,
        progress=progress,
    )
    detail = attempt(lambda: errors.detail(history))
    if isinstance(detail, Failure):
        return Scoring(evaluation, None, {FIGURE_DATA: detail.reason})
    return Scoring(evaluation, detail, {})


def run_diagnostics(
    forecaster: Forecaster,
    window_set: WindowSet,
    evaluation: Evaluation,
    *,
    others: Iterable[Evaluation] = (),
    progress: EvaluationProgress = NO_EVALUATION_PROGRESS,
) -> Diagnosis:
    """Find where a forecaster fails, and check its scores.

    Args:
        forecaster: the evaluated forecaster.
        window_set: window set with held-out windows.
        evaluation: scores of the forecaster.
        others: evaluations of other forecasters, from which those with another seed are used.
        progress: called after each diagnostic.
    """
    found = diagnose(forecaster, fit_baselines(window_set), window_set, progress)
    return found.also(check_or_failure(SEED_SPREAD, lambda: seed_spread(evaluation, others)))


@dataclass(frozen=True)
class Explanation:
    """Connectivity that a forecaster learned, and the inputs that its forecasts follow from."""

    connectivity: pd.DataFrame
    interpretation: Interpretation

    def write(self, folder: Path) -> None:
        """Write each part in files of its own, each as an atomic write."""
        write_connectivity(folder / CONNECTIVITY_FILE, self.connectivity)
        self.interpretation.write(folder)

    def metrics(self) -> dict[str, float]:
        """Return its numbers under their MLflow names."""
        return {
            **connectivity_metrics(summarize_connectivity(self.connectivity)),
            **interpretation_metrics(self.interpretation),
        }


def run_interpretation(forecaster: Forecaster, window_set: WindowSet) -> Explanation:
    """Ask a forecaster who drives whom and what its forecasts follow from.

    If the connectivity cannot be estimated, the reason is among the interpretation's failures, under CONNECTIVITY.
    """
    table = attempt(lambda: connectivity_table(forecaster, window_set))
    interpretation = interpret(forecaster, window_set)
    if isinstance(table, Failure):
        failed = {**interpretation.failed, CONNECTIVITY: table.reason}
        return Explanation(no_connectivity(), replace(interpretation, failed=failed))
    return Explanation(table, interpretation)


@dataclass(frozen=True)
class FullEvaluation:
    """All that a report joins."""

    evaluation: Evaluation
    detail: FigureData | None
    connectivity: pd.DataFrame
    diagnosis: Diagnosis
    interpretation: Interpretation
    failed: Mapping[str, str]
    """Reason why figure data could not be made, under FIGURE_DATA."""

    def metrics(self) -> dict[str, float]:
        """Return all of its numbers under their MLflow names."""
        return {**self.evaluation.metrics(), **Explanation(self.connectivity, self.interpretation).metrics()}

    @classmethod
    def read(cls, folder: Path) -> "FullEvaluation":
        """Read what the three runs wrote into one folder.

        Raises:
            EvaluationError: a file is damaged.
        """
        failed = read_failures(folder / _FAILURES_FILE)
        return cls(
            Evaluation.read(folder / EVALUATION_FILE),
            None if FIGURE_DATA in failed else read_figure_data(folder / DETAIL_FILE),
            pd.read_parquet(folder / CONNECTIVITY_FILE),
            Diagnosis.read(folder),
            Interpretation.read(folder),
            failed,
        )
