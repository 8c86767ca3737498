"""Each quality check, on recordings made to pass or fail it."""

import re

import numpy as np
import pytest

from voltpipe.recordings.quality.assess_quality import QUALITY_CHECKS, check_quality
from voltpipe.recordings.quality.quality_report import Severity
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings


@pytest.fixture
def checked(recording_of):
    """The checks of a recording, by name."""

    def check(samples_mv, settings=None, **facts):
        recording = recording_of(samples_mv, **facts)
        report = check_quality(recording, settings or QualitySettings(), ConditioningSettings())
        return {each.name: each for each in report.checks}

    return check


@pytest.fixture
def chunks_of_500(monkeypatch):
    """Chunks of 500 samples of three channels, so that chunks' borders matter."""
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", 1500)


def test_a_good_recording_passes_every_check(checked, signal_mv):
    checks = checked(signal_mv)
    assert all(check.passed for check in checks.values())
    assert [*checks, "alike", "duplicate"] == list(QUALITY_CHECKS)


def test_figures_do_not_depend_on_the_chunks(checked, signal_mv, monkeypatch):
    whole = checked(signal_mv)["unit_range"].figures
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", 100)
    assert checked(signal_mv)["unit_range"].figures == pytest.approx(whole, rel=1e-12)
    assert whole["median_sd_mv"] == pytest.approx(np.median(signal_mv.astype(np.float64).std(axis=0)))


@pytest.mark.usefixtures("chunks_of_500")
def test_samples_that_are_no_numbers_are_counted_and_placed(checked, signal_mv):
    signal_mv[1200, 1] = np.nan
    signal_mv[3000, 1] = np.inf
    check = checked(signal_mv)["finite"]
    assert not check.passed
    assert check.severity is Severity.ERROR
    assert re.search(r"\b2 samples .* 1\.2 s, .*channels ch1\.", check.message)
    assert check.figures == {"samples_not_finite": 2, "channels_not_finite": 1}


def test_a_recording_of_nothing_but_nan_fails_without_a_fault_of_the_checks(checked, signal_mv):
    checks = checked(np.full_like(signal_mv, np.nan))
    assert not checks["finite"].passed
    assert checks["finite"].figures["samples_not_finite"] == signal_mv.size


def test_a_gap_is_warned_of(checked, signal_mv):
    check = checked(signal_mv, segment_starts=(0, 1000, 1500))["gaps"]
    assert not check.passed
    assert check.severity is Severity.WARN
    assert check.figures == {"gaps": 2, "longest_stretch_s": 3.5}


@pytest.mark.parametrize("still", [slice(None), slice(800, 2800)], ids=["always", "while calibrating"])
def test_a_flat_channel_is_refused(checked, signal_mv, still):
    signal_mv[still, 2] = -55
    check = checked(signal_mv)["flat"]
    assert not check.passed
    assert "ch2" in check.message
    assert check.figures["flat_channels"] == 1


@pytest.mark.usefixtures("chunks_of_500")
def test_runs_at_an_extreme_are_clipped_from_five_samples_on(checked, signal_mv):
    top = signal_mv.max() + 1
    signal_mv[495:505, 0] = top  # ten samples, over the border of two chunks
    signal_mv[2000:2004, 0] = top  # four do not count
    signal_mv[3000:3005, 0] = top  # five do
    check = checked(signal_mv)["clipping"]
    assert check.figures == {"largest_clipped_share": 15 / 5000, "clipped_channels": 1}
    assert check.severity is Severity.WARN


@pytest.mark.usefixtures("chunks_of_500")
def test_only_the_highest_value_of_all_counts_as_an_extreme(checked, signal_mv):
    top = signal_mv.max()
    signal_mv[100:200, 0] = top + 1
    signal_mv[4000, 0] = top + 2
    assert checked(signal_mv)["clipping"].figures["largest_clipped_share"] == 0


def test_much_clipping_at_the_bottom_is_refused(checked, signal_mv):
    check = checked(np.maximum(signal_mv, np.quantile(signal_mv, 0.9)))["clipping"]
    assert not check.passed
    assert check.severity is Severity.ERROR


def test_neurons_that_stand_at_reset_for_two_samples_a_spike_pass(checked, signal_mv):
    lowest = signal_mv.min() - 1
    for first in range(0, 5000, 20):
        signal_mv[first : first + 2] = lowest
    assert checked(signal_mv)["clipping"].passed


@pytest.mark.parametrize(("rate_hz", "passes"), [(1.0, False), (100.0, True), (30_000.0, True), (1e6, False)])
def test_a_rate_must_be_plausible(checked, signal_mv, rate_hz, passes):
    assert checked(signal_mv, rate_hz=rate_hz)["rate"].passed is passes


@pytest.mark.parametrize("peak_mv", [0.5e-3, 20e-3, 1.0, 5.0])
def test_extracellular_voltages_are_plausible(checked, peak_mv):
    time_s = np.arange(5000)[:, None] / 1000
    assert checked(peak_mv * np.sin(2 * np.pi * np.array([7.0, 9.0, 11.0]) * time_s))["unit_range"].passed


@pytest.mark.parametrize(
    ("times", "stated", "likely"),
    [(1e3, "mV", "uV"), (1e6, "mV", "nV"), (1e-3, "mV", "V"), (1e3, "V", "mV"), (1e6, "V", "uV")],
)
def test_membrane_potentials_in_another_unit_are_refused_with_the_likely_one(checked, signal_mv, times, stated, likely):
    check = checked(signal_mv * times, facts={"unit": stated})["unit_range"]
    assert not check.passed
    assert check.severity is Severity.ERROR
    assert re.search(rf"unit {stated}\..*`unit: {likely}`", check.message)


@pytest.mark.parametrize(("times", "likely"), [(1e3, "uV"), (1e6, "nV"), (1e-3, "V")])
def test_extracellular_voltages_in_another_unit_are_refused(checked, signal_mv, times, likely):
    extracellular_mv = (signal_mv - signal_mv.mean(axis=0)) * 5e-3
    assert f"`unit: {likely}`" in checked(extracellular_mv * times)["unit_range"].message


def test_a_single_odd_channel_is_only_warned_of(checked, signal_mv):
    signal_mv[:, 1] *= 1e3
    check = checked(signal_mv)["unit_range"]
    assert check.severity is Severity.WARN
    assert check.message.endswith("channels ch1.")


def test_the_unit_check_can_be_switched_off(checked, signal_mv):
    assert checked(signal_mv * 1e3, QualitySettings(check_unit_range=False))["unit_range"].passed


@pytest.mark.parametrize(("n_samples", "passes"), [(3799, False), (3800, True)])
def test_three_seconds_must_be_left_after_trimming(checked, make_signal, n_samples, passes):
    assert checked(make_signal(n_samples))["duration"].passed is passes


def test_all_errors_are_named_together(recording_of, signal_mv):
    signal_mv[0, 0] = np.nan
    report = check_quality(recording_of(signal_mv[:100]), QualitySettings(), ConditioningSettings())
    with pytest.raises(RecordingError, match=r"finite: 1 .*duration: .*\b0\.1 s\b.*3\.8 s") as refused:
        report.demand()
    assert refused.value.code == "quality-check-failed"


@pytest.mark.usefixtures("chunks_of_500")
@pytest.mark.parametrize("times", [6.0, 1 / 6])
def test_a_channel_six_times_noisier_or_quieter_than_the_others_is_warned_of(checked, signal_mv, times):
    signal_mv[:, 1] = -60 + times * (signal_mv[:, 1] + 60)
    check = checked(signal_mv)["noise"]
    assert not check.passed
    assert check.severity is Severity.WARN
    assert "ch1" in check.message
    assert check.figures["noise_outliers"] == 1
    assert check.figures["median_noise_mv"] == pytest.approx(4, rel=0.05)


def test_artefacts_do_not_make_a_channel_noisy(checked, signal_mv):
    signal_mv[::50, 1] += 50
    assert checked(signal_mv)["noise"].passed


@pytest.mark.parametrize("chunk_values", [1500, 1 << 20])
@pytest.mark.parametrize("line_hz", [50, 60])
def test_the_share_of_the_variance_that_is_hum_is_told(checked, make_signal, monkeypatch, line_hz, chunk_values):
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", chunk_values)
    signal_mv = make_signal(20_000)
    # Noise of 16 mV2, and a sine of 2 mV: 2 mV2, hence a ninth of the whole.
    time_s = np.arange(20_000) / 1000
    signal_mv[:, 2] += 2 * np.sin(2 * np.pi * line_hz * time_s + 1)
    check = checked(signal_mv)["hum"]
    assert not check.passed
    assert check.severity is Severity.WARN
    assert re.search(rf"\b{line_hz} Hz, .*channels ch2\.", check.message)
    assert check.figures[f"largest_share_{line_hz}_hz"] == pytest.approx(1 / 9, rel=0.15)
    assert check.figures[f"largest_share_{110 - line_hz}_hz"] < 0.01


def test_a_flat_channel_does_not_hum(checked, signal_mv):
    signal_mv[:, 2] = -55.3
    assert checked(signal_mv)["hum"].passed


def test_a_slow_recording_has_no_room_for_hum(checked, signal_mv):
    assert checked(signal_mv, rate_hz=100.0)["hum"].figures == {"largest_share_50_hz": 0, "largest_share_60_hz": 0}


@pytest.mark.usefixtures("chunks_of_500")
def test_a_mean_that_wanders_off_is_told_in_sds_of_the_calibration(checked, signal_mv):
    signal_mv[4000:4500, 0] += 20  # a tenth of the recording, five SDs
    check = checked(signal_mv)["drift"]
    assert check.severity is Severity.WARN
    assert "channels ch0." in check.message
    assert check.figures["largest_drift_sd"] == pytest.approx(5, abs=0.3)
    assert check.figures["drifting_channels"] == 1


@pytest.mark.parametrize(
    ("n_dropped", "passed", "severity"), [(0, True, "warn"), (50, False, "warn"), (500, False, "error")]
)
def test_samples_that_time_stamps_miss_are_counted(checked, signal_mv, n_dropped, passed, severity):
    check = checked(signal_mv, facts={"dropped_samples": n_dropped})["dropped"]
    assert (check.passed, check.severity.value) == (passed, severity)
    assert check.figures == {"dropped_samples": n_dropped, "dropped_share": n_dropped / (5000 + n_dropped)}
