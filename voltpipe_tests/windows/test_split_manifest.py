"""Which recordings are used, as what, and why others are not."""

import re
import shutil

import dagster as dg
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.assets.windows import recording_split
from voltpipe.pipeline.resources import LakeResource
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import SplitError, SplitManifest, make_split_manifest, split_manifest_path
from voltpipe.windows.splits import Role


def test_every_recording_is_listed_with_its_role_and_the_digests_that_name_it(five_recordings, settings):
    manifest = make_split_manifest(five_recordings, settings)
    assert manifest.of_role(Role.TRAIN) == ("slice--run_0", "slice--run_1", "slice--run_3")
    assert manifest.of_role(Role.TEST) == ("slice--run_2",)
    assert manifest.of_role(Role.VALIDATION) == ("slice--run_4",)
    for entry in manifest.recordings:
        recording = five_recordings[entry.key]
        assert (entry.digest, entry.source_digest) == (recording.digest, recording.source_digest)
        assert entry.n_samples == 1000
    assert manifest.rate_hz == 250
    assert manifest.channel_names == tuple(f"ch{n}" for n in range(8))
    assert manifest.organoids == ("slice",)
    assert manifest.excluded == {}


def test_a_manifest_reads_back_as_it_was_saved(five_recordings, settings, tmp_path):
    manifest = make_split_manifest(five_recordings, settings)
    assert SplitManifest.load(tmp_path) is None
    manifest.save(tmp_path)
    assert SplitManifest.load(tmp_path) == manifest
    assert SplitManifest.load(tmp_path).digest == manifest.digest


@pytest.mark.slow
def test_roles_stick_whatever_io_manager_stores_the_split(five_recordings, settings, tmp_path):
    lake = Lake(tmp_path / "lake")
    for key, recording in five_recordings.items():
        path = lake.conditioned_path(RecordingKey.parse(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recording.path, path)
    (roles := dict.fromkeys(five_recordings, Role.TRAIN))["slice--run_0"] = Role.TEST
    make_split_manifest(five_recordings, settings).model_copy(update={"roles": roles}).save(lake.windows)
    run_config = {"ops": {"recording_split": {"config": settings.model_dump(mode="json")}}}
    resources = {"lake": LakeResource(root=str(lake.root)), "io_manager": dg.mem_io_manager}
    for _ in range(2):
        with dg.instance_for_test() as instance:
            assert dg.materialize([recording_split], instance=instance, resources=resources, run_config=run_config)
    assert SplitManifest.load(lake.windows).of_role(Role.TEST) == ("slice--run_0",)
    assert split_manifest_path(lake.windows).name == "recording_split.json"


def test_recordings_with_other_channels_than_most_are_excluded_with_the_reason(
    five_recordings, conditioned, noise_mv, settings
):
    names = tuple("abcdefgh")
    others = {
        "other--channels": conditioned("other--channels", noise_mv(10), names=names),
        "other--rate": conditioned("other--rate", noise_mv(11), rate_hz=500.0),
        "other--fewer": conditioned("other--fewer", noise_mv(12, n_channels=3)),
    }
    manifest = make_split_manifest({**others, **five_recordings}, settings)
    assert tuple(entry.key for entry in manifest.recordings) == tuple(five_recordings)
    assert manifest.excluded.keys() == others.keys()
    assert re.search("3 channels .*250 Hz .*8 channels .*250 Hz", manifest.excluded["other--fewer"])
    assert re.search("8 channels .*500 Hz .*8 channels .*250 Hz", manifest.excluded["other--rate"])


def test_recordings_conditioned_otherwise_than_most_are_excluded_with_the_reason(
    five_recordings, conditioned, noise_mv, settings
):
    lfp = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=250, trim_ms=0, calibration_s=0.4, minimum_s=0.2)
    trimmed = ConditioningSettings(trim_ms=100, calibration_s=0.5, minimum_s=0.2)
    others = {
        "slice--lfp": conditioned("slice--lfp", noise_mv(10), settings=lfp),
        "slice--trimmed": conditioned("slice--trimmed", noise_mv(11), settings=trimmed),
    }
    manifest = make_split_manifest({**others, **five_recordings}, settings)
    assert manifest.excluded.keys() == {"slice--lfp"}  # trim and calibration are each recording's own
    assert re.search("slice--lfp .*lfp .*membrane", manifest.excluded["slice--lfp"])
    assert manifest.conditioning == {"profile": "membrane", "common_reference": False, "blanking_margin_ms": 5.0}


def test_how_all_were_conditioned_reaches_the_window_set(conditioned, noise_mv, settings, tmp_path):
    lfp = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=250, trim_ms=0, calibration_s=0.4, minimum_s=0.2)
    recordings = {f"a--{n}": conditioned(f"a--{n}", noise_mv(n, 2000), settings=lfp, rate_hz=500.0) for n in range(3)}
    manifest = make_split_manifest(recordings, settings)
    window_set = build_window_set(tmp_path / "set", manifest, recordings)
    assert window_set.conditioning == manifest.conditioning
    assert (window_set.conditioning["profile"], window_set.conditioning["lfp_rate_hz"]) == ("lfp", 250.0)


def test_of_two_equally_common_layouts_it_is_always_the_same(conditioned, noise_mv, settings):
    recordings = {
        key: conditioned(key, noise_mv(n), rate_hz=rate_hz)
        for n, (key, rate_hz) in enumerate([("a--0", 250.0), ("a--1", 250.0), ("b--0", 500.0), ("b--1", 500.0)])
    }
    assert make_split_manifest(recordings, settings) == make_split_manifest(
        dict(reversed(recordings.items())), settings
    )


def test_a_recording_that_is_too_short_for_every_split_is_excluded(five_recordings, conditioned, noise_mv, settings):
    # 15 % of the recording must hold a window of 25 samples: 167 samples are enough.
    short, enough = "slice--short", "slice--enough"
    recordings = {
        **five_recordings,
        short: conditioned(short, noise_mv(20, 166)),
        enough: conditioned(enough, noise_mv(21, 167)),
    }
    manifest = make_split_manifest(recordings, settings)
    assert manifest.excluded.keys() == {short}
    assert re.search(r"slice--short .*\b166 .*\b167 .*\b25\b", manifest.excluded[short])


def test_a_short_recording_does_not_decide_what_most_have(conditioned, noise_mv, settings):
    recordings = {f"a--{n}": conditioned(f"a--{n}", noise_mv(n, 120), rate_hz=125.0) for n in range(3)}
    recordings["b--0"] = conditioned("b--0", noise_mv(9))
    manifest = make_split_manifest(recordings, settings)
    assert manifest.rate_hz == 250
    assert [entry.key for entry in manifest.recordings] == ["b--0"]


def test_roles_stick_when_recordings_come_and_go(five_recordings, conditioned, noise_mv, settings):
    first = make_split_manifest(five_recordings, settings)
    without = {key: recording for key, recording in five_recordings.items() if key != "slice--run_0"}
    earlier = "slice--a_run"  # would come first, and be what run_0 was
    second = make_split_manifest({**without, earlier: conditioned(earlier, noise_mv(7))}, settings, first)
    third = make_split_manifest(five_recordings, settings, second)
    assert {key: second.roles[key] for key in first.roles} == first.roles
    assert third.recordings == first.recordings


def test_the_digest_names_the_data_and_not_what_is_left_out(five_recordings, conditioned, noise_mv, settings):
    manifest = make_split_manifest(five_recordings, settings)
    short = conditioned("other--short", noise_mv(30, 120))
    assert make_split_manifest({**five_recordings, "other--short": short}, settings).digest == manifest.digest
    longer_history = WindowSettings(**settings.model_dump() | {"context_samples": 21})
    assert make_split_manifest(five_recordings, longer_history).digest != manifest.digest
    changed = {**five_recordings, "slice--run_2": conditioned("slice--run_2", noise_mv(31))}
    assert make_split_manifest(changed, settings).digest != manifest.digest


def test_the_preparation_is_named_only_if_all_are_of_it(conditioned, noise_mv, settings):
    simulated = {f"a--{n}": conditioned(f"a--{n}", noise_mv(n), preparation="organoid") for n in range(3)}
    assert make_split_manifest(simulated, settings).preparation == "organoid"
    real = {"a--real": conditioned("a--real", noise_mv(9))}
    assert make_split_manifest({**simulated, **real}, settings).preparation is None
    assert make_split_manifest(real, settings).preparation is None


def test_a_networks_seed_is_known_only_if_all_recordings_of_its_organoid_name_it(conditioned, noise_mv, settings):
    def recorded(seed, **facts):
        return conditioned(f"a--{seed}", noise_mv(seed), preparation="organoid", **facts)

    recordings = {
        "one--0": recorded(0, network_seed=72),
        "one--1": recorded(1, network_seed=72),
        "two--0": recorded(2, network_seed=73),
        "mixed--0": recorded(3, network_seed=72),
        "mixed--1": recorded(4, network_seed=73),
        "silent--0": recorded(5, network_seed=72),
        "silent--1": recorded(6),
    }
    assert make_split_manifest(recordings, settings).network_seeds == {"one": 72, "two": 73}


def test_without_recordings_the_way_to_some_is_named(settings):
    with pytest.raises(SplitError, match=r"raw/<organoid>/.*voltpipe ingest") as refused:
        make_split_manifest({}, settings)
    assert refused.value.code == "no-conditioned-recording"


def test_where_all_are_too_short_each_is_named(conditioned, noise_mv, settings):
    with pytest.raises(SplitError, match=r"a--0 .*120 .*167 ") as refused:
        make_split_manifest({"a--0": conditioned("a--0", noise_mv(0, 120))}, settings)
    assert refused.value.code == "no-usable-recording"


def test_what_was_held_out_once_is_not_trained_on_for_want_of_others(five_recordings, settings):
    former = make_split_manifest(five_recordings, settings)
    held_out = {"slice--run_2": five_recordings["slice--run_2"]}
    with pytest.raises(SplitError, match="slice--run_2") as refused:
        make_split_manifest(held_out, settings, former)
    assert refused.value.code == "no-training-recording"
