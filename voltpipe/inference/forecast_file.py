"""Forecasts a file as it left the rig: conditioned first as the forecaster's training recordings were."""

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

_BEGINNING_S = 2.0


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
    """Forecast a raw file, or a conditioned recording, at regular moments; as `forecast_recording`.

    Args:
        forecaster: what forecasts.
        file: a raw recording of any format, or a conditioned one of the lake.
        hints: what a raw file cannot say.
        out: a Parquet file, written whole or not at all.
        every_ms: from one moment to the next.
        organoid: whose recording it is; None for one of those that the forecaster was trained on.
        adapt_ms: adapt to so much of the beginning first.
        facts: what else the file is to say of itself.

    Returns:
        How many rows there are, and what was noticed of the recording.

    Raises:
        RecordingError: the file cannot be read or conditioned.
        ForecasterError: it is conditioned otherwise, or as from `forecast_recording`.
    """
    known = organoid is None or organoid in forecaster.config.organoids
    recording = open_as_in_training(forecaster.config, file, hints, known=known)
    beginning = min(recording.n_samples, round(_BEGINNING_S * recording.rate_hz))
    check_size(forecaster.config, file.name, recording.read_mv(0, beginning))
    if adapt_ms is not None:
        forecaster = adapt_to_beginning(forecaster, recording, adapt_ms)
    elif organoid is not None:
        forecaster = forecaster.for_recording(organoid, recording.channel_names)
    from_ms = max(adapt_ms or 0.0, _levelled_ms(forecaster.config))
    return forecast_recording(forecaster, recording, out, every_ms=every_ms, from_ms=from_ms, facts=facts)


def open_as_in_training(config: ForecasterConfig, file: Path, hints: Hints, *, known: bool) -> Recording:
    """Open a file in the state that a forecaster's training recordings were in.

    A raw file is conditioned as it is read. Of a known organoid, the channels that the forecaster was trained on are
    taken, where the file has them all.

    Raises:
        RecordingError: the file cannot be read or conditioned.
        ForecasterError: it is conditioned otherwise already, or its sidecar demands that.
    """
    if is_conditioned(file):
        if hints.given():
            raise ForecasterError(
                f"{file.name} is a conditioned recording, which needs no hints. Leave out {', '.join(hints.given())}.",
                code="hints-for-conditioned",
            )
        conditioned = open_conditioned(file)
        remedy = "hand it the raw file, which is then conditioned alike, or use another forecaster"
        check_conditioning(config, file.name, conditioning_signature(conditioned.metadata.settings), remedy)
        return conditioned
    said = validate_hints({**read_hints(file).given(), **hints.given()}, "hints")
    settings = settings_from_signature(config.conditioning)
    remedy = "use a forecaster that was trained on its like"
    check_conditioning(
        config, f"by its sidecar, {file.name}", conditioning_signature(said.conditioning_before(settings)), remedy
    )
    recording: Recording = open_recording(file, **hints.given())
    if known and set(config.channel_names) <= set(recording.channel_names):
        recording = keep_named_channels(recording, config.channel_names)
    try:
        return open_as_conditioned(recording, settings, said.stimulation_intervals_s)
    except RecordingError as error:
        label = signature_label(config.conditioning)
        raise ForecasterError(
            f"{file.name} cannot be conditioned as what this {config.architecture} was trained on, {label}: {error}",
            code="conditioning-impossible",
        ) from None


def _levelled_ms(config: ForecasterConfig) -> float:
    """What a common reference takes the channels' levels from; a forecast within it would know of what comes later."""
    settings = settings_from_signature(config.conditioning)
    return 1000 * settings.calibration_s if settings.common_reference else 0.0


def adapt_to_beginning(forecaster: Forecaster, recording: Recording, adapt_ms: float) -> Forecaster:
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
