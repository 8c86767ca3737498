"""File of figure data: an NPZ of arrays, with everything else as JSON in one of them. Nothing is pickled."""

import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from voltpipe.evaluation.figure_data import Example, ExampleSegment, FigureData
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import EvaluationError
from voltpipe.lake.files import atomic_write
from voltpipe.progress import EpochRecord

DETAIL_FILE = "detail.npz"
"""File name of figure data in the folder of a report."""

_FACTS = "facts"


def write_figure_data(path: Path, detail: FigureData) -> None:
    """Write figure data, as an atomic write."""
    arrays: dict[str, np.ndarray] = {}
    facts = np.array(json.dumps(_take_out_arrays(detail, "", arrays)))
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{_FACTS: facts}, **arrays)


def read_figure_data(path: Path) -> FigureData:
    """Read figure data that `write_figure_data` wrote.

    Raises:
        EvaluationError: the file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = _put_in_arrays(json.loads(str(arrays[_FACTS])), "", dict(arrays))
        stretch = content["stretch"]
        return FigureData(
            **content
            | {
                "regime": Regime(content["regime"]),
                "horizons": tuple(content["horizons"]),
                "channel_names": tuple(content["channel_names"]),
                "channel_types": tuple(content["channel_types"]),
                "examples": tuple(Example(**example) for example in content["examples"]),
                "worst": tuple(Example(**example) for example in content["worst"]),
                "stretch": stretch and ExampleSegment(**stretch | {"channels": tuple(stretch["channels"])}),
                "history": tuple(_epoch(record) for record in content["history"]),
            }
        )
    except (BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise EvaluationError(
            f"{path} does not contain figure data of an evaluation: {error}. Evaluate the forecaster again.",
            code="figure-data-unreadable",
        ) from error


def _take_out_arrays(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return `value` as JSON content with None for each array. Put the arrays into `arrays`, by their path."""
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return None
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict):
        return {key: _take_out_arrays(part, f"{name}.{key}", arrays) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_take_out_arrays(part, f"{name}.{number}", arrays) for number, part in enumerate(value)]
    return value


def _put_in_arrays(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if name in arrays:
        return arrays[name]
    if isinstance(value, dict):
        return {key: _put_in_arrays(part, f"{name}.{key}", arrays) for key, part in value.items()}
    if isinstance(value, list):
        return [_put_in_arrays(part, f"{name}.{number}", arrays) for number, part in enumerate(value)]
    return value


def _epoch(record: dict[str, Any]) -> EpochRecord:
    by_horizon = {int(horizon): r2 for horizon, r2 in record["validation_r2"].items()}
    return EpochRecord(**record | {"validation_r2": by_horizon})
