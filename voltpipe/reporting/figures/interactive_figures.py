"""Interactive figures, drawn by Bokeh in the browser: the reader selects what is shown, and hovers to read values.

They complement the static figures of a page. In print they show the last selection.
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

from voltpipe.evaluation.diagnostics.diagnostics import Diagnostics
from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.reporting.figures.figure_style import BASELINES, FORECASTER

_INK = "#767e87"
"""Color that is legible on white and on black."""
_ROW_PX, _FRAME_PX, _CURVE_PX = 22, 90, 320
_MARK_SPREAD = 0.3
"""Distance between the first and the last mark in a row, as a share of the row's height."""
_SELECT_CSS = ".bk-input { color: inherit; background: transparent; appearance: auto } option { color: black }"
_FORMULA = r"\$\$|\\[\[\]()]"
_UPDATE_AXIS = """
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
    """A tidy table, drawn as an interactive figure whose content the reader selects.

    Args:
        table: one row for each combination of choices, category and series.
        choices: columns from whose values the reader selects.
        category: column shown along an axis.
        series: column shown by color.
        colors: color of each value of the series.
    """

    def __init__(
        self, table: pd.DataFrame, *, choices: Sequence[str], category: str, series: str, colors: Mapping[str, str]
    ) -> None:
        names = dict.fromkeys([*choices, category, series], str)
        # Bokeh would download a typesetter for text that looks like a formula.
        self._table = table.astype(names).replace(dict.fromkeys(names, _FORMULA), " ", regex=True)
        self._choices, self._category, self._series, self._colors = list(choices), category, series, colors
        self._selects = [_select(name, list(self._table[name].unique())) for name in choices]
        chosen = self._table.groupby(self._choices, sort=False)[category]
        self._factors = {"|".join(key): list(categories.unique()) for key, categories in chosen}
        self._axis = FactorRange(factors=self._factors["|".join(select.value for select in self._selects)])

    def _view(self, name: str) -> CDSView:
        """Return the rows of one series that match the selection."""
        chosen = [GroupFilter(column_name=c, group=s.value) for c, s in zip(self._choices, self._selects, strict=True)]
        for select, group_filter in zip(self._selects, chosen, strict=True):
            select.js_link("value", group_filter, "group")
        return CDSView(filter=reduce(and_, chosen, GroupFilter(column_name=self._series, group=name)))

    def _link_axis(self, plot: figure, row_px: int) -> None:
        """Update the axis when the selection changes."""
        arguments = {"range": self._axis, "factors": self._factors, "choices": self._selects, "plot": plot}
        code = CustomJS(args={**arguments, "row_px": row_px, "frame_px": _FRAME_PX}, code=_UPDATE_AXIS)
        for select in self._selects:
            select.js_on_change("value", code)

    def rows(self, values: Mapping[str, str]) -> Model:
        """Draw a row per category and a mark per series, with intervals.

        Args:
            values: columns that can be drawn, by label. Each has an interval in the columns of the same name that end
                in `_low` and `_high`.
        """
        first = next(iter(values))
        height = _FRAME_PX + _ROW_PX * len(self._axis.factors)
        plot = _figure(y_range=self._axis, x_axis_label=first, height=height)
        source, marks, lines = _source(self._table), [], []
        names = list(self._table[self._series].unique())
        for number, name in enumerate(names):
            offset = _MARK_SPREAD * (0.5 - number / (len(names) - 1)) if len(names) > 1 else 0.0
            y = dodge(self._category, offset, range=self._axis)
            style = {"source": source, "view": self._view(name), "color": self._colors[name]}
            style["legend_label"] = forecaster_label(name)
            low, high = (f"{values[first]}_{end}" for end in ("low", "high"))
            lines.append(plot.segment(x0=low, x1=high, y0=y, y1=y, line_width=2, **style))
            marks.append(plot.scatter(x=values[first], y=y, size=8, **style))
        plot.add_tools(_hover(marks, [*self._choices, self._category, self._series], values))
        self._link_axis(plot, row_px=_ROW_PX)
        if len(values) == 1:
            return _stacked(self._selects, plot)
        value_select = _select("value", list(values))
        arguments = {"columns": dict(values), "marks": marks, "lines": lines, "axis": plot.xaxis[0]}
        value_select.js_on_change("value", CustomJS(args=arguments, code=_CHANGE_VALUE))
        return _stacked([*self._selects, value_select], plot)

    def curves(self, value: str, label: str, axis_label: str) -> Model:
        """Draw a curve per series over the categories, in the order of the table."""
        plot = _figure(x_range=self._axis, x_axis_label=axis_label, y_axis_label=label, height=_CURVE_PX)
        keys = [*self._choices, self._series]
        ends = self._table.groupby(keys, sort=False)[[self._category, value]].shift(-1)
        ends = ends.fillna(self._table).rename(columns={self._category: "next_category", value: "next_value"})
        source, marks = _source(self._table.join(ends)), []
        for name in self._table[self._series].unique():
            style = {"source": source, "view": self._view(name), "color": self._colors[name]}
            style["legend_label"] = forecaster_label(name)
            plot.segment(self._category, value, "next_category", "next_value", line_width=2, **style)
            marks.append(plot.scatter(self._category, value, size=7, **style))
        plot.add_tools(_hover(marks, [*keys, self._category], {label: value}))
        self._link_axis(plot, row_px=0)
        return _stacked(self._selects, plot)


def _source(table: pd.DataFrame) -> ColumnDataSource:
    return ColumnDataSource({str(name): table[name].to_numpy() for name in table})


def _figure(**settings: object) -> figure:
    """Return a figure with a transparent background, and without tools that would capture scrolling on a phone."""
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
    """Interactive figures as HTML."""

    library: Markup
    """Script elements of Bokeh; placed before the figures."""
    script: Markup
    """Script that draws the figures into their places."""
    places: dict[str, Markup]
    """Placeholder elements by figure name."""


def embed_figures(figures: Mapping[str, Model]) -> Embedded | None:
    """Return figures as HTML by name; None if there are none. Bokeh escapes the text in them."""
    if not figures:
        return None
    script, places = components(dict(figures))
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js()
    return Embedded(Markup(library), Markup(script), {name: Markup(place) for name, place in places.items()})


ERRORS, CORRUPTIONS = "errors", "corruptions"
_MOST_GROUPS = 40
"""Maximum number of groups per grouping: those with the largest share of squared error. The Parquet file has all."""


def diagnostics_explorers(diagnostics: Diagnostics, forecaster: str, rate_hz: float) -> dict[str, Callable[[], Model]]:
    """Return the drawing functions of the interactive figures that have data."""
    colors = BASELINES | {forecaster: FORECASTER}
    errors, corruptions = diagnostics.errors_by_group, diagnostics.robustness
    explorers: dict[str, Callable[[], Model]] = {}
    if len(errors):
        explorers[ERRORS] = lambda: _errors(_with_labels(errors, rate_hz), colors)
    if len(corruptions):
        explorers[CORRUPTIONS] = lambda: _corruptions(_with_labels(corruptions, rate_hz), colors)
    return explorers


def _with_labels(table: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    return table.assign(horizon=[duration_label(int(horizon), rate_hz) for horizon in table["horizon"]])


def _errors(table: pd.DataFrame, colors: dict[str, str]) -> Model:
    """Draw errors by group; the grouping whose groups differ most comes first."""
    share = table.groupby(["kind", "group"], sort=False)["share_of_error"].transform("max")
    rank = share.groupby(table["kind"]).rank(method="dense", ascending=False)
    values = {
        "R²": "r2",
        "RMSE (mV)": "rmse_mv",
        "bias (mV)": "bias_mv",
        "truth inside the 80 % interval": "coverage80",
        "reducible squared error (mV²)": "loss_mv2",
    }
    values = {label: column for label, column in values.items() if table[column].notna().any()}
    intervals = [f"{column}{end}" for column in values.values() for end in ("", "_low", "_high")]
    shown = table.loc[rank <= _MOST_GROUPS, ["kind", "group", "horizon", "forecaster", "n_targets", *intervals]]
    first = shown["horizon"] == shown["horizon"].iloc[0]
    spread_mv = shown[first].groupby("kind")["rmse_mv"].agg(lambda rmse_mv: rmse_mv.max() - rmse_mv.min())
    shown = shown.sort_values("kind", key=lambda kind: -kind.map(spread_mv), kind="stable")
    explorer = Explorer(
        shown.round(5).rename(columns={"kind": "grouping"}),
        choices=["grouping", "horizon"],
        category="group",
        series="forecaster",
        colors=colors,
    )
    return explorer.rows(values)


def _corruptions(table: pd.DataFrame, colors: dict[str, str]) -> Model:
    table = table.assign(
        corruption=table["corruption"] + " (" + table["unit"] + ")", level=[f"{level:g}" for level in table["level"]]
    )
    shown = table[["corruption", "level", "horizon", "forecaster", "n_targets", "r2"]].round(5)
    explorer = Explorer(shown, choices=["corruption", "horizon"], category="level", series="forecaster", colors=colors)
    return explorer.curves("r2", "R²", "level of the corruption")
