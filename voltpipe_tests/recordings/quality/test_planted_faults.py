"""A fault planted into a good recording of an organoid: its check finds it, no other does, and the verdict follows."""

import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.recording_records import RecordingStatus, catalogue
from voltpipe.recordings.settings import ConditioningSettings

TIME_S = np.arange(5000) / 1000
KEY = RecordingKey("org", "planted")


def changed(rows, columns, change):
    def plant(signal_mv):
        signal_mv[rows, columns] = change(signal_mv[rows, columns])
        return {"data": signal_mv}

    return plant


def stamped(*jumps):
    """Time stamps that jump by so many s at a sample."""

    def plant(signal_mv):
        stamps = TIME_S.copy()
        for sample, jump_s in jumps:
            stamps[sample:] += jump_s
        return {"data": signal_mv, "timestamps": stamps}

    return plant


PLANTED = {
    "NaN": (changed(700, 1, lambda _: np.nan), {"finite": "error"}),
    "infinite": (changed(4999, 1, lambda _: np.inf), {"finite": "error"}),
    "a short gap, which is dropped samples": (stamped((3000, 0.02)), {"gaps": "warn", "dropped": "warn"}),
    "a tenth of the samples dropped": (stamped((1500, 0.3), (3000, 0.3)), {"gaps": "warn", "dropped": "error"}),
    "NaN in time stamps": (stamped((3000, np.nan)), None),
    "stamps that go back": (stamped((3000, -1.0)), None),
    "rate that changes midway": (
        lambda signal_mv: {"data": signal_mv, "timestamps": np.where(TIME_S < 2, TIME_S, 2 + (TIME_S - 2) * 3.3)},
        None,
    ),
    "a channel saturated at times": (changed(slice(2000, 2030), 0, lambda _: -30), {"clipping": "warn"}),
    "saturated": (changed(slice(None), 0, lambda own: np.minimum(own, -67)), {"clipping": "error", "noise": "warn"}),
    "flat": (changed(slice(None), 2, lambda _: -55), {"flat": "error"}),
    "all flat": (changed(slice(None), slice(None), lambda _: -55), {"flat": "error"}),
    "loud": (changed(slice(None), 1, lambda own: 6 * (own + 60) - 60), {"noise": "warn"}),
    "dead": (changed(slice(None), 1, lambda own: (own + 60) / 6 - 60), {"noise": "warn"}),
    "50 Hz": (changed(slice(None), 2, lambda own: own + 2 * np.sin(2 * np.pi * 50 * TIME_S)), {"hum": "warn"}),
    "60 Hz": (changed(slice(None), 2, lambda own: own + 2 * np.sin(2 * np.pi * 60 * TIME_S)), {"hum": "warn"}),
    "drift": (changed(slice(None), 0, lambda own: own + 4 * np.maximum(TIME_S - 2.8, 0) ** 2), {"drift": "warn"}),
    "in another unit": (changed(slice(None), slice(None), lambda own: own * 1000), {"unit_range": "error"}),
    "too short": (lambda signal_mv: {"data": signal_mv[:3000]}, {"duration": "error"}),
    "two channels of three": (lambda signal_mv: {"data": signal_mv[:, :2]}, {"alike": "warn"}),
    "another rate": (lambda signal_mv: {"data": signal_mv, "rate": 1250.0}, {"alike": "warn"}),
}


@pytest.mark.parametrize(("plant", "expected"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_by_its_check_alone(lake, put_raw, writers, make_signal, plant, expected):
    put_raw("good.npz", make_signal(5000, seed=1))
    condition_raw(lake, RecordingKey("org", "good"), ConditioningSettings())
    planted = plant(make_signal(5000))
    writers["nwb"](lake.raw / "org" / "planted.nwb", planted.pop("data"), **planted)
    condition_raw(lake, KEY, ConditioningSettings())
    good, entry = catalogue(lake)
    assert (good.key.recording, good.standing) == ("good", RecordingStatus.OK)
    found = {doubt.name: doubt.severity.value for doubt in entry.doubts}
    assert found == (expected or {})
    is_refused = expected is None or "error" in expected.values()
    assert entry.standing is (RecordingStatus.QUARANTINED if is_refused else RecordingStatus.WARN)
    assert all(name in entry.reason for name, severity in found.items() if severity == "error")


def test_the_second_of_two_recordings_of_the_same_samples_is_refused(lake, put_raw, make_signal):
    for name in ("first.nwb", "second.csv"):
        put_raw(name, make_signal(5000))
        condition_raw(lake, RecordingKey("org", name[:-4]), ConditioningSettings())
    first, second = catalogue(lake)
    assert (first.standing, second.standing) == (RecordingStatus.OK, RecordingStatus.QUARANTINED)
    assert [check.name for check in second.report.errors] == ["duplicate"]
    assert "org--first" in second.reason
