"""How figures look, and how they become SVG for the page and PNG for everywhere else.

Colours are Okabe and Ito's, which the colour-blind can tell apart, lightened so that they show on white and on black.
"""

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType
from PIL import Image

INK = "#1b1f24"
"""Text, axes and the truth; in the SVG it becomes the page's own text colour."""
FAINT = "#8b939c"
FORECASTER = "#d55e00"
CEILING = "#c79100"
BASELINES = {
    "persistence": "#8b939c",
    "autoregression": "#009e73",
    "look_up": "#2f8fd0",
    "vector_autoregression": "#cc79a7",
}
GROUPS = ("#2f8fd0", "#d55e00", "#009e73", "#cc79a7", "#c79100", "#8b939c")
"""For kinds of channels, in order of appearance."""
CONTENDERS = (FORECASTER, *(colour for colour in GROUPS if colour != FORECASTER))
"""For forecasters of which none is the one in question."""
WARNING = "#d62839"

STYLE: dict[RcKeyType, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # channel names may hold a "$"
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "date.converter": "concise",
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}
_WIDTH_IN = 5.4
_PNG_DPI = 120
_PNG_COLOURS = 64
_RASTER_DPI = 160


@dataclass(frozen=True)
class RenderedFigure:
    """A figure, ready to be shown."""

    title: str
    caption: str
    """How to read it, in a line."""
    basis: str
    """The unit of what is drawn, and how much of what it is drawn from."""
    svg: str
    """For a page: no ground of its own, ink in the page's text colour, as wide as its container."""
    png: bytes
    """For everywhere else: on white, with its title."""


Drawings = Mapping[str, Callable[[], RenderedFigure]]
"""Figures by name, before they are drawn."""


def new_figure(height_in: float) -> Figure:
    """An empty figure; small, so that its text stays legible on a phone."""
    return Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")


def render(
    name: str, draw: Callable[[], Figure], *, title: str, subtitle: str, caption: str, basis: str, warning: str = ""
) -> RenderedFigure:
    """Draw and render a figure. A PNG stands alone, so it bears title and subtitle; a warning stands on both."""
    # matplotlib can be styled only globally; a Dagster step is a process of its own.
    # Ids within a figure must differ from those of the others on the same page, and not from run to run.
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        svg, png = _pictures(draw(), title=f"{title}: {subtitle}", warning=warning)
    return RenderedFigure(title, caption, basis, svg, png)


def _pictures(figure: Figure, *, title: str, warning: str) -> tuple[str, bytes]:
    if warning:
        figure.suptitle(warning, color=WARNING, fontsize=8)
    svg = io.BytesIO()
    figure.savefig(
        svg,
        format="svg",
        transparent=True,
        dpi=_RASTER_DPI,
        metadata={"Date": None, "Creator": None, "Type": None, "Format": None},
    )
    figure.suptitle("\n".join(filter(None, [title, warning])), color=WARNING if warning else INK, fontsize=9)
    return _for_page(svg.getvalue().decode()), _small_png(figure)


def _small_png(figure: Figure) -> bytes:
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", facecolor="white", dpi=_PNG_DPI)
    Image.open(full).convert("RGB").quantize(_PNG_COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def _for_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    # Groups' ids repeat from figure to figure and nothing refers to them; what is referred to has other ids.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace(INK, "currentColor")
