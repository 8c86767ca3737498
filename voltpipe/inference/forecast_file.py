"""Forecasts for a single file, raw or conditioned. Raw files are conditioned like the training recordings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterConfig, ForecasterError
from voltpipe.inference.compatibility import check_conditioning, check_size
from voltpipe.inference.forecast_recording import ForecastFileSummary, forecast_recording
from voltpipe.recordings.conditioning.channel_selection import keep_named_channels
from voltpipe.recordings.conditioning.condition import open_as_conditioned
from voltpipe.recordings.conditioning.signature import conditioning_signature, settings_from_signature, signature_label
from voltpipe.recordings.hints import Hints, validate_hints
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.store.conditioned_recording import is_conditioned, open_conditioned

_CHECKED_S = 2.0
"""Duration at the start of a recording whose voltage SD is checked."""


def forecast_file(
    forecaster: Forecaster,
    file: Path,
    hints: Hints,
    out: Path,
    *,
    every_ms: float,
    organoid: str | None = None,
    adapt_ms: float | None = None,
    facts: Mapping[str, str] | None = None,
) -> ForecastFileSummary:
    """Forecast a raw file or a conditioned recording at regular intervals, as `forecast_recording` does.

    Args:
        forecaster: a trained forecaster.
        file: a raw recording of any format, or a conditioned one of the lake.
        hints: facts that a raw file does not contain.
        out: a Parquet file, written atomically.
        every_ms: interval between forecasts, in ms.
        organoid: organoid of the recording; None for one that the forecaster was trained on.
        adapt_ms: duration at the start from which the coupling is estimated before forecasting, in ms; None not to.
        facts: further metadata of the output file.

    Returns:
        The number of rows, and the novelty of the recording.

    Raises:
        RecordingError: the file cannot be read or conditioned.
        ForecasterError: the file was conditioned differently, or `forecast_recording` refuses it.
    """
    known = organoid is None or organoid in forecaster.config.organoids
    recording = open_as_in_training(forecaster.config, file, hints, known=known)
    n_checked = min(recording.n_samples, round(_CHECKED_S * recording.rate_hz))
    check_size(forecaster.config, file.name, recording.read_mv(0, n_checked))
    if adapt_ms is not None:
        forecaster = adapt_to_beginning(forecaster, recording, adapt_ms)
    elif organoid is not None:
        forecaster = forecaster.for_recording(organoid, recording.channel_names)
    from_ms = max(adapt_ms or 0.0, _reference_ms(forecaster.config))
    return forecast_recording(forecaster, recording, out, every_ms=every_ms, from_ms=from_ms, facts=facts)


def open_as_in_training(config: ForecasterConfig, file: Path, hints: Hints, *, known: bool) -> Recording:
    """Open a file, conditioned like the forecaster's training recordings.

    A raw file is conditioned as it is read. If the organoid is known and the file has all channels of the training,
    only these are kept.

    Raises:
        RecordingError: the file cannot be read or conditioned.
        ForecasterError: the file was conditioned differently, or its sidecar requires that.
    """
    if is_conditioned(file):
        if hints.given():
            raise ForecasterError(
                f"{file.name} is a conditioned recording and takes no hints. Omit {', '.join(hints.given())}.",
                code="hints-for-conditioned",
            )
        conditioned = open_conditioned(file)
        remedy = "Forecast the raw file, or use another forecaster."
        check_conditioning(config, file.name, conditioning_signature(conditioned.metadata.settings), remedy)
        return conditioned
    file_hints = validate_hints({**read_hints(file).given(), **hints.given()}, "hints")
    settings = settings_from_signature(config.conditioning)
    remedy = "Use a forecaster that was trained on such recordings."
    check_conditioning(
        config,
        f"According to its sidecar, {file.name}",
        conditioning_signature(file_hints.conditioning_before(settings)),
        remedy,
    )
    recording: Recording = open_recording(file, **hints.given())
    if known and set(config.channel_names) <= set(recording.channel_names):
        recording = keep_named_channels(recording, config.channel_names)
    try:
        return open_as_conditioned(recording, settings, file_hints.stimulation_intervals_s)
    except RecordingError as error:
        label = signature_label(config.conditioning)
        raise ForecasterError(
            f"{file.name} cannot be conditioned like the recordings that this {config.architecture} was trained on, "
            f"{label}: {error}",
            code="conditioning-impossible",
        ) from None


def _reference_ms(config: ForecasterConfig) -> float:
    """Return the duration from which the common reference is computed, in ms. Forecasts within it would leak."""
    settings = settings_from_signature(config.conditioning)
    return 1000 * settings.calibration_s if settings.common_reference else 0.0


def adapt_to_beginning(forecaster: Forecaster, recording: Recording, adapt_ms: float) -> Forecaster:
    """Estimate the coupling from the first `adapt_ms` of a recording, and return the forecaster with it.

    The weights do not change.

    Raises:
        ForecasterError: the forecaster uses no connectivity, or the recording is not longer than `adapt_ms`.
    """
    if not forecaster.adapts:
        raise ForecasterError(
            f"This {forecaster.config.architecture} uses no connectivity, so there is nothing to adapt. "
            "Forecast without adaptation.",
            code="nothing-to-adapt",
        )
    stop_sample = round(adapt_ms / 1000 * recording.rate_hz)
    if stop_sample >= recording.n_samples:
        raise ForecasterError(
            f"The recording has {1000 * recording.n_samples / recording.rate_hz:g} ms. Adaptation to {adapt_ms:g} ms "
            "would leave nothing to forecast. Adapt to less.",
            code="adaptation-too-long",
        )
    starts = [start for start in recording.segment_starts if start < stop_sample]
    pasts_mv: list[Float32[np.ndarray, "time channel"]] = [
        recording.read_mv(start, stop) for start, stop in zip(starts, [*starts[1:], stop_sample], strict=True)
    ]
    return forecaster.adapted_to(pasts_mv, recording.channel_names)
