"""Tests of the interactive figures: selections decide what is drawn, and names cannot run as script."""

import json
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from bokeh.models import GlyphRenderer, IntersectionFilter, Select

from voltpipe.reporting.figures.interactive_figures import Explorer, embed_figures

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture
def table():
    return pd.DataFrame(
        [
            (kind, f"{horizon} ms", group, name, 0.1 * number, 0.0, 1.0)
            for kind, groups in (("type", ("exc", "inh")), ("channel", ("a", "b", "c")))
            for horizon in (1, 5)
            for number, group in enumerate(groups)
            for name in ("coupled_cnn_lstm", "look_up")
        ],
        columns=["kind", "horizon", "group", "forecaster", "r2", "r2_low", "r2_high"],
    )


def _explorer(table):
    colors = {"coupled_cnn_lstm": "#d55e00", "look_up": "#2f8fd0"}
    return Explorer(table, choices=["kind", "horizon"], category="group", series="forecaster", colors=colors)


def _selects(model):
    return {select.title: select for select in model.select({"type": Select})}


def _drawn(model, field):
    """Return the values on each series' marks, filtered as a browser does on loading."""
    drawn = []
    for renderer in model.select({"type": GlyphRenderer}):
        if type(renderer.glyph).__name__ != "Scatter":
            continue
        source = pd.DataFrame(renderer.data_source.data)
        rows = np.logical_and.reduce([source[f.column_name] == f.group for f in _parts(renderer.view.filter)])
        drawn.append(source.loc[rows, field].tolist())
    return drawn


def _parts(chosen):
    if isinstance(chosen, IntersectionFilter):
        return [part for operand in chosen.operands for part in _parts(operand)]
    return [chosen]


def test_every_kind_horizon_and_value_can_be_selected(table):
    selects = _selects(_explorer(table).rows({"R2": "r2", "lower": "r2_low"}))
    assert selects["kind"].options == ["type", "channel"]
    assert selects["horizon"].options == ["1 ms", "5 ms"]
    assert selects["value"].options == ["R2", "lower"]
    assert "value" not in _selects(_explorer(table).rows({"R2": "r2"}))


def test_the_first_drawing_matches_the_first_selection(table):
    model = _explorer(table).rows({"R2": "r2"})
    assert _drawn(model, "group") == [["exc", "inh"], ["exc", "inh"]]
    assert _drawn(model, "horizon") == [["1 ms"] * 2] * 2


def test_the_axis_has_the_groups_of_the_selected_kind(table):
    model = _explorer(table).rows({"R2": "r2"})
    (turn, *_) = _selects(model)["kind"].js_property_callbacks["change:value"][-1:]
    assert turn.args["range"].factors == ["exc", "inh"]
    assert turn.args["factors"]["channel|5 ms"] == ["a", "b", "c"]


def test_a_curve_ends_where_its_series_ends(table):
    model = _explorer(table).curves("r2", "R2", "group")
    renderer, *_ = model.select({"type": GlyphRenderer})
    source = pd.DataFrame(renderer.data_source.data)
    of_one = source[(source["kind"] == "channel") & (source["horizon"] == "5 ms") & (source["forecaster"] == "look_up")]
    assert of_one["next_category"].tolist() == ["b", "c", "c"]
    assert of_one["next_value"].tolist() == pytest.approx([0.1, 0.2, 0.2])


def test_names_from_recordings_cannot_become_script(table):
    model = _explorer(table.replace("exc", EVIL)).rows({"R2": "r2"})
    found = embed_figures({"errors": model})
    assert EVIL not in found.script
    documents = json.loads(unescape(re.search(r"const docs_json = '(.*)';", found.script)[1].replace("\\\\", "\\")))
    assert EVIL in json.dumps(documents)


def test_a_name_that_looks_like_a_formula_is_replaced(table):
    model = _explorer(table.replace({"exc": "$$x$$", "inh": r"\(x\)"})).rows({"R2": "r2"})
    assert _drawn(model, "group")[0] == [" x ", " x "]


def test_the_library_is_embedded_in_the_page(table):
    found = embed_figures({"errors": _explorer(table).rows({"R2": "r2"})})
    assert "<script src" not in found.library
    assert 1e6 < len(found.library) < 2e6
    assert embed_figures({}) is None
