"""The novelty detector recognizes unusual histories and raises few false alarms on usual ones."""

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
    """Recordings of eight channels with an AR(1) voltage around -60 mV, SD 5 mV; two are for training."""
    return [(split, ar1_mv(seed, 18_000, N_CHANNELS)) for seed, split in enumerate([*"tt", "v", "e"])]


@pytest.fixture
def forecaster(recordings_mv, write_window_set) -> Forecaster:
    splits = {"t": Split.TRAIN, "v": Split.VALIDATION, "e": Split.TEST}
    window_set = write_window_set([(splits[split], mv) for split, mv in recordings_mv], context_samples=CONTEXT)
    return fit_novelty_detector(Forecaster.unfitted("persistence", window_set), window_set)


@pytest.fixture
def detector(forecaster) -> NoveltyDetector:
    assert forecaster.familiarity
    return forecaster.familiarity


@pytest.fixture
def held_out_mv(recordings_mv) -> torch.Tensor:
    """Consecutive windows of 60 samples that cover a recording."""
    return torch.from_numpy(recordings_mv[-1][1]).reshape(-1, CONTEXT, N_CHANNELS)


def novel_share(detector, history_mv) -> float:
    return float((detector.judge(history_mv).score > 1).float().mean())


def test_held_out_windows_raise_few_false_alarms(detector, held_out_mv):
    assert FALSE_ALARMS / 5 <= novel_share(detector, held_out_mv) < 3 * FALSE_ALARMS


def noisy(history_mv):
    return history_mv + 2 * torch.randn(history_mv.shape, generator=torch.Generator().manual_seed(0))


def humming(history_mv):
    return history_mv + 6 * torch.sin(2 * torch.pi * 50 * torch.arange(CONTEXT) / 1000)[:, None]


def dead(history_mv):
    return torch.where(torch.arange(N_CHANNELS) == 5, history_mv.mean(), history_mv)


def shifted(history_mv):
    return history_mv + 30.0 * (torch.arange(N_CHANNELS) == 2)


@pytest.mark.parametrize(
    ("corrupt", "feature", "channels"),
    [
        (noisy, CHANNEL_FEATURES[2], ()),
        (humming, WHOLE_FEATURES[-2], ()),
        (dead, CHANNEL_FEATURES[4], ("n5",)),
        (shifted, "level", ("n2",)),
    ],
)
def test_a_corruption_is_recognized_and_named(detector, held_out_mv, corrupt, feature, channels):
    accumulator = NoveltyAccumulator(tuple(f"n{channel}" for channel in range(N_CHANNELS)))
    accumulator.add(detector.judge(corrupt(held_out_mv)))
    summary = accumulator.notice()
    assert summary.share > 0.9
    assert summary.warns
    assert summary.channels == channels
    assert feature in summary.features
    assert feature in summary.text


def test_other_numbers_of_channels_are_scored_channel_by_channel(detector, held_out_mv):
    assert novel_share(detector, held_out_mv[..., :3]) < 3 * FALSE_ALARMS
    assert novel_share(detector, dead(held_out_mv)[..., 3:]) == 1


def test_held_out_samples_change_neither_tables_nor_limits(ar1_mv, write_window_set):
    def tables(changed: Split | None) -> dict[str, torch.Tensor]:
        splits = [Split.TRAIN, Split.VALIDATION, Split.TEST]
        recordings = [(split, ar1_mv(seed + 10 * (split is changed))) for seed, split in enumerate(splits)]
        window_set = write_window_set(recordings, f"changed_{changed}")
        forecaster = Forecaster.unfitted("persistence", window_set)
        same_scale = replace(
            forecaster, config=forecaster.config.model_copy(update={"mean_mv": (-60.0,) * 4, "sd_mv": (5.0,) * 4})
        )
        detector = fit_novelty_detector(same_scale, window_set).familiarity
        assert detector
        return detector.state_dict()

    def changed(split: Split) -> set[str]:
        return {name for name, table in tables(split).items() if not torch.equal(table, before[name])}

    before = tables(None)
    assert changed(Split.TEST) == set()
    assert changed(Split.VALIDATION) == {"limits"}
    assert {"feature_mean", "whole_precision", "limits"} <= changed(Split.TRAIN)


def test_the_detector_is_saved_with_the_forecaster_and_may_be_missing(forecaster, held_out_mv, tmp_path):
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


def test_a_small_share_of_novel_windows_gives_no_warning():
    accumulator = NoveltyAccumulator(("a", "b"))
    scores = torch.full((100, 2), 0.5)
    for n_novel, text in ((0, ""), (4, "2.0%"), (20, "8.0%")):
        scores[:n_novel, 1] = 2.0
        accumulator.add(NoveltyScore(scores, torch.zeros(100), torch.ones(100, 2, 5), torch.zeros(100, 13)))
        assert text in accumulator.notice().text
        assert ("%" in accumulator.notice().text) == (n_novel > 0)
        assert accumulator.notice().warns == (n_novel == 20)
    assert accumulator.notice().channels == ("b",)


def test_without_validation_windows_there_is_no_detector(ar1_mv, write_window_set):
    window_set = write_window_set([(Split.TRAIN, ar1_mv(0))])
    assert fit_novelty_detector(Forecaster.unfitted("persistence", window_set), window_set).familiarity is None
