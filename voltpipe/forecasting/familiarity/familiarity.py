"""How unlike the training rows a history is, as one score that is calibrated to so many false alarms."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.forecasting.familiarity.features import (
    CHANNEL_FEATURES,
    WHOLE_FEATURES,
    channel_features,
    common_features,
    whole_features,
)
from voltpipe.settings import Settings


class FamiliarityConfig(Settings):
    """What stands beside the tables."""

    n_channels: int = Field(ge=1, description="channels of the training rows")
    context_samples: int = Field(ge=2, description="samples of a history, the last ones of which are judged")
    rate_hz: float = Field(gt=0, description="of the samples, in Hz")
    false_alarms: float = Field(gt=0, lt=1, description="share of validation windows whose score is above 1")


@dataclass(frozen=True)
class Judgement:
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


class Familiarity(nn.Module):
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

    def __init__(self, config: FamiliarityConfig) -> None:
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
    def judge(self, history_mv: Float[Tensor, "batch time channel"]) -> Judgement:
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
        return Judgement(channel_score, whole_score, of_channels, of_whole)

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
