"""Who is held out, and that nothing is shared between splits."""

import pytest

from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.splits import Role, Split, SplitSpan, assign_roles, recording_spans

SETTINGS = WindowSettings(context_samples=10, horizons_samples=(1, 5), stride_samples=1)


def keys(n: int, organoid: str = "o1") -> list[str]:
    return [f"{organoid}--r{number:02d}" for number in range(n)]


def counts(roles: dict[str, Role]) -> tuple[int, int, int]:
    given = list(roles.values())
    return given.count(Role.TRAIN), given.count(Role.VALIDATION), given.count(Role.TEST)


def test_the_third_recording_is_held_out_and_the_fifth_validates():
    roles = assign_roles(keys(5), SETTINGS)
    assert list(roles.values()) == [Role.TRAIN, Role.TRAIN, Role.TEST, Role.TRAIN, Role.VALIDATION]


def test_fifty_recordings_are_divided_by_the_shares():
    train, validation, test = counts(assign_roles(keys(50), SETTINGS))
    assert train + validation + test == 50
    assert (validation, test) in {(7, 8), (8, 7)}  # 15 % of 50 is 7.5


def test_a_recording_keeps_its_role_when_others_arrive():
    early = assign_roles(keys(5), SETTINGS)
    late = assign_roles(keys(12), SETTINGS, former=early)
    assert {key: late[key] for key in early} == early
    assert late == assign_roles(keys(12), SETTINGS)


def test_each_organoid_has_held_out_recordings_of_its_own():
    roles = assign_roles([*keys(5, "a"), *keys(5, "b")], SETTINGS)
    for organoid in "ab":
        assert counts({key: role for key, role in roles.items() if key.startswith(organoid)}) == (3, 1, 1)


def test_the_end_of_a_training_recording_is_held_out_behind_a_gap_of_context_and_horizon():
    spans = recording_spans(1000, Role.TRAIN, SETTINGS, calibration_samples=100)
    assert spans == (SplitSpan(0, 850 - 15, Split.TRAIN), SplitSpan(850, 1000, Split.TIME))


def test_without_validation_recordings_validation_is_cut_out_of_training_recordings():
    spans = recording_spans(1000, Role.TRAIN, SETTINGS, calibration_samples=100, validate_in_time=True)
    assert spans == (
        SplitSpan(0, 850 - 15 - 150 - 15, Split.TRAIN),
        SplitSpan(850 - 15 - 150, 850 - 15, Split.VALIDATION),
        SplitSpan(850, 1000, Split.TIME),
    )


@pytest.mark.parametrize("role", [Role.TEST, Role.VALIDATION])
def test_the_first_held_out_target_lies_behind_the_calibration_span(role: Role):
    (span,) = recording_spans(1000, role, SETTINGS, calibration_samples=100)
    first_target = span.start_sample + SETTINGS.context_samples
    assert first_target == 100
    assert span.stop_sample == 1000


def test_no_span_holds_a_gap():
    spans = recording_spans(1000, Role.TEST, SETTINGS, calibration_samples=100, segment_starts=(0, 300, 700))
    assert [(span.start_sample, span.stop_sample) for span in spans] == [(90, 300), (300, 700), (700, 1000)]


def test_organoids_are_held_out_with_all_their_recordings():
    settings = WindowSettings(hold_out="organoids")
    early = assign_roles([key for name in "abcde" for key in keys(2, name)], settings)
    by_organoid = {name: {early[key] for key in keys(2, name)} for name in "abcde"}
    assert by_organoid == {
        "a": {Role.TRAIN},
        "b": {Role.TRAIN},
        "c": {Role.TEST},
        "d": {Role.TRAIN},
        "e": {Role.VALIDATION},
    }
    late = assign_roles(keys(5, "c"), settings, former=early)
    assert late | early == late
    assert {late[key] for key in keys(5, "c")} == {Role.TEST}
