"""Errors are attributed to the group that made them."""

from copy import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from voltpipe.evaluation.diagnostics.group_errors import GroupErrors, out_of_proportion
from voltpipe.evaluation.diagnostics.groups import TargetTimes, groupings
from voltpipe.forecasting.connectivity.connectivity import SenderType
from voltpipe.windows.splits import Split

N_SAMPLES = 8000
PERIOD = 40


@pytest.fixture(scope="module")
def window_set(window_set_of):
    """Noise at -55 mV; n0 spikes (is at -60 mV) every 40 samples, n1 twice as often, n2 never."""
    rng = np.random.default_rng(0)
    recordings_mv = rng.normal(-55, 1, (3, N_SAMPLES, 3))
    recordings_mv[:, 5::PERIOD, 0] = recordings_mv[:, 12 :: PERIOD // 2, 1] = -60.0
    return window_set_of(
        list(recordings_mv),
        [Split.TRAIN, Split.TEST, Split.TEST],
        types=["excitatory", "excitatory", "inhibitory"],
        keys=["alpha--run_0", "alpha--run_1", "beta--run_2"],
    )


def times_of(window_set, recording: int) -> tuple[TargetTimes, torch.Tensor]:
    windows = np.flatnonzero(window_set.index["recording"] == recording)
    batch = window_set.batch(windows)
    rows = window_set.index["start_row"][windows].astype(np.int64) + window_set.context - 1
    return TargetTimes(batch.history_mv(), recording, rows), batch.target_mv()


@pytest.fixture(scope="module")
def table(window_set) -> pd.DataFrame:
    """`off` errs by 0.5 mV on n2 alone, and by another 2 mV in the second half of run_2; `right` never errs."""
    sums = GroupErrors(window_set, groupings(window_set), window_set.horizons, ["off", "right"])
    for recording in (1, 2):
        times, truth_mv = times_of(window_set, recording)
        off_mv = truth_mv.clone()
        off_mv[..., 2] += 0.5
        if recording == 2:
            off_mv[N_SAMPLES // 2 :] += 2.0
        for part in np.array_split(np.arange(len(truth_mv)), 7):
            sums.add(
                TargetTimes(times.history_mv[part], recording, times.origin_rows[part]),
                {"off": off_mv[part], "right": truth_mv[part]},
                truth_mv[part],
            )
    return sums.table()


def row(table, kind, group, forecaster="off", horizon=1):
    chosen = table.query("kind == @kind and group == @group and forecaster == @forecaster and horizon == @horizon")
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_a_perfect_forecaster_has_no_error_in_any_group(table):
    right = table[table.forecaster == "right"]
    assert (right.r2 == 1).all()
    assert (right[["rmse_mv", "bias_mv", "bias_mv_low", "bias_mv_high"]] == 0).all(axis=None)


def test_a_bad_channel_and_a_bad_segment_have_the_largest_errors(table):
    by_channel = table.query("kind == 'channel' and forecaster == 'off' and horizon == 1").set_index("group")
    assert by_channel.share_of_error.idxmax() == "n2"
    assert by_channel.share_of_targets.tolist() == pytest.approx([1 / 3] * 3)
    assert row(table, "recording", "alpha--run_1").rmse_mv == pytest.approx(0.5 / np.sqrt(3), rel=1e-4)
    assert row(table, "organoid", "beta").share_of_error > 0.9
    assert row(table, "part of the recording", "last quarter").bias_mv == pytest.approx(1 + 0.5 / 3, rel=0.01)
    assert row(table, "part of the recording", "first quarter").bias_mv == pytest.approx(0.5 / 3, rel=1e-4)


def test_intervals_reflect_differences_between_blocks(table):
    steady, uneven = row(table, "recording", "alpha--run_1"), row(table, "recording", "beta--run_2")
    assert steady.bias_mv_high - steady.bias_mv_low < 1e-5
    assert uneven.bias_mv_low < uneven.bias_mv < uneven.bias_mv_high
    # Half of ten stretches err by 2 mV more: the mean of ten such draws has an SD of 0.32 mV.
    assert uneven.bias_mv_high - uneven.bias_mv_low == pytest.approx(2 * 1.96 * 0.32, rel=0.25)


def test_irreducible_error_is_no_loss_and_coverage_is_counted(window_set):
    times, truth_mv = times_of(window_set, 1)
    off_mv = truth_mv.clone()
    off_mv[..., 2] += 0.5  # squared: 0.25, of which 0.2 is unavoidable
    off_mv[..., 1] += 0.2  # squared: 0.04, all of it unavoidable
    least_mv2 = torch.tensor([0.0, 0.04, 0.2]).expand_as(truth_mv)
    # n0 is always inside its interval, n1 in the first half alone, n2 never.
    half_width_mv = torch.tensor([1.0, 1.0, 0.1]).repeat(*truth_mv.shape[:2], 1)
    half_width_mv[len(truth_mv) // 2 :, :, 1] = 0.1
    sums = GroupErrors(window_set, groupings(window_set), window_set.horizons, ["off", "right"])
    sums.add(
        times,
        {"off": off_mv, "right": truth_mv},
        truth_mv,
        bands_mv={"off": torch.stack([off_mv - half_width_mv, off_mv + half_width_mv])},
        least_mv2=least_mv2,
    )

    table = sums.table()
    by_channel = [row(table, "channel", name) for name in ("n0", "n1", "n2")]
    assert [found.loss_mv2 for found in by_channel] == pytest.approx([0, 0, 0.05], abs=1e-5)
    assert [found.share_of_loss for found in by_channel] == pytest.approx([0, 0, 1], abs=1e-3)
    assert [found.share_of_error for found in by_channel] == pytest.approx([0, 0.04 / 0.29, 0.25 / 0.29], abs=1e-4)
    assert [found.coverage80 for found in by_channel] == pytest.approx([1, 0.5, 0], abs=1e-3)
    worst = by_channel[2]
    assert worst.ceiling_r2 - worst.r2 == pytest.approx((1 - worst.r2) * 0.05 / 0.25, rel=1e-4)
    assert np.isnan(row(table, "channel", "n0", "right").coverage80)


def test_conditions_and_inferred_types_are_groupings(window_set, coupled):
    coupling = next(iter(coupled[0].couplings().values()))
    of_alpha = replace(coupling, sender_types=(SenderType.EXCITATORY, SenderType.UNKNOWN, SenderType.INHIBITORY))
    treated = [replace(r, condition=c) for r, c in zip(window_set.recordings, (None, "ttx", "ttx"), strict=True)]
    conditioned = copy(window_set)
    conditioned.recordings = tuple(treated)
    by_kind = {grouping.kind: grouping for grouping in groupings(conditioned, {"alpha": of_alpha})}

    def names_of(kind, recording):
        times, _ = times_of(window_set, recording)
        return np.array(by_kind[kind].names)[by_kind[kind].group_of(times).numpy()][0].tolist()

    assert names_of("condition", 0) == ["not stated"] * 3
    assert names_of("condition", 1) == ["ttx"] * 3
    assert names_of("inferred type", 1) == ["excitatory", "unknown", "inhibitory"]
    assert names_of("inferred type", 2) == ["unknown"] * 3  # of beta nothing is known


def test_groups_match_their_names(window_set):
    times, _ = times_of(window_set, 1)
    by_kind = {grouping.kind: grouping for grouping in groupings(window_set)}

    def names_of(kind: str) -> np.ndarray:
        return np.array(by_kind[kind].names)[by_kind[kind].group_of(times).numpy()]

    assert names_of("neuron type")[0].tolist() == ["excitatory", "excitatory", "inhibitory"]
    rates = names_of("firing rate")[0].tolist()
    assert rates[2].startswith("below")
    assert rates[1].endswith("and more")
    since = names_of("time since its spike")
    origin = times.origin_rows - N_SAMPLES
    assert set(since[(origin - 5) % PERIOD < 2, 0]) == {"below 2 ms"}
    assert set(since[(origin - 5) % PERIOD == 3, 0]) == {"2 to 5 ms"}
    assert set(since[:, 2]) == {"10 ms and more"}
    present_mv = times.history_mv[:, -1].numpy()
    lowest = names_of("present voltage") == by_kind["present voltage"].names[0]
    assert present_mv[lowest].max() < present_mv[~lowest].min()


def test_without_spikes_their_groupings_are_left_out(window_set_of):
    voltage_mv = np.random.default_rng(1).normal(-55, 1, (200, 2))
    found = groupings(window_set_of([voltage_mv, voltage_mv], [Split.TRAIN, Split.TEST]))
    assert [grouping.kind for grouping in found] == ["channel", "recording", "part of the recording", "present voltage"]


def test_the_disproportion_is_a_lower_bound():
    table = pd.DataFrame(
        {
            "kind": ["channel", "channel", "state", "state"],
            "n_targets": [100, 300, 200, 200],
            "share_of_targets": [0.25, 0.75, 0.5, 0.5],
            "loss_mv2": [6.0, 2.0, 4.0, 2.0],
            "loss_mv2_low": [5.0, 1.0, -1.0, 1.5],
            "rmse_mv": [9.0] * 4,
            "rmse_mv_low": [9.0] * 4,
        }
    )
    # Channels lose 600 + 600 in all, of which the first at least 500 by its own interval, and 486 as one of two.
    factor = 2.2414 / 1.9600
    least = [6 - factor, 2 - factor, 4 - 5 * factor, 2 - 0.5 * factor]
    expected = [least[0] / 12 - 0.25, 3 * least[1] / 12 - 0.75, least[2] / 6 - 0.5, least[3] / 6 - 0.5]
    assert out_of_proportion(table).tolist() == pytest.approx(expected, abs=1e-4)
    of_simulated = {"loss_mv2": np.nan, "loss_mv2_low": np.nan, "rmse_mv_low": table.rmse_mv}
    assert out_of_proportion(table.assign(**of_simulated)).tolist() == pytest.approx([0.0] * 4)
