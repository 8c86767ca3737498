"""What is to be said of a recording that a forecaster judged window by window."""

from collections import Counter
from dataclasses import dataclass, field

import torch

from voltpipe.forecasting.familiarity.familiarity import Judgement
from voltpipe.forecasting.familiarity.features import CHANNEL_FEATURES, WHOLE_FEATURES

WORTH_A_WARNING = 0.05
"""Of a recording's windows. Neighbouring windows overlap, so a false alarm seldom comes alone."""
_NAMED_CHANNELS, _NAMED_FEATURES = 3, 2
_LEAST = 0.1
"""Of a squared distance, for a feature to be named."""


@dataclass(frozen=True)
class Notice:
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
class Noticing:
    """Takes note of judgements, batch by batch."""

    channel_names: tuple[str, ...]
    n_windows: int = 0
    n_unlike: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    features: Counter[str] = field(default_factory=Counter)

    def add(self, judgement: Judgement) -> None:
        """Take note of a batch of windows."""
        unlike = judgement.score > 1
        self.n_windows += len(unlike)
        self.n_unlike += int(unlike.sum())
        by_itself = judgement.channel_score > 1
        for name, times in zip(self.channel_names, by_itself[unlike].sum(0).tolist(), strict=True):
            self.channels[name] += times
        for window in torch.nonzero(unlike)[:, 0].tolist():
            self.features.update(_furthest(judgement, window))

    def notice(self) -> Notice:
        """What has been noticed so far."""
        channels = [name for name, times in self.channels.most_common() if 2 * times >= max(self.n_unlike, 1)]
        features = [name for name, times in self.features.most_common() if 2 * times >= self.n_unlike]
        first = [name for name, _ in self.features.most_common(1)]
        return Notice(self.n_windows, self.n_unlike, tuple(channels), tuple(features[:_NAMED_FEATURES] or first))


def _furthest(judgement: Judgement, window: int) -> list[str]:
    """Of the channel that is most unlike by itself, or of all together where most channels are, or none is."""
    channel_score = judgement.channel_score[window]
    n_by_themselves = int((channel_score > 1).sum())
    by_itself = 0 < n_by_themselves <= len(channel_score) / 2
    names = CHANNEL_FEATURES if by_itself else WHOLE_FEATURES
    shares = judgement.of_channels[window, channel_score.argmax()] if by_itself else judgement.of_whole[window]
    order = [feature for feature in shares.argsort(descending=True).tolist() if shares[feature] > _LEAST * shares.sum()]
    return list(dict.fromkeys(names[feature] for feature in order))
