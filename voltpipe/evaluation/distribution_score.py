"""How good a predictive distribution is: sharp, and as often right as it says."""

from pydantic import Field

from voltpipe.evaluation.facts import Facts
from voltpipe.evaluation.regimes import Regime


class ReliabilityBin(Facts):
    """Forecasts that gave a spike about the same chance."""

    chance: float = Field(description="mean of what was forecast")
    frequency: float = Field(description="how often there was a spike")
    n_targets: int


class SpikeScore(Facts):
    """How well it was forecast whether a channel spikes within a horizon."""

    rate: float = Field(description="how often there was a spike")
    auc: float = Field(description="how often a target with a spike was given a higher chance than one without")
    brier: float = Field(description="mean squared difference between chance and outcome (0 or 1)")
    reliability: tuple[ReliabilityBin, ...] = Field(description="by chance, ascending")


class DistributionScore(Facts):
    """How one forecaster's predictive distribution did in one regime at one horizon."""

    forecaster: str
    regime: Regime
    horizon: int = Field(description="samples ahead")
    crps_mv: float = Field(description="continuous ranked probability score: twice the mean pinball loss over levels")
    pinball_mv: dict[float, float] = Field(description="mean pinball loss by level")
    coverage: dict[int, float] = Field(description="share of truths inside each central interval, by nominal percent")
    width_mv: dict[int, float] = Field(description="mean width of each central interval, by nominal percent")
    coverage80_recordings: tuple[float, float] = Field(description="of the 80 % interval: lowest and highest recording")
    coverage80_channels: tuple[float, float] = Field(description="likewise the 10 % and 90 % quantile over channels")
    spikes: SpikeScore | None = Field(description="none where spikes are not seen, or none or all targets have one")
