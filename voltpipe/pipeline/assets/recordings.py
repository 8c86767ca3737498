"""From raw files to conditioned recordings, one partition each.

A recording that cannot be trusted fails no run: its verdict is data, which the split reads, and the checks show it.
"""

import warnings
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
from voltpipe.pipeline.partitions import BATCH_SIZE, RECORDINGS
from voltpipe.pipeline.resources import LakeResource
from voltpipe.recordings.conditioning.condition_raw import ConditioningOutcome, condition_raw
from voltpipe.recordings.quality.assess_quality import CHECKS
from voltpipe.recordings.quality.quality_report import Severity
from voltpipe.recordings.raw.catalogue import RecordingHistory, read_quarantine
from voltpipe.recordings.raw.raw_folder import open_raw, summarize_raw
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned

# Dagster calls this parameter beta; without it, every recording would cost a process of its own.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

GROUP = "recordings"
BATCH = dg.BackfillPolicy.multi_run(max_partitions_per_run=BATCH_SIZE)


class RecordingSettings(ConditioningSettings, QualitySettings):
    """How recordings are conditioned, and what is demanded of them."""


@dg.asset(
    group_name=GROUP,
    kinds={"file"},
    partitions_def=RECORDINGS,
    backfill_policy=BATCH,
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec("readable", asset="raw_recording", description="the file can be opened: unit, rate, channels")
    ],
)
def raw_recording(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A recording as the rig left it: format, rate, channels, digest."""
    elsewhere = {str(key): entry for key, entry in read_quarantine(lake.lake).items() if entry.report is None}
    unreadable = {key: entry.reason for key, entry in elsewhere.items() if key not in context.partition_keys}
    for partition in context.partition_keys:
        try:
            facts = summarize_raw(lake.lake, RecordingKey.parse(partition))
        except (RecordingError, LakeError, OSError) as error:
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
    config_schema=op_config_schema(RecordingSettings),
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(name, asset="conditioned_recording", description=description)
        for name, description in CHECKS.items()
    ],
)
def conditioned_recording(
    context: dg.AssetExecutionContext, lake: LakeResource
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Trimmed, filtered, z-scored from its own beginning, with a quality verdict; or quarantined with a reason.

    A recording that cannot be judged at all (a full disk, a fault in a reader) keeps no other of its batch from being
    materialized; the run then fails, and names it.
    """
    settings = settings_from_config(RecordingSettings, context.op_execution_context.op_config)
    outcomes: dict[str, ConditioningOutcome] = {}
    metadata: dict[str, dict[str, Any]] = {}
    faults: dict[str, str] = {}
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
            context.log.warning(f"{partition} stays as it is: {error}")
            metadata[partition] = {"verdict": "no raw file", "reason": f"{error}; what was made of it is kept"}
        except Exception as error:
            context.log.exception(f"{partition} came to no verdict")
            faults[partition] = f"{type(error).__name__}: {error}"
        else:
            outcomes[partition] = outcome
            if outcome.reason:
                context.log.warning(f"{partition} is quarantined: {outcome.reason}")
    checks = _check_results(lake.lake, outcomes)
    if faults:
        for partition, each in metadata.items():
            context.log_event(dg.AssetMaterialization(CONDITIONED_KEY, partition=partition, metadata=each))
        yield from checks
        raise dg.Failure(
            f"{len(faults)} of {len(context.partition_keys)} recordings came to no verdict, the others did",
            metadata={"no verdict": dg.MetadataValue.json(dict(islice(faults.items(), 20)))},
            allow_retries=False,
        )
    for partition, each in metadata.items():
        context.add_asset_metadata(each, partition_key=partition)
    yield dg.MaterializeResult(check_results=list(checks))


def _metadata(lake: Lake, key: RecordingKey, outcome: ConditioningOutcome) -> dict[str, Any]:
    """What is shown of a recording's verdict: also which version it is, and what it took the place of."""
    shown: dict[str, Any] = {"verdict": outcome.verdict.value, "reason": outcome.reason or "none"}
    if outcome.history:
        shown |= {
            "version": outcome.history.present.version,
            "source_digest": outcome.history.present.source.raw_digest,
        }
        if former := outcome.history.former:
            shown["former_source_digest"] = former.source.raw_digest
            shown["history"] = dg.MetadataValue.md(_history_table(outcome.history))
    if outcome.path:
        shown["path"] = dg.MetadataValue.path(outcome.path)
    return {**shown, **_picture(lake, key, outcome), **outcome.figures}


def _picture(lake: Lake, key: RecordingKey, outcome: ConditioningOutcome) -> dict[str, Any]:
    """Draw how the voltage begins, also of a readable recording in quarantine.

    The figure is a file; the event holds a thumbnail only, because Dagster keeps all events in its database.
    """
    from voltpipe.reporting.figures.recording_preview import (
        recording_preview_png,
        thumbnail_png,  # matplotlib, only where something is drawn
    )

    if outcome.path is None and outcome.report is None:
        return {}
    recording = open_conditioned(outcome.path) if outcome.path else open_raw(lake, key)
    png = recording_preview_png(recording)
    path = lake.preview_path(key)
    with atomic_write(path) as aside:
        aside.write_bytes(png)
    return {"voltage": picture_metadata("voltage", thumbnail_png(png)), "preview": dg.MetadataValue.path(path)}


def _history_table(history: RecordingHistory) -> str:
    rows = "\n".join(
        f"| {each.version} | {each.judged_utc:%Y-%m-%d %H:%M} | {each.verdict.value} "
        f"| `{each.source.raw_digest[:12]}` | `{(each.source.hints_digest or 'none')[:12]}` |"
        for each in history.versions
    )
    return f"| version | judged (UTC) | verdict | raw file | hints |\n| --- | --- | --- | --- | --- |\n{rows}"


def _check_results(lake: Lake, outcomes: Mapping[str, ConditioningOutcome]) -> Iterator[dg.AssetCheckResult]:
    """Each check over the whole lake, so that a bad recording stays red until it is mended or removed."""
    errors: dict[str, dict[str, str]] = {name: {} for name in CHECKS}
    warnings: dict[str, dict[str, str]] = {name: {} for name in CHECKS}
    figures: dict[str, dict[str, object]] = {name: {} for name in CHECKS}
    for partition, outcome in outcomes.items():
        for check in outcome.report.checks if outcome.report else ():
            figures[check.name][partition] = check.figures
            if not check.passed and check.severity is Severity.WARN:
                warnings[check.name][partition] = check.message
    for key, entry in read_quarantine(lake).items():
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
