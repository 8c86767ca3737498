"""What the quality checks of a recording found."""

from enum import StrEnum

from pydantic import Field

from voltpipe.recordings.recording import RecordingError
from voltpipe.schema import FrozenModel


class Severity(StrEnum):
    """What a failed check means."""

    ERROR = "error"
    """The recording is not used."""
    WARN = "warn"
    """It is used, but someone should look."""


class CheckOutcome(FrozenModel):
    """What one check found."""

    name: str
    passed: bool
    severity: Severity = Field(description="what it means if the check failed")
    message: str
    figures: dict[str, float | int | str] = Field(default_factory=dict)


class QualityReport(FrozenModel):
    """All checks of one recording."""

    checks: tuple[CheckOutcome, ...]

    @property
    def errors(self) -> tuple[CheckOutcome, ...]:
        """The checks because of which the recording is not used."""
        return tuple(each for each in self.checks if not each.passed and each.severity is Severity.ERROR)

    def with_checks(self, checks: tuple[CheckOutcome, ...]) -> "QualityReport":
        """The report with further checks."""
        return QualityReport(checks=self.checks + checks)

    def demand(self) -> None:
        """Refuse a recording with errors.

        Raises:
            RecordingError: names every error.
        """
        if self.errors:
            raise RecordingError(
                " ".join(f"{each.name}: {each.message.rstrip('.')}." for each in self.errors),
                code="quality-check-failed",
            )
