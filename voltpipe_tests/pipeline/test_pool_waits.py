"""A command that waits for a pool names the run that holds it, its host and since when."""

import os
import time

import dagster as dg
import pytest

from voltpipe.lake.locks import read_holder
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import pool_waits as module
from voltpipe.pipeline.dagster_home import TRAINING_POOL, open_instance
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.pool_waits import announced_pool_waits, pool_waits
from voltpipe.pipeline.runs import hold_run_lock


@pytest.fixture
def lake(tmp_path, working_directory):
    return Lake(tmp_path / "lake")


@pytest.fixture
def runs(lake):
    """A run that holds the pool of trainings, one that waits for it, and Dagster's instance."""
    with open_instance(lake) as instance:
        job = dg.job(name=TRAIN_JOB)(lambda: None)
        holding, waiting = (instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED) for _ in range(2))
        pools = instance.event_log_storage
        pools.initialize_concurrency_limit_to_default(TRAINING_POOL)
        assert pools.claim_concurrency_slot(TRAINING_POOL, holding.run_id, "step").is_claimed
        assert not pools.claim_concurrency_slot(TRAINING_POOL, waiting.run_id, "step").is_claimed
        yield holding.run_id, waiting.run_id, instance


def test_the_pool_and_the_run_that_holds_it_are_named(lake, runs):
    holding, waiting, instance = runs
    assert pool_waits(lake, instance, holding) == []
    with hold_run_lock(lake, holding):
        since = read_holder(lake.dagster / "running" / holding).since_utc
        (text,) = pool_waits(lake, instance, waiting)
    for fact in (TRAINING_POOL, holding, TRAIN_JOB, os.uname().nodename, f"process {os.getpid()} ", since):
        assert fact in text
    (text,) = pool_waits(lake, instance, waiting)  # a run whose process is unknown is named, too
    assert holding in text
    assert str(os.getpid()) not in text
    instance.event_log_storage.free_concurrency_slots_for_run(holding)
    assert instance.event_log_storage.claim_concurrency_slot(TRAINING_POOL, waiting, "step").is_claimed
    assert pool_waits(lake, instance, waiting) == []


@pytest.mark.slow
def test_a_wait_is_announced_once_and_repeated_while_it_lasts(lake, runs, monkeypatch, capsys):
    _, waiting, instance = runs
    monkeypatch.setattr(module, "_CHECK_S", 0.05)
    with announced_pool_waits(lake, instance, waiting):
        time.sleep(1)
    assert capsys.readouterr().err.count(TRAINING_POOL) == 1
    monkeypatch.setattr(module, "_REPEAT_S", 0.1)
    with announced_pool_waits(lake, instance, waiting):
        time.sleep(2)
    assert capsys.readouterr().err.count(TRAINING_POOL) > 1


def test_a_run_that_waits_for_nothing_is_not_announced(lake, runs, monkeypatch, capsys):
    holding, _, instance = runs
    monkeypatch.setattr(module, "_CHECK_S", 0.05)
    with announced_pool_waits(lake, instance, holding):
        time.sleep(0.5)
    assert capsys.readouterr().err == ""
