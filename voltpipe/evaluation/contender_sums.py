"""What the scores of one contender in one regime are made from, growing recording by recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from voltpipe.evaluation.distribution_sums import DistributionSums
from voltpipe.evaluation.recording_errors import RecordingErrors
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.scores import ErrorSums
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class ContenderSums:
    """The errors over all recordings, those on each, and what the predictive distribution needs."""

    errors: ErrorSums
    distribution: DistributionSums | None
    of_type: dict[tuple[int, str], tuple[np.ndarray, np.ndarray, int]] = field(default_factory=dict)
    """SSE, SST and number of targets, by the recording's number and the channels' type."""

    @classmethod
    def of(cls, contender: Forecaster, window_set: WindowSet) -> "ContenderSums":
        """Nothing yet."""
        errors = no_errors(contender, window_set)
        if contender.distribution is None:
            return cls(errors, None)
        return cls(errors, DistributionSums(contender, len(window_set.recordings), window_set.n_channels))

    def include(self, errors: ErrorSums, recording: int, channel_types: Sequence[str]) -> None:
        """Take in the errors on a whole recording."""
        self.errors.include(errors)
        for kind in dict.fromkeys(channel_types):
            self.of_type[recording, kind] = errors.of_channels(np.array([each == kind for each in channel_types]))

    def by_recording(
        self, name: str, regime: Regime, horizons: Sequence[int], window_set: WindowSet
    ) -> Iterator[RecordingErrors]:
        """The errors on each recording and type of channel."""
        for (number, channel_type), (squared_error_mv2, total_mv2, n_targets) in self.of_type.items():
            yield RecordingErrors(
                forecaster=name,
                regime=regime,
                recording=window_set.recordings[number].key,
                channel_type=channel_type,
                horizons=tuple(horizons),
                squared_error_mv2=tuple(squared_error_mv2),
                total_mv2=tuple(total_mv2),
                n_targets=n_targets,
            )


def no_errors(contender: Forecaster, window_set: WindowSet) -> ErrorSums:
    """Sums to which a contender's errors on a window set are to be added."""
    return ErrorSums(len(contender.horizons), window_set.train_mean_mv())
