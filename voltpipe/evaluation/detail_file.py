"""The detail of an evaluation as a file: arrays in an NPZ, all else as JSON among them; nothing is pickled."""

import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from voltpipe.evaluation.detail import EvaluationDetail, Example, Stretch
from voltpipe.evaluation.evaluation import EvaluationError
from voltpipe.evaluation.regimes import Regime
from voltpipe.files import written_whole
from voltpipe.forecasting.progress import EpochRecord

DETAIL_FILE = "detail.npz"
"""A detail's name in a report's folder."""

_FACTS = "facts"


def write_detail(path: Path, detail: EvaluationDetail) -> None:
    """Write a detail, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    facts = np.array(json.dumps(_take_out_arrays(detail, "", arrays)))
    with written_whole(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{_FACTS: facts}, **arrays)


def read_detail(path: Path) -> EvaluationDetail:
    """Read what `write_detail` wrote.

    Raises:
        EvaluationError: the file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = _put_in_arrays(json.loads(str(arrays[_FACTS])), "", dict(arrays))
        stretch = content["stretch"]
        return EvaluationDetail(
            **content
            | {
                "regime": Regime(content["regime"]),
                "horizons": tuple(content["horizons"]),
                "channel_names": tuple(content["channel_names"]),
                "channel_types": tuple(content["channel_types"]),
                "examples": tuple(Example(**example) for example in content["examples"]),
                "worst": tuple(Example(**example) for example in content["worst"]),
                "stretch": stretch and Stretch(**stretch | {"channels": tuple(stretch["channels"])}),
                "history": tuple(_epoch(record) for record in content["history"]),
            }
        )
    except (BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise EvaluationError(
            f"{path} does not hold the data of an evaluation's figures: {error}. Evaluate the forecaster again.",
            code="figure-data-unreadable",
        ) from error


def _take_out_arrays(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON-able content with None where an array was; the arrays go to `arrays`, by their place."""
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
