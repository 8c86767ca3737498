"""Which held-out recordings decide, by what the champion and the candidate learned from."""

import pytest

from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.lifecycle import tracked_run
from voltpipe.tracking.lineage import BEGAN_FROM_TAG, Lineage, lineages
from voltpipe.tracking.run import RunInput
from voltpipe.tracking.targets import choose_targets

HELD_OUT = {f"org--{number}": f"{number}" * 64 for number in range(1, 8)}


def knew(**roles):
    return Lineage({HELD_OUT[f"org--{name[1:]}"][:32]: role for name, role in roles.items()}, time_fraction=0.15)


def chosen(champion=(), candidate=(), *, regime=Regime.TEST, time_fraction=0.15, fresh=5):
    return choose_targets(HELD_OUT, champion, candidate, regime, time_fraction, fresh_recordings=fresh)


def test_what_either_learned_from_does_not_decide():
    targets = chosen([knew(r1="train", r2="test")], [knew(r3="validation")])
    assert targets.recordings == {"org--2", "org--4", "org--5", "org--6", "org--7"}
    assert not targets.all_fresh


def test_what_came_after_the_champion_decides_alone_where_there_is_enough_of_it():
    champion = knew(r1="test", r2="test")
    assert chosen([champion]).recordings == HELD_OUT.keys() - {"org--1", "org--2"}
    assert chosen([champion]).guarded == HELD_OUT.keys()
    assert chosen([champion]).all_fresh
    assert chosen([champion], fresh=6).recordings == HELD_OUT.keys()


def test_a_champion_of_which_nothing_is_told_makes_nothing_fresh():
    for champion in ([], [Lineage({}, 0.15)]):
        assert not chosen(champion).all_fresh


def test_the_candidate_knows_its_own_held_out_recordings_and_they_are_fresh_all_the_same():
    candidate = knew(**{f"r{number}": "test" for number in range(1, 8)})
    assert chosen([knew(r1="train")], [candidate]).all_fresh


def test_the_end_of_a_recording_decides_if_the_champion_held_out_as_much_of_it():
    champion = knew(r1="train", r2="validation")
    assert chosen([champion], regime=Regime.TIME, fresh=9).recordings == HELD_OUT.keys() - {"org--2"}
    longer = chosen([champion], regime=Regime.TIME, time_fraction=0.3, fresh=9)
    assert longer.recordings == HELD_OUT.keys() - {"org--1", "org--2"}


@pytest.fixture
def trained(store, tmp_path):
    """A run that trained on one recording."""

    def train(digest, **tags):
        with tracked_run(store, name="training", identity=digest, tags=tags) as run:
            run.log_parameters({"windows": {"time_fraction": 0.2}})
            run.log_inputs([RunInput(f"org--{digest}", digest * 64, "train", tmp_path / digest)])
        return run.run_id

    return train


def test_lineage_goes_back_through_the_weights_that_a_training_began_with(store, trained):
    first = trained("1")
    second = trained("2", **{BEGAN_FROM_TAG: first})
    own, earlier = lineages(store, second)
    assert own == Lineage({"2" * 32: "train"}, 0.2)
    assert earlier.learned_from("1" * 64, Regime.TEST, 0.15)


def test_a_run_that_is_gone_tells_nothing(store, trained):
    only = trained("3", **{BEGAN_FROM_TAG: "0" * 32})
    assert len(lineages(store, only)) == 1
    assert lineages(store, None) == ()
