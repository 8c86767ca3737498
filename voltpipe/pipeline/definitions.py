"""What `workspace.yaml` names: the asset graph on the lake of this environment."""

from voltpipe.lake import Lake
from voltpipe.pipeline.build import build_definitions

defs = build_definitions(Lake.default())
