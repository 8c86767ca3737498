"""Puts Bokeh's figures on a page that needs no network: its library once, the figures as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from bokeh.embed import components
from bokeh.models import Model
from bokeh.resources import Resources
from markupsafe import Markup


@dataclass(frozen=True)
class Embedded:
    """What a page shows."""

    library: Markup
    """Script elements; before the figures."""
    script: Markup
    """Draws the figures, wherever their places are."""
    places: dict[str, Markup]
    """By the figure's name."""


def embedded(figures: Mapping[str, Model]) -> Embedded | None:
    """Figures by name, ready for a page; None where there are none. Bokeh escapes the text that is in them."""
    if not figures:
        return None
    script, places = components(dict(figures))
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js()
    return Embedded(Markup(library), Markup(script), {name: Markup(place) for name, place in places.items()})
