"""Evaluation of a trained forecaster in three independent runs: scores, diagnostics, interpretation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from voltpipe.evaluation.diagnostics.diagnostics import BASELINES_USED, Diagnostics, diagnose
from voltpipe.evaluation.diagnostics.leakage_checks import SEED_SPREAD, check_or_failure, seed_spread
from voltpipe.evaluation.figure_data import FigureData
from voltpipe.evaluation.figure_data_file import DETAIL_FILE, read_figure_data, write_figure_data
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.evaluation.isolation import Failure, attempt, read_failures, write_failures
from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.progress import NO_EVALUATION_PROGRESS, EpochRecord, EvaluationProgress
from voltpipe.simulation.ceiling import ceiling_by_horizon, observable_ceiling_by_horizon
from voltpipe.windows.window_set import WindowSet

FIGURE_DATA = "figure_data"
_FAILURES_FILE = "failed_figure_data.json"


@dataclass(frozen=True)
class Scores:
    """Scores of a forecaster, which promotion needs, and the data of their figures."""

    evaluation: Evaluation
    detail: FigureData | None
    """Data of the figures; None if they could not be collected."""
    failed: Mapping[str, str]
    """Reason why there are no figure data, under FIGURE_DATA; empty otherwise."""

    def write(self, folder: Path) -> None:
        """Write scores and figure data to separate files, each as an atomic write."""
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
) -> Scores:
    """Score a forecaster, next to baselines fitted on the same training rows and to the ceilings where known.

    Args:
        forecaster: a forecaster that was trained on the window set.
        window_set: window set with held-out windows.
        history: epochs of the training.
        training: settings and metadata of the training, as JSON values.
        progress: listener that is called after each recording.

    Raises:
        EvaluationError: nothing is held out, or the forecaster forecasts NaN.
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
        return Scores(evaluation, None, {FIGURE_DATA: detail.reason})
    return Scores(evaluation, detail, {})


def run_diagnostics(
    forecaster: Forecaster,
    window_set: WindowSet,
    evaluation: Evaluation,
    *,
    others: Iterable[Evaluation] = (),
    progress: EvaluationProgress = NO_EVALUATION_PROGRESS,
) -> Diagnostics:
    """Find where a forecaster fails, and check its scores for leaks. Only the baselines used here are fitted.

    Args:
        forecaster: the forecaster that was scored.
        window_set: window set with held-out windows.
        evaluation: scores of the forecaster.
        others: evaluations of other forecasters. The seed spread uses those that differ only in the seed.
        progress: listener that is called after each diagnostic.
    """
    diagnostics = diagnose(forecaster, fit_baselines(window_set, BASELINES_USED), window_set, progress)
    return diagnostics.with_check(check_or_failure(SEED_SPREAD, lambda: seed_spread(evaluation, others)))


@dataclass(frozen=True)
class FullEvaluation:
    """Results of the three runs, as a report shows them."""

    evaluation: Evaluation
    detail: FigureData | None
    diagnostics: Diagnostics
    interpretation: Interpretation
    failed: Mapping[str, str]
    """Reason why there are no figure data, under FIGURE_DATA; empty otherwise."""

    @property
    def connectivity(self) -> pd.DataFrame:
        """Connectivity table of the interpretation."""
        return self.interpretation.connectivity

    def metrics(self) -> dict[str, float]:
        """Return all numbers by MLflow metric name."""
        return {**self.evaluation.metrics(), **self.interpretation.metrics()}

    @classmethod
    def read(cls, folder: Path) -> "FullEvaluation":
        """Read the files that the three runs wrote into one folder.

        Raises:
            EvaluationError: a file is damaged.
        """
        failed = read_failures(folder / _FAILURES_FILE)
        return cls(
            Evaluation.read(folder / EVALUATION_FILE),
            None if FIGURE_DATA in failed else read_figure_data(folder / DETAIL_FILE),
            Diagnostics.read(folder),
            Interpretation.read(folder),
            failed,
        )
