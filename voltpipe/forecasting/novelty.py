"""How unlike the training rows a history is, as one score that is calibrated to so many false alarms."""

import math
from collections import Counter
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.schema import FrozenModel


class NoveltyConfig(FrozenModel):
    """What stands beside the tables."""

    n_channels: int = Field(ge=1, description="channels of the training rows")
    context_samples: int = Field(ge=2, description="samples of a history, the last ones of which are judged")
    rate_hz: float = Field(gt=0, description="of the samples, in Hz")
    false_alarms: float = Field(gt=0, lt=1, description="share of validation windows whose score is above 1")


@dataclass(frozen=True)
class NoveltyScore:
    """How unlike the training rows some histories are."""

    channel_score: Float[Tensor, "batch channel"]
    """Above 1 a channel is unlike them by itself."""
    whole_score: Float[Tensor, " batch"]
    """Above 1 the channels are unlike them together."""
    of_channels: Float[Tensor, "batch channel feature"]
    """What each feature contributes to a channel's squared distance."""
    of_whole: Float[Tensor, "batch whole"]
    """Likewise to that of all together."""

    @property
    def score(self) -> Float[Tensor, " batch"]:
        """Above 1 a history is unlike the training rows."""
        return torch.maximum(self.channel_score.amax(1), self.whole_score)


class NoveltyDetector(nn.Module):
    """Mahalanobis distances from the training windows: of each channel's features, and of those of the whole.

    The score is the larger of the two, each in units of what validation windows seldom exceed (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888, do so with a network's features; here they have names).
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
    """Distances that are just like the training rows: of any channel, and of the whole."""

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
        """Judge histories in mV, by their last `context_samples`.

        If there are more or fewer channels than in training, each is judged by itself.
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
            whole_score = torch.zeros_like(whole_score)  # what channels have in common depends on their number
        return NoveltyScore(channel_score, whole_score, of_channels, of_whole)

    def scaled(self, history_mv: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch context channel"]:
        """By each channel's mean and SD in training."""
        recent_mv = history_mv[:, -self.config.context_samples :]
        centre_mv, scale_mv = (self._of_channels(each, history_mv.shape[2]) for each in (self.centre_mv, self.scale_mv))
        return (recent_mv - centre_mv) / scale_mv

    def standardised(self, features: Float[Tensor, "batch channel feature"]) -> Float[Tensor, "batch channel feature"]:
        """About each channel's mean in training, in its SDs."""
        mean, sd = (self._of_channels(each, features.shape[1]) for each in (self.feature_mean, self.feature_sd))
        return (features - mean) / sd

    def _of_channels(self, table: Tensor, n_channels: int) -> Tensor:
        if n_channels == self.config.n_channels:
            return table
        return table.mean(0, keepdim=True).expand(n_channels, *table.shape[1:])


CHANNEL_FEATURES = ("level", "spread", "change from sample to sample", "largest step", "how often it stands still")
MAINS_HZ = (50.0, 60.0)
WHOLE_FEATURES = (
    *(f"{name} in many channels" for _ in ("mean", "spread about it") for name in CHANNEL_FEATURES),
    "how much all channels move together",
    *(f"{hz:g} Hz hum in all channels" for hz in MAINS_HZ),
)
_LEAST = 1e-3
"""Of a training SD: below it, nothing moves."""


def channel_features(scaled: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel feature"]:
    """The `CHANNEL_FEATURES` of histories that are scaled by each channel's own mean and SD in training.

    Spreads and steps are logarithms. The correlation of neighbouring samples follows from spread and change.
    """
    steps = scaled.diff(dim=1)
    of_each = (
        scaled.mean(1),
        _log(scaled.std(1, correction=0)),
        _log(steps.std(1, correction=0)),
        _log(steps.abs().amax(1)),
        (steps == 0).to(scaled.dtype).mean(1),
    )
    return torch.stack(of_each, dim=-1)


def whole_features(
    features_z: Float[Tensor, "batch channel feature"], together: Float[Tensor, "batch common"]
) -> Float[Tensor, "batch whole"]:
    """The `WHOLE_FEATURES`: what is a little odd in all channels is seen in all of them before it is in any.

    Args:
        features_z: the channels' features, about each one's mean in training and in its SDs.
        together: what `common_features` gives.
    """
    return torch.cat([features_z.mean(1), _log(features_z.square().mean(1).sqrt()), together], dim=1)


def common_features(scaled: Float[Tensor, "batch time channel"], rate_hz: float) -> Float[Tensor, "batch common"]:
    """How much the mean of all channels moves, as a logarithm, and its amplitudes at the mains' frequencies."""
    mean = scaled.mean(2)
    centred = mean - mean.mean(1, keepdim=True)
    time_s = torch.arange(mean.shape[1]) / rate_hz
    waves = torch.stack([torch.exp(2j * math.pi * hz * time_s) for hz in MAINS_HZ], dim=1)
    amplitudes = (centred.to(waves.dtype) @ waves).abs() / len(time_s)
    return torch.cat([_log(mean.std(1, correction=0, keepdim=True)), amplitudes], dim=1)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST).log()


WORTH_A_WARNING = 0.05
"""Of a recording's windows. Neighbouring windows overlap, so a false alarm seldom comes alone."""
_NAMED_CHANNELS, _NAMED_FEATURES = 3, 2
_LEAST_SHARE = 0.1
"""Of a squared distance, for a feature to be named."""


@dataclass(frozen=True)
class NoveltySummary:
    """How much of a recording is unlike the training rows, and by what."""

    n_windows: int
    n_unlike: int
    channels: tuple[str, ...]
    """Those that are unlike them by themselves in half of these windows, the most frequent first."""
    features: tuple[str, ...]
    """What is furthest from what it was in training in half of them, or at least most often."""

    @property
    def share(self) -> float:
        """Of the windows that are unlike the training rows."""
        return self.n_unlike / self.n_windows

    @property
    def warns(self) -> bool:
        """Whether so much is unlike them that forecasts are not to be trusted blindly."""
        return self.share > WORTH_A_WARNING

    @property
    def text(self) -> str:
        """In a sentence."""
        if not self.n_unlike:
            return "nothing of it is unlike what the forecaster was trained on"
        said = f"{self.share:.1%} of it is unlike what the forecaster was trained on, by: {', '.join(self.features)}"
        if not self.channels:
            return said
        others = len(self.channels) - _NAMED_CHANNELS
        more = f" and {others} more" if others > 0 else ""
        return f"{said}; channels: {', '.join(self.channels[:_NAMED_CHANNELS])}{more}"

    def facts(self) -> dict[str, object]:
        """By name, for metadata."""
        return {
            "unlike_training_share": self.share,
            "unlike_training_windows": self.n_windows,
            "unlike_training_channels": list(self.channels),
            "unlike_training_by": list(self.features),
        }


@dataclass
class NoveltyAccumulator:
    """Takes note of judgements, batch by batch."""

    channel_names: tuple[str, ...]
    n_windows: int = 0
    n_unlike: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)

    def add(self, judgement: NoveltyScore) -> None:
        """Take note of a batch of windows."""
        unlike = judgement.score > 1
        self.n_windows += len(unlike)
        self.n_unlike += int(unlike.sum())
        by_itself = judgement.channel_score > 1
        for name, times in zip(self.channel_names, by_itself[unlike].sum(0).tolist(), strict=True):
            self.channels[name] += times
        for window in torch.nonzero(unlike)[:, 0].tolist():
            self.features.update(_furthest(judgement, window))

    def notice(self) -> NoveltySummary:
        """What has been noticed so far."""
        channels = [name for name, times in self.channels.most_common() if 2 * times >= max(self.n_unlike, 1)]
        features = [name for name, times in self.features.most_common() if 2 * times >= self.n_unlike]
        first = [name for name, _ in self.features.most_common(1)]
        return NoveltySummary(
            self.n_windows, self.n_unlike, tuple(channels), tuple(features[:_NAMED_FEATURES] or first)
        )


def _furthest(judgement: NoveltyScore, window: int) -> list[str]:
    """Of the channel that is most unlike by itself, or of all together where most channels are, or none is."""
    channel_score = judgement.channel_score[window]
    n_by_themselves = int((channel_score > 1).sum())
    by_itself = 0 < n_by_themselves <= len(channel_score) / 2
    names = CHANNEL_FEATURES if by_itself else WHOLE_FEATURES
    shares = judgement.of_channels[window, channel_score.argmax()] if by_itself else judgement.of_whole[window]
    order = [
        feature for feature in shares.argsort(descending=True).tolist() if shares[feature] > _LEAST_SHARE * shares.sum()
    ]
    return list(dict.fromkeys(names[feature] for feature in order))
