"""From raw files to conditioned recordings, one partition each.

A recording that cannot be trusted fails no run: its verdict is data, which the split reads, and the checks show it.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from voltpipe.lake import Lake, RecordingKey
from voltpipe.pipeline.launchpad import settings_from, settings_schema
from voltpipe.pipeline.partitions import RECORDINGS
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.shown import picture_metadata
from voltpipe.recordings.condition_raw import condition_raw
from voltpipe.recordings.quality import CHECKS
from voltpipe.recordings.quality_report import Severity
from voltpipe.recordings.quarantine import quarantined
from voltpipe.recordings.raw import inspect_raw
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store import open_conditioned

# Dagster calls this parameter beta; without it, every recording would cost a process of its own.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

GROUP = "recordings"
BATCH = dg.BackfillPolicy.multi_run(max_partitions_per_run=16)


class RecordingSettings(ConditioningSettings, QualitySettings):
    """How recordings are conditioned, and what is demanded of them."""


@dg.asset(
    group_name=GROUP,
    kinds={"file"},
    partitions_def=RECORDINGS,
    backfill_policy=BATCH,
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec("readable", asset="raw_recording", description="the file can be opened: unit, rate, channels")
    ],
)
def raw_recording(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A recording as the rig left it: format, rate, channels, digest."""
    elsewhere = {str(key): entry for key, entry in quarantined(lake.lake).items() if entry.report is None}
    unreadable = {key: entry.reason for key, entry in elsewhere.items() if key not in context.partition_keys}
    for partition in context.partition_keys:
        try:
            facts = inspect_raw(lake.lake, RecordingKey.parse(partition))
        except RecordingError as error:
            context.log.warning(f"{partition} cannot be read: {error}")
            unreadable[partition] = str(error)
            metadata: dict[str, Any] = {"readable": False, "reason": str(error)}
        else:
            metadata = {
                "readable": True,
                **vars(facts),
                "path": dg.MetadataValue.path(facts.path),
                "channel_names": ", ".join(facts.channel_names),
            }
        context.add_asset_metadata(metadata, partition_key=partition)
    check = dg.AssetCheckResult(check_name="readable", passed=not unreadable, metadata={"unreadable": unreadable})
    return dg.MaterializeResult(check_results=[check])


@dg.asset(
    group_name=GROUP,
    kinds={"parquet"},
    partitions_def=RECORDINGS,
    backfill_policy=BATCH,
    deps=[raw_recording],
    config_schema=settings_schema(RecordingSettings),
    code_version="1",
    check_specs=[
        dg.AssetCheckSpec(name, asset="conditioned_recording", description=description)
        for name, description in CHECKS.items()
    ],
)
def conditioned_recording(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Trimmed, filtered, z-scored from its own beginning, with a quality verdict; or quarantined with a reason."""
    from voltpipe.recordings.preview import preview_png  # matplotlib, only where something is drawn

    settings = settings_from(RecordingSettings, context.op_execution_context.op_config)
    conditioning, quality = settings.part(ConditioningSettings), settings.part(QualitySettings)
    warnings: dict[str, dict[str, str]] = {name: {} for name in CHECKS}
    figures: dict[str, dict[str, object]] = {name: {} for name in CHECKS}
    for partition in context.partition_keys:
        outcome = condition_raw(lake.lake, RecordingKey.parse(partition), conditioning, quality)
        if outcome.reason:
            context.log.warning(f"{partition} is quarantined: {outcome.reason}")
        metadata: dict[str, Any] = {"verdict": outcome.verdict.value, "reason": outcome.reason or "none"}
        if outcome.path:
            metadata["path"] = dg.MetadataValue.path(outcome.path)
            metadata["voltage"] = picture_metadata("voltage", preview_png(open_conditioned(outcome.path)))
        for check in outcome.report.checks if outcome.report else ():
            figures[check.name][partition] = check.figures
            if not check.passed and check.severity is Severity.WARN:
                warnings[check.name][partition] = check.message
        context.add_asset_metadata({**metadata, **outcome.figures}, partition_key=partition)
    return dg.MaterializeResult(check_results=list(_check_results(lake.lake, warnings, figures)))


def _check_results(
    lake: Lake, warnings: dict[str, dict[str, str]], figures: dict[str, dict[str, object]]
) -> Iterator[dg.AssetCheckResult]:
    """Each check over the whole lake, so that a bad recording stays red until it is mended or removed."""
    errors: dict[str, dict[str, str]] = {name: {} for name in CHECKS}
    for key, entry in quarantined(lake).items():
        for check in entry.report.errors if entry.report else ():
            errors[check.name][str(key)] = check.message
    for name in CHECKS:
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not errors[name] and not warnings[name],
            severity=dg.AssetCheckSeverity.ERROR if errors[name] else dg.AssetCheckSeverity.WARN,
            metadata={
                "quarantined": dg.MetadataValue.json(errors[name]),
                "warnings": dg.MetadataValue.json(warnings[name]),
                "figures": dg.MetadataValue.json(figures[name]),
            },
        )
