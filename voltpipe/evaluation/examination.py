"""All that is asked of a trained forecaster: its scores, who drives whom, where it fails, and what it follows from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from voltpipe.evaluation.connectivity import CONNECTIVITY_FILE, connectivity_table, write_connectivity
from voltpipe.evaluation.connectivity_summary import metrics as connectivity_metrics
from voltpipe.evaluation.connectivity_summary import summaries
from voltpipe.evaluation.detail import EvaluationDetail
from voltpipe.evaluation.detail_file import DETAIL_FILE, read_detail, write_detail
from voltpipe.evaluation.diagnosis.diagnosis import Diagnosis, diagnose
from voltpipe.evaluation.diagnosis.seed_spread import seed_spread
from voltpipe.evaluation.evaluate import evaluate
from voltpipe.evaluation.evaluation import EVALUATION_FILE, Evaluation
from voltpipe.evaluation.interpretation.interpretation import Interpretation, interpret
from voltpipe.evaluation.interpretation.text import metrics as interpretation_metrics
from voltpipe.evaluation.progress import EvaluationProgress, unwatched
from voltpipe.forecasting.baselines.fit import fit_baselines
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.progress import EpochRecord
from voltpipe.simulation.ceiling import ceiling_in_samples, observable_ceiling_in_samples
from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class Examination:
    """What a report is made of."""

    evaluation: Evaluation
    detail: EvaluationDetail
    connectivity: pd.DataFrame
    diagnosis: Diagnosis
    interpretation: Interpretation

    def metrics(self) -> dict[str, float]:
        """All of its figures under their MLflow names."""
        return {
            **self.evaluation.metrics(),
            **connectivity_metrics(summaries(self.connectivity)),
            **interpretation_metrics(self.interpretation),
        }

    def write(self, folder: Path) -> None:
        """Each part in files of its own, each whole or not at all."""
        self.evaluation.write(folder / EVALUATION_FILE)
        write_detail(folder / DETAIL_FILE, self.detail)
        write_connectivity(folder / CONNECTIVITY_FILE, self.connectivity)
        self.diagnosis.write(folder)
        self.interpretation.write(folder)

    @classmethod
    def read(cls, folder: Path) -> "Examination":
        """What `write` wrote.

        Raises:
            EvaluationError: a file is damaged.
        """
        return cls(
            Evaluation.read(folder / EVALUATION_FILE),
            read_detail(folder / DETAIL_FILE),
            pd.read_parquet(folder / CONNECTIVITY_FILE),
            Diagnosis.read(folder),
            Interpretation.read(folder),
        )


def examine(
    forecaster: Forecaster,
    window_set: WindowSet,
    *,
    history: Sequence[EpochRecord] = (),
    training: Mapping[str, Any] | None = None,
    others: Iterable[Evaluation] = (),
    progress: EvaluationProgress = unwatched,
) -> Examination:
    """Ask all of it, beside baselines fitted on the same training rows, and the ceilings where they are known.

    Args:
        forecaster: that was trained on the window set.
        window_set: with held-out windows.
        history: the training's epochs.
        training: its settings and facts; JSON-able.
        others: evaluations of other forecasters, among which those of other seeds are looked for.
        progress: is told how far it is.

    Raises:
        EvaluationError: nothing is held out, or it forecasts NaN.
    """
    preparation, rate_hz = window_set.manifest.preparation, window_set.rate_hz
    ceiling = ceiling_in_samples(preparation, rate_hz)
    baselines = fit_baselines(window_set)
    evaluation, detail = evaluate(
        forecaster,
        window_set,
        baselines,
        ceiling_r2=ceiling.r2,
        ceiling_standard_error=ceiling.standard_error,
        observable_ceiling_r2=observable_ceiling_in_samples(preparation, rate_hz).r2,
        history=history,
        training=training,
        progress=progress,
    )
    return Examination(
        evaluation,
        detail,
        connectivity_table(forecaster, window_set),
        diagnose(forecaster, baselines, window_set, progress).also(seed_spread(evaluation, others)),
        interpret(forecaster, window_set),
    )
