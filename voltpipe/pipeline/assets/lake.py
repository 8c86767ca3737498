"""The asset of the lake report, the page of all recordings."""

import dagster as dg

from voltpipe.pipeline.assets.recordings import conditioned_recording
from voltpipe.pipeline.assets.windows import recording_split
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.metadata import rendered_figure_metadata
from voltpipe.pipeline.resources import LakeResource

_ON_ANY_CHANGE = (
    dg.AutomationCondition.any_deps_updated().since_last_handled() & ~dg.AutomationCondition.in_progress()
).with_label("a recording got a verdict or the split changed, and the report is not being written")
"""One request for any number of recordings. `eager()` would wait until every known recording has a verdict."""


@dg.asset(
    group_name="operations",
    kinds={"html"},
    deps=[conditioned_recording, recording_split],
    automation_condition=_ON_ANY_CHANGE,
    code_version=code_version(__name__),
)
def lake_report(  # Dagster accepts only the bare class for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """A self-contained HTML page of all recordings: quality, coverage over time, and splits. It reads no samples."""
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
