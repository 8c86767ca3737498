"""What the asset pages show: scores as a table, plots as small pictures."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from voltpipe.evaluation.evaluation import Evaluation

if TYPE_CHECKING:
    import pandas as pd

    from voltpipe.evaluation.drawing import RenderedFigure


def score_metadata(evaluation: Evaluation) -> dict[str, Any]:
    """What the scores say, and the table beside the baselines."""
    from voltpipe.evaluation.tables import score_text
    from voltpipe.evaluation.verdict import verdict

    return {"verdict": verdict(evaluation), "scores": dg.MetadataValue.md(score_text(evaluation))}


def connectivity_metadata(table: "pd.DataFrame", evaluation: Evaluation) -> dict[str, Any]:
    """How much was found of who drives whom, how right it is, and the strongest connections."""
    from voltpipe.evaluation.connectivity_text import connectivity_text

    return {"who drives whom": dg.MetadataValue.md(connectivity_text(table, evaluation.forecaster))}


def figure_metadata(figure_paths: Mapping[str, Path]) -> dict[str, Any]:
    """Each PNG as a picture inside Markdown, which is how Dagster shows pictures."""
    return {name: picture_metadata(name, path.read_bytes()) for name, path in figure_paths.items()}


def rendered_metadata(figures: "Mapping[str, RenderedFigure]") -> dict[str, Any]:
    """The same for figures that are not in files."""
    return {name: picture_metadata(name, figure.png) for name, figure in figures.items()}


def picture_metadata(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """One such picture."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
