"""Common style of the figures, and their rendering as SVG for pages and as PNG for other uses.

Colors are those of Okabe and Ito, which color-blind readers can distinguish. They are lightened to be visible on white
and on black.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType
from PIL import Image

INK = "#1b1f24"
"""Color of text, axes and the true voltage; replaced by the page's text color in the SVG."""
FAINT = "#8b939c"
FORECASTER = "#d55e00"
CEILING_COLOR = "#c79100"
BASELINES = {
    "persistence": "#8b939c",
    "autoregression": "#009e73",
    "look_up": "#2f8fd0",
    "vector_autoregression": "#cc79a7",
}
GROUPS = ("#2f8fd0", "#d55e00", "#009e73", "#cc79a7", "#c79100", "#8b939c")
"""Colors of channel types, in order of appearance."""
COMPARED = (FORECASTER, *(color for color in GROUPS if color != FORECASTER))
"""Colors of forecasters that are compared with each other."""
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
_TITLE_IN = 0.36
_PNG_DPI = 120
_PNG_COLORS = 64
_RASTER_DPI = 160


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as SVG and PNG, with its texts."""

    title: str
    caption: str
    """Explanation of how to read the figure."""
    basis: str
    """Unit of the values, and number and kind of the data."""
    svg: str
    """SVG for a page: transparent background, the page's text color, as wide as its container."""
    png: bytes
    """PNG for other uses: white background, with its title."""


Drawings = Mapping[str, Callable[[], RenderedFigure]]
"""Functions that draw and render figures, by figure name."""


def new_figure(height_in: float) -> Figure:
    """Return an empty figure with constrained layout; narrow, so that its text is legible on a phone."""
    return Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")


def render(
    name: str, draw: Callable[[], Figure], *, title: str, subtitle: str, caption: str, basis: str, warning: str = ""
) -> RenderedFigure:
    """Draw and render a figure. The PNG has title and subtitle; a warning is shown in both the PNG and the SVG."""
    # matplotlib's style is global; that is safe here because each Dagster step is a separate process.
    # Ids must be unique among the figures of a page, and the same in every run.
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw()
        if warning:
            figure.suptitle(warning, color=WARNING, fontsize=8)
        _fix_layout(figure)
        png = _small_png([_title_strip(f"{title}\n{subtitle}"), figure])
        return RenderedFigure(title, caption, basis, _page_svg(figure), png)


def _fix_layout(figure: Figure) -> None:
    """Compute the constrained layout once; each `savefig` would compute it twice."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)


def _title_strip(title: str) -> Figure:
    strip = Figure(figsize=(_WIDTH_IN, _TITLE_IN))
    strip.text(0.5, 0.45, title, ha="center", va="center", fontsize=9)
    return strip


def _small_png(figures: Sequence[Figure]) -> bytes:
    """Render figures of equal width, one below the other, as a PNG of few colors."""
    images = [_image(figure) for figure in figures]
    joined = Image.new("RGB", (images[0].width, sum(image.height for image in images)))
    top = 0
    for image in images:
        joined.paste(image, (0, top))
        top += image.height
    file = io.BytesIO()
    joined.quantize(_PNG_COLORS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def _image(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", facecolor="white", dpi=_PNG_DPI)
    return Image.open(file).convert("RGB")


def _page_svg(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(
        file,
        format="svg",
        transparent=True,
        dpi=_RASTER_DPI,
        metadata={"Date": None, "Creator": None, "Type": None, "Format": None},
    )
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    # Ids of groups repeat in every figure, and nothing refers to them.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace(INK, "currentColor")
