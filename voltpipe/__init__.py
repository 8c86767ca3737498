"""Orchestrated, honest voltage forecasting for neural tissue.

What a notebook needs is importable from here, and is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voltpipe.recordings.open_recording import open_recording
    from voltpipe.recordings.store import open_conditioned
    from voltpipe.tracking.registry import load_forecaster

__all__ = ["load_forecaster", "open_conditioned", "open_recording"]

_MODULES = {
    "open_recording": "voltpipe.recordings.open_recording",
    "open_conditioned": "voltpipe.recordings.store",
    "load_forecaster": "voltpipe.tracking.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'voltpipe' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
