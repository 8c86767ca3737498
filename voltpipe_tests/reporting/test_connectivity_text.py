"""Tests of the text, tables and figure of connectivity."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.connectivity_scores import summarize_connectivity
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.reporting.connectivity_text import connectivity_text, connectivity_verdict, strongest_table
from voltpipe.reporting.figures.connectivity_figure import connectivity_figure
from voltpipe.reporting.report import write_report


@pytest.fixture(scope="module")
def known(connectivity) -> pd.DataFrame:
    """Connectivity with a truth that it matches in every pair but the last: n2 inhibits n1."""
    true_weight_mv = np.array([0.5, 0.0, 0.0, -2.0, 0.0, -2.0])
    return connectivity.assign(true_weight_mv=true_weight_mv, is_connected_truth=true_weight_mv != 0)


def test_the_verdict_states_counts_and_agreement_with_the_truth(known):
    text = connectivity_verdict(summarize_connectivity(known), "coupled_cnn_lstm")
    assert re.findall(r"\d[\d.]*\d%?|\d", text) == [
        *("2", "6", "1", "1", "1"),
        *("0.6667", "0.7500", "50.0%", "66.7%"),
    ]


def test_several_organoids_are_averaged_and_an_unknown_truth_is_not_scored(known, connectivity):
    both = pd.concat([known, connectivity.assign(organoid="beta", probability=0.9)], ignore_index=True)
    text = connectivity_verdict(summarize_connectivity(both), "coupled_cnn_lstm")
    assert re.findall(r"\d", text) == ["2", "4", "6", "1", "1", "1"]
    assert "AUROC" not in text
    assert strongest_table(both).index[0] == "alpha: n1 → n2"


@pytest.mark.parametrize(
    ("architecture", "named"),
    [
        ("shared_cnn_lstm", "shared CNN-LSTM"),
        ("coupled_cnn_lstm", "spikes"),
    ],
)
def test_a_missing_estimate_is_explained(no_connectivity, architecture, named):
    text = connectivity_text(no_connectivity, architecture)
    assert named in text
    assert not re.search(r"\d", text)


def test_only_likely_connections_are_among_the_strongest(connectivity):
    strongest = strongest_table(connectivity)
    assert strongest.index.tolist() == ["n1 → n2", "n0 → n1"]
    assert strongest["weight (mV)"].tolist() == ["-2.00", "+0.50"]
    assert strongest["this pair alone, 95 % CI (mV)"].tolist() == ["not measured", "+0.40 to +0.80"]


def test_no_connection_is_listed_if_none_is_likely(connectivity):
    assert "|" not in connectivity_text(connectivity.assign(probability=0.1), "coupled_cnn_lstm")


def test_the_text_holds_a_table_of_measures_only_where_the_truth_is_known(known, connectivity):
    assert "| cross-correlogram |" in connectivity_text(known, "coupled_cnn_lstm")
    assert "cross-correlogram" not in connectivity_text(connectivity, "coupled_cnn_lstm")


def test_the_true_matrix_is_drawn_only_if_it_is_known(known, connectivity):
    def panels(table):
        return re.findall(r"<text[^>]*>(estimated|truth)</text>", connectivity_figure(table).svg)

    assert panels(known) == ["estimated", "truth"]
    assert panels(connectivity) == ["estimated"]
    assert "simulated" not in connectivity_figure(connectivity).caption


@pytest.mark.slow
def test_names_of_organoids_and_channels_cannot_become_markup(coupled, known, tmp_path):
    forecaster, window_set = coupled
    evaluation, errors = score_forecaster(forecaster, window_set, {})
    nasty = known.replace(
        {"sender": {"n1": "<b>n1</b>"}, "receiver": {"n1": "<b>n1</b>"}, "organoid": {"alpha": "<i>"}}
    )
    report = write_report(tmp_path, evaluation, replace(errors.detail(), stretch=None), nasty)
    page = report.html_path.read_text()
    section = page[page.index('id="connectivity"') : page.index('id="provenance"')]
    assert "&lt;b&gt;n1&lt;/b&gt; → n2" in section
    assert "<b>" not in section
    assert "<i>" not in section
    assert "AUROC 0.6667" in section
    assert section.count("<svg") == 1
    assert report.figure_paths["connectivity"].read_bytes().startswith(b"\x89PNG")
    assert page.count('id="connectivity"') == 1
