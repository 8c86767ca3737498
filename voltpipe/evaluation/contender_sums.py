"""What the scores of one contender in one regime are made from, growing recording by recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

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
        errors = ErrorSums(len(contender.horizons), window_set.train_mean_mv())
        return cls(errors, DistributionSums(contender) if contender.distribution else None)

    def add(
        self,
        samples_mv: Float[Tensor, "batch time channel"],
        forecast_mv: Float[Tensor, "batch horizon channel"],
        truth_mv: Float[Tensor, "batch horizon channel"],
        recording: int,
    ) -> None:
        """Take in a batch of windows of one recording; samples are those from the last known one on."""
        self.errors.add(forecast_mv, truth_mv)
        if self.distribution:
            self.distribution.add(samples_mv, forecast_mv, recording)

    def include(self, others: "ContenderSums", recording: int, channel_types: Sequence[str]) -> None:
        """Take in the sums of a whole recording."""
        self.errors.include(others.errors)
        if self.distribution and others.distribution:
            self.distribution.include(others.distribution)
        for kind in dict.fromkeys(channel_types):
            of_kind = np.array([each == kind for each in channel_types])
            self.of_type[recording, kind] = others.errors.of_channels(of_kind)

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
