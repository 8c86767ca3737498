"""What was not trained on is recognised before it is forecast, and what is like it raises no alarm."""

from dataclasses import replace

import pytest
import torch

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.novelty import (
    CHANNEL_FEATURES,
    WHOLE_FEATURES,
    NoveltyAccumulator,
    NoveltyDetector,
    NoveltyScore,
)
from voltpipe.forecasting.training.fitting import FALSE_ALARMS, fit_novelty_detector
from voltpipe.windows.splits import Split

N_CHANNELS, CONTEXT = 8, 60


@pytest.fixture(scope="module")
def recordings_mv(ar1_mv):
    """Of eight channels with an AR(1) voltage about -60 mV, SD 5 mV; two are trained on."""
    return [(split, ar1_mv(seed, 18_000, N_CHANNELS)) for seed, split in enumerate([*"tt", "v", "e"])]


@pytest.fixture
def forecaster(recordings_mv, write_window_set) -> Forecaster:
    splits = {"t": Split.TRAIN, "v": Split.VALIDATION, "e": Split.TEST}
    window_set = write_window_set([(splits[split], mv) for split, mv in recordings_mv], context_samples=CONTEXT)
    return fit_novelty_detector(Forecaster.unfitted("persistence", window_set), window_set)


@pytest.fixture
def familiarity(forecaster) -> NoveltyDetector:
    assert forecaster.familiarity
    return forecaster.familiarity


@pytest.fixture
def held_out_mv(recordings_mv) -> torch.Tensor:
    """Windows of 60 samples, a recording long, each beginning where the one before ends."""
    return torch.from_numpy(recordings_mv[-1][1]).reshape(-1, CONTEXT, N_CHANNELS)


def share_unlike(familiarity, history_mv) -> float:
    return float((familiarity.judge(history_mv).score > 1).float().mean())


def test_what_is_held_out_raises_as_many_alarms_as_it_may(familiarity, held_out_mv):
    assert FALSE_ALARMS / 5 <= share_unlike(familiarity, held_out_mv) < 3 * FALSE_ALARMS


def noisy(history_mv):
    return history_mv + 2 * torch.randn(history_mv.shape, generator=torch.Generator().manual_seed(0))


def humming(history_mv):
    return history_mv + 6 * torch.sin(2 * torch.pi * 50 * torch.arange(CONTEXT) / 1000)[:, None]


def dead(history_mv):
    return torch.where(torch.arange(N_CHANNELS) == 5, history_mv.mean(), history_mv)


def shifted(history_mv):
    return history_mv + 30.0 * (torch.arange(N_CHANNELS) == 2)


@pytest.mark.parametrize(
    ("fault", "feature", "channels"),
    [
        (noisy, CHANNEL_FEATURES[2], ()),
        (humming, WHOLE_FEATURES[-2], ()),
        (dead, CHANNEL_FEATURES[4], ("n5",)),
        (shifted, "level", ("n2",)),
    ],
)
def test_a_fault_is_recognised_and_named(familiarity, held_out_mv, fault, feature, channels):
    judgement = familiarity.judge(fault(held_out_mv))
    noticing = NoveltyAccumulator(tuple(f"n{channel}" for channel in range(N_CHANNELS)))
    noticing.add(judgement)
    notice = noticing.notice()
    assert notice.share > 0.9
    assert notice.warns
    assert notice.channels == channels
    assert feature in notice.features
    assert feature in notice.text


def test_fewer_channels_are_each_judged_by_themselves(familiarity, held_out_mv):
    assert share_unlike(familiarity, held_out_mv[..., :3]) < 3 * FALSE_ALARMS
    assert share_unlike(familiarity, dead(held_out_mv)[..., 3:]) == 1


def test_what_is_held_out_changes_neither_what_is_familiar_nor_the_limit(ar1_mv, write_window_set):
    def tables(changed: Split | None) -> dict[str, torch.Tensor]:
        splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
        recordings = [(split, ar1_mv(seed + 10 * (split is changed))) for seed, split in enumerate(splits)]
        window_set = write_window_set(recordings, f"changed_{changed}")
        forecaster = Forecaster.unfitted("persistence", window_set)
        same_scale = replace(
            forecaster, config=forecaster.config.model_copy(update={"mean_mv": (-60.0,) * 4, "sd_mv": (5.0,) * 4})
        )
        familiarity = fit_novelty_detector(same_scale, window_set).familiarity
        assert familiarity
        return familiarity.state_dict()

    def changed(split: Split) -> set[str]:
        return {name for name, table in tables(split).items() if not torch.equal(table, before[name])}

    before = tables(None)
    assert changed(Split.TEST) == set()
    assert changed(Split.VALIDATION) == {"limits"}
    assert {"feature_mean", "whole_precision", "limits"} <= changed(Split.TRAIN)


def test_it_is_saved_with_the_forecaster_and_may_be_missing(forecaster, held_out_mv, tmp_path):
    forecaster.save(tmp_path / "saved")
    again = Forecaster.load(tmp_path / "saved").familiarity
    assert again
    assert torch.equal(again.judge(held_out_mv).score, forecaster.familiarity.judge(held_out_mv).score)
    replace(forecaster, familiarity=None).save(tmp_path / "without")
    assert Forecaster.load(tmp_path / "without").familiarity is None
    (tmp_path / "saved" / "familiarity.json").write_text("{}")
    with pytest.raises(
        ForecasterError, match=r"familiarity\.json", check=lambda error: error.code == "forecaster-file-damaged"
    ):
        Forecaster.load(tmp_path / "saved")


def test_few_windows_or_none_that_are_unlike_are_no_reason_to_warn():
    noticing = NoveltyAccumulator(("a", "b"))
    scores = torch.full((100, 2), 0.5)
    for n_unlike, text in ((0, ""), (4, "2.0%"), (20, "8.0%")):
        scores[:n_unlike, 1] = 2.0
        noticing.add(NoveltyScore(scores, torch.zeros(100), torch.ones(100, 2, 5), torch.zeros(100, 13)))
        assert text in noticing.notice().text
        assert ("%" in noticing.notice().text) == (n_unlike > 0)
        assert noticing.notice().warns == (n_unlike == 20)
    assert noticing.notice().channels == ("b",)


def test_without_windows_to_validate_on_nothing_is_recognised(ar1_mv, write_window_set):
    window_set = write_window_set([(Split.TRAIN, ar1_mv(0))])
    assert fit_novelty_detector(Forecaster.unfitted("persistence", window_set), window_set).familiarity is None
