"""A dozen messages, complete, as the user reads them: what was found, what was expected and what to do.

Other tests compare codes. These sentences are compared word by word, so that somebody reads them when they change.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from voltpipe.cli.settings_options import settings_from_options
from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.locks import exclusive_lock, read_holder
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.monitoring.retraining_policy import (
    NewRecording,
    RetrainingPolicy,
    RetrainingState,
    decide_retraining,
)
from voltpipe.pipeline.op_config import settings_from_config
from voltpipe.recordings.quality.assess_quality import check_quality
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.tracking.model_registry import load_forecaster
from voltpipe.tracking.promotion_rules import ComparisonSet, decide_promotion
from voltpipe.tracking.settings import ChampionSettings, PromotionSettings, WithoutChampion
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import make_split_manifest

EXPECTED = {
    "unit-missing": (
        "run_0.npy: The unit of the voltages is not known. Give it with the hint `unit` (V, mV, uV, nV or pV)."
    ),
    "rate-unknown": "run_0.npy: The sampling rate is not known. Give it with the hint `rate_hz`.",
    "quality-check-failed": (
        "unit_range: A mean of -0.06 mV and an SD of 0.004 mV are not plausible for the unit mV. "
        "Multiplied by 1000 they would be. Write `unit: V` into the sidecar."
    ),
    "value-not-a-number": "run_0.dat line 2: 'x' is not a number. Correct it.",
    "partition-key-malformed": "Partition key 'run_0' is malformed. Expected '<organoid>--<recording>'.",
    "lake-url-unsupported": (
        "VOLTPIPE_DATA_LAKE is 's3://bucket/lake', but object stores and other hosts are not supported yet. "
        "Expected the path of a folder, or a URL such as file:///data/lake."
    ),
    "lock-held": (
        "{path} is locked by process {pid} on {host} since {since} UTC. Wait until that process ends, or stop it."
    ),
    "no-conditioned-recording": (
        "There is no conditioned recording to train on. Put raw recordings into raw/<organoid>/ (or use `voltpipe "
        "ingest`) and materialize conditioned_recording. quarantine/ has the reasons for refusals."
    ),
    "settings-out-of-bounds": (
        "budget_s = -1.0: Input should be greater than or equal to 1. TrainingSettings refused; nothing was started. "
        "Correct these settings."
    ),
    "option-out-of-bounds": (
        "Invalid options: --budget-s -1.0: Input should be greater than or equal to 1. "
        "Nothing was started; correct them and repeat the command."
    ),
    "version-not-registered": (
        "No forecaster voltage-forecaster/9 is registered in {uri} (versions: 1). "
        "Name another version, or train one with 'voltpipe train'."
    ),
    "champion-fallback-forbidden": (
        "The champion, version 2, was deleted from MLflow or lost its alias. The settings forbid replacing it with "
        "version 1. Restore a former champion with 'voltpipe rollback', or train a new one with 'voltpipe train'."
    ),
    "baseline-not-beaten": ("At 10 ms, the candidate's R2 is 0.640. It must exceed that of autoregression, 0.650."),
    "gain-too-small": (
        "On 3 held-out recordings that neither learned from, mean R2 over 2 ms is 0.7005. "
        "The champion's is 0.7000, so the gain is +0.0005 (between +0.0005 and +0.0005). "
        "Its lower bound must exceed 0.0010."
    ),
    "not-enough": "1 of 5 new recordings, 4.0 of 30 new minutes, since champion version 3",
}
"""The sentences by code. Values that differ from run to run are in braces."""


@contextmanager
def refused(code: str, **values: Any) -> Iterator[None]:
    """Expect an error with this code and its sentence from the block; `values` replace the braces in the sentence."""
    with pytest.raises(VoltpipeError) as caught:
        yield
    assert (caught.value.code, str(caught.value)) == (code, EXPECTED[code].format(**values))


def test_a_unit_that_is_missing(tmp_path):
    np.save(tmp_path / "run_0.npy", np.zeros((10, 3)))
    with refused("unit-missing"):
        open_recording(tmp_path / "run_0.npy", rate_hz=1000)


def test_a_sampling_rate_that_is_not_known(tmp_path):
    np.save(tmp_path / "run_0.npy", np.zeros((10, 3)))
    with refused("rate-unknown"):
        open_recording(tmp_path / "run_0.npy", unit="mV")


def test_voltages_in_another_unit_than_stated(recording_of):
    phase = 2 * np.pi * np.array([7.0, 9.0, 11.0]) * np.arange(5000)[:, None] / 1000
    recording = recording_of(-0.06 + 0.004 * np.sqrt(2) * np.sin(phase), facts={"unit": "mV"})
    with refused("quality-check-failed"):
        check_quality(recording, QualitySettings(), ConditioningSettings()).demand()


def test_a_value_that_is_not_a_number(tmp_path):
    (tmp_path / "run_0.dat").write_text("0 -60 -61\n1 -60 x\n2 -61 -60\n")
    recording = open_recording(tmp_path / "run_0.dat")
    with refused("value-not-a-number"):
        recording.read_mv(0, 3)


def test_a_partition_key_without_its_separator():
    with refused("partition-key-malformed"):
        RecordingKey.parse("run_0")


def test_a_lake_in_an_object_store(monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, "s3://bucket/lake")
    with refused("lake-url-unsupported"):
        Lake.default()


def test_a_lock_that_another_process_holds(tmp_path):
    path = tmp_path / "lock"
    with exclusive_lock(path):
        holder = read_holder(path)
        values = {"pid": holder.pid, "host": socket.gethostname(), "since": holder.since_utc}
        with refused("lock-held", path=path, **values), exclusive_lock(path, wait=False):
            pass


def test_a_split_without_recordings():
    with refused("no-conditioned-recording"):
        make_split_manifest({}, WindowSettings())


def test_a_setting_of_the_launchpad_out_of_bounds():
    with refused("settings-out-of-bounds"):
        settings_from_config(TrainingSettings, {"budget_s": -1.0})


def test_an_option_of_the_command_line_out_of_bounds():
    with refused("option-out-of-bounds"):
        settings_from_options(TrainingSettings, {"budget_s": -1.0})


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own queries
def test_a_version_that_is_not_registered(store, new_version):
    new_version()
    with refused("version-not-registered", uri=store.uri):
        load_forecaster("voltage-forecaster/9", store)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_deleted_champion_that_must_not_be_replaced(store, new_version, promote):
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)
    store.client.delete_model_version("voltage-forecaster", "2")
    with refused("champion-fallback-forbidden"):
        load_forecaster("voltage-forecaster@champion", store, ChampionSettings(without_champion=WithoutChampion.REFUSE))


def test_a_candidate_that_does_not_beat_a_baseline(evaluation):
    decision = decide_promotion(
        evaluation({1: 0.7, 5: 0.64}), None, ComparisonSet(frozenset(), frozenset()), PromotionSettings()
    )
    assert (decision.codes, decision.reason) == (("baseline-not-beaten",), EXPECTED["baseline-not-beaten"])


def test_a_candidate_whose_gain_is_too_small(evaluation):
    recordings = frozenset({"organoid_1--2", "organoid_1--7", "organoid_1--9"})
    decision = decide_promotion(
        evaluation({1: 0.7005}), evaluation({1: 0.7}), ComparisonSet(recordings, recordings), PromotionSettings()
    )
    assert (decision.codes, decision.reason) == (("gain-too-small",), EXPECTED["gain-too-small"])


def test_a_retraining_that_is_not_due():
    new = (NewRecording(key="organoid_1--8", minutes=4.0, changed=False),)
    state = RetrainingState(
        champion="3", new=new, untried=new, tried_by=None, training=None, n_arriving=0, failures=None
    )
    decision = decide_retraining(RetrainingPolicy(), state)
    assert (decision.code, decision.reason) == ("not-enough", EXPECTED["not-enough"])
