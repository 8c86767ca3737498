"""Orchestrated, honest voltage forecasting for neural tissue.

The public interface for notebooks. Each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voltpipe.inference.stream import Stream
    from voltpipe.recordings.raw.open_recording import open_recording
    from voltpipe.recordings.store.conditioned_recording import open_conditioned
    from voltpipe.tracking.model_registry import load_forecaster


__all__ = ["Stream", "load_forecaster", "open_conditioned", "open_recording"]

_MODULES = {
    "Stream": "voltpipe.inference.stream",
    "open_recording": "voltpipe.recordings.raw.open_recording",
    "open_conditioned": "voltpipe.recordings.store.conditioned_recording",
    "load_forecaster": "voltpipe.tracking.model_registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'voltpipe' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
