"""Rate and gaps are found from time stamps, independent of the chunks."""

import numpy as np
import pytest

from voltpipe.recordings.formats.timeline import Timeline
from voltpipe.recordings.recording import RecordingError


def timing_of(*chunks_s):
    timeline = Timeline()
    for chunk in chunks_s:
        timeline.add(np.array(chunk, dtype=np.float64))
    return timeline.finish()


def test_a_gap_between_two_chunks_is_found():
    assert timing_of([0.0, 0.1, 0.2], [], [1.0, 1.1], [1.2]) == (10.0, (0, 3), 7)


def test_the_rate_is_exact_over_a_long_recording_of_rounded_stamps():
    stamps = np.round(np.arange(100_000) / 12_500, 5)
    rate_hz, starts, _ = timing_of(*np.split(stamps, 10))
    assert rate_hz == pytest.approx(12_500, rel=1e-6)
    assert starts == (0,)


@pytest.mark.parametrize("stamps", [[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
def test_stamps_that_do_not_increase_are_refused(stamps):
    with pytest.raises(RecordingError) as refused:
        timing_of(stamps)
    assert refused.value.code == "timestamps-not-increasing"


def test_a_missing_stamp_is_located():
    with pytest.raises(RecordingError, match="sample 3 ") as refused:
        timing_of([0.0, 0.1, 0.2, np.nan, 0.4])
    assert refused.value.code == "timestamp-not-finite"


def test_samples_missing_in_gaps_are_counted():
    assert timing_of([0, 1, 2, 3, 7, 8, 9, 12]) == (1, (0, 4, 7), 5)


@pytest.mark.parametrize("border", [5, 30, 33, 35, 50])
def test_a_change_of_rate_is_reported_with_both_rates_for_any_chunks(border):
    stamps = [*np.arange(31) / 1000, *(0.03 + np.arange(1, 30) / 250)]
    with pytest.raises(RecordingError, match=r"sample 30, .*1000 Hz .*250 Hz") as refused:
        timing_of(stamps[:border], stamps[border:])
    assert refused.value.code == "rate-changes"


def test_nine_gaps_in_a_row_are_gaps():
    assert len(timing_of([*np.arange(20), *(19 + 3 * np.arange(1, 10)), 47, 48]).segment_starts) == 10
