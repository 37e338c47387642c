"""What the marketplaces' reports last said: a report says what is, an event what happened; this stands between them.

Its place in the flow: beside the connectors that are polled. What they read of a report they hold against it, and
learn; Kafka's acknowledgement makes it last. It is one SQLite file, held by one process; where everything is read at
once, as `replay` does, it lives in memory. Knows no report, no Kafka and no clock.

Events of a poll are owed before they are sent: should the process die, whatever it read next, they are sent again, the
same ones. Else a rating that changed, was told and then changed back would stay changed.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from orjson import dumps, loads

from schemas.errors import ConfigurationError, SellerpulseError
from schemas.events import Parsed

_OURS = 0x5E11_0001  # in the file's header, where SQLite keeps a number for those who write such files
_VERSION = 1
_TABLES = f"""
CREATE TABLE told (
    report TEXT, account TEXT, subject TEXT, told TEXT NOT NULL, PRIMARY KEY (report, account, subject)
) WITHOUT ROWID;
CREATE TABLE polled (report TEXT, account TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY (report, account)) WITHOUT ROWID;
CREATE TABLE owed (topic TEXT NOT NULL, event TEXT NOT NULL);
PRAGMA application_id = {_OURS};
PRAGMA user_version = {_VERSION}"""


class Polls:
    """What reports last said, by kind of report, account and subject: an order, or a row's key.

    Learnt while a file is read and visible to later reads at once; kept once Kafka has acknowledged what was read. An
    account is any text of the connector's. `path` None: in memory. The file is opened when it is first needed, or by
    `open`; another process that has it open, or a file that is no such state, is a ConfigurationError.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Take hold of the file, made if it is not there. Raises ConfigurationError."""
        if self._opened is None:
            self._opened = _opened(self._path)

    @property
    def is_open(self) -> bool:
        """Whether anybody has needed it."""
        return self._opened is not None

    def known(self, report: str, account: str) -> dict[str, Any]:
        """By subject, what was last learnt of it."""
        found = self._ask("SELECT subject, told FROM told WHERE report = ? AND account = ?", report, account)
        return {subject: loads(told) for subject, told in found}

    def learn(self, report: str, account: str, subject: str, told: Any) -> None:
        """A subject is now so, in a small JSON-able record; None: it is forgotten."""
        if told is None:
            self._ask("DELETE FROM told WHERE report = ? AND account = ? AND subject = ?", report, account, subject)
        else:
            words = (report, account, subject, dumps(told).decode())
            self._ask("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)", *words)

    def polled_ms(self, report: str, account: str) -> int | None:
        """The own time of the last report of a kind, epoch ms; None: there was none."""
        found = self._ask("SELECT at_ms FROM polled WHERE report = ? AND account = ?", report, account)
        return found[0][0] if found else None

    def poll(self, report: str, account: str, at_ms: int) -> None:
        """A report of that time was read; an older one than the last changes nothing."""
        at_ms = max(at_ms, self.polled_ms(report, account) or 0)
        self._ask("INSERT OR REPLACE INTO polled VALUES (?, ?, ?)", report, account, at_ms)

    def owe(self, events: Iterable[Parsed]) -> None:
        """These are about to be sent: from now on they, and what was learnt with them, outlive this process."""
        if self._path is not None:
            for topic, event in events:
                self._ask("INSERT INTO owed VALUES (?, ?)", topic, dumps(event).decode())
            self._commit()

    def owed(self) -> list[Parsed]:
        """What was to be sent, and nobody knows whether it was."""
        return [
            Parsed(topic, loads(event)) for topic, event in self._ask("SELECT topic, event FROM owed ORDER BY rowid")
        ]

    def keep(self) -> None:
        """Kafka has acknowledged everything that was read, and everything owed: one commit."""
        if self._opened is not None:
            self._ask("DELETE FROM owed")
            self._commit()

    def drop(self) -> None:
        """Forget what was learnt since the last `keep` or `owe`: reading again starts from there."""
        if self._opened is not None:
            self._ask("ROLLBACK")
            self._ask("BEGIN EXCLUSIVE")

    def close(self) -> None:
        """Let go of the file; what was not kept is dropped."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _commit(self) -> None:
        self._ask("COMMIT")
        self._ask("BEGIN EXCLUSIVE")

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        self.open()
        assert self._opened is not None
        try:
            return self._opened.execute(statement, values).fetchall()
        except sqlite3.Error as failed:  # a disk that is full, or a file that was damaged
            raise SellerpulseError(f"{self._path}: the connectors' state fails: {failed}") from failed


def _opened(path: Path | None) -> sqlite3.Connection:
    """A connection whose transaction is open and whose lock nobody else has. Raises ConfigurationError."""
    with _our_words(path):
        db = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None)
        try:
            # Between two transactions too nobody else gets in.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
            _make_ours(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _make_ours(db: sqlite3.Connection, path: Path | None) -> None:
    """Give an empty database its tables. Raises ConfigurationError for one that is somebody else's."""
    ((found,),), ((version,),) = (db.execute(f"PRAGMA {what}") for what in ("application_id", "user_version"))
    if found == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchall():
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("BEGIN EXCLUSIVE")
    elif found != _OURS:
        raise ConfigurationError(f"{path}: a database, but no connectors' state")
    elif version > _VERSION:
        raise ConfigurationError(f"{path}: the connectors' state of a newer version of this program")


@contextmanager
def _our_words(path: Path | None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as failed:
        match failed.sqlite_errorcode & 0xFF:
            case sqlite3.SQLITE_BUSY:
                why = "the connectors' state is in use by another process: wait for it, or tell another --state"
            case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                why = "no connectors' state, or damaged"
            case _:
                why = f"the connectors' state cannot be opened: {failed}"
        raise ConfigurationError(f"{path}: {why}") from failed
