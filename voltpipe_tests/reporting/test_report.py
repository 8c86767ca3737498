"""Tests that the report's texts, tables and figures agree with the scores."""

import re
from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest

from voltpipe.evaluation.diagnostics.leakage_checks import seed_spread
from voltpipe.evaluation.isolation import attempt_each
from voltpipe.evaluation.paired_gain import gain_over_baseline
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation, Provenance, RecordingErrors, Score
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.progress import EpochRecord
from voltpipe.reporting.figures.evaluation_figures import figures
from voltpipe.reporting.report import render_page, skill_bars, write_report
from voltpipe.reporting.score_tables import score_table, score_text
from voltpipe.reporting.verdict import Standing, evaluation_verdict, standings
from voltpipe.windows.settings import Protocol
from voltpipe.windows.splits import Split

NASTY = '<script>alert("n1")</script>'


def evaluation_of(
    r2,
    *,
    ceiling=None,
    observable=None,
    protocol=Protocol.HELD_OUT,
    regime=Regime.TEST,
    recordings=("alpha--run_1", "alpha--run_2"),
    by_recording=(),
    settings=None,
):
    """Return an evaluation with the given R2 by forecaster and horizon; the first forecaster is the evaluated one."""
    provenance = Provenance(
        window_set_digest="d" * 64,
        protocol=protocol,
        preparation=None,
        organoids=("alpha",),
        recordings={Split.TRAIN: ("alpha--run_0",), regime: recordings},
        n_channels=2,
        rate_hz=500.0,
        trained_on=("alpha",),
        settings=settings or {},
        code_revision="voltpipe 0",
        created_utc=datetime(2026, 1, 2, tzinfo=UTC),
    )
    scores = tuple(
        Score(
            forecaster=name,
            regime=regime,
            horizon=horizon,
            r2=value,
            r2_channel_median=value,
            rmse_mv=1.0,
            mae_mv=0.5,
            n_targets=1000,
        )
        for name, by_horizon in r2.items()
        for horizon, value in by_horizon.items()
    )
    return Evaluation(
        forecaster=next(iter(r2)),
        scores=scores,
        by_recording=by_recording,
        ceiling_r2=ceiling or {},
        ceiling_standard_error={},
        observable_ceiling_r2=observable or {},
        provenance=provenance,
    )


@pytest.fixture(scope="module")
def evaluated(window_set_of, forecaster_by):
    """Evaluation of an autoregressive forecaster on noise near -60 mV; a channel name contains a script."""

    @cache
    def make(protocol=Protocol.HELD_OUT):
        generator = np.random.default_rng(3)
        recordings_mv = []
        for _ in range(3):
            steps = generator.standard_normal((500, 3))
            for row in range(1, len(steps)):
                steps[row] += 0.9 * steps[row - 1]
            recordings_mv.append(steps - 60)
        window_set = window_set_of(
            recordings_mv,
            [Split.TRAIN, Split.TEST, Split.TIME],
            names=["n0", NASTY, "n$2$"],
            types=["excitatory", "inhibitory", "<b>odd</b>"],
            protocol=protocol,
        )
        decay = np.array([0.9, 0.81, 0.59])

        def autoregress(history_z, mean_mv, sd_mv):
            last_mv = history_z[:, -1:] * sd_mv[:, None] + mean_mv[:, None]
            forecast_mv = -60 + (last_mv + 60) * last_mv.new_tensor(decay)[:, None]
            return (forecast_mv - mean_mv[:, None]) / sd_mv[:, None]

        def persist(history_z, mean_mv, sd_mv):
            return history_z[:, -1:].expand(-1, 3, -1)

        evaluation, errors = score_forecaster(
            forecaster_by("shared_cnn_lstm", autoregress, window_set),
            window_set,
            {name: forecaster_by(name, persist, window_set) for name in ("persistence", "look_up")},
            ceiling_r2={1: 0.9, 2: 0.7, 5: 0.4},
            ceiling_standard_error={1: 0.01, 2: 0.01, 5: 0.02},
            observable_ceiling_r2={1: 0.88, 2: 0.69, 5: 0.4},
            training={"device": "cpu", "note": NASTY},
        )
        history = [EpochRecord(e, 2.0 * e, 1 / e, 1.1 / e, {1: 0.5, 2: 0.3}, 1e-3, 40.0, 0.0) for e in (1, 2)]
        return evaluation, errors.detail(history)

    return make


@pytest.fixture(scope="module")
def report(slow_to_make, evaluated, no_connectivity, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), *evaluated(), no_connectivity)


@pytest.fixture(scope="module")
def page(report):
    return report.html_path.read_text()


@pytest.fixture(scope="module")
def drawn(slow_to_make, evaluated):
    drawn, undrawn = attempt_each(figures(*evaluated()))
    assert not undrawn
    return drawn


def test_the_table_has_a_row_per_forecaster_and_a_column_per_horizon_in_ms():
    evaluation = evaluation_of({"net": {1: 0.8, 5: 0.3}, "look_up": {1: 0.7, 5: 0.35, 10: 0.1}}, ceiling={1: 0.9})

    table = score_table(evaluation, Regime.TEST)

    assert list(table.columns) == ["2 ms", "10 ms", "20 ms"]
    assert list(table.index) == ["net", "lookup table", "ceiling"]
    assert table.loc["lookup table", "10 ms"] == 0.35
    assert np.isnan(table.loc["net", "20 ms"])
    assert np.isnan(table.loc["ceiling", "10 ms"])


def test_the_ceiling_from_samples_comes_before_the_ceiling_from_the_full_state():
    table = score_table(evaluation_of({"net": {1: 0.8}}, ceiling={1: 0.9}, observable={1: 0.85}), Regime.TEST)

    assert list(table.index) == ["net", "ceiling from 1 ms samples", "ceiling"]
    assert table.loc["ceiling from 1 ms samples", "2 ms"] == 0.85


def test_the_text_table_is_markdown_with_aligned_columns():
    text = score_text(evaluation_of({"net": {1: 0.8, 5: 0.3}, "persistence": {1: 0.7, 5: -0.35}}))

    assert text.splitlines() == [
        "R2 on held-out recordings (1,000 targets at each horizon)",
        "",
        "|             |  2 ms |  10 ms |",
        "| ----------- | ----: | -----: |",
        "| net         | 0.800 |  0.300 |",
        "| persistence | 0.700 | -0.350 |",
    ]


def test_the_verdict_names_beaten_baselines_and_the_horizons_of_others():
    evaluation = evaluation_of(
        {
            "net": {1: 0.776, 2: 0.60, 5: 0.24},
            "persistence": {1: 0.6, 2: 0.2, 5: -0.6},
            "autoregression": {1: 0.66, 2: 0.4, 5: 0.1},
            "look_up": {1: 0.77, 2: 0.6, 5: 0.26},
        },
        ceiling={1: 0.80, 2: 0.61, 5: 0.28},
    )

    for beaten in ("persistence", "autoregression"):
        assert set(standings(evaluation, beaten).values()) == {Standing.BETTER}
    assert standings(evaluation, "look_up") == {1: Standing.BETTER, 2: Standing.LEVEL, 5: Standing.WORSE}
    assert evaluation.share_of_ceiling(Regime.TEST, 1) == pytest.approx(0.97)
    numbers = re.findall(r"\d+(?:%| ms)", evaluation_verdict(evaluation))
    assert numbers == ["78%", "2 ms", "97%", "2 ms", "4 ms", "10 ms"]


def test_the_verdict_on_a_forecaster_without_skill_states_no_share():
    evaluation = evaluation_of({"net": {1: -0.1, 2: -0.2}, "look_up": {1: 0.5, 2: 0.2}}, regime=Regime.TIME)

    assert standings(evaluation, "look_up") == {1: Standing.WORSE, 2: Standing.WORSE}
    assert "%" not in evaluation_verdict(evaluation)


def errors_of(forecaster, by_recording):
    """Return SSE at one horizon for recordings whose SST is 100 mV squared."""
    return tuple(
        RecordingErrors(
            forecaster=forecaster,
            regime=Regime.TEST,
            recording=f"alpha--run_{number}",
            channel_type="electrode",
            horizons=(1,),
            squared_error_mv2=(squared,),
            total_mv2=(100.0,),
            n_targets=10,
        )
        for number, squared in enumerate(by_recording, 1)
    )


@pytest.mark.parametrize(
    ("look_up_errors", "standing"),
    [((32.0, 32.2, 31.8), Standing.BETTER), ((60.0, 10.0, 26.0), Standing.UNSURE)],
)
def test_a_lead_that_varies_between_recordings_is_unsure(look_up_errors, standing):
    own, other = (30.0, 30.0, 30.0), look_up_errors
    r2 = {"net": {1: 1 - sum(own) / 300}, "look_up": {1: 1 - sum(other) / 300}}
    recordings = tuple(f"alpha--run_{number}" for number in (1, 2, 3))
    evaluation = evaluation_of(
        r2, recordings=recordings, by_recording=errors_of("net", own) + errors_of("look_up", other)
    )

    assert evaluation.score("net", Regime.TEST, 1).r2 == pytest.approx(0.7)
    assert evaluation.score("look_up", Regime.TEST, 1).r2 == pytest.approx(0.68)
    assert standings(evaluation, "look_up") == {1: standing}


def test_the_interval_of_a_lead_is_paired_over_recordings():
    # Recordings differ much more than the two forecasters do on each of them.
    by_recording = errors_of("net", (10.0, 50.0, 90.0)) + errors_of("look_up", (12.0, 52.0, 92.0))
    evaluation = evaluation_of({"net": {1: 0.5}, "look_up": {1: 0.48}}, by_recording=by_recording)

    gain = gain_over_baseline(evaluation, "look_up", Regime.TEST, 1)

    assert (gain.gain, gain.lower, gain.upper) == pytest.approx((0.02, 0.02, 0.02))
    assert gain_over_baseline(evaluation, "persistence", Regime.TEST, 1) is None


def test_the_verdict_on_a_single_recording_says_so():
    r2 = {"net": {1: 0.7}, "look_up": {1: 0.6}}
    of_one, of_two = (
        evaluation_verdict(evaluation_of(r2, recordings=names))
        for names in (("alpha--run_1",), ("alpha--run_1", "alpha--run_2"))
    )

    assert of_one.startswith(of_two)
    assert "single recording" in of_one.removeprefix(of_two)


def trained_with(seed, r2, *, learning_rate=1e-3):
    settings = {"training": {"seed": seed, "learning_rate": learning_rate, "elapsed_s": 9.0 * seed}, "windows": {}}
    return evaluation_of({"net": {1: r2}, "look_up": {1: 0.70}}, settings=settings)


@pytest.mark.parametrize(
    ("others", "passed", "facts"),
    [
        ([0.751, 0.749], True, ("3 seeds", "0.0010")),
        ([0.70, 0.80], False, ("3 seeds", "0.0500")),
        ([], True, ("--seed",)),
    ],
)
def test_a_lead_is_compared_with_the_spread_over_seeds(others, passed, facts):
    same_settings = [trained_with(seed, r2) for seed, r2 in enumerate(others, 1)]
    other_settings = [trained_with(7, 0.2, learning_rate=1e-2)]

    check = seed_spread(trained_with(0, 0.75), same_settings + other_settings)

    assert check.passed is passed
    assert all(fact in check.finding for fact in facts)
    assert "+0.050" in check.finding


def test_skill_bars_run_from_persistence_or_the_mean_to_the_ceiling():
    evaluation = evaluation_of(
        {
            "net": {1: 0.75, 5: -0.1},
            "persistence": {1: 0.6, 5: -0.6},
            "look_up": {1: 0.7, 5: 0.1},
        },
        ceiling={1: 0.8},
    )

    near, far = skill_bars(evaluation, Regime.TEST)

    assert (near.start, near.stop) == ("persistence", "ceiling")
    assert (near.look_up_position, near.forecaster_position) == pytest.approx((0.5, 0.75))
    assert (far.start, far.start_r2, far.stop, far.stop_r2) == ("mean", 0, "perfect", 1)
    assert (far.look_up_position, far.forecaster_position) == pytest.approx((0.1, 0))


def test_the_report_is_self_contained(page):
    assert len(page) < 2_000_000
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"url\((?!#)|@import", page)


def test_the_folder_holds_the_page_and_its_figures_only(report):
    assert sorted(path.name for path in report.html_path.parent.iterdir()) == sorted(
        ["report.html", *(path.name for path in report.figure_paths.values())]
    )


def test_the_report_shows_each_regime_separately_and_the_provenance(evaluated, page):
    evaluation, _ = evaluated()
    time_starts = page.index("<h3>Held-out time</h3>")
    test_section = page[page.index("<h3>Held-out recordings</h3>") : time_starts]
    time_section = page[time_starts : page.index('id="forecasts"')]
    for regime, section in ((Regime.TEST, test_section), (Regime.TIME, time_section)):
        r2 = evaluation.score("shared_cnn_lstm", regime, 1).r2
        assert f"<td>{r2:.3f}</td>" in section
    assert evaluation_verdict(evaluation).replace("'", "&#39;") in page
    assert evaluation.provenance.window_set_digest in page
    assert evaluation.provenance.code_revision in page


def test_names_from_recordings_cannot_become_markup(page):
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert "n$2$" in page


def test_every_figure_is_small_and_has_a_caption(drawn):
    assert list(drawn) == [
        "r2_by_horizon",
        "stretch",
        "examples",
        "worst",
        "r2_by_channel",
        "error_distribution",
        "forecast_against_truth",
        "learning_curve",
    ]
    for figure in drawn.values():
        assert figure.png.startswith(b"\x89PNG")
        assert len(figure.png) < 100_000
        assert figure.svg.startswith("<svg")
        assert figure.caption.endswith(".")


def test_figures_on_one_page_share_no_ids(drawn):
    ids = [i for figure in drawn.values() for i in set(re.findall(r'\bid="([^"]+)"', figure.svg))]

    assert len(ids) == len(set(ids))


def test_drawing_twice_gives_the_same_page(evaluated, drawn, no_connectivity, page):
    assert render_page(evaluated()[0], drawn, tuple(drawn), no_connectivity, None) == page


@pytest.mark.slow
def test_the_published_protocol_is_marked_wherever_its_scores_are_shown(evaluated, no_connectivity, tmp_path):
    evaluation, detail = evaluated(Protocol.PUBLISHED)

    page = write_report(tmp_path, evaluation, detail, no_connectivity).html_path.read_text()

    assert page.count("windows overlap</text>") == page.count("<svg")
    assert 'class="warning">Published protocol' in page
    assert "held-out recordings" not in page
    assert score_text(evaluation).startswith("Published protocol")
    assert evaluation_verdict(evaluation).startswith("Published protocol")
    assert all(name.startswith("published/") for name in evaluation.metrics())
