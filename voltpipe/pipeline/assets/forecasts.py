"""The asset of the champion's forecasts. Each conditioned recording is a partition."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from voltpipe.errors import VoltpipeError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.assets.recordings import conditioned_recording
from voltpipe.pipeline.assets.registry import champion_forecaster
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.partitions import recording_asset
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.recording_records import read_quarantine
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.tracking.settings import ChampionSettings

if TYPE_CHECKING:
    from voltpipe.forecasting.forecaster import Forecaster
    from voltpipe.tracking.model_registry import RegisteredForecaster


class RecordingForecastSettings(ChampionSettings):
    """Settings of the forecasts of recordings."""

    every_ms: float = Field(10.0, gt=0, le=3_600_000, description="Interval between forecasts, in ms.")
    adapt_ms: float | None = Field(
        None,
        gt=0,
        description="Length of the recording's beginning, in ms, from which the connectivity of an organoid unknown to "
        "the champion is estimated. Unset: no adaptation.",
    )


@recording_asset(
    group_name="monitoring",
    kinds={"parquet", "pytorch"},
    deps=[conditioned_recording, champion_forecaster],
    config_schema=op_config_schema(RecordingForecastSettings),
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "forecast", asset="recording_forecast", description="The champion can forecast every requested recording."
        )
    ],
)
def recording_forecast(  # Dagster accepts only the bare class for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """The champion's forecasts of a recording in mV, with quantiles, by time, channel and horizon.

    A recording that the champion cannot forecast does not stop the others; its partition shows the reason. If there is
    no champion, this holds for every recording.
    """
    from voltpipe.tracking.mlflow_store import TrackingError
    from voltpipe.tracking.model_registry import champion, fallback_champion, load_forecaster

    settings = settings_from_config(RecordingForecastSettings, context.op_execution_context.op_config)
    present = champion(tracking.store) or fallback_champion(tracking.store, settings.part(ChampionSettings))
    forecaster = load_forecaster(present.uri, tracking.store) if present else None
    refused: dict[str, str] = {}
    for partition in context.partition_keys:
        metadata: dict[str, Any] = {}
        try:
            if present is None or forecaster is None:
                raise TrackingError("There is no champion yet. Train a forecaster first.", code="no-champion")
            metadata = {
                "version": present.version,
                "registry page": dg.MetadataValue.url(tracking.version_link(present.version)),
            }
            metadata |= _forecast(context, lake.lake, partition, forecaster, present, settings)
        except VoltpipeError as error:
            context.log.warning(f"{partition} cannot be forecast: {error}")
            refused[partition] = str(error)
            metadata |= {"forecast": False, "code": error.code, "reason": str(error)}
        context.add_asset_metadata(metadata, partition_key=partition)
    check = dg.AssetCheckResult(
        check_name="forecast",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"refused": dg.MetadataValue.json(refused)},
    )
    return dg.MaterializeResult(check_results=[check])


def _forecast(
    context: dg.AssetExecutionContext,
    lake: Lake,
    partition: str,
    forecaster: "Forecaster",
    version: "RegisteredForecaster",
    settings: RecordingForecastSettings,
) -> dict[str, Any]:
    """Forecast one recording. Forecasts of an earlier champion are deleted first, even if this one then fails."""
    from voltpipe.inference.forecast_file import forecast_file
    from voltpipe.lake.files import file_digest

    key = RecordingKey.parse(partition)
    out = lake.forecast_path(key)
    out.unlink(missing_ok=True)
    recording = _conditioned_path(lake, key)
    adapts = key.organoid not in forecaster.config.organoids and forecaster.adapts
    digest = open_conditioned(recording).digest
    made = forecast_file(
        forecaster,
        recording,
        Hints(),
        out,
        every_ms=settings.every_ms,
        organoid=key.organoid,
        adapt_ms=settings.adapt_ms if adapts else None,
        facts={"version": version.version, "recording": partition, "recording_digest": digest},
    )
    if made.notice and made.notice.warns:
        context.log.warning(f"Be careful with the forecasts of {partition}: {made.notice.text}")
    return {
        "forecast": True,
        "dagster/row_count": made.rows,
        "recording_digest": digest,
        **({"familiarity": made.notice.text, **made.notice.facts()} if made.notice else {}),
        "digest": file_digest(out),
        "size_bytes": out.stat().st_size,
        "path": dg.MetadataValue.path(out),
    }


def _conditioned_path(lake: Lake, key: RecordingKey) -> Path:
    path = lake.conditioned_path(key)
    if not path.exists():
        if entry := read_quarantine(lake).get(key):
            raise RecordingError(f"The recording is quarantined: {entry.reason}", code="recording-quarantined")
        raise RecordingError(
            "The recording is not conditioned yet. Materialize conditioned_recording.", code="recording-not-conditioned"
        )
    return path
