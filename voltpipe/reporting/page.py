"""Pages from templates: one look for all, and whatever comes from recordings (names, keys, settings) escaped."""

from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.results import Provenance
from voltpipe.reporting.figures.figure_style import RenderedFigure


def render_template(template: str, **shown: object) -> str:
    """A template of this folder as HTML."""
    environment = Environment(
        loader=PackageLoader("voltpipe.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**shown)


def finding(failed: Mapping[str, str], part: str, text: Callable[[], str]) -> str:
    """Return the text about a part of an evaluation, or why the part failed; a text that raises counts as a failure."""
    made = attempt(text) if part not in failed else failed[part]
    if isinstance(made, Failure):
        return failure_text(made.reason)
    return failure_text(made) if part in failed else made


def failure_text(reason: str) -> str:
    """Say that a diagnostic failed, and why."""
    return f"This diagnostic failed: {reason}"


def provenance_text(provenance: Provenance) -> str:
    """What figures were made from, in a few words."""
    return f"window set {provenance.window_set_digest[:12]} · {provenance.code_revision}"


def template_figures(
    drawn: Mapping[str, RenderedFigure], provenance: str = ""
) -> dict[str, tuple[RenderedFigure, Markup, str]]:
    """Figures as `parts.html` shows them: the SVGs were made by matplotlib, which escapes the text in them.

    `provenance` says in a few words what they were made from, where that is not the page's own subject.
    """
    return {name: (figure, Markup(figure.svg), provenance) for name, figure in drawn.items()}
