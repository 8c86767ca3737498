"""Assets of windows: the split of the recordings, and the window set."""

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


class SplitSettings(WindowSettings):
    """Settings that select recordings, split them, and cut them into windows."""

    organoid: str = Field("", description="Organoid whose recordings are used. Empty: all organoids.")


@dg.asset(
    group_name="windows",
    kinds={"json"},
    deps=[conditioned_recording],
    config_schema=op_config_schema(SplitSettings),
    code_version=code_version(__name__),
)
@retry_transient
def recording_split(context: dg.AssetExecutionContext, lake: LakeResource) -> SplitManifest:
    """The split of the recordings into training data, held-out recordings and held-out time, with digests."""
    settings = settings_from_config(SplitSettings, context.op_execution_context.op_config)
    recordings, damaged = verify_recordings(lake.lake, settings.organoid)
    manifest = make_split_manifest(recordings, settings.part(WindowSettings), SplitManifest.load(lake.lake.windows))
    manifest = manifest.model_copy(update={"excluded": {**manifest.excluded, **damaged}})
    manifest.save(lake.lake.windows)  # the next split reads it to keep the roles, independently of the IO manager
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
    group_name="windows",
    kinds={"pytorch", "numpy"},
    code_version=code_version(__name__),
    check_specs=[
        dg.AssetCheckSpec(
            "no_sample_in_two_splits",
            asset="window_set",
            blocking=True,
            description="Windows of different splits share no sample.",
        ),
        dg.AssetCheckSpec(
            "no_window_over_a_border",
            asset="window_set",
            blocking=True,
            description="No window crosses the border of a recording or a gap in it.",
        ),
    ],
)
@retry_transient
def window_set(
    context: dg.AssetExecutionContext, lake: LakeResource, recording_split: SplitManifest
) -> Iterator[dg.Output[WindowSetValue] | dg.AssetCheckResult]:
    """The conditioned samples, memory-mapped and stored once, and the index of windows in them."""
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
            f"{error} Damaged: {', '.join(damaged)}. These are set aside and will be conditioned again automatically. "
            "Then materialize recording_split.",
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
    n_shared, n_crossing = count_shared_samples(built), count_windows_over_borders(built)
    yield dg.AssetCheckResult(
        check_name="no_sample_in_two_splits", passed=n_shared == 0, metadata={"shared samples": n_shared}
    )
    yield dg.AssetCheckResult(
        check_name="no_window_over_a_border", passed=n_crossing == 0, metadata={"windows": n_crossing}
    )


def _roles_table(manifest: SplitManifest) -> str:
    rows = "\n".join(f"| {recording.key} | {recording.role.value} |" for recording in manifest.recordings)
    return f"| recording | role |\n| --- | --- |\n{rows}"
