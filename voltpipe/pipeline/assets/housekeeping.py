"""What has served its time goes, if it is told to; else it is said what would go."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from voltpipe.lake.files import read_json
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import STAGE_FOLDERS, value_path
from voltpipe.pipeline.code_version import code_version
from voltpipe.pipeline.dagster_home import REGISTRY_POOL
from voltpipe.pipeline.op_config import op_config_schema, settings_from_config
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.tracking.settings import RetentionSettings

if TYPE_CHECKING:
    from voltpipe.tracking.retention import ExpiredItem


GROUP = "operations"


@dg.asset(
    group_name=GROUP,
    kinds={"file", "mlflow"},
    pool=REGISTRY_POOL,  # no version is promoted while it is decided which ones go
    config_schema=op_config_schema(RetentionSettings),
    code_version=code_version(__name__),
)
def tidied_lake(  # Dagster takes the bare class alone for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Checkpoints, window sets and old versions that have served their time; in a dry run they are named and stay."""
    from voltpipe.tracking.retention import find_expired, protected_versions

    settings = settings_from_config(RetentionSettings, context.op_execution_context.op_config)
    removable = find_expired(lake.lake, tracking.store, settings, in_use=set(_in_use(lake.lake)))
    gone: list[ExpiredItem] = []
    kept: list[ExpiredItem] = []
    for each in removable:
        goes = settings.dry_run or each.remove()
        (gone if goes else kept).append(each)
        fate = "would go" if settings.dry_run else "gone" if goes else "in use, kept"
        context.log.info(f"{fate}: {each.kind} {each.name}, {each.reason}")
    protected = protected_versions(tracking.store)
    metadata: dict[str, Any] = {
        "dry_run": settings.dry_run,
        "items": len(gone),
        "size_bytes": sum(each.size_bytes for each in gone),
        "would go" if settings.dry_run else "gone": dg.MetadataValue.md(_table(gone)),
        "in use meanwhile, kept": ", ".join(each.name for each in kept) or "none",
        "never removed": dg.MetadataValue.json({f"version {version}": why for version, why in protected.items()}),
    }
    return dg.MaterializeResult(metadata=metadata)


def _in_use(lake: Lake) -> Iterator[Path]:
    """The folders that the assets' present values name."""
    for asset in STAGE_FOLDERS:
        path = value_path(lake, asset)
        if path.exists():
            yield from (Path(text) for text in _texts(read_json(path)))


def _texts(content: Any) -> Iterator[str]:
    """Every text in JSON."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _texts(part)


def _table(removable: "list[ExpiredItem]") -> str:
    rows = "\n".join(
        f"| {each.kind} | {each.name} | {each.size_bytes / 2**20:.1f} | {each.reason} |" for each in removable
    )
    return f"| what | name | MiB | why |\n| --- | --- | ---: | --- |\n{rows}"
