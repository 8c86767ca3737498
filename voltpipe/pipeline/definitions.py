"""Definitions that `workspace.yaml` names: the asset graph on the default lake."""

from voltpipe.lake.paths import Lake
from voltpipe.pipeline.build_definitions import build_definitions

defs = build_definitions(Lake.default())
