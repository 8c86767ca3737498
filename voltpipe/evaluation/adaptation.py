"""Adapts a forecaster to the beginning of a recording of an organoid that it was not trained on."""

import numpy as np
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster, ForecasterError
from voltpipe.recordings.recording import Recording


def adapted_to_beginning(forecaster: Forecaster, recording: Recording, adapt_ms: float) -> Forecaster:
    """The forecaster with the coupling that the recording's first `adapt_ms` show; weights stay as they are.

    Raises:
        ForecasterError: the forecaster makes no use of a coupling, or the recording is not longer than that.
    """
    if not forecaster.adapts:
        raise ForecasterError(
            f"This {forecaster.config.architecture} uses no connectivity, so there is nothing to adapt. "
            "Forecast without adapting.",
            code="nothing-to-adapt",
        )
    stop_sample = round(adapt_ms / 1000 * recording.rate_hz)
    if stop_sample >= recording.n_samples:
        raise ForecasterError(
            f"The recording has {1000 * recording.n_samples / recording.rate_hz:g} ms, and adapting to {adapt_ms:g} ms "
            "would use all of it. Adapt to less.",
            code="adaptation-too-long",
        )
    starts = [start for start in recording.segment_starts if start < stop_sample]
    pasts_mv: list[Float32[np.ndarray, "time channel"]] = [
        recording.read_mv(start, stop) for start, stop in zip(starts, [*starts[1:], stop_sample], strict=True)
    ]
    return forecaster.adapted_to(pasts_mv, recording.channel_names)
