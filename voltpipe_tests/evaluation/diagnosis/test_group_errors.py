"""Errors are laid at the door of the group that made them."""

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.diagnosis.group_errors import GroupErrors
from voltpipe.evaluation.diagnosis.groups import Moments, groupings
from voltpipe.windows.window_set import Split

N_SAMPLES = 8000
PERIOD = 40


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Noise about -55 mV; n0 spikes (stands at -60 mV) every 40 samples, n1 twice as often, n2 never."""
    rng = np.random.default_rng(0)
    recordings_mv = rng.normal(-55, 1, (3, N_SAMPLES, 3))
    recordings_mv[:, 5::PERIOD, 0] = recordings_mv[:, 12 :: PERIOD // 2, 1] = -60.0
    return window_set_of(
        list(recordings_mv),
        [Split.TRAIN, Split.TEST, Split.TEST],
        types=["excitatory", "excitatory", "inhibitory"],
        keys=["alpha--run_0", "alpha--run_1", "beta--run_2"],
    )


def moments_of(window_set, recording: int) -> tuple[Moments, torch.Tensor]:
    windows = np.flatnonzero(window_set.index["recording"] == recording)
    batch = window_set.batch(windows)
    rows = window_set.index["start_row"][windows].astype(np.int64) + window_set.context - 1
    return Moments(batch.history_mv(), recording, rows), batch.target_mv()


@pytest.fixture(scope="module")
def table(window_set) -> pd.DataFrame:
    """`off` errs by 0.5 mV on n2 alone, and by another 2 mV in the second half of run_2; `right` never errs."""
    sums = GroupErrors(window_set, groupings(window_set), window_set.horizons, ["off", "right"])
    for recording in (1, 2):
        moments, truth_mv = moments_of(window_set, recording)
        off_mv = truth_mv.clone()
        off_mv[..., 2] += 0.5
        if recording == 2:
            off_mv[N_SAMPLES // 2 :] += 2.0
        for part in np.array_split(np.arange(len(truth_mv)), 7):
            sums.add(
                Moments(moments.history_mv[part], recording, moments.origin_rows[part]),
                {"off": off_mv[part], "right": truth_mv[part]},
                truth_mv[part],
            )
    return sums.table()


def row(table, kind, group, forecaster="off", horizon=1):
    chosen = table.query("kind == @kind and group == @group and forecaster == @forecaster and horizon == @horizon")
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_who_never_errs_has_no_error_anywhere(table):
    right = table[table.forecaster == "right"]
    assert (right.r2 == 1).all()
    assert (right[["rmse_mv", "bias_mv", "bias_mv_low", "bias_mv_high"]] == 0).all(axis=None)


def test_a_bad_channel_and_a_bad_stretch_stand_out(table):
    by_channel = table.query("kind == 'channel' and forecaster == 'off' and horizon == 1").set_index("group")
    assert by_channel.share_of_error.idxmax() == "n2"
    assert by_channel.share_of_targets.tolist() == pytest.approx([1 / 3] * 3)
    assert row(table, "recording", "alpha--run_1").rmse_mv == pytest.approx(0.5 / np.sqrt(3), rel=1e-4)
    assert row(table, "organoid", "beta").share_of_error > 0.9
    assert row(table, "part of the recording", "last quarter").bias_mv == pytest.approx(1 + 0.5 / 3, rel=0.01)
    assert row(table, "part of the recording", "first quarter").bias_mv == pytest.approx(0.5 / 3, rel=1e-4)


def test_an_interval_is_as_wide_as_stretches_differ(table):
    steady, uneven = row(table, "recording", "alpha--run_1"), row(table, "recording", "beta--run_2")
    assert steady.bias_mv_high - steady.bias_mv_low < 1e-5
    assert uneven.bias_mv_low < uneven.bias_mv < uneven.bias_mv_high
    # Half of ten stretches err by 2 mV more: the mean of ten such draws has an SD of 0.32 mV.
    assert uneven.bias_mv_high - uneven.bias_mv_low == pytest.approx(2 * 1.96 * 0.32, rel=0.25)


def test_the_groups_of_moments_are_what_their_names_say(window_set):
    moments, _ = moments_of(window_set, 1)
    by_kind = {grouping.kind: grouping for grouping in groupings(window_set)}

    def names_of(kind: str) -> np.ndarray:
        return np.array(by_kind[kind].names)[by_kind[kind].group_of(moments).numpy()]

    assert names_of("neuron type")[0].tolist() == ["excitatory", "excitatory", "inhibitory"]
    rates = names_of("firing rate")[0].tolist()
    assert rates[2].startswith("below")
    assert rates[1].endswith("and more")
    since = names_of("time since its spike")
    origin = moments.origin_rows - N_SAMPLES
    assert set(since[(origin - 5) % PERIOD < 2, 0]) == {"below 2 ms"}
    assert set(since[(origin - 5) % PERIOD == 3, 0]) == {"2 to 5 ms"}
    assert set(since[:, 2]) == {"10 ms and more"}
    present_mv = moments.history_mv[:, -1].numpy()
    lowest = names_of("present voltage") == by_kind["present voltage"].names[0]
    assert present_mv[lowest].max() < present_mv[~lowest].min()


def test_without_visible_spikes_what_needs_them_is_left_out(window_set_of):
    voltage_mv = np.random.default_rng(1).normal(-55, 1, (200, 2))
    found = groupings(window_set_of([voltage_mv, voltage_mv], [Split.TRAIN, Split.TEST]))
    assert [grouping.kind for grouping in found] == ["channel", "recording", "part of the recording", "present voltage"]
