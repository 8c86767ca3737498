"""Result models of an evaluation: scores of a forecaster and of its baselines, and their provenance."""

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

EVALUATION_FILE = "metrics.json"
"""File name of an evaluation in the folder of its report."""
REPORT_FILE = "report.html"
"""File name of the page in the same folder."""
NOTICEABLE_R2 = 0.002
"""Smallest difference of R2 that counts. A second training with another seed may change R2 by this much."""


class EvaluationError(VoltpipeError):
    """A forecaster that cannot be scored, or an evaluation that cannot be read."""


class Score(FrozenModel):
    """Errors of one forecaster in one regime at one horizon."""

    forecaster: str
    regime: Regime
    horizon: int = Field(description="Horizon in samples.")
    r2: float = Field(description="1 - SSE/SST in mV over all targets, with SST about the channels' training means.")
    r2_channel_median: float = Field(description="Median over channels of each channel's R2.")
    rmse_mv: float
    mae_mv: float
    n_targets: int = Field(description="Number of targets: windows times channels.")


class ReliabilityBin(FrozenModel):
    """Forecasts that gave a spike about the same probability."""

    chance: float = Field(description="Mean forecast probability of a spike.")
    frequency: float = Field(description="Share of these targets that have a spike.")
    n_targets: int


class SpikeScore(FrozenModel):
    """Score of the forecast probability that a channel spikes within a horizon."""

    rate: float = Field(description="Share of targets that have a spike.")
    auc: float = Field(
        description="Probability that a target with a spike was given a higher probability than one without."
    )
    brier: float = Field(description="Mean squared difference between probability and outcome (0 or 1).")
    reliability: tuple[ReliabilityBin, ...] = Field(description="Bins of targets, by ascending probability.")


class DistributionScore(FrozenModel):
    """Scores of one forecaster's predictive distribution in one regime at one horizon."""

    forecaster: str
    regime: Regime
    horizon: int = Field(description="Horizon in samples.")
    crps_mv: float = Field(
        description="Continuous ranked probability score in mV: twice the mean pinball loss over levels."
    )
    pinball_mv: dict[float, float] = Field(description="Mean pinball loss in mV, by level.")
    coverage: dict[int, float] = Field(description="Share of truths inside each central interval, by nominal percent.")
    width_mv: dict[int, float] = Field(description="Mean width of each central interval in mV, by nominal percent.")
    coverage80_recordings: tuple[float, float] = Field(
        description="Lowest and highest coverage of the 80 % interval over recordings."
    )
    coverage80_channels: tuple[float, float] = Field(
        description="10 % and 90 % quantile over channels of the coverage of the 80 % interval."
    )
    spikes: SpikeScore | None = Field(
        description="Score of spike probabilities. None if spikes cannot be detected, or if no target or all have one."
    )


class RecordingErrors(FrozenModel):
    """Sums over the targets of one recording's channels of one type. Every pooled R2 is computed from such sums."""

    forecaster: str
    regime: Regime
    recording: str = Field(description="Key of the recording.")
    channel_type: str
    horizons: tuple[int, ...] = Field(description="Horizons in samples, ascending.")
    squared_error_mv2: tuple[float, ...] = Field(description="SSE by horizon, in mV squared.")
    total_mv2: tuple[float, ...] = Field(
        description="SST about the channels' training means by horizon, in mV squared."
    )
    n_targets: int = Field(description="Number of targets at each horizon: windows times channels.")


class Provenance(FrozenModel):
    """Data, settings and code that an evaluation was made from."""

    window_set_digest: str
    protocol: Protocol
    preparation: str | None = Field(description="Simulated reference preparation; None for real recordings.")
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
    """Scores of a forecaster and of its baselines on the same targets."""

    forecaster: str
    scores: tuple[Score, ...] = Field(description="Scores of the forecaster, then of its baselines.")
    distributions: tuple[DistributionScore, ...] = Field(
        (), description="Scores of the predictive distributions, in the same order. Not every forecaster has one."
    )
    by_recording: tuple[RecordingErrors, ...] = Field(
        (), description="Errors on each recording and channel type, in the same order."
    )
    ceiling_r2: dict[int, float] = Field(description="Best possible R2 by horizon; empty if unknown.")
    ceiling_standard_error: dict[int, float] = Field(description="Standard error of `ceiling_r2`, by horizon.")
    observable_ceiling_r2: dict[int, float] = Field(
        {}, description="R2 possible from 1 ms samples and the true connectivity, by horizon; empty if unknown."
    )
    provenance: Provenance

    @cached_property
    def regimes(self) -> tuple[Regime, ...]:
        """Regimes that have windows, the strictest first."""
        return tuple(regime for regime in Regime if any(score.regime == regime for score in self.scores))

    @cached_property
    def horizons(self) -> tuple[int, ...]:
        """Horizons of the forecaster in samples, ascending."""
        return tuple(sorted({score.horizon for score in self.scores if score.forecaster == self.forecaster}))

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines, in the order in which they were scored."""
        return tuple(dict.fromkeys(s.forecaster for s in self.scores if s.forecaster != self.forecaster))

    @cached_property
    def _by_key(self) -> dict[tuple[str, Regime, int], Score]:
        return {(score.forecaster, score.regime, score.horizon): score for score in self.scores}

    def score(self, forecaster: str, regime: Regime, horizon: int) -> Score:
        """Return the score of the forecaster or of a baseline.

        Raises:
            EvaluationError: there is no such score.
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
        """Return the score of the forecaster or of a baseline; None if there is none."""
        return self._by_key.get((forecaster, regime, horizon))

    def find_distribution(self, forecaster: str, regime: Regime, horizon: int) -> DistributionScore | None:
        """Return the score of the predictive distribution of the forecaster or of a baseline; None if there is none."""
        wanted = (forecaster, regime, horizon)
        return next((s for s in self.distributions if (s.forecaster, s.regime, s.horizon) == wanted), None)

    def share_of_ceiling(self, regime: Regime, horizon: int) -> float | None:
        """Return the forecaster's R2 as a share of the best possible R2; None if that is unknown."""
        ceiling = self.ceiling_r2.get(horizon)
        return self.score(self.forecaster, regime, horizon).r2 / ceiling if ceiling else None

    def metrics(self) -> dict[str, float]:
        """Return all scores by MLflow metric name.

        - The forecaster on held-out recordings, 1 sample ahead: `test/r2/h1`, `test/r2_channel_median/h1`,
          `test/rmse_mv/h1`, `test/mae_mv/h1`.
        - A baseline on the same targets: `baseline/<name>/r2/h1`.
        - The best possible R2: `ceiling/r2/h1`, and from 1 ms samples `observable_ceiling/r2/h1`.
        - The predictive distribution: `test/crps_mv/h1`, `test/coverage80/h1` (also 50 and 95), `test/width80_mv/h1`,
          `test/spike_auc/h1`, `test/spike_brier/h1`, and the CRPS, 80 % coverage and spike AUC of the baselines.

        In other regimes the names are `time/r2/h1`, `time/baseline/<name>/r2/h1`, and so on. Under the published
        protocol all names begin with `published/`, because its scores must not share a chart with valid ones.
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
        """Write this evaluation as JSON, as an atomic write."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read an evaluation that `write` wrote.

        Raises:
            EvaluationError: the file is not an evaluation.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise EvaluationError(
                f"{path} is not an evaluation: {error}. Evaluate the forecaster again.", code="evaluation-unreadable"
            ) from error
