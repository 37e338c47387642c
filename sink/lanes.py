"""Statements on chDB connections: each request borrows one, dressed in its settings, or that of its session.

Place in the flow: between `front`, which knows requests and headers, and `embedded`, which knows the folder.
"""

import json
import re
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from chdb import ChdbError

from sink.embedded import DATABASE, SESSION_SETTINGS, Folder
from sink.statement import READS, Refused, Session, Statement, Terms, quoted

SPARE_LANES = 16
SESSIONS = 1000
TAG = "sellerpulse http"  # the log_comment that tells the statements that came this way from others

# What leaves nothing behind in its session, so that the connection may serve another.
_CLEAN = READS | {b"INSERT", b"ALTER", b"OPTIMIZE", b"TRUNCATE", b"KILL", b"SYSTEM"}
# The engine gives these formats out block by block; any other has a head or a foot and comes in one piece.
_BLOCKWISE = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
# Once set these cannot be taken back, so a connection that wears one is thrown away.
_ONE_WAY = frozenset({"readonly", "allow_ddl"})
_TOTALS = re.compile(rb"\b(?:TOTALS|extremes)\b", re.IGNORECASE)
_ENGINE_ERRORS = (ChdbError, RuntimeError, UnicodeError)
_SETTING = re.compile(r"[A-Za-z_][\w.]*\Z", re.ASCII)


@dataclass
class Answer:
    """What a statement gave: the blocks of its result (consume or close them), or none with format None."""

    format: str | None
    blocks: Generator[bytes]
    summary: dict[str, int] = field(default_factory=dict)


class Lane:
    """A raw connection that remembers which settings and database it was dressed in. One thread at a time.

    Workers send the same settings with every request, so most find a lane that is already dressed for them;
    asking the engine each time for the values to go back to would take 3 ms.
    """

    def __init__(self, folder: Folder) -> None:
        self.spent = False  # holds what another session must not see, or wears what cannot be taken off
        self._connection = folder.connect()
        self._connection.query(f"SET log_comment = '{TAG}'")
        self._own = {**SESSION_SETTINGS, "log_comment": TAG}  # what undressing goes back to
        self._worn: dict[str, str] = {}
        self._home = self._database = DATABASE

    def _dress(self, settings: Mapping[str, str], database: str | None) -> None:
        """Make the session see exactly these settings over its own, and this database or else its own.

        Raises Refused for an unknown setting or database.
        """
        names = sorted({*settings, *self._worn}, key=lambda name: (name in _ONE_WAY, name))
        changes = [
            f"{_checked(name)} = {quoted(settings[name]) if name in settings else self._before(name)}"
            for name in names
            if settings.get(name) != self._worn.get(name)
        ]
        if changes:
            self.spent = self.spent or not _ONE_WAY.isdisjoint(settings)
            self._query("SET " + ", ".join(changes))
            self._worn = dict(settings)
        if (wanted := database or self._home) != self._database:
            escaped = wanted.replace("\\", "\\\\").replace("`", "\\`")
            self._query(f"USE `{escaped}`")
            self._database = wanted

    def run(self, statement: Statement, terms: Terms) -> Answer:
        """Run a checked statement on the request's terms.

        Raises Refused, also while blocks are consumed. The lane is busy until they are consumed or closed.
        """
        self.spent = self.spent or statement.verb not in _CLEAN
        own = statement.verb in (b"SET", b"USE")  # changes the session: not for the time of a request only
        self._dress({} if own else terms.settings, None if own else terms.database)
        if statement.data is not None:
            return self._insert(statement, statement.data, terms)
        wanted = statement.format or terms.format or "TabSeparated"
        if not terms.whole and wanted in _BLOCKWISE and _is_plain_select(statement, terms):
            with suppress(Refused):  # a WITH ... INSERT cannot be streamed: it goes the other way
                return Answer(wanted, self._stream(statement.sql, wanted, terms.params))
        result = self._query(statement.sql, wanted, terms.params)
        if own:
            self._keep()
        body = result.bytes() or b""
        summary = {"read_rows": result.rows_read(), "read_bytes": result.bytes_read()}
        if statement.verb == b"INSERT":
            summary |= {"written_rows": result.rows_written(), "written_bytes": result.bytes_written()}
        return Answer(wanted if body or statement.verb in READS else None, _block(body), summary)

    def _stream(self, sql: bytes, wanted: str, params: Mapping[str, str]) -> Generator[bytes]:
        try:
            stream = self._connection.send_query(sql, wanted, params=dict(params))
        except _ENGINE_ERRORS as error:
            raise Refused.by_engine(error) from error
        return _blocks(stream)

    def _insert(self, statement: Statement, data: bytes, terms: Terms) -> Answer:
        """Insert data of any format; what does not decode leaves no row of its block behind.

        By a file: of the engine's streaming insert, `finish` says that all was written when the disk is full.
        """
        wanted = statement.format or terms.format or "Values"
        with _file_of(data) as name:
            sql = statement.sql + f" FROM INFILE {quoted(name)} FORMAT {wanted}".encode()
            if statement.input_at:
                start, end = statement.input_at
                source = f"file({quoted(name)}, {quoted(wanted)}, ".encode()
                sql = statement.sql[:start] + source + statement.sql[end:]
            result = self._query(sql, params=terms.params)
        summary = {"written_rows": result.rows_written(), "written_bytes": result.bytes_written()}
        return Answer(None, _block(b""), summary)

    def _keep(self) -> None:
        """Take what a SET or USE of the session itself changed as its own from now on."""
        state = self._query("SELECT currentDatabase() AS database, name, value FROM system.settings WHERE changed")
        rows = [json.loads(line) for line in state.bytes().splitlines()]
        self._own = {row["name"]: row["value"] for row in rows}
        self._home = self._database = rows[0]["database"]

    def _before(self, name: str) -> str:
        return quoted(self._own[name]) if name in self._own else "DEFAULT"

    def _query(self, sql: str | bytes, wanted: str = "JSONEachRow", params: Mapping[str, str] | None = None) -> Any:
        try:
            return self._connection.query(sql, wanted, params=dict(params or {}))
        except _ENGINE_ERRORS as error:
            raise Refused.by_engine(error) from error

    def close(self) -> None:
        """Close the connection; what its session held is gone."""
        self._connection.close()


@contextmanager
def _file_of(data: bytes) -> Iterator[str]:
    """A file with this in it, for a statement to read. Raises Refused if there is no room for it."""
    try:
        with tempfile.NamedTemporaryFile(prefix="sellerpulse-", buffering=0) as file:
            file.write(data)
            yield file.name
    except OSError as failed:
        raise Refused.by_us(243, "NOT_ENOUGH_SPACE", f"No temporary file: {failed.strerror}") from failed


def _is_plain_select(statement: Statement, terms: Terms) -> bool:
    """Whether the rows are all there is: totals and extremes get lost between blocks."""
    more = _TOTALS.search(statement.sql) or "extremes" in terms.settings
    return statement.verb in (b"SELECT", b"WITH") and not more


def _blocks(stream: Any) -> Generator[bytes]:
    try:
        for block in stream:
            yield block.bytes()
    except _ENGINE_ERRORS as error:
        raise Refused.by_engine(error) from error
    finally:
        with suppress(*_ENGINE_ERRORS):
            stream.cancel()  # nothing to do at the end; else the engine stops working for nobody


def _block(data: bytes) -> Generator[bytes]:
    yield data


def _checked(name: str) -> str:
    if not _SETTING.match(name):
        raise Refused.by_us(115, "UNKNOWN_SETTING", f"Unknown setting {quoted(name)}")
    return name


@dataclass
class _Kept:
    """A session's lane between its requests; `until` is on the monotonic clock."""

    lane: Lane
    until: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Lanes:
    """All lanes of a served folder: those of sessions, by name, and spare ones for requests without."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._mutex = threading.Condition()
        self._busy = 0
        self._closed = False
        self._spare: list[Lane] = []
        self._sessions: dict[str, _Kept] = {}

    @contextmanager
    def borrow(self, terms: Terms) -> Iterator[Lane]:
        """A lane for one request. Raises Refused if its session is busy or, though it must exist, unknown."""
        session = terms.session if _ONE_WAY.isdisjoint(terms.settings) else None
        with self._mutex:
            if self._closed:
                raise Refused.by_us(236, "ABORTED", "The server is stopping")
            kept = self._enter(session) if session else None
            lane = kept.lane if kept else self._spare.pop() if self._spare else Lane(self._folder)
            self._busy += 1
        try:
            yield lane
        finally:
            self._give_back(lane, kept, session)

    def _give_back(self, lane: Lane, kept: _Kept | None, session: Session | None) -> None:
        with self._mutex:
            self._busy -= 1
            self._mutex.notify_all()
            if kept and session:
                kept.until = time.monotonic() + session.timeout_s
                kept.lock.release()
            if self._closed or (not kept and (lane.spent or len(self._spare) >= SPARE_LANES)):
                lane.close()
            elif not kept:
                self._spare.append(lane)

    def _enter(self, session: Session) -> _Kept:
        now = time.monotonic()
        self._forget(now)
        kept = self._sessions.get(session.name)
        if kept is None:
            if session.must_exist:
                raise Refused.by_us(372, "SESSION_NOT_FOUND", "Session not found")
            kept = self._sessions[session.name] = _Kept(Lane(self._folder), now)
        if not kept.lock.acquire(blocking=False):
            message = f"Session {session.name} is locked by a concurrent client"
            raise Refused.by_us(373, "SESSION_IS_LOCKED", message)
        return kept

    def _forget(self, now: float) -> None:
        """Close sessions that timed out and, beyond the limit, those that will do so first."""
        idle = sorted((kept.until, name) for name, kept in self._sessions.items() if not kept.lock.locked())
        too_many = len(self._sessions) - SESSIONS
        for rank, (until, name) in enumerate(idle):
            if until < now or rank < too_many:
                self._sessions.pop(name).lane.close()

    def drain(self, seconds: float) -> bool:
        """Wait until no request runs; whether none does."""
        with self._mutex:
            return self._mutex.wait_for(lambda: not self._busy, seconds)

    def kill(self) -> None:
        """Have the engine stop the statements that came by these lanes, wherever they are."""
        connection = self._folder.connect()
        with suppress(*_ENGINE_ERRORS):
            own = f"Settings['log_comment'] = {quoted(TAG)}"
            connection.query(f"KILL QUERY WHERE {own} ASYNC")
        connection.close()

    def close(self) -> None:
        """Close the lanes that are not in use; the others will be closed when their requests end."""
        with self._mutex:
            self._closed = True
            idle = [kept.lane for kept in self._sessions.values() if not kept.lock.locked()]
            for lane in [*self._spare, *idle]:
                lane.close()
            self._spare.clear()
            self._sessions.clear()
