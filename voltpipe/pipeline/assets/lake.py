"""The lake as a whole: what was recorded, how good it is, what it is used for."""

import dagster as dg

from voltpipe.pipeline.assets.recordings import conditioned_recording
from voltpipe.pipeline.assets.windows import recording_split
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.metadata import rendered_figure_metadata
from voltpipe.pipeline.resources import LakeResource

GROUP = "operations"

WHEN_ANYTHING_CHANGES = (
    dg.AutomationCondition.any_deps_updated().since_last_handled() & ~dg.AutomationCondition.in_progress()
).with_label("recordings were judged or split since, and it is not being written")
"""Once for any number of recordings; `eager()` would wait until every recording that is known has been judged."""


@dg.asset(
    group_name=GROUP,
    kinds={"html"},
    deps=[conditioned_recording, recording_split],
    automation_condition=WHEN_ANYTHING_CHANGES,
    code_version=code_version(__name__),
)
def lake_report(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """One self-contained HTML page of all recordings: quality, coverage over time, splits; no sample is read for it."""
    from voltpipe.reporting.lake_report import write_lake_report

    report = write_lake_report(lake.lake)
    context.log.info(report.verdict)
    return dg.MaterializeResult(
        metadata={
            "page": dg.MetadataValue.path(report.path),
            "verdict": report.verdict,
            **report.counts,
            "quarantined_because": dg.MetadataValue.json(report.reasons),
            **rendered_figure_metadata(report.figures),
        }
    )
