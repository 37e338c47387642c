"""What reports last said: kept once told, dropped otherwise, and held by one process."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.events import Parsed
from streams.connectors.polls import Polls

REPORT, ACCOUNT = "feedback-report", "S1|M1"
SAID = {"row": ["7/3/11", 5, None], "at": 1}


def test_what_was_learnt_is_seen_at_once_and_kept_or_dropped(tmp_path: Path) -> None:
    with Polls(tmp_path / "state") as polls:
        polls.open()
        polls.drop()  # of a file just made nothing but what is learnt
        polls.learn(REPORT, ACCOUNT, "o1", SAID)
        assert polls.known(REPORT, ACCOUNT) == {"o1": SAID}
        polls.keep()
        polls.learn(REPORT, ACCOUNT, "o1", {"at": 2})
        polls.learn(REPORT, ACCOUNT, "o2", {"at": 2})
        polls.poll(REPORT, ACCOUNT, 5)
        polls.drop()
        assert polls.known(REPORT, ACCOUNT) == {"o1": SAID}
        polls.learn(REPORT, ACCOUNT, "o1", None)
    with Polls(tmp_path / "state") as polls:
        assert polls.known(REPORT, ACCOUNT) == {"o1": SAID}
        assert polls.polled_ms(REPORT, ACCOUNT) is None
        polls.learn(REPORT, ACCOUNT, "o1", None)
        polls.keep()
    with Polls(tmp_path / "state") as polls:
        assert polls.known(REPORT, ACCOUNT) == {}


@pytest.mark.parametrize("path", [None, Path("state")])
def test_reports_and_accounts_are_kept_apart(tmp_path: Path, path: Path | None) -> None:
    with Polls(path and tmp_path / path) as polls:
        polls.learn(REPORT, ACCOUNT, "o1", 1)
        polls.learn("returns", ACCOUNT, "o1", 2)
        polls.learn(REPORT, "S2|M1", "o1", 3)
        polls.poll(REPORT, ACCOUNT, 5)
        polls.keep()
        assert [polls.known(*of)["o1"] for of in ((REPORT, ACCOUNT), ("returns", ACCOUNT), (REPORT, "S2|M1"))] == [
            1,
            2,
            3,
        ]
        assert [polls.polled_ms(REPORT, account) for account in (ACCOUNT, "S2|M1")] == [5, None]
        polls.poll(REPORT, ACCOUNT, 4)
        assert polls.polled_ms(REPORT, ACCOUNT) == 5


def test_what_is_owed_outlives_the_process_until_it_is_kept(tmp_path: Path) -> None:
    owed = [
        Parsed("feedback", {"event_id": f"e{number}", "comment": "早い", "event_time": 10**12}) for number in range(12)
    ]
    with Polls(tmp_path / "state") as polls:
        polls.learn(REPORT, ACCOUNT, "o1", SAID)
        polls.owe(owed)
    with Polls(tmp_path / "state") as polls:
        assert polls.owed() == owed
        assert polls.known(REPORT, ACCOUNT) == {"o1": SAID}
        polls.drop()
        assert polls.owed() == owed
        polls.keep()
    with Polls(tmp_path / "state") as polls:
        assert polls.owed() == []


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    with Polls(tmp_path / "state") as polls:
        polls.keep()
        polls.drop()
    assert not list(tmp_path.iterdir())


def test_a_second_process_is_told_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with Polls(path) as polls:
        polls.learn(REPORT, ACCOUNT, "o1", SAID)
        polls.keep()  # between two transactions it is held too
        second = (
            f"from pathlib import Path; from streams.connectors.polls import Polls; Polls(Path({str(path)!r})).open()"
        )
        done = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=False)
        assert "in use by another process" in done.stderr.splitlines()[-1]
        with pytest.raises(ConfigurationError, match="in use by another process"):
            Polls(path).open()
        polls.learn(REPORT, ACCOUNT, "o2", SAID)
        polls.keep()
    with Polls(path) as polls:
        assert polls.known(REPORT, ACCOUNT) == {"o1": SAID, "o2": SAID}


def test_a_process_that_is_killed_leaves_what_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "state"
    program = f"""
import os
from pathlib import Path
from streams.connectors.polls import Polls
polls = Polls(Path({str(path)!r}))
polls.learn("r", "a", "kept", 1)
polls.keep()
for number in range(20_000):  # more than SQLite holds in memory: its journal is in use
    polls.learn("r", "a", f"o{{number}}", "x" * 500)
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert path.with_name("state-journal").exists()
    with Polls(path) as polls:
        assert polls.known("r", "a") == {"kept": 1}


def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, other, newer = (tmp_path / name for name in ("text", "other", "newer"))
    text.write_text("order_id\n" * 1000)
    for path, statement in ((other, "CREATE TABLE t (a)"), (newer, "PRAGMA user_version = 9")):
        if path == newer:
            with Polls(path) as polls:
                polls.open()
        db = sqlite3.connect(path)
        db.execute(statement)
        db.commit()
        db.close()
    before = {path: path.read_bytes() for path in (text, other, newer)}
    for path, why in ((text, "no connectors' state"), (other, "a database, but no"), (newer, "a newer version")):
        with pytest.raises(ConfigurationError, match=why) as told:
            Polls(path).open()
        assert str(told.value).startswith(f"{path}: ")
        assert "\n" not in str(told.value)
        assert path.read_bytes() == before[path]


@pytest.mark.parametrize("name", ["", "missing/state"])
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        Polls(tmp_path / name).open()
