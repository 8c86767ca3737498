"""Promotions, refusals and rollbacks are atomic, logged and reversible, also with several processes at once."""

import json
import subprocess
import sys
from dataclasses import replace
from signal import SIGKILL

import pytest

from voltpipe.tracking.audit_log import Action, AuditLog
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.model_registry import load_forecaster, version_tags
from voltpipe.tracking.promotion import ChampionMovedError, apply_decision, roll_back, rollback_target
from voltpipe.tracking.promotion_reasons import NoChampion, NoScoresByRecording, PublishedProtocol
from voltpipe.tracking.promotion_rules import PromotionDecision

pytestmark = pytest.mark.slow

BETTER = PromotionDecision(True, (NoChampion(),))
WORSE = PromotionDecision(False, (PublishedProtocol(), NoScoresByRecording()))


@pytest.fixture
def log(store):
    return AuditLog.of(store)


@pytest.fixture
def two_champions(store, new_version, promote):
    """Make version 1 champion, then version 2."""
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)


def first_mv(store, history_mv, uri="voltage-forecaster@champion"):
    """Return the first channel's deviation from -60 mV after one sample, in mV; it was 10 mV before."""
    return float(load_forecaster(uri, store).predict_mv(history_mv)[0, 0, 0]) + 60


def test_the_audit_log_records_who_did_what_when_and_why(store, new_version, log):
    first, second = new_version(0.5), new_version(0.6)
    apply_decision(store, first.version, BETTER, who="ada")
    apply_decision(store, second.version, replace(WORSE, against="1"), who="nightly_retraining")
    promoted, refused = log.entries()
    assert (promoted.action, promoted.champion_before, promoted.champion_after) == (Action.PROMOTED, None, "1")
    assert (refused.action, refused.champion_before, refused.champion_after) == (Action.REFUSED, "1", "1")
    assert (refused.version, refused.who, refused.why) == ("2", "nightly_retraining", WORSE.reason)
    assert promoted.at_utc <= refused.at_utc
    assert promoted.line.endswith(f"version 1 promoted (champion none -> 1) by ada: {NoChampion().text}")
    assert (promoted.codes, refused.codes) == (
        ("no-champion",),
        ("published-protocol", "scores-by-recording-missing"),
    )
    tags = version_tags(store, "2")
    assert (tags["gate.decision"], tags["gate.by"]) == ("refused", "nightly_retraining")
    assert (tags["gate.reason"], tags["gate.codes"]) == (
        WORSE.reason,
        "published-protocol, scores-by-recording-missing",
    )
    page = store.client.get_registered_model("voltage-forecaster").description
    assert "version 2 refused (champion stays 1) by nightly_retraining" in page


def test_promoting_the_champion_again_writes_no_second_line(store, new_version, promote, log):
    version = new_version().version
    promote(store, version)
    promote(store, version)
    assert len(log.entries()) == 1


def test_a_decision_against_a_former_champion_is_not_applied(store, new_version, two_champions, log, aliases):
    third = new_version(0.7)
    with pytest.raises(ChampionMovedError, match=r"champion 1\b.*\bnow 2\b") as moved:
        apply_decision(store, third.version, replace(BETTER, against="1"), who="late")
    assert moved.value.code == "champion-moved"
    assert aliases() == {"champion": "2", "previous": "1", "challenger": "3"}
    assert len(log.entries()) == 2


def test_a_rollback_swaps_champion_and_previous_and_forecasts_change_at_once(
    store, two_champions, history_mv, aliases, log
):
    assert first_mv(store, history_mv) == pytest.approx(6)
    roll_back(store, who="ada", why="it hums")
    assert aliases() == {"champion": "1", "previous": "2"}
    assert first_mv(store, history_mv) == pytest.approx(5)
    assert log.entries()[-1].line.endswith("version 1 rolled back (champion 2 -> 1) by ada: it hums")
    assert version_tags(store, "2")["rolled_back"].endswith("by ada: it hums")
    assert rollback_target(store, "2").who == "ada"
    roll_back(store, who="bob", why="it was the fan")
    assert aliases() == {"champion": "2", "previous": "1"}
    assert rollback_target(store, "2") is None


def test_a_rollback_can_restore_any_earlier_champion(store, new_version, promote, two_champions, aliases):
    promote(store, new_version(0.7).version)
    roll_back(store, to="1", who="ada", why="the last good one")
    assert aliases() == {"champion": "1", "previous": "3"}


def archive(store, version):
    with pytest.warns(FutureWarning):
        store.client.transition_model_version_stage("voltage-forecaster", version, "Archived")


@pytest.mark.parametrize(
    ("to", "before", "code", "others"),
    [
        (
            None,
            lambda store: store.client.delete_model_version("voltage-forecaster", "1"),
            "no-previous-champion",
            "Train",
        ),
        (
            "1",
            lambda store: store.client.delete_model_version("voltage-forecaster", "1"),
            "version-not-registered",
            "Train",
        ),
        ("1", lambda store: archive(store, "1"), "version-archived", "VERSION' accepts 1"),
        ("2", lambda store: None, "already-champion", "VERSION' accepts 1"),
        ("3", lambda store: None, "never-champion", "VERSION' accepts 1"),
        ("9", lambda store: None, "version-not-registered", "VERSION' accepts 1"),
    ],
)
def test_the_error_for_a_version_that_cannot_be_restored_names_those_that_can(
    store, new_version, two_champions, aliases, log, to, before, code, others
):
    new_version(0.7)
    before(store)
    with pytest.raises(TrackingError, match=others) as refused:
        roll_back(store, to=to, who="ada", why="to see")
    assert refused.value.code == code
    assert f"ersion {to or 2} " in f"{refused.value} ".replace(".", " ")
    assert aliases()["champion"] == "2"
    assert len(log.entries()) == 2


def test_a_champion_set_by_hand_in_mlflow_is_logged(store, new_version, two_champions, log):
    third = new_version(0.7)
    store.client.set_registered_model_alias("voltage-forecaster", "champion", third.version)
    apply_decision(store, "2", replace(WORSE, against="3"), who="ada")
    found, refused = log.entries()[2:]
    assert (found.action, found.champion_before, found.champion_after) == (Action.MOVED_OUTSIDE, "2", "3")
    assert refused.champion_before == "3"


def test_an_incomplete_line_is_skipped_and_the_next_is_complete(store, two_champions, log):
    with log.path.open("ab") as file:
        file.write(b'{"entry_id": "torn", "at')
    roll_back(store, who="ada", why="it hums")
    assert [entry.action for entry in log.entries()] == [Action.PROMOTED, Action.PROMOTED, Action.ROLLED_BACK]
    assert log.damaged_lines() == (3,)
    assert json.loads(log.path.read_bytes().splitlines()[3])["who"] == "ada"


APPLY_DECISION = """
import os, signal, sys
from pathlib import Path
from voltpipe.tracking import promotion
from voltpipe.tracking.promotion_rules import PromotionDecision
from voltpipe.tracking.promotion_reasons import NoChampion
from voltpipe.tracking.mlflow_store import TrackingStore

folder, version, killed = sys.argv[1:]
store = TrackingStore(Path(folder))
store.client
if killed == "killed":
    promotion._apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
print("ready", flush=True)
sys.stdin.readline()
try:
    promotion.apply_decision(store, version, PromotionDecision(True, (NoChampion(),), against="1"), who=version)
except promotion.ChampionMovedError as error:
    print(error.code)
"""


def start_deciding(store, version, killed="alive"):
    arguments = [sys.executable, "-W", "ignore", "-c", APPLY_DECISION, str(store.folder), version, killed]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_only_one_of_two_simultaneous_promotions_succeeds_and_a_killed_one_is_completed_by_the_next(
    store, new_version, promote, log, aliases
):
    versions = [new_version(weight).version for weight in (0.5, 0.6, 0.7)]
    promote(store, versions[0])
    processes = [start_deciding(store, version) for version in versions[1:]]
    processes.append(start_deciding(store, versions[1], "killed"))
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    *rivals, to_be_killed = processes
    for process in rivals:
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=60)[0] for process in rivals]
    assert [process.returncode for process in rivals] == [0, 0]
    assert sorted(each.strip() for each in printed) == ["", "champion-moved"]
    winner = log.entries()[-1].version
    assert [entry.champion_after for entry in log.entries()] == ["1", winner]
    assert aliases()["champion"] == winner

    roll_back(store, who="ada", why="both hum")
    to_be_killed.communicate("go\n", timeout=60)
    assert to_be_killed.returncode == -SIGKILL
    assert aliases()["champion"] == "1"  # the audit log has the line, but MLflow is not updated yet
    apply_decision(store, versions[2], replace(WORSE, against=versions[1]), who="the next")
    assert aliases()["champion"] == versions[1]
    assert log.entries()[-1].champion_before == versions[1]
