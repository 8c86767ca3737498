"""Assets of recordings: raw files and their conditioned form. Each recording is a partition.

A recording that is quarantined does not fail the run. Its verdict is data that the split reads, and the checks show it.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import dagster as dg

from voltpipe.lake.files import atomic_write
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.jobs import CONDITIONED_KEY
from voltpipe.pipeline.metadata import picture_metadata
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.partitions import recording_asset
from voltpipe.pipeline.resources import LakeResource
from voltpipe.recordings.conditioning.condition_raw import ConditioningOutcome, condition_raw
from voltpipe.recordings.quality.assess_quality import QUALITY_CHECKS
from voltpipe.recordings.quality.quality_report import Severity
from voltpipe.recordings.raw.raw_folder import open_raw, summarize_raw
from voltpipe.recordings.raw.recording_records import RecordingHistory, read_quarantine
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned


class RecordingSettings(ConditioningSettings, QualitySettings):
    """Settings of conditioning, and limits of the quality checks."""


@recording_asset(
    group_name="recordings",
    kinds={"file"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "readable",
            asset="raw_recording",
            description="Every raw file can be opened and states unit, sampling rate and channels.",
        )
    ],
)
def raw_recording(  # Dagster accepts only the bare class for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A raw recording as the rig wrote it, with format, sampling rate, channels and digest."""
    unreadable = {
        str(key): entry.reason
        for key, entry in read_quarantine(lake.lake).items()
        if entry.report is None and str(key) not in context.partition_keys
    }
    for partition in context.partition_keys:
        try:
            overview = summarize_raw(lake.lake, RecordingKey.parse(partition))
        except (RecordingError, LakeError, OSError) as error:
            context.log.warning(f"{partition} cannot be read: {error}")
            unreadable[partition] = str(error)
            metadata: dict[str, Any] = {"readable": False, "reason": str(error)}
        else:
            metadata = {
                "readable": True,
                **vars(overview),
                "path": dg.MetadataValue.path(overview.path),
                "channel_names": ", ".join(overview.channel_names),
            }
        context.add_asset_metadata(metadata, partition_key=partition)
    check = dg.AssetCheckResult(check_name="readable", passed=not unreadable, metadata={"unreadable": unreadable})
    return dg.MaterializeResult(check_results=[check])


@recording_asset(
    group_name="recordings",
    kinds={"parquet"},
    deps=[raw_recording],
    config_schema=op_config_schema(RecordingSettings),
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(name, asset="conditioned_recording", description=description)
        for name, description in QUALITY_CHECKS.items()
    ],
)
def conditioned_recording(
    context: dg.AssetExecutionContext, lake: LakeResource
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """A trimmed, filtered and z-scored recording with a quality verdict, or the reason for its quarantine.

    The z-score is taken from the beginning of the recording. If a recording gets no verdict, because of a full disk or
    a fault in a reader, the others of its batch are still materialized. The run then fails and names it.
    """
    settings = settings_from_config(RecordingSettings, context.op_execution_context.op_config)
    outcomes: dict[str, ConditioningOutcome] = {}
    metadata: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for partition in context.partition_keys:
        try:
            outcome = condition_raw(
                lake.lake,
                RecordingKey.parse(partition),
                settings.part(ConditioningSettings),
                settings.part(QualitySettings),
            )
            metadata[partition] = _metadata(lake.lake, RecordingKey.parse(partition), outcome)
        except LakeError as error:
            context.log.warning(f"{partition} is left unchanged: {error}")
            metadata[partition] = {"verdict": "no raw file", "reason": f"{error} Its conditioned form is kept."}
        except Exception as error:
            context.log.exception(f"{partition} got no verdict")
            failures[partition] = f"{type(error).__name__}: {error}"
        else:
            outcomes[partition] = outcome
            if outcome.reason:
                context.log.warning(f"{partition} is quarantined: {outcome.reason}")
    checks = _check_results(lake.lake, outcomes)
    if failures:
        for partition, values in metadata.items():
            context.log_event(dg.AssetMaterialization(CONDITIONED_KEY, partition=partition, metadata=values))
        yield from checks
        raise dg.Failure(
            f"{len(failures)} of {len(context.partition_keys)} recordings got no verdict. The others are materialized.",
            metadata={"no verdict": dg.MetadataValue.json(dict(islice(failures.items(), 20)))},
            allow_retries=False,
        )
    for partition, values in metadata.items():
        context.add_asset_metadata(values, partition_key=partition)
    yield dg.MaterializeResult(check_results=list(checks))


def _metadata(lake: Lake, key: RecordingKey, outcome: ConditioningOutcome) -> dict[str, Any]:
    """Return the verdict of a recording, its version, and the version that it replaced."""
    metadata: dict[str, Any] = {"verdict": outcome.verdict.value, "reason": outcome.reason or "none"}
    if outcome.history:
        metadata |= {
            "version": outcome.history.present.version,
            "source_digest": outcome.history.present.source.raw_digest,
        }
        if former := outcome.history.former:
            metadata["former_source_digest"] = former.source.raw_digest
            metadata["history"] = dg.MetadataValue.md(_history_table(outcome.history))
    if outcome.path:
        metadata["path"] = dg.MetadataValue.path(outcome.path)
    return {**metadata, **_preview(lake, key, outcome), **outcome.figures}


def _preview(lake: Lake, key: RecordingKey, outcome: ConditioningOutcome) -> dict[str, Any]:
    """Draw the first seconds of the voltage, also for a readable recording in quarantine.

    The figure is a file. The event holds only a thumbnail, because Dagster keeps all events in its database.
    """
    from voltpipe.reporting.figures.recording_preview import recording_preview_png, thumbnail_png

    if outcome.path is None and outcome.report is None:
        return {}
    recording = open_conditioned(outcome.path) if outcome.path else open_raw(lake, key)
    png = recording_preview_png(recording)
    path = lake.preview_path(key)
    with atomic_write(path) as partial:
        partial.write_bytes(png)
    return {"voltage": picture_metadata("voltage", thumbnail_png(png)), "preview": dg.MetadataValue.path(path)}


def _history_table(history: RecordingHistory) -> str:
    rows = "\n".join(
        f"| {version.version} | {version.judged_utc:%Y-%m-%d %H:%M} | {version.verdict.value} "
        f"| `{version.source.raw_digest[:12]}` | `{(version.source.hints_digest or 'none')[:12]}` |"
        for version in history.versions
    )
    return f"| version | checked (UTC) | verdict | raw file | hints |\n| --- | --- | --- | --- | --- |\n{rows}"


def _check_results(lake: Lake, outcomes: Mapping[str, ConditioningOutcome]) -> Iterator[dg.AssetCheckResult]:
    """Report each check for the whole lake, so that it stays red until a bad recording is corrected or removed."""
    errors: dict[str, dict[str, str]] = {name: {} for name in QUALITY_CHECKS}
    warnings: dict[str, dict[str, str]] = {name: {} for name in QUALITY_CHECKS}
    statistics: dict[str, dict[str, object]] = {name: {} for name in QUALITY_CHECKS}
    for partition, outcome in outcomes.items():
        for check in outcome.report.checks if outcome.report else ():
            statistics[check.name][partition] = check.figures
            if not check.passed and check.severity is Severity.WARN:
                warnings[check.name][partition] = check.message
    for key, entry in read_quarantine(lake).items():
        for check in entry.report.errors if entry.report else ():
            errors[check.name][str(key)] = check.message
    for name in QUALITY_CHECKS:
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not errors[name] and not warnings[name],
            severity=dg.AssetCheckSeverity.ERROR if errors[name] else dg.AssetCheckSeverity.WARN,
            metadata={
                "quarantined": dg.MetadataValue.json(errors[name]),
                "warnings": dg.MetadataValue.json(warnings[name]),
                "figures": dg.MetadataValue.json(statistics[name]),
            },
        )
