"""The asset that lists expired checkpoints, window sets and versions, and deletes them unless it is a dry run."""

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


@dg.asset(
    group_name="operations",
    kinds={"file", "mlflow"},
    pool=REGISTRY_POOL,  # no version is promoted while expired ones are found and deleted
    config_schema=op_config_schema(RetentionSettings),
    code_version=code_version(__name__),
)
def tidied_lake(  # Dagster accepts only the bare class for an output without a value
    context: dg.AssetExecutionContext, lake: LakeResource, tracking: TrackingResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Expired checkpoints, window sets and versions, which are deleted. A dry run, the default, only lists them."""
    from voltpipe.tracking.retention import find_expired, protected_versions

    settings = settings_from_config(RetentionSettings, context.op_execution_context.op_config)
    expired = find_expired(lake.lake, tracking.store, settings, in_use=set(_in_use(lake.lake)))
    gone: list[ExpiredItem] = []
    kept: list[ExpiredItem] = []
    for item in expired:
        is_gone = settings.dry_run or item.remove()
        (gone if is_gone else kept).append(item)
        fate = "would be deleted" if settings.dry_run else "deleted" if is_gone else "kept, because it is in use"
        context.log.info(f"{item.kind} {item.name} {fate}: {item.reason}")
    protected = protected_versions(tracking.store)
    metadata: dict[str, Any] = {
        "dry_run": settings.dry_run,
        "items": len(gone),
        "size_bytes": sum(item.size_bytes for item in gone),
        "would be deleted" if settings.dry_run else "deleted": dg.MetadataValue.md(_table(gone)),
        "kept because in use": ", ".join(item.name for item in kept) or "none",
        "never deleted": dg.MetadataValue.json({f"version {version}": reason for version, reason in protected.items()}),
    }
    return dg.MaterializeResult(metadata=metadata)


def _in_use(lake: Lake) -> Iterator[Path]:
    """Yield the folders that the newest values of the assets name."""
    for asset in STAGE_FOLDERS:
        path = value_path(lake, asset)
        if path.exists():
            yield from (Path(text) for text in _texts(read_json(path)))


def _texts(content: Any) -> Iterator[str]:
    """Yield every string in a JSON value."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _texts(part)


def _table(items: "list[ExpiredItem]") -> str:
    rows = "\n".join(f"| {item.kind} | {item.name} | {item.size_bytes / 2**20:.1f} | {item.reason} |" for item in items)
    return f"| kind | name | MiB | reason |\n| --- | --- | ---: | --- |\n{rows}"
