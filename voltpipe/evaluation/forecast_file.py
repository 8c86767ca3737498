"""Forecasts a file as it left the rig: conditioned first as the forecaster's training recordings were."""

from collections.abc import Mapping
from pathlib import Path

from voltpipe.evaluation.adaptation import adapted_to_beginning
from voltpipe.evaluation.forecast_recording import WrittenForecasts, forecast_recording
from voltpipe.evaluation.suitability import check_conditioning, check_size
from voltpipe.forecasting.forecaster import Forecaster, ForecasterConfig, ForecasterError
from voltpipe.recordings.channels import channels_named
from voltpipe.recordings.condition_lazily import condition_lazily
from voltpipe.recordings.hints import Hints, checked_hints
from voltpipe.recordings.open_recording import open_recording
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.shared_conditioning import conditioning_label, settings_to_condition_alike, shared_conditioning
from voltpipe.recordings.sidecar import read_hints
from voltpipe.recordings.store import is_conditioned, open_conditioned

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
) -> WrittenForecasts:
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
    recording = open_as_trained(forecaster.config, file, hints, known=known)
    beginning = min(recording.n_samples, round(_BEGINNING_S * recording.rate_hz))
    check_size(forecaster.config, file.name, recording.read_mv(0, beginning))
    if adapt_ms is not None:
        forecaster = adapted_to_beginning(forecaster, recording, adapt_ms)
    elif organoid is not None:
        forecaster = forecaster.for_recording(organoid, recording.channel_names)
    from_ms = max(adapt_ms or 0.0, _levelled_ms(forecaster.config))
    return forecast_recording(forecaster, recording, out, every_ms=every_ms, from_ms=from_ms, facts=facts)


def open_as_trained(config: ForecasterConfig, file: Path, hints: Hints, *, known: bool) -> Recording:
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
        check_conditioning(config, file.name, shared_conditioning(conditioned.metadata.settings), remedy)
        return conditioned
    said = checked_hints({**read_hints(file).given(), **hints.given()}, "hints")
    settings = settings_to_condition_alike(config.conditioning)
    remedy = "use a forecaster that was trained on its like"
    check_conditioning(
        config, f"by its sidecar, {file.name}", shared_conditioning(said.conditioning_before(settings)), remedy
    )
    recording: Recording = open_recording(file, **hints.given())
    if known and set(config.channel_names) <= set(recording.channel_names):
        recording = channels_named(recording, config.channel_names)
    try:
        return condition_lazily(recording, settings, said.stimulation_intervals_s)
    except RecordingError as error:
        label = conditioning_label(config.conditioning)
        raise ForecasterError(
            f"{file.name} cannot be conditioned as what this {config.architecture} was trained on, {label}: {error}",
            code="conditioning-impossible",
        ) from None


def _levelled_ms(config: ForecasterConfig) -> float:
    """What a common reference takes the channels' levels from; a forecast within it would know of what comes later."""
    settings = settings_to_condition_alike(config.conditioning)
    return 1000 * settings.calibration_s if settings.common_reference else 0.0
