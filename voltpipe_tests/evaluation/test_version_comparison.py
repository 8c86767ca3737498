"""A forecaster is called better only if recordings agree."""

import re
from datetime import UTC, datetime

import pandas as pd
import pytest

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation, EvaluationError, Provenance, RecordingErrors, Score
from voltpipe.evaluation.version_comparison import MEAN, compare_versions
from voltpipe.reporting.comparison_page import comparison_standings, verdicts, write_comparison
from voltpipe.reporting.verdict import Standing
from voltpipe.windows.settings import Protocol

RECORDINGS = ("alpha--a", "alpha--b", "alpha--c", "beta--d")


def evaluation_with(squared_error_mv2, *, horizons=(1, 5), digest="d" * 64):
    """Return an evaluation with this SSE by recording at each horizon, and an SST of 100 mV squared."""
    provenance = Provenance(
        window_set_digest=digest,
        protocol=Protocol.HELD_OUT,
        preparation=None,
        organoids=("alpha", "beta"),
        recordings={Regime.TEST: RECORDINGS},
        n_channels=2,
        rate_hz=1000.0,
        trained_on=("alpha", "beta"),
        settings={},
        code_revision="voltpipe 0",
        created_utc=datetime(2026, 1, 2, tzinfo=UTC),
    )
    errors = tuple(
        RecordingErrors(
            forecaster="net",
            regime=Regime.TEST,
            recording=key,
            channel_type="electrode",
            horizons=horizons,
            squared_error_mv2=(squared,) * len(horizons),
            total_mv2=(100.0,) * len(horizons),
            n_targets=10,
        )
        for key, squared in zip(RECORDINGS, squared_error_mv2, strict=True)
    )
    scores = tuple(
        Score(
            forecaster="net",
            regime=Regime.TEST,
            horizon=horizon,
            r2=1 - sum(squared_error_mv2) / 400,
            r2_channel_median=0.0,
            rmse_mv=1.0,
            mae_mv=1.0,
            n_targets=40,
        )
        for horizon in horizons
    )
    return Evaluation(
        forecaster="net",
        scores=scores,
        by_recording=errors,
        ceiling_r2={},
        ceiling_standard_error={},
        provenance=provenance,
    )


OLD = evaluation_with((20.0, 50.0, 80.0, 50.0))
BETTER = evaluation_with((18.0, 48.1, 78.0, 47.9))
WORSE = evaluation_with((22.0, 52.1, 82.0, 51.9))
MIXED = evaluation_with((10.0, 55.0, 90.0, 44.0))


@pytest.fixture(scope="module")
def comparison():
    evaluations = {"version 1": OLD, "version 2": BETTER, "version 3": WORSE, "version 4": MIXED}
    return compare_versions(evaluations, RECORDINGS)


def test_each_version_is_called_better_than_the_first_or_not(comparison):
    assert comparison_standings(comparison) == {
        "version 2": Standing.BETTER,
        "version 3": Standing.WORSE,
        "version 4": Standing.UNSURE,
    }
    assert re.search(r"0\.5200 .* 0\.5000.* \+0\.0200 .*\+0\.01", verdicts(comparison)[0])


def test_gains_are_pooled_over_recordings_and_given_by_organoid(comparison):
    gains = comparison.gains[comparison.gains["forecaster"] == "version 2"].set_index(["group", "horizon"])
    assert set(gains.index.get_level_values("horizon")) == {"1 ms", "5 ms", MEAN}
    assert gains.loc[("all", "1 ms"), "gain"] == pytest.approx(0.02)
    assert gains.loc[("organoid alpha", MEAN), "gain"] == pytest.approx((2 + 1.9 + 2) / 300)
    assert gains.loc[("organoid beta", MEAN), "n_recordings"] == 1
    assert pd.isna(gains.loc[("organoid beta", MEAN), "low"])
    assert comparison.n_targets == 40


def test_each_recording_has_its_score(comparison):
    of_one = comparison.by_recording.query("recording == 'alpha--c' and horizon == '5 ms'").set_index("forecaster")
    assert of_one["r2"].to_dict() == pytest.approx(
        {"version 1": 0.2, "version 2": 0.22, "version 3": 0.18, "version 4": 0.1}
    )


def test_other_recordings_are_left_out():
    alone = compare_versions({"version 1": OLD, "version 4": MIXED}, ["alpha--a"])
    assert set(alone.by_recording["recording"]) == {"alpha--a"}
    assert comparison_standings(alone) == {"version 4": Standing.UNSURE}
    (only,) = verdicts(alone)
    assert re.findall(r"version \d|\d\.\d+|single recording", only) == [
        *("version 4", "version 1", "0.9000", "0.8000"),
        "single recording",
    ]


@pytest.mark.parametrize(
    ("other", "recordings", "code"),
    [
        (evaluation_with((1.0,) * 4, digest="e" * 64), RECORDINGS, "window-sets-differ"),
        (evaluation_with((1.0,) * 4, horizons=(2,)), RECORDINGS, "no-common-horizon"),
        (BETTER, (), "no-common-held-out"),
    ],
)
def test_incomparable_evaluations_are_refused(other, recordings, code):
    with pytest.raises(EvaluationError, check=lambda error: error.code == code):
        compare_versions({"version 1": OLD, "version 2": other}, recordings)


def test_the_page_needs_nothing_else_and_its_tables_lie_beside_it(comparison, tmp_path):
    path = write_comparison(tmp_path / "comparison", comparison)
    page = path.read_text()
    for verdict in verdicts(comparison):
        assert verdict in page
    assert len(page) < 5_000_000
    markup = re.sub(r"<script([^>]*)>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", markup)
    pd.testing.assert_frame_equal(pd.read_parquet(path.parent / "gains.parquet"), comparison.gains)
    assert {each.name for each in path.parent.iterdir()} == {"comparison.html", "gains.parquet", "by_recording.parquet"}
