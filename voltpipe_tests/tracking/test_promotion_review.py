"""The promotion review scores candidate and champion on the candidate's held-out targets."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.baselines.autoregression import Autoregression, AutoregressionSettings
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.lake.files import write_json
from voltpipe.tracking.promotion import roll_back
from voltpipe.tracking.promotion_reasons import BaselineNotBeaten, ChampionNotScored, GainTooSmall, RolledBack
from voltpipe.tracking.promotion_review import score_candidate
from voltpipe.tracking.promotion_rules import PromotionRule
from voltpipe.tracking.registration import register
from voltpipe.tracking.run_lifecycle import tracked_run
from voltpipe.tracking.served_model import log_forecaster
from voltpipe.tracking.settings import PromotionSettings
from voltpipe.tracking.tracked_run import RunInput
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import (
    INDEX_DTYPE,
    INDEX_FILE,
    SAMPLES_FILE,
    WINDOW_SET_MANIFEST_FILE,
    WindowedRecording,
    WindowSet,
)

pytestmark = pytest.mark.slow

ANY = PromotionSettings()
BEST = (0.8, 0.64)
POOR = (0.5, 0.25)


@pytest.fixture
def windows(tmp_path) -> WindowSet:
    """Three held-out recordings whose deviation from -60 mV decays by a factor of 0.8 each sample, plus noise."""
    noise = np.random.default_rng(0).normal(0, 0.6, (600, 3))
    for sample in range(1, 600):
        noise[sample] += 0.8 * noise[sample - 1]
    settings = WindowSettings(context_samples=4, horizons_samples=(1, 2), stride_samples=1)
    starts = [
        (number, 200 * number + start, Split.TEST.code)
        for number in range(3)
        for start in range(200 - settings.window_samples + 1)
    ]
    places = [
        WindowedRecording(f"organoid_1--{n}", f"{n}" * 64, 200 * n, 200 * n + 200, 200 * n, (-60.0,) * 3, (10.0,) * 3)
        for n in range(3)
    ]
    folder = tmp_path / "windows"
    folder.mkdir()
    np.save(folder / SAMPLES_FILE, noise.astype(np.float32))
    np.save(folder / INDEX_FILE, np.array(starts, INDEX_DTYPE))
    content = {
        "digest": "d" * 64,
        "settings": settings.model_dump(mode="json"),
        "rate_hz": 500.0,
        "channel_names": ["a", "b", "c"],
        "channel_types": ["unknown"] * 3,
        "organoids": ["organoid_1"],
        "preparation": None,
        "roles": {},
        "recordings": [asdict(place) for place in places],
        "spans": [[number, 200 * number, 200 * number + 200, Split.TEST] for number in range(3)],
        "train_mean_mv": [-60.0] * 3,
    }
    write_json(folder / WINDOW_SET_MANIFEST_FILE, content)
    return WindowSet(folder)


@pytest.fixture
def with_weights(forecaster):
    """Make a forecaster by the fractions of the last deviation that remain after 1 and 2 samples."""

    def make(weights, **changes):
        config = forecaster.config.model_copy(update=changes)
        module = Autoregression(AutoregressionSettings(n_lags=1), config.dimensions)
        module.weights[:] = torch.tensor(weights)
        return Forecaster(module, config)

    return make


@pytest.fixture
def registered(store, history_mv, tmp_path):
    """Register a forecaster and return its version."""

    def make(forecaster, name, *, learned_from=()):
        with tracked_run(store, name="training", identity=name, tags={}) as run:
            run.log_inputs(
                RunInput(f"other--{digest[0]}", digest, Split.TRAIN, tmp_path / digest) for digest in learned_from
            )
            return register(run, log_forecaster(run, forecaster, history_mv, {}), card="card", tags={}).version

    return make


@pytest.fixture
def scored(windows, with_weights):
    """Evaluate the candidate with two baselines: persistence, and an autoregression with weights that are too small."""

    def make(forecaster):
        named = replace(forecaster, config=forecaster.config.model_copy(update={"architecture": "candidate"}))
        baselines = {"persistence": with_weights((1.0, 1.0)), "autoregression": with_weights((0.3, 0.1))}
        return score_forecaster(named, windows, baselines)[0]

    return make


def test_without_a_champion_the_baselines_decide(store, windows, with_weights, scored):
    assert score_candidate(store, "1", scored(with_weights(BEST)), windows, ANY).promoted
    refused = score_candidate(store, "1", scored(with_weights((0.2, 0.05))), windows, ANY)
    first = refused.reasons[0]
    assert isinstance(first, BaselineNotBeaten)
    assert (first.baseline, first.horizon_ms) == ("persistence", 2.0)
    assert first.r2 < first.baseline_r2


def test_a_better_candidate_replaces_the_champion(store, windows, with_weights, registered, scored, promote):
    promote(store, registered(with_weights(POOR), "champion"))
    decision = score_candidate(store, "2", scored(with_weights(BEST)), windows, ANY)
    assert decision.promoted
    # R2 of phi is 0.64 - (0.8 - phi)^2 after one sample: 0.64 and 0.55; after two 0.41 and 0.26.
    whole = decision.comparison.whole
    assert whole.r2 == pytest.approx((0.64 + 0.41) / 2, abs=0.06)
    assert whole.paired.gain == pytest.approx((0.09 + 0.152) / 2, abs=0.03)
    assert whole.paired.lower > 0.05
    assert decision.against == "1"


def test_a_worse_or_equal_candidate_is_refused(store, windows, with_weights, registered, scored, promote):
    promote(store, registered(with_weights(BEST), "champion"))
    for weights in (POOR, BEST):
        decision = score_candidate(store, "2", scored(with_weights(weights)), windows, ANY)
        assert not decision.promoted
        reason = decision.reasons[-1]
        assert isinstance(reason, GainTooSmall)
        assert reason.margin == 0.001
        assert not reason.whole.paired.lower > reason.margin


def test_the_champion_passes_its_own_review(store, windows, with_weights, registered, scored, promote):
    version = registered(with_weights(BEST), "champion")
    promote(store, version)
    assert score_candidate(store, version, scored(with_weights(BEST)), windows, ANY).promoted


def test_a_champion_that_cannot_be_scored_on_the_same_targets_is_kept(
    store, windows, with_weights, registered, scored, promote
):
    version = registered(with_weights(POOR, horizons_samples=(1, 5)), "champion")
    promote(store, version)
    decision = score_candidate(store, "2", scored(with_weights(BEST)), windows, ANY)
    assert not decision.promoted
    (reason,) = decision.reasons
    assert isinstance(reason, ChampionNotScored)
    assert (reason.champion, reason.candidate_uri) == (version, "voltage-forecaster/2")
    assert reason.error
    assert decision.comparison is None


def test_a_recording_that_the_champion_learned_from_does_not_count(
    store, windows, with_weights, registered, scored, promote
):
    promote(store, registered(with_weights(POOR), "champion", learned_from=("2" * 64,)))
    decision = score_candidate(store, "2", scored(with_weights(BEST)), windows, ANY)
    assert decision.comparison.whole.paired.n_recordings == 2
    assert decision.reasons[0].compared_on.startswith("2 ")
    assert decision.reasons[0].whole is decision.comparison.whole


def test_a_version_that_was_rolled_back_is_not_promoted_again(
    store, windows, with_weights, registered, scored, promote
):
    promote(store, registered(with_weights(POOR), "first"))
    promote(store, registered(with_weights(BEST), "second"))
    roll_back(store, who="ada", why="it hums")
    decision = score_candidate(store, "2", scored(with_weights(BEST)), windows, ANY)
    (reason,) = decision.reasons
    assert (decision.failed, decision.against) == ({PromotionRule.NOT_ROLLED_BACK}, "1")
    assert isinstance(reason, RolledBack)
    assert (reason.who, reason.why) == ("ada", "it hums")
