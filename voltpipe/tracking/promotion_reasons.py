"""Reasons for and against a promotion: a stable code, the numbers as fields, and the text made from them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from voltpipe.evaluation.comparison import GroupGain


@dataclass(frozen=True)
class PromotionReason(ABC):
    """One reason for a decision."""

    code: ClassVar[str]
    """Stable name in kebab-case, stored in the audit log and in the version's tags."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Sentences for the user, with the numbers."""


@dataclass(frozen=True)
class PublishedProtocol(PromotionReason):
    """Scores of the published protocol, which leaks training data into the test windows."""

    code = "published-protocol"

    @property
    def text(self) -> str:
        """Sentences for the user."""
        return (
            "The candidate was scored with the published protocol, whose test windows overlap with training windows. "
            "Train and score it on held-out data."
        )


@dataclass(frozen=True)
class NoRequiredHorizon(PromotionReason):
    """No forecast at any of the horizons at which the candidate must beat the baselines."""

    required_ms: tuple[float, ...]
    code = "required-horizons-missing"

    @property
    def text(self) -> str:
        """Sentences for the user, with the required horizons."""
        return f"The candidate forecasts none of the required horizons ({_ms(self.required_ms)}). Train it for them."


@dataclass(frozen=True)
class BaselineNotScored(PromotionReason):
    """A baseline without a score at a required horizon."""

    baseline: str
    horizon_ms: float
    code = "baseline-not-scored"

    @property
    def text(self) -> str:
        """Sentences for the user, with baseline and horizon."""
        return f"Baseline {self.baseline} has no score at {_ms([self.horizon_ms])}. Evaluate the candidate again."


@dataclass(frozen=True)
class BaselineNotBeaten(PromotionReason):
    """An R2 that is not above a baseline's."""

    baseline: str
    horizon_ms: float
    r2: float
    baseline_r2: float
    code = "baseline-not-beaten"

    @property
    def text(self) -> str:
        """A sentence for the user, with both R2."""
        return (
            f"At {_ms([self.horizon_ms])}, the candidate's R2 is {self.r2:.3f}. "
            f"It must exceed that of {self.baseline}, {self.baseline_r2:.3f}."
        )


@dataclass(frozen=True)
class OtherWindowSet(PromotionReason):
    """Candidate and champion scored on different window sets."""

    code = "window-sets-differ"

    @property
    def text(self) -> str:
        """Sentences for the user."""
        return (
            "The candidate and the champion were scored on different held-out targets. "
            "Evaluate both on the same window set."
        )


@dataclass(frozen=True)
class ChampionHorizonsMissing(PromotionReason):
    """Horizons that the champion forecasts and the candidate does not."""

    missing_ms: tuple[float, ...]
    code = "champion-horizons-missing"

    @property
    def text(self) -> str:
        """A sentence for the user, with the horizons."""
        return f"The champion forecasts at {_ms(self.missing_ms)}, but the candidate does not. Train it for them too."


@dataclass(frozen=True)
class BelowChampion(PromotionReason):
    """An R2 below the champion's, if the two cannot be compared over all horizons."""

    horizon_ms: float
    r2: float
    champion_r2: float
    code = "below-champion"

    @property
    def text(self) -> str:
        """A sentence for the user, with both R2."""
        return (
            f"At {_ms([self.horizon_ms])}, the candidate's R2 is {self.r2:.3f}, "
            f"below the champion's {self.champion_r2:.3f}."
        )


@dataclass(frozen=True)
class NoUnseenRecording(PromotionReason):
    """No held-out recording that both candidate and champion have not learned from."""

    code = "no-unseen-recording"

    @property
    def text(self) -> str:
        """Sentences for the user."""
        return "The champion or the candidate has learned from every recording that is now held out. Record more."


@dataclass(frozen=True)
class NoScoresByRecording(PromotionReason):
    """An evaluation without scores by recording."""

    code = "scores-by-recording-missing"

    @property
    def text(self) -> str:
        """Sentences for the user."""
        return "The candidate has no scores by recording. Evaluate it again."


@dataclass(frozen=True)
class ChampionBeaten(PromotionReason):
    """A sufficient gain in mean R2 over the champion."""

    whole: GroupGain
    horizons_ms: tuple[float, ...]
    compared_on: str
    """Description of the recordings that were compared, for use after "on"."""
    code = "champion-beaten"

    @property
    def text(self) -> str:
        """Sentences for the user, with both R2 and the gain."""
        paired = self.whole.paired
        interval = "" if paired.lower is None else f" (between {paired.lower:+.4f} and {paired.upper:+.4f})"
        return (
            f"On {self.compared_on}, mean R2 over {_ms(self.horizons_ms)} is {self.whole.r2:.4f}. "
            f"The champion's is {self.whole.other_r2:.4f}, so the gain is {paired.gain:+.4f}{interval}."
        )


@dataclass(frozen=True)
class GainTooSmall(ChampionBeaten):
    """A gain in mean R2 over the champion that is too small or too uncertain."""

    margin: float
    code = "gain-too-small"

    @property
    def text(self) -> str:
        """Sentences for the user, with the gain and the margin."""
        paired = self.whole.paired
        required = "Its lower bound" if paired.lower is not None else "With a single recording, the gain"
        return f"{super().text} {required} must exceed {self.margin:.4f}."


@dataclass(frozen=True)
class GroupWorse(PromotionReason):
    """A larger loss on one organoid or type of channel than allowed."""

    group: str
    r2: float
    champion_r2: float
    loss_bound: float
    code = "group-worse"

    @property
    def text(self) -> str:
        """Sentences for the user, with both R2 and the bound."""
        return (
            f"Mean R2 on {self.group} is {self.r2:.4f}, and the champion's is {self.champion_r2:.4f}. "
            f"It may be at most {self.loss_bound:.4f} lower."
        )


@dataclass(frozen=True)
class RolledBack(PromotionReason):
    """A version that a person rolled back."""

    who: str
    on: date
    why: str
    code = "rolled-back"

    @property
    def text(self) -> str:
        """Sentences for the user, with who, when and why."""
        return (
            f"This version was rolled back by {self.who} on {self.on:%Y-%m-%d}: {self.why.rstrip('.')}. "
            "Only another rollback can make it champion again."
        )


@dataclass(frozen=True)
class ChampionNotScored(PromotionReason):
    """A champion that cannot be scored on the candidate's targets."""

    champion: str
    error: str
    error_code: str
    candidate_uri: str
    code = "champion-not-scored"

    @property
    def text(self) -> str:
        """Sentences for the user, with the champion and the error."""
        return (
            f"The champion, version {self.champion}, cannot be scored on the same targets: {self.error.rstrip('.')}. "
            f"To use the candidate anyway, forecast with {self.candidate_uri}."
        )


@dataclass(frozen=True)
class BaselinesBeaten(PromotionReason):
    """A higher R2 than all baselines at all required horizons."""

    baselines: tuple[str, ...]
    horizons_ms: tuple[float, ...]
    scored_on: str
    """Description of the held-out data, for use after "on"."""
    code = "baselines-beaten"

    @property
    def text(self) -> str:
        """A sentence for the user, with baselines and horizons."""
        return f"The candidate beats {' and '.join(self.baselines)} at {_ms(self.horizons_ms)} on {self.scored_on}."


@dataclass(frozen=True)
class NoChampion(PromotionReason):
    """No champion to beat."""

    code = "no-champion"

    @property
    def text(self) -> str:
        """A sentence for the user."""
        return "There was no champion."


@dataclass(frozen=True)
class SmallestGain(PromotionReason):
    """The organoid or type of channel with the smallest gain."""

    group: str
    gain: float
    code = "smallest-gain"

    @property
    def text(self) -> str:
        """A sentence for the user, with group and gain."""
        return f"The gain is smallest on {self.group}: {self.gain:+.4f}."


def _ms(horizons_ms: Sequence[float]) -> str:
    return ", ".join(f"{horizon_ms:.3g} ms" for horizon_ms in horizons_ms)
