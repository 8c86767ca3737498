"""Novelty: how far a history is from the training data, as a score calibrated to a false-alarm rate.

The features of a history come first, then the detector that scores them, then the summary over a recording.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.schema import FrozenModel

CHANNEL_FEATURES = ("level", "spread", "change from sample to sample", "largest step", "share of unchanged samples")
MAINS_HZ = (50.0, 60.0)
WHOLE_FEATURES = (
    *(f"{name} in many channels" for _ in ("mean", "spread about it") for name in CHANNEL_FEATURES),
    "common movement of all channels",
    *(f"{hz:g} Hz hum in all channels" for hz in MAINS_HZ),
)
"""Features of all channels together: mean and log RMS of each channel feature, and common features."""
_MIN_MAGNITUDE = 1e-3
"""Smallest magnitude that a logarithm distinguishes from zero, in training SDs."""


def channel_features(scaled: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel feature"]:
    """Compute the `CHANNEL_FEATURES` of histories scaled by each channel's mean and SD in training.

    Spread, change and largest step are logarithms. The correlation of neighboring samples follows from spread and
    change.
    """
    steps = scaled.diff(dim=1)
    features = (
        scaled.mean(1),
        _log(scaled.std(1, correction=0)),
        _log(steps.std(1, correction=0)),
        _log(steps.abs().amax(1)),
        (steps == 0).to(scaled.dtype).mean(1),
    )
    return torch.stack(features, dim=-1)


def whole_features(
    features_z: Float[Tensor, "batch channel feature"], common: Float[Tensor, "batch common"]
) -> Float[Tensor, "batch whole"]:
    """Compute the `WHOLE_FEATURES`, which detect small changes of all channels that no single channel shows.

    Args:
        features_z: features of the channels, standardized by their mean and SD in training.
        common: result of `common_features`.
    """
    return torch.cat([features_z.mean(1), _log(features_z.square().mean(1).sqrt()), common], dim=1)


def common_features(scaled: Float[Tensor, "batch time channel"], rate_hz: float) -> Float[Tensor, "batch common"]:
    """Compute the log SD of the mean over channels, and its amplitudes at the mains frequencies."""
    mean = scaled.mean(2)
    centered = mean - mean.mean(1, keepdim=True)
    time_s = torch.arange(mean.shape[1]) / rate_hz
    waves = torch.stack([torch.exp(2j * math.pi * hz * time_s) for hz in MAINS_HZ], dim=1)
    amplitudes = (centered.to(waves.dtype) @ waves).abs() / len(time_s)
    return torch.cat([_log(mean.std(1, correction=0, keepdim=True)), amplitudes], dim=1)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=_MIN_MAGNITUDE).log()


class NoveltyConfig(FrozenModel):
    """Config of the novelty detector, saved next to its tables."""

    n_channels: int = Field(ge=1, description="Number of training channels.")
    context_samples: int = Field(ge=2, description="Number of most recent samples of a history that are scored.")
    rate_hz: float = Field(gt=0, description="Sampling rate, in Hz.")
    false_alarms: float = Field(gt=0, lt=1, description="Share of validation windows with a score above 1.")


@dataclass(frozen=True)
class NoveltyScore:
    """Novelty of a batch of histories. Scores above 1 are out of distribution."""

    channel_score: Float[Tensor, "batch channel"]
    """Score of each single channel."""
    whole_score: Float[Tensor, " batch"]
    """Score of all channels together."""
    of_channels: Float[Tensor, "batch channel feature"]
    """Contribution of each feature to a channel's squared distance."""
    of_whole: Float[Tensor, "batch whole"]
    """Contribution of each feature to the squared distance of all channels together."""

    @property
    def score(self) -> Float[Tensor, " batch"]:
        """Score of each history: the maximum over its channels and all channels together."""
        return torch.maximum(self.channel_score.amax(1), self.whole_score)


class NoveltyDetector(nn.Module):
    """Novelty detector: Mahalanobis distances from the training windows, by channel and over all channels together.

    The score is the larger of the two distances, each divided by a limit that few validation windows exceed. Lee et
    al. (2018), https://arxiv.org/abs/1807.03888, use the features of a neural network; these features are named.
    """

    centre_mv: Tensor
    scale_mv: Tensor
    feature_mean: Tensor
    feature_sd: Tensor
    feature_precision: Tensor
    whole_mean: Tensor
    whole_sd: Tensor
    whole_precision: Tensor
    limits: Tensor
    """Limits of the distances of any single channel, and of all channels together."""

    def __init__(self, config: NoveltyConfig) -> None:
        super().__init__()
        self.config = config
        n_features, n_whole = len(CHANNEL_FEATURES), len(WHOLE_FEATURES)
        self.register_buffer("centre_mv", torch.zeros(config.n_channels))
        self.register_buffer("scale_mv", torch.ones(config.n_channels))
        self.register_buffer("feature_mean", torch.zeros(config.n_channels, n_features))
        self.register_buffer("feature_sd", torch.ones(config.n_channels, n_features))
        self.register_buffer("feature_precision", torch.eye(n_features))
        self.register_buffer("whole_mean", torch.zeros(n_whole))
        self.register_buffer("whole_sd", torch.ones(n_whole))
        self.register_buffer("whole_precision", torch.eye(n_whole))
        self.register_buffer("limits", torch.ones(2))

    @torch.no_grad()
    def judge(self, history_mv: Float[Tensor, "batch time channel"]) -> NoveltyScore:
        """Score histories in mV by their last `context_samples` samples.

        If the number of channels differs from training, only single channels are scored.
        """
        scaled = self.scaled(history_mv)
        features_z = self.standardised(channel_features(scaled))
        whole = whole_features(features_z, common_features(scaled, self.config.rate_hz))
        whole_z = (whole - self.whole_mean) / self.whole_sd
        of_channels = features_z * (features_z @ self.feature_precision)
        of_whole = whole_z * (whole_z @ self.whole_precision)
        channel_score = of_channels.sum(-1).clamp(min=0).sqrt() / self.limits[0]
        whole_score = of_whole.sum(-1).clamp(min=0).sqrt() / self.limits[1]
        if history_mv.shape[2] != self.config.n_channels:
            whole_score = torch.zeros_like(whole_score)  # common features depend on the number of channels
        return NoveltyScore(channel_score, whole_score, of_channels, of_whole)

    def scaled(self, history_mv: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch context channel"]:
        """Scale the last `context_samples` samples by each channel's mean and SD in training."""
        recent_mv = history_mv[:, -self.config.context_samples :]
        centre_mv, scale_mv = (
            self._for_channels(table, history_mv.shape[2]) for table in (self.centre_mv, self.scale_mv)
        )
        return (recent_mv - centre_mv) / scale_mv

    def standardised(self, features: Float[Tensor, "batch channel feature"]) -> Float[Tensor, "batch channel feature"]:
        """Standardize features by each channel's mean and SD in training."""
        mean, sd = (self._for_channels(table, features.shape[1]) for table in (self.feature_mean, self.feature_sd))
        return (features - mean) / sd

    def _for_channels(self, table: Tensor, n_channels: int) -> Tensor:
        if n_channels == self.config.n_channels:
            return table
        return table.mean(0, keepdim=True).expand(n_channels, *table.shape[1:])


WARNING_SHARE = 0.05
"""Share of novel windows above which a recording gets a warning.

Neighboring windows overlap, so false alarms seldom come alone.
"""
_NAMED_CHANNELS, _NAMED_FEATURES = 3, 2
_MIN_CONTRIBUTION = 0.1
"""Smallest share of a squared distance for which a feature is named."""


@dataclass(frozen=True)
class NoveltySummary:
    """Novelty of a recording: share of windows that are out of distribution, and the reasons."""

    n_windows: int
    n_novel: int
    channels: tuple[str, ...]
    """Channels that are out of distribution in at least half of the novel windows, the most frequent first."""
    features: tuple[str, ...]
    """Features that contribute most in at least half of the novel windows, or else the most frequent one."""

    @property
    def share(self) -> float:
        """Share of novel windows, which are out of distribution."""
        return self.n_novel / self.n_windows

    @property
    def warns(self) -> bool:
        """True if the share is so large that forecasts may be unreliable."""
        return self.share > WARNING_SHARE

    @property
    def text(self) -> str:
        """Summary as a clause without a full stop, for use in messages."""
        if not self.n_novel:
            return "no window is out of distribution"
        text = f"{self.share:.1%} of windows are out of distribution, by: {', '.join(self.features)}"
        if not self.channels:
            return text
        others = len(self.channels) - _NAMED_CHANNELS
        more = f" and {others} more" if others > 0 else ""
        return f"{text}; channels: {', '.join(self.channels[:_NAMED_CHANNELS])}{more}"

    def facts(self) -> dict[str, object]:
        """Return the summary as metadata by name."""
        return {
            "unlike_training_share": self.share,
            "unlike_training_windows": self.n_windows,
            "unlike_training_channels": list(self.channels),
            "unlike_training_by": list(self.features),
        }


@dataclass
class NoveltyAccumulator:
    """Accumulator of novelty scores, batch by batch."""

    channel_names: tuple[str, ...]
    n_windows: int = 0
    n_novel: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)

    def add(self, novelty: NoveltyScore) -> None:
        """Add a batch of windows."""
        is_novel = novelty.score > 1
        self.n_windows += len(is_novel)
        self.n_novel += int(is_novel.sum())
        novel_channels = novelty.channel_score > 1
        for name, times in zip(self.channel_names, novel_channels[is_novel].sum(0).tolist(), strict=True):
            self.channels[name] += times
        for window in torch.nonzero(is_novel)[:, 0].tolist():
            self.features.update(_largest_contributions(novelty, window))

    def notice(self) -> NoveltySummary:
        """Summarize all windows so far."""
        channels = [name for name, times in self.channels.most_common() if 2 * times >= max(self.n_novel, 1)]
        features = [name for name, times in self.features.most_common() if 2 * times >= self.n_novel]
        first = [name for name, _ in self.features.most_common(1)]
        return NoveltySummary(self.n_windows, self.n_novel, tuple(channels), tuple(features[:_NAMED_FEATURES] or first))


def _largest_contributions(novelty: NoveltyScore, window: int) -> list[str]:
    """Name the features that contribute most to a window's distance.

    They are those of the most novel channel. If no channel or most channels are novel, they are those of all channels
    together.
    """
    channel_score = novelty.channel_score[window]
    n_novel = int((channel_score > 1).sum())
    of_one_channel = 0 < n_novel <= len(channel_score) / 2
    names = CHANNEL_FEATURES if of_one_channel else WHOLE_FEATURES
    shares = novelty.of_channels[window, channel_score.argmax()] if of_one_channel else novelty.of_whole[window]
    minimum = _MIN_CONTRIBUTION * shares.sum()
    order = [feature for feature in shares.argsort(descending=True).tolist() if shares[feature] > minimum]
    return list(dict.fromkeys(names[feature] for feature in order))
