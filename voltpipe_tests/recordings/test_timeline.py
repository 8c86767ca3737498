"""Rate and gaps from time stamps, whatever chunks they come in."""

import numpy as np
import pytest

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.timeline import Timeline


def timeline_of(*chunks_s):
    timeline = Timeline()
    for chunk in chunks_s:
        timeline.add(np.array(chunk, dtype=np.float64))
    return timeline.finish()


def test_a_gap_between_two_chunks_is_found():
    assert timeline_of([0.0, 0.1, 0.2], [], [1.0, 1.1], [1.2]) == (10.0, (0, 3), 7)


def test_the_rate_is_exact_over_a_long_recording_of_rounded_stamps():
    stamps = np.round(np.arange(100_000) / 12_500, 5)
    rate_hz, starts, _ = timeline_of(*np.split(stamps, 10))
    assert rate_hz == pytest.approx(12_500, rel=1e-6)
    assert starts == (0,)


@pytest.mark.parametrize("stamps", [[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
def test_stamps_that_do_not_increase_are_refused(stamps):
    with pytest.raises(RecordingError, match="do not increase"):
        timeline_of(stamps)


def test_a_missing_stamp_is_named():
    with pytest.raises(RecordingError, match="time stamp of sample 3 is no number"):
        timeline_of([0.0, 0.1, 0.2, np.nan, 0.4])


def test_samples_missing_in_gaps_are_counted():
    assert timeline_of([0, 1, 2, 3, 7, 8, 9, 12]) == (1, (0, 4, 7), 5)
