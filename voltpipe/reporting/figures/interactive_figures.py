"""Figures that a reader can turn: choose what is shown, point at a mark to read it. Bokeh draws them in a browser.

They are for whoever looks further than the page's own figures do; on paper they stand as last turned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

import pandas as pd
from bokeh.embed import components
from bokeh.layouts import column, row
from bokeh.models import CDSView, ColumnDataSource, CustomJS, FactorRange, GroupFilter, HoverTool, Model, Select
from bokeh.plotting import figure
from bokeh.resources import Resources
from bokeh.transform import dodge
from markupsafe import Markup

from voltpipe.evaluation.diagnostics.diagnostics import Diagnosis
from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.reporting.figures.figure_style import BASELINES, FORECASTER

_INK = "#767e87"
"""Legible on white and on black alike."""
_ROW_PX, _FRAME_PX, _CURVE_PX = 22, 90, 320
_APART = 0.3
"""How far the first and the last mark of a row lie apart, as a share of the row."""
_SELECT_CSS = ".bk-input { color: inherit; background: transparent; appearance: auto } option { color: black }"
_FORMULA = r"\$\$|\\[\[\]()]"
_TURN = """
range.factors = factors[choices.map(choice => choice.value).join("|")]
if (row_px) plot.height = frame_px + row_px * range.factors.length
"""
_CHANGE_VALUE = """
const field = columns[cb_obj.value]
for (const mark of marks) mark.glyph.x = {...mark.glyph.x, field}
for (const line of lines) {
  line.glyph.x0 = {...line.glyph.x0, field: field + "_low"}
  line.glyph.x1 = {...line.glyph.x1, field: field + "_high"}
}
axis.axis_label = cb_obj.value
"""


class Explorer:
    """A tidy table of which a reader chooses what is drawn.

    Args:
        table: a row for each combination of choices, category and series.
        choices: columns that are chosen from.
        category: the column whose values stand along an axis.
        series: the column whose values are told apart by colour.
        colours: of each value of the series.
    """

    def __init__(
        self, table: pd.DataFrame, *, choices: Sequence[str], category: str, series: str, colours: Mapping[str, str]
    ) -> None:
        names = dict.fromkeys([*choices, category, series], str)
        # What looks like a formula, Bokeh would fetch a typesetter for.
        self._table = table.astype(names).replace(dict.fromkeys(names, _FORMULA), " ", regex=True)
        self._choices, self._category, self._series, self._colours = list(choices), category, series, colours
        self._selects = [_select(name, list(self._table[name].unique())) for name in choices]
        chosen = self._table.groupby(self._choices, sort=False)[category]
        self._factors = {"|".join(key): list(categories.unique()) for key, categories in chosen}
        self._axis = FactorRange(factors=self._factors["|".join(select.value for select in self._selects)])

    def _view(self, name: str) -> CDSView:
        """Of one series, as chosen."""
        chosen = [GroupFilter(column_name=c, group=s.value) for c, s in zip(self._choices, self._selects, strict=True)]
        for select, part in zip(self._selects, chosen, strict=True):
            select.js_link("value", part, "group")
        return CDSView(filter=reduce(and_, chosen, GroupFilter(column_name=self._series, group=name)))

    def _turn(self, plot: figure, row_px: int) -> None:
        """Let the axis follow what is chosen."""
        arguments = {"range": self._axis, "factors": self._factors, "choices": self._selects, "plot": plot}
        code = CustomJS(args={**arguments, "row_px": row_px, "frame_px": _FRAME_PX}, code=_TURN)
        for select in self._selects:
            select.js_on_change("value", code)

    def rows(self, values: Mapping[str, str]) -> Model:
        """A row a category, a mark a series, with its interval.

        Args:
            values: columns of which one is drawn, by what a reader calls them; each has an interval, in columns of the
                same name that end in `_low` and `_high`.
        """
        first = next(iter(values))
        height = _FRAME_PX + _ROW_PX * len(self._axis.factors)
        plot = _figure(y_range=self._axis, x_axis_label=first, height=height)
        source, marks, lines = _source(self._table), [], []
        names = list(self._table[self._series].unique())
        for number, name in enumerate(names):
            offset = _APART * (0.5 - number / (len(names) - 1)) if len(names) > 1 else 0.0
            y = dodge(self._category, offset, range=self._axis)
            look = {"source": source, "view": self._view(name), "color": self._colours[name]}
            look["legend_label"] = forecaster_label(name)
            low, high = (f"{values[first]}_{end}" for end in ("low", "high"))
            lines.append(plot.segment(x0=low, x1=high, y0=y, y1=y, line_width=2, **look))
            marks.append(plot.scatter(x=values[first], y=y, size=8, **look))
        shown = [*self._choices, self._category, self._series]
        plot.add_tools(_hover(marks, shown, values))
        self._turn(plot, row_px=_ROW_PX)
        if len(values) == 1:
            return _stacked(self._selects, plot)
        which = _select("value", list(values))
        arguments = {"columns": dict(values), "marks": marks, "lines": lines, "axis": plot.xaxis[0]}
        which.js_on_change("value", CustomJS(args=arguments, code=_CHANGE_VALUE))
        return _stacked([*self._selects, which], plot)

    def curves(self, value: str, label: str, axis_label: str) -> Model:
        """A curve a series over the categories, which stand in the table in their order."""
        plot = _figure(x_range=self._axis, x_axis_label=axis_label, y_axis_label=label, height=_CURVE_PX)
        keys = [*self._choices, self._series]
        ends = self._table.groupby(keys, sort=False)[[self._category, value]].shift(-1)
        ends = ends.fillna(self._table).rename(columns={self._category: "next_category", value: "next_value"})
        source, marks = _source(self._table.join(ends)), []
        for name in self._table[self._series].unique():
            look = {"source": source, "view": self._view(name), "color": self._colours[name]}
            look["legend_label"] = forecaster_label(name)
            plot.segment(self._category, value, "next_category", "next_value", line_width=2, **look)
            marks.append(plot.scatter(self._category, value, size=7, **look))
        plot.add_tools(_hover(marks, [*keys, self._category], {label: value}))
        self._turn(plot, row_px=0)
        return _stacked(self._selects, plot)


def _source(table: pd.DataFrame) -> ColumnDataSource:
    return ColumnDataSource({str(name): table[name].to_numpy() for name in table})


def _figure(**settings: object) -> figure:
    """Without a ground of its own, and without tools that seize a finger's scrolling."""
    plot = figure(
        sizing_mode="stretch_width",
        tools="save",
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **settings,
    )
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.update(axis_label_text_color=_INK, major_label_text_color=_INK, axis_line_color=_INK)
        axis.update(major_tick_line_color=_INK, minor_tick_line_color=None, axis_label_text_font_style="normal")
    for grid in plot.grid:
        grid.update(grid_line_color=_INK, grid_line_alpha=0.2)
    return plot


def _stacked(selects: Sequence[Select], plot: figure) -> Model:
    (legend,) = plot.legend
    legend.update(background_fill_alpha=0, border_line_color=None, label_text_color=_INK, padding=0)
    legend.update(orientation="horizontal", click_policy="hide")
    plot.add_layout(legend, "above")
    return column(row(*selects, sizing_mode="stretch_width"), plot, sizing_mode="stretch_width")


def _select(name: str, options: list[str]) -> Select:
    return Select(title=name, value=options[0], options=options, width_policy="max", stylesheets=[_SELECT_CSS])


def _hover(marks: Sequence[Model], columns: Sequence[str], values: Mapping[str, str]) -> HoverTool:
    shown = [(name.replace("_", " "), f"@{{{name}}}") for name in columns]
    return HoverTool(renderers=list(marks), tooltips=shown + [(n, f"@{{{c}}}{{0.0000}}") for n, c in values.items()])


@dataclass(frozen=True)
class Embedded:
    """What a page shows."""

    library: Markup
    """Script elements; before the figures."""
    script: Markup
    """Draws the figures, wherever their places are."""
    places: dict[str, Markup]
    """By the figure's name."""


def embed_figures(figures: Mapping[str, Model]) -> Embedded | None:
    """Figures by name, ready for a page; None where there are none. Bokeh escapes the text that is in them."""
    if not figures:
        return None
    script, places = components(dict(figures))
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js()
    return Embedded(Markup(library), Markup(script), {name: Markup(place) for name, place in places.items()})


ERRORS, FAULTS = "errors", "faults"
_MOST_GROUPS = 40
"""Of a kind; of more, those with the greatest share of the squared error. The table beside the page has all."""


def diagnosis_explorers(diagnosis: Diagnosis, forecaster: str, rate_hz: float) -> dict[str, Callable[[], Model]]:
    """List the interactive figures of diagnostics that have something to show."""
    colours = BASELINES | {forecaster: FORECASTER}
    errors, faults = diagnosis.errors_by_group, diagnosis.robustness
    explorers: dict[str, Callable[[], Model]] = {}
    if len(errors):
        explorers[ERRORS] = lambda: _errors(_with_labels(errors, rate_hz), colours)
    if len(faults):
        explorers[FAULTS] = lambda: _faults(_with_labels(faults, rate_hz), colours)
    return explorers


def _with_labels(table: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    return table.assign(horizon=[duration_label(int(horizon), rate_hz) for horizon in table["horizon"]])


def _errors(table: pd.DataFrame, colours: dict[str, str]) -> Model:
    """The kind whose groups differ most stands first."""
    share = table.groupby(["kind", "group"], sort=False)["share_of_error"].transform("max")
    rank = share.groupby(table["kind"]).rank(method="dense", ascending=False)
    values = {
        "R²": "r2",
        "RMSE (mV)": "rmse_mv",
        "bias (mV)": "bias_mv",
        "truths inside the 80 % interval": "coverage80",
        "squared error above the best possible (mV²)": "loss_mv2",
    }
    values = {label: column for label, column in values.items() if table[column].notna().any()}
    intervals = [f"{column}{end}" for column in values.values() for end in ("", "_low", "_high")]
    shown = table.loc[rank <= _MOST_GROUPS, ["kind", "group", "horizon", "forecaster", "n_targets", *intervals]]
    first = shown["horizon"] == shown["horizon"].iloc[0]
    spread_mv = shown[first].groupby("kind")["rmse_mv"].agg(lambda rmse_mv: rmse_mv.max() - rmse_mv.min())
    shown = shown.sort_values("kind", key=lambda kind: -kind.map(spread_mv), kind="stable")
    explorer = Explorer(
        shown.round(5), choices=["kind", "horizon"], category="group", series="forecaster", colours=colours
    )
    return explorer.rows(values)


def _faults(table: pd.DataFrame, colours: dict[str, str]) -> Model:
    table = table.assign(
        fault=table["corruption"] + " (" + table["unit"] + ")", level=[f"{level:g}" for level in table["level"]]
    )
    shown = table[["fault", "level", "horizon", "forecaster", "n_targets", "r2"]].round(5)
    explorer = Explorer(shown, choices=["fault", "horizon"], category="level", series="forecaster", colours=colours)
    return explorer.curves("r2", "R²", "level of the fault")
