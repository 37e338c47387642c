"""`sellerpulse rebuild` as people run it: other settings, the rows of a fresh replay."""

import time
from pathlib import Path

import pytest

from tests.integration.program import DAILY, Program, assert_same, run, sql, succeed

OTHER = ("--settings", "other.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events, and databases of the rows by our settings and by others."""
    folder = tmp_path_factory.mktemp("rebuild")
    (folder / "other.toml").write_text("[metrics]\nshort_days = 12\ncs_min_responses = 5\n")
    simulated = ("--sellers", "40", "--days", "120", "--events", "15000", "--seed", "5")
    succeed(folder, "simulate", *simulated, "-o", "events.jsonl")
    succeed(folder, "replay", "events.jsonl", "--db", "ours")
    succeed(folder, "replay", "events.jsonl", "--db", "theirs", *OTHER)
    return folder


def daily(db: Path) -> str:
    return sql(db, DAILY.format(where=""))


def test_rows_by_other_settings_are_those_of_a_fresh_replay(folder: Path) -> None:
    ours, theirs = daily(folder / "ours"), daily(folder / "theirs")
    assert ours != theirs
    assert "are up to date" in succeed(folder, "rebuild", "--db", "ours", *OTHER)
    assert_same(daily(folder / "ours"), theirs)
    assert "nothing was behind" in succeed(folder, "rebuild", "--db", "ours", *OTHER)
    said = succeed(folder, "verify", "--db", "ours", *OTHER)
    assert said.startswith("every row is right: ")
    assert "are behind" not in said
    assert "are behind" in succeed(
        folder, "verify", "--db", "ours"
    )  # as these settings are not theirs: late, not wrong
    succeed(folder, "rebuild", "--db", "ours")
    assert_same(daily(folder / "ours"), ours)


def test_killed_at_any_moment_it_goes_on_where_it_stopped(folder: Path) -> None:
    theirs = daily(folder / "theirs")
    for after_s in (1.5, 2.0, 2.5):
        with Program(folder, "rebuild", "--db", "ours", *OTHER) as program:
            time.sleep(after_s)
            program.kill()
    succeed(folder, "rebuild", "--db", "ours", *OTHER)
    assert_same(daily(folder / "ours"), theirs)
    succeed(folder, "rebuild", "--db", "ours")


def test_before_there_are_rows_it_says_so(tmp_path: Path) -> None:
    failed = run(tmp_path, "rebuild", "--db", "empty")
    assert (failed.returncode, failed.stderr) == (
        1, "sellerpulse: there are no rows yet: no worker or replay has written any\n",
    )  # fmt: skip
