"""HTML pages from templates. Text from recordings (names, keys, settings) is escaped."""

from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.results import Provenance
from voltpipe.reporting.figures.figure_style import RenderedFigure


def render_template(template: str, **values: object) -> str:
    """Render a template of the `templates` folder as HTML."""
    environment = Environment(
        loader=PackageLoader("voltpipe.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def finding(failed: Mapping[str, str], part: str, text: Callable[[], str]) -> str:
    """Return the text about a part of an evaluation, or why the part failed; a text that raises counts as a failure."""
    if part in failed:
        return failure_text(failed[part])
    made = attempt(text)
    return failure_text(made.reason) if isinstance(made, Failure) else made


def failure_text(reason: str) -> str:
    """Say that a diagnostic failed, and why."""
    return f"This diagnostic failed: {reason}"


def provenance_text(provenance: Provenance) -> str:
    """Name the window set and the code revision that figures were made from."""
    return f"window set {provenance.window_set_digest[:12]} · {provenance.code_revision}"


def template_figures(
    drawn: Mapping[str, RenderedFigure], provenance: str = ""
) -> dict[str, tuple[RenderedFigure, Markup, str]]:
    """Return figures as the macro `figure_block` of `_macros.html` takes them.

    The SVGs are marked as safe: matplotlib escapes the text in them.

    Args:
        drawn: figures by name.
        provenance: what they were made from, shown below each; empty where the page itself says it.
    """
    return {name: (figure, Markup(figure.svg), provenance) for name, figure in drawn.items()}
