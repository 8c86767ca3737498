"""Filters never look ahead, remember across pieces, and pass what they say they pass."""

import re

import numpy as np
import pytest
from scipy import signal

from voltpipe.recordings.conditioning.filters import design_filter
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, Profile

RATE_HZ = 20_000.0
SPIKES = ConditioningSettings(profile=Profile.SPIKES)
LFP = ConditioningSettings(profile=Profile.LFP)


def filtered(settings, samples_mv, pieces=(), rate_hz=RATE_HZ):
    run = design_filter(settings, rate_hz).begin()
    return np.concatenate([run(piece) for piece in np.split(samples_mv, pieces) if len(piece)])


def noise_mv(n_samples=40_000, seed=0):
    return np.random.default_rng(seed).standard_normal((n_samples, 1)).astype(np.float32)


def sine_mv(frequency_hz, seconds=2, rate_hz=RATE_HZ):
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.sin(2 * np.pi * frequency_hz * time_s)[:, None].astype(np.float32)


def gain(settings, frequency_hz, rate_hz=RATE_HZ):
    """What becomes of a sine's amplitude once the filter has settled."""
    given = filtered(settings, sine_mv(frequency_hz, rate_hz=rate_hz), rate_hz=rate_hz)
    return np.sqrt(2) * given[len(given) // 2 :].std()


@pytest.mark.parametrize("settings", [ConditioningSettings(), SPIKES, LFP], ids=lambda settings: settings.profile)
@pytest.mark.parametrize("pieces", [[1], [7, 8, 3000], list(range(13, 40_000, 997))], ids=["one", "few", "many"])
def test_pieces_of_any_length_give_the_same(settings, pieces):
    samples_mv = noise_mv()
    np.testing.assert_allclose(filtered(settings, samples_mv, pieces), filtered(settings, samples_mv), atol=1e-5)


@pytest.mark.parametrize(("settings", "taken_per_given"), [(SPIKES, 1), (LFP, 20)], ids=["spikes", "lfp"])
@pytest.mark.parametrize("changed", [20_001, 20_013])
def test_no_later_sample_changes_what_was_given_before_it(settings, taken_per_given, changed):
    samples_mv = noise_mv()
    before = filtered(settings, samples_mv)
    samples_mv[changed:] += 1000
    unchanged = -(-changed // taken_per_given)
    after = filtered(settings, samples_mv)
    np.testing.assert_array_equal(after[:unchanged], before[:unchanged])
    assert not np.array_equal(after, before)


def future_r2(filtered_mv, white_mv, past=32):
    """How well white noise is told from what the filter gave before it, up to five samples ahead."""
    history = np.lib.stride_tricks.sliding_window_view(filtered_mv[:, 0].astype(np.float64), past)
    scores = []
    for ahead in (1, 2, 5):
        target = white_mv[past - 1 + ahead :, 0].astype(np.float64)
        known = history[: len(target)]
        half = len(target) // 2
        weights = np.linalg.lstsq(known[:half], target[:half], rcond=None)[0]
        missed = target[half:] - known[half:] @ weights
        scores.append(1 - np.mean(missed**2) / np.mean(target[half:] ** 2))
    return max(scores)


def test_white_noise_stays_unpredictable_which_it_does_not_after_a_zero_phase_filter():
    white_mv = noise_mv(20_000)
    sections = signal.butter(2, (300, 3000), "bandpass", fs=RATE_HZ, output="sos")
    assert future_r2(signal.sosfiltfilt(sections, white_mv, axis=0), white_mv) > 0.15
    assert abs(future_r2(filtered(SPIKES, white_mv), white_mv)) < 0.01


@pytest.mark.parametrize(("frequency_hz", "expected"), [(10, 0), (300, 0.707), (1000, 1), (3000, 0.707), (9500, 0)])
def test_the_band_of_spikes_passes_and_nothing_else(frequency_hz, expected):
    assert gain(SPIKES, frequency_hz) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("rate_hz", [20_000.0, 12_500.0, 1000.0])
@pytest.mark.parametrize(("frequency_hz", "expected"), [(10, 1), (290, 1)])
def test_slow_voltages_pass_whole(rate_hz, frequency_hz, expected):
    assert gain(LFP, frequency_hz, rate_hz) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("frequency_hz", [510, 990, 1010, 7777])
def test_what_the_new_rate_cannot_hold_is_not_folded_into_it(frequency_hz):
    assert gain(LFP, frequency_hz) < 0.0015  # -60 dB, with a margin


@pytest.mark.parametrize(("rate_hz", "n_given"), [(20_000.0, 50), (12_500.0, 80), (1000.0, 1000)])
def test_an_output_stands_at_every_period_from_the_first_sample_on(rate_hz, n_given):
    assert len(filtered(LFP, noise_mv(1000), [333], rate_hz)) == n_given


@pytest.mark.parametrize(("settings", "stands_at_mv"), [(SPIKES, 0), (LFP, -65)], ids=["spikes", "lfp"])
def test_a_constant_offset_rings_nowhere(settings, stands_at_mv):
    given = filtered(settings, np.full((2000, 1), -65, np.float32))
    np.testing.assert_allclose(given, stands_at_mv, atol=1e-3)


def test_the_delay_is_what_the_steps_state():
    design_lfp = design_filter(LFP, RATE_HZ)
    (stated_ms,) = [float(re.search(r"([\d.]+) ms", step)[1]) for step in design_lfp.steps if "delay" in step]
    slow = sine_mv(20)
    given = filtered(LFP, slow)[1000:, 0]
    shifts = np.arange(0, 30, 0.01)
    time_ms = np.arange(1000, 1000 + len(given))
    misfit = [np.abs(given - np.sin(2 * np.pi * 0.02 * (time_ms - shift_ms))).max() for shift_ms in shifts]
    assert shifts[np.argmin(misfit)] == pytest.approx(stated_ms, abs=0.05)


def test_a_rate_that_a_profile_cannot_use_is_refused_with_what_to_set():
    with pytest.raises(RecordingError, match=r"6000 Hz.*spikes_highest_hz") as refused:
        design_filter(SPIKES, 1000.0)
    assert refused.value.code == "rate-too-low-for-profile"
    with pytest.raises(RecordingError, match=r"1000 Hz.*lfp_rate_hz.*987\.69") as refused:
        design_filter(LFP, 19_753.8)
    assert refused.value.code == "rate-not-resamplable"
    with pytest.raises(RecordingError, match=r"500 Hz.*1000 Hz") as refused:
        design_filter(LFP, 500.0)
    assert refused.value.code == "rate-not-resamplable"
