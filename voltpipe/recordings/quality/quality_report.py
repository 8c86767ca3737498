"""Results of the quality checks of a recording."""

from enum import StrEnum

from pydantic import Field

from voltpipe.recordings.recording import RecordingError
from voltpipe.schema import FrozenModel


class Severity(StrEnum):
    """Consequence of a failed check."""

    ERROR = "error"
    """The recording is not used."""
    WARN = "warn"
    """The recording is used, with a warning."""


class CheckOutcome(FrozenModel):
    """Result of one check."""

    name: str
    passed: bool
    severity: Severity = Field(description="Consequence if the check fails.")
    message: str
    figures: dict[str, float | int | str] = Field(default_factory=dict)


class QualityReport(FrozenModel):
    """Results of all checks of one recording."""

    checks: tuple[CheckOutcome, ...]

    @property
    def errors(self) -> tuple[CheckOutcome, ...]:
        """Failed checks because of which the recording is not used."""
        return tuple(each for each in self.checks if not each.passed and each.severity is Severity.ERROR)

    def with_checks(self, checks: tuple[CheckOutcome, ...]) -> "QualityReport":
        """Return the report with more checks."""
        return QualityReport(checks=self.checks + checks)

    def demand(self) -> None:
        """Raise an error if the recording must not be used.

        Raises:
            RecordingError: one or more checks failed; it names all of them.
        """
        if self.errors:
            raise RecordingError(
                " ".join(f"{each.name}: {each.message.rstrip('.')}." for each in self.errors),
                code="quality-check-failed",
            )
