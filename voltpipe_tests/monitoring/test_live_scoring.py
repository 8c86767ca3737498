"""Recordings made after training are scored like held-out ones, and compared with the training recordings."""

import numpy as np
import pandas as pd
import pytest

from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.channel_drift import DriftCode, channel_drift, channel_statistics, find_recording_reset_mv
from voltpipe.monitoring.live_scoring import score_live_recording
from voltpipe.monitoring.settings import DriftSettings
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.reporting.figures.live_skill_figure import live_skill_png
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import make_split_manifest

WINDOWS = WindowSettings(context_samples=30, stride_samples=5, horizons_samples=(1, 2, 5))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, put_recording, spiking_mv):
    """Six recordings of an organoid by partition key; the third is held out."""
    lake = Lake(tmp_path_factory.mktemp("live") / "lake")
    for number in range(6):
        put_recording(lake, f"run_{number}", spiking_mv(number))
        outcome = condition_raw(lake, RecordingKey("slice", f"run_{number}"), ConditioningSettings(), QualitySettings())
        assert outcome.path
    return {f"slice--{path.stem}": open_conditioned(path) for path in sorted(lake.conditioned.glob("slice/*.parquet"))}


@pytest.fixture(scope="module")
def windows(recordings, tmp_path_factory):
    return build_window_set(
        tmp_path_factory.mktemp("live") / "set", make_split_manifest(recordings, WINDOWS), recordings
    )


@pytest.fixture(scope="module")
def forecasters(windows):
    fitted = {name: Forecaster.unfitted(name, windows) for name in ("look_up", "persistence")}
    for forecaster in fitted.values():
        forecaster.module.fit(windows)
    return fitted


def test_a_recording_is_scored_on_the_same_windows_as_when_it_is_held_out(recordings, windows, forecasters):
    held_out = score_forecaster(forecasters["look_up"], windows, {"persistence": forecasters["persistence"]})[0]
    sums = score_live_recording(forecasters, recordings["slice--run_2"], stride_samples=WINDOWS.stride_samples)
    for name, errors in sums.items():
        (expected,) = (e for e in held_out.by_recording if e.forecaster == name and e.recording == "slice--run_2")
        squared_mv2, total_mv2, n_targets = errors.of_channels(np.ones(6, bool))
        assert n_targets == expected.n_targets
        assert squared_mv2 == pytest.approx(expected.squared_error_mv2, rel=1e-5)
        assert total_mv2 == pytest.approx(expected.total_mv2, rel=0.01)  # the training mean is of calibration spans


def test_a_recording_that_is_too_short_is_refused(recordings, forecasters):
    long_context = Forecaster(
        forecasters["look_up"].module, forecasters["look_up"].config.model_copy(update={"context_samples": 2000})
    )
    with pytest.raises(ForecasterError, match="2005") as refused:
        score_live_recording({"look_up": long_context}, recordings["slice--run_2"], stride_samples=5)
    assert refused.value.code == "recording-too-short"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rate_hz": 500.0}, "rate-differs"),
        ({"conditioning": {"profile": "lfp"}}, "conditioning-differs"),
    ],
)
def test_a_recording_that_does_not_fit_the_champion_is_refused(recordings, forecasters, change, code):
    champion = forecasters["look_up"]
    other = Forecaster(champion.module, champion.config.model_copy(update=change))
    with pytest.raises(ForecasterError) as refused:
        score_live_recording({"look_up": other}, recordings["slice--run_2"], stride_samples=5)
    assert refused.value.code == code


@pytest.fixture(scope="module")
def reset(recordings):
    return find_recording_reset_mv(list(recordings.values()))


def test_a_spike_is_counted_when_the_voltage_reaches_the_reset_voltage(recordings, reset):
    recording = recordings["slice--run_0"]
    voltage_mv = recording.read_mv(0, recording.n_samples)
    found = channel_statistics(recording, reset)
    assert reset.voltage_mv == pytest.approx(-70, abs=1e-3)
    at_reset = np.abs(voltage_mv[1:] + 70) < 0.01
    assert found["spikes_per_s"].to_numpy() == pytest.approx(at_reset.sum(0) / (recording.n_samples / 250))
    assert at_reset.sum() > 500
    assert found["mean_mv"].to_numpy() == pytest.approx(voltage_mv.mean(0), abs=1e-3)
    assert found["sd_mv"].to_numpy() == pytest.approx(voltage_mv.std(0), rel=1e-3)


@pytest.fixture(scope="module")
def known(recordings, reset):
    return {key: channel_statistics(recordings[key], reset) for key in ("slice--run_0", "slice--run_1")}


def test_another_recording_of_the_same_organoid_has_not_drifted(recordings, known, reset):
    found = channel_drift(channel_statistics(recordings["slice--run_2"], reset), known, 5.2, DriftSettings())
    assert (found.code, found.any_share) == (DriftCode.WITHIN_BOUND, 0)


@pytest.mark.parametrize(
    ("statistic", "change"),
    [("mean_mv", lambda mv: mv + 5), ("sd_mv", lambda sd: sd * 1.6), ("spikes_per_s", lambda rate: rate / 3)],
)
def test_each_statistic_can_drift_alone(known, statistic, change):
    found = known["slice--run_0"].copy()
    moved = found.index[:3]
    found.loc[moved, statistic] = change(found.loc[moved, statistic])
    result = channel_drift(found, known, 5.2, DriftSettings())
    assert result.shares[statistic] == pytest.approx(0.5)
    assert [share for name, share in result.shares.items() if name != statistic] == [0, 0]
    assert result.code is DriftCode.DRIFTED
    assert not channel_drift(found, known, 5.2, DriftSettings(drifted_share=0.5)).drifted


def test_without_a_reset_voltage_a_spike_is_a_voltage_far_outside_the_noise(tmp_path, put_recording):
    voltage_mv = np.random.default_rng(0).normal(-60, 1, (1500, 2)).astype(np.float32)
    voltage_mv[300::100, 0] -= 20  # from 1.2 s on; 0.8 s are trimmed, which leaves 12 spikes of two samples in 5.2 s
    voltage_mv[301::100, 0] -= 15
    lake = Lake(tmp_path)
    put_recording(lake, "extracellular", voltage_mv)
    key = RecordingKey("slice", "extracellular")
    recording = open_conditioned(condition_raw(lake, key, ConditioningSettings(), QualitySettings()).path)
    assert find_recording_reset_mv([recording]) is None
    assert channel_statistics(recording, None)["spikes_per_s"].to_list() == pytest.approx([12 / 5.2, 0])


def test_drift_is_not_computed_for_other_channels(known):
    found = channel_drift(known["slice--run_0"].rename(index=lambda name: f"{name}x"), known, 5.2, DriftSettings())
    assert (found.code, found.drifted) == (DriftCode.NOT_COMPARABLE, False)
    assert np.isnan([found.any_share, *found.shares.values()]).all()


def test_a_difference_of_few_spikes_is_no_drift(known):
    quiet = {key: each.assign(spikes_per_s=0.2) for key, each in known.items()}
    found = known["slice--run_0"].assign(spikes_per_s=0.6)
    assert channel_drift(found, quiet, 5.0, DriftSettings()).shares["spikes_per_s"] == 0


def test_the_live_skill_figure_is_drawn():
    rows = [
        {"version": version, "recording": f"o--{n}", "organoid": "o", "forecaster": name, "scored_utc": n, "r2": 0.5}
        for n, version in enumerate("1122")
        for name in ("champion", "look_up")
    ]
    assert live_skill_png(pd.DataFrame(rows), frozenset({"o--1"}), 0.6).startswith(b"\x89PNG")
