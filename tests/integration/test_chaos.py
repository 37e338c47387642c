"""The short form of `make chaos`: kills everywhere and the faults that have found something, once each."""

import os
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.faults import FAULTS, Stage
from tests.chaos.kills import ANY_MOMENT, OF_WORKERS, kill_replays, kill_workers
from tests.chaos.scene import Outcome
from tests.chaos.stream import make
from tests.integration.broker import Broker
from tests.integration.program import Ground

SEED, EVENTS, KILLS, SCALE = 1, 4_000, 12, 0.15


@pytest.fixture(scope="module")
def stage(ground: Ground, kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A stream, and the tables of a clean run."""
    stream = make(tmp_path_factory.mktemp("chaos"), events=EVENTS, seed=SEED)
    return Stage(ground, kafka, stream, SEED, SCALE)


def held(outcome: Outcome) -> None:
    """The guarantee held."""
    assert outcome.is_good, outcome


def test_workers_killed_at_every_failpoint_and_any_moment_lose_and_double_nothing(stage: Stage) -> None:
    outcome = kill_workers(stage.ground, stage.stream, OF_WORKERS, KILLS, SEED)
    held(outcome)
    assert outcome.kills >= KILLS


@pytest.mark.parametrize("point, kills", [("fed", 1), (ANY_MOMENT, 2)])
def test_a_replay_killed_and_started_again_ends_as_a_clean_one(
    stage: Stage, tmp_path: Path, point: str, kills: int
) -> None:
    held(kill_replays(tmp_path, stage.stream, point, kills, SEED))


def test_a_worker_that_sleeps_through_losing_its_partitions_changes_nothing_when_it_wakes(stage: Stage) -> None:
    held(faults.asleep(stage))


@pytest.mark.parametrize("fault", ["clickhouse-500s", "clickhouse-forgets"])
def test_a_database_that_fails_is_waited_for(stage: Stage, fault: str) -> None:
    held(FAULTS[fault](stage))


def test_a_clock_that_jumps_turns_the_day_once_and_never_back(stage: Stage) -> None:
    held(faults.clock_jumps(stage))


def test_a_full_disk_under_the_database_loses_nothing(stage: Stage) -> None:
    if os.geteuid() != 0 and "SELLERPULSE_CI" not in os.environ:
        pytest.skip("needs root, to make a small disk")
    held(faults.disk_full_under_database(stage))
