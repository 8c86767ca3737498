"""From conditioned recordings to windowed tensors."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field

from voltpipe.lake.keys import RecordingKey
from voltpipe.pipeline.asset_values import WindowSetValue
from voltpipe.pipeline.assets.recordings import conditioned_recording
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.retries import retry_transient
from voltpipe.recordings.conditioning.signature import signature_label
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store.conditioned_recording import open_conditioned, verify_recordings
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import SplitManifest, make_split_manifest
from voltpipe.windows.splits import Role, Split

GROUP = "windows"


class SplitSettings(WindowSettings):
    """Which recordings are used, and how they are split and cut."""

    organoid: str = Field("", description="use this organoid's recordings only; empty: all organoids")


@dg.asset(
    group_name=GROUP,
    kinds={"json"},
    deps=[conditioned_recording],
    config_schema=op_config_schema(SplitSettings),
    code_version=code_version(__name__),
)
@retry_transient
def recording_split(context: dg.AssetExecutionContext, lake: LakeResource) -> SplitManifest:
    """Who is in which split: held-out recordings, held-out time and training data, with digests."""
    settings = settings_from_config(SplitSettings, context.op_execution_context.op_config)
    recordings, damaged = verify_recordings(lake.lake, settings.organoid)
    manifest = make_split_manifest(recordings, settings.part(WindowSettings), SplitManifest.load(lake.lake.windows))
    manifest = manifest.model_copy(update={"excluded": {**manifest.excluded, **damaged}})
    manifest.save(lake.lake.windows)  # the next split keeps its roles, wherever the IO manager puts this value
    context.add_output_metadata(
        {
            **{f"{role.value} recordings": len(manifest.of_role(role)) for role in Role},
            "organoids": ", ".join(manifest.organoids),
            "conditioning": signature_label(manifest.conditioning),
            "digest": manifest.digest,
            "roles": dg.MetadataValue.md(_roles_table(manifest)),
            "excluded": dg.MetadataValue.json(manifest.excluded),
        }
    )
    return manifest


@dg.asset(
    group_name=GROUP,
    kinds={"pytorch", "numpy"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "no_sample_in_two_splits",
            asset="window_set",
            blocking=True,
            description="windows of different splits share no sample",
        ),
        dg.AssetCheckSpec(
            "no_window_over_a_border",
            asset="window_set",
            blocking=True,
            description="no window reaches over a recording's border or a gap in it",
        ),
    ],
)
@retry_transient
def window_set(
    context: dg.AssetExecutionContext, lake: LakeResource, recording_split: SplitManifest
) -> Iterator[dg.Output[WindowSetValue] | dg.AssetCheckResult]:
    """The conditioned samples once, memory-mapped, and the index of windows over them."""
    from voltpipe.windows.build_window_set import build_window_set, window_set_folder
    from voltpipe.windows.leakage import count_shared_samples, count_windows_over_borders

    folder = window_set_folder(lake.lake.windows, recording_split)
    recordings = {
        entry.key: open_conditioned(lake.lake.conditioned_path(RecordingKey.parse(entry.key)))
        for entry in recording_split.recordings
    }
    try:
        built = build_window_set(folder, recording_split, recordings)
    except RecordingError as error:
        _, damaged = verify_recordings(lake.lake, read_all=True)
        raise dg.Failure(
            f"{error}; {', '.join(damaged)} set aside, and conditioned anew by itself: materialize recording_split",
            allow_retries=False,
        ) from error
    counts = {split: len(built.windows(split)) for split in Split}
    yield dg.Output(
        WindowSetValue(folder=str(folder), digest=built.digest),
        metadata={
            "dagster/row_count": len(built.index),
            **{f"{split.value} windows": count for split, count in counts.items()},
            "channels": built.n_channels,
            "rate_hz": built.rate_hz,
            "samples": len(built.samples_z),
            "size_mib": round(built.samples_z.nbytes / 2**20, 1),
            "protocol": built.settings.protocol.value,
            "digest": built.digest,
            "path": dg.MetadataValue.path(Path(folder)),
        },
    )
    shared, over = count_shared_samples(built), count_windows_over_borders(built)
    yield dg.AssetCheckResult(
        check_name="no_sample_in_two_splits", passed=shared == 0, metadata={"shared samples": shared}
    )
    yield dg.AssetCheckResult(check_name="no_window_over_a_border", passed=over == 0, metadata={"windows": over})


def _roles_table(manifest: SplitManifest) -> str:
    rows = "\n".join(f"| {recording.key} | {recording.role.value} |" for recording in manifest.recordings)
    return f"| recording | role |\n| --- | --- |\n{rows}"
