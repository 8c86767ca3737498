"""Result models of an evaluation: scores of a forecaster and its baselines, and their provenance."""

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from voltpipe.errors import VoltpipeError
from voltpipe.evaluation.regimes import Regime
from voltpipe.lake.files import write_json
from voltpipe.schema import FrozenModel
from voltpipe.windows.settings import Protocol


class ReliabilityBin(FrozenModel):
    """Forecasts that gave a spike about the same chance."""

    chance: float = Field(description="Mean forecast probability of a spike.")
    frequency: float = Field(description="Fraction of targets with a spike.")
    n_targets: int


class SpikeScore(FrozenModel):
    """Score of the spike probability of a channel within a horizon."""

    rate: float = Field(description="Fraction of targets with a spike.")
    auc: float = Field(
        description="Probability that a target with a spike has a higher forecast than one without (AUC)."
    )
    brier: float = Field(description="Mean squared difference between forecast probability and outcome (Brier score).")
    reliability: tuple[ReliabilityBin, ...] = Field(description="Reliability by forecast probability, ascending.")


class DistributionScore(FrozenModel):
    """Score of one predictive distribution in one regime at one horizon."""

    forecaster: str
    regime: Regime
    horizon: int = Field(description="Horizon in samples.")
    crps_mv: float = Field(description="Continuous ranked probability score: twice the mean pinball loss over levels.")
    pinball_mv: dict[float, float] = Field(description="Mean pinball loss by level.")
    coverage: dict[int, float] = Field(
        description="Fraction of truths inside each central interval, by nominal percent."
    )
    width_mv: dict[int, float] = Field(description="Mean width of each central interval, by nominal percent.")
    coverage80_recordings: tuple[float, float] = Field(
        description="Coverage of the 80 % interval in the lowest and the highest recording."
    )
    coverage80_channels: tuple[float, float] = Field(
        description="Coverage of the 80 % interval: 10 % and 90 % quantile over channels."
    )
    spikes: SpikeScore | None = Field(
        description="Score of the spike probability; None if no spikes are detected, or if all or no targets have one."
    )


class RecordingErrors(FrozenModel):
    """Sums over the targets of one recording's channels of one type; any pooled R2 is made from such sums."""

    forecaster: str
    regime: Regime
    recording: str = Field(description="Partition key.")
    channel_type: str
    horizons: tuple[int, ...] = Field(description="Horizons in samples, ascending.")
    squared_error_mv2: tuple[float, ...] = Field(description="SSE by horizon.")
    total_mv2: tuple[float, ...] = Field(description="SST about the training mean of each channel, by horizon.")
    n_targets: int = Field(description="Number of windows times channels.")


EVALUATION_FILE = "metrics.json"
"""An evaluation's name in a report's folder."""


REPORT_FILE = "report.html"
"""The page's name in the same folder."""


class EvaluationError(VoltpipeError):
    """A forecaster that cannot be scored, or an evaluation that cannot be read."""


class Score(FrozenModel):
    """Score of one forecaster in one regime at one horizon."""

    forecaster: str
    regime: Regime
    horizon: int = Field(description="Horizon in samples.")
    r2: float = Field(
        description="1 - SSE/SST in mV over all targets, with SST about the training mean of each channel."
    )
    r2_channel_median: float = Field(description="Median over channels of the R2 of a channel.")
    rmse_mv: float
    mae_mv: float
    n_targets: int = Field(description="Number of windows times channels.")


class Provenance(FrozenModel):
    """Provenance of an evaluation."""

    window_set_digest: str
    protocol: Protocol
    preparation: str | None = Field(description="Reference preparation that was simulated; None for real recordings.")
    organoids: tuple[str, ...]
    recordings: dict[str, tuple[str, ...]] = Field(
        description="Keys of the recordings with windows in training, in validation and in each regime."
    )
    n_channels: int
    rate_hz: float
    trained_on: tuple[str, ...] = Field(description="Organoids whose recordings the forecaster was trained on.")
    settings: dict[str, dict[str, Any]] = Field(description="Settings of windows, architecture and training.")
    code_revision: str
    created_utc: datetime


class Evaluation(FrozenModel):
    """A forecaster's scores, never without those of its baselines on the same targets."""

    forecaster: str
    scores: tuple[Score, ...] = Field(description="Scores of the forecaster, then of its baselines.")
    distributions: tuple[DistributionScore, ...] = Field(
        (), description="Scores of predictive distributions in the same order, where a forecaster has one."
    )
    by_recording: tuple[RecordingErrors, ...] = Field(
        (), description="Errors by recording and channel type, in the same order."
    )
    ceiling_r2: dict[int, float] = Field(description="Best possible R2 by horizon; empty if unknown.")
    ceiling_standard_error: dict[int, float] = Field(description="Standard error of `ceiling_r2` by horizon.")
    observable_ceiling_r2: dict[int, float] = Field(
        {}, description="R2 possible from 1 ms samples and the true connectivity, by horizon; empty if unknown."
    )
    provenance: Provenance

    @cached_property
    def regimes(self) -> tuple[Regime, ...]:
        """The regimes that have windows, the stricter first."""
        return tuple(regime for regime in Regime if any(score.regime == regime for score in self.scores))

    @cached_property
    def horizons(self) -> tuple[int, ...]:
        """The horizons (samples) of the forecaster, ascending."""
        return tuple(sorted({score.horizon for score in self.scores if score.forecaster == self.forecaster}))

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines, in the order in which they were given."""
        return tuple(dict.fromkeys(s.forecaster for s in self.scores if s.forecaster != self.forecaster))

    @cached_property
    def _by_key(self) -> dict[tuple[str, Regime, int], Score]:
        return {(score.forecaster, score.regime, score.horizon): score for score in self.scores}

    def score(self, forecaster: str, regime: Regime, horizon: int) -> Score:
        """The score of a forecaster or baseline.

        Raises:
            EvaluationError: there is none.
        """
        found = self.find_score(forecaster, regime, horizon)
        if found is None:
            raise EvaluationError(
                f"{forecaster} has no score in regime {regime} at {horizon} samples. Expected a forecaster of "
                f"{[self.forecaster, *self.baselines]}, a regime of {list(map(str, self.regimes))} "
                f"and a horizon of {list(self.horizons)}.",
                code="score-unknown",
            )
        return found

    def find_score(self, forecaster: str, regime: Regime, horizon: int) -> Score | None:
        """The score of a forecaster or baseline; None if there is none."""
        return self._by_key.get((forecaster, regime, horizon))

    def find_distribution(self, forecaster: str, regime: Regime, horizon: int) -> DistributionScore | None:
        """The score of a forecaster's or baseline's predictive distribution; None if there is none."""
        wanted = (forecaster, regime, horizon)
        return next((s for s in self.distributions if (s.forecaster, s.regime, s.horizon) == wanted), None)

    def share_of_ceiling(self, regime: Regime, horizon: int) -> float | None:
        """The forecaster's R2 as a share of the best possible; None where that is not known."""
        ceiling = self.ceiling_r2.get(horizon)
        return self.score(self.forecaster, regime, horizon).r2 / ceiling if ceiling else None

    def metrics(self) -> dict[str, float]:
        """All scores under their MLflow names.

        `test/r2/h1`, `test/r2_channel_median/h1`, `test/rmse_mv/h1`, `test/mae_mv/h1` are the forecaster's on held-out
        recordings at 1 sample, `baseline/<name>/r2/h1` a baseline's on the same targets, `ceiling/r2/h1` the best
        possible, `observable_ceiling/r2/h1` what of it is possible from 1 ms samples. Of the predictive distribution:
        `test/crps_mv/h1`, `test/coverage80/h1` (also 50 and 95), `test/width80_mv/h1`, `test/spike_auc/h1`,
        `test/spike_brier/h1`, and the baselines' CRPS, 80 % coverage and spike AUC. In other regimes they are
        `time/r2/h1` and `time/baseline/<name>/r2/h1`, and so on. Under the published protocol all names begin with
        `published/`: such scores must not share a chart with honest ones.
        """
        metrics = {f"ceiling/r2/h{horizon}": r2 for horizon, r2 in self.ceiling_r2.items()}
        metrics |= {f"observable_ceiling/r2/h{horizon}": r2 for horizon, r2 in self.observable_ceiling_r2.items()}
        for score in self.scores:
            if score.forecaster == self.forecaster:
                for name in ("r2", "r2_channel_median", "rmse_mv", "mae_mv"):
                    metrics[f"{score.regime}/{name}/h{score.horizon}"] = getattr(score, name)
            else:
                regime = "" if score.regime == Regime.TEST else f"{score.regime}/"
                metrics[f"{regime}baseline/{score.forecaster}/r2/h{score.horizon}"] = score.r2
        for distribution in self.distributions:
            metrics |= self._distribution_metrics(distribution)
        prefix = "published/" if self.provenance.protocol == Protocol.PUBLISHED else ""
        return {prefix + name: value for name, value in metrics.items()}

    def _distribution_metrics(self, score: DistributionScore) -> dict[str, float]:
        values = {"crps_mv": score.crps_mv, "coverage80": score.coverage[80]}
        if score.spikes:
            values["spike_auc"] = score.spikes.auc
        if score.forecaster == self.forecaster:
            values |= {f"coverage{percent}": score.coverage[percent] for percent in (50, 95)}
            values["width80_mv"] = score.width_mv[80]
            if score.spikes:
                values["spike_brier"] = score.spikes.brier
            place = f"{score.regime}/"
        else:
            regime = "" if score.regime == Regime.TEST else f"{score.regime}/"
            place = f"{regime}baseline/{score.forecaster}/"
        return {f"{place}{name}/h{score.horizon}": value for name, value in values.items()}

    def write(self, path: Path) -> None:
        """Write this evaluation as JSON, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read what `write` wrote.

        Raises:
            EvaluationError: the file is not an evaluation.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise EvaluationError(
                f"{path} is not an evaluation: {error}. Evaluate the forecaster again.", code="evaluation-unreadable"
            ) from error


NOTICEABLE_R2 = 0.002
"""Smaller differences of R2 are called none: that much a second training with another seed may change."""
