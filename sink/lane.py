"""A statement on a chDB connection: dressed in the request's settings, run, its answer taken out block by block.

Place in the flow: under `lanes`, which hands lanes out, and over `embedded`, which knows the folder.
"""

import json
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from chdb import ChdbError

from sink.embedded import DATABASE, SESSION_SETTINGS, Folder
from sink.lanes import ONE_WAY, Answer
from sink.statement import READS, Refused, Statement, Terms, quoted

TAG = "sellerpulse http"  # the log_comment that tells the statements that came this way from others

# What leaves nothing behind in its session, so that the connection may serve another.
_CLEAN = READS | {b"INSERT", b"ALTER", b"OPTIMIZE", b"TRUNCATE", b"KILL", b"SYSTEM"}
# The engine gives these formats out block by block; any other has a head or a foot and comes in one piece.
_BLOCKWISE = frozenset({"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"})
_TOTALS = re.compile(rb"\b(?:TOTALS|extremes)\b", re.IGNORECASE)
ENGINE_ERRORS = (ChdbError, RuntimeError, UnicodeError)
_SETTING = re.compile(r"[A-Za-z_][\w.]*\Z", re.ASCII)


class Lane:
    """A raw connection that remembers which settings and database it was dressed in. One thread at a time.

    Workers send the same settings with every request, so most find a lane that is already dressed for them;
    asking the engine each time for the values to go back to would take 3 ms.
    """

    def __init__(self, folder: Folder, settings: Mapping[str, str] | None = None) -> None:
        """On the folder, with these settings where a request has no other; what cannot be taken back is set last."""
        self.spent = False  # holds what another session must not see, or wears what cannot be taken off
        self._connection = folder.connect()
        own = {"log_comment": TAG, **(settings or {})}
        self._query("SET " + ", ".join(f"{name} = {quoted(own[name])}" for name in sorted(own, key=_last)))
        self._own = {**SESSION_SETTINGS, **own}  # what undressing goes back to
        self._worn: dict[str, str] = {}
        self._home = self._database = DATABASE

    def _dress(self, settings: Mapping[str, str], database: str | None) -> None:
        """Make the session see exactly these settings over its own, and this database or else its own.

        Raises Refused for an unknown setting or database.
        """
        names = sorted({*settings, *self._worn}, key=_last)
        changes = [
            f"{_checked(name)} = {quoted(settings[name]) if name in settings else self._before(name)}"
            for name in names
            if settings.get(name) != self._worn.get(name)
        ]
        if changes:
            self.spent = self.spent or not ONE_WAY.isdisjoint(settings)
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

    def write(self, statement: Statement, terms: Terms, file: str) -> Answer:
        """Run a checked statement that reads; what it gives goes to a file as it comes, whatever the format.

        So little of it is in this process at any time: of most formats `run` holds all, which the engine's limit of
        memory does not count. Raises Refused.
        """
        self._dress(terms.settings, terms.database)
        wanted = statement.format or terms.format or "TabSeparated"
        result = self._query(statement.into(file), wanted, terms.params)
        summary = {"read_rows": result.rows_read(), "read_bytes": result.bytes_read()}
        return Answer(wanted, _block(b""), summary)

    def _stream(self, sql: bytes, wanted: str, params: Mapping[str, str]) -> Generator[bytes]:
        try:
            stream = self._connection.send_query(sql, wanted, params=dict(params))
        except ENGINE_ERRORS as error:
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
        except ENGINE_ERRORS as error:
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
    except ENGINE_ERRORS as error:
        raise Refused.by_engine(error) from error
    finally:
        with suppress(*ENGINE_ERRORS):
            stream.cancel()  # nothing to do at the end; else the engine stops working for nobody


def _block(data: bytes) -> Generator[bytes]:
    yield data


def _last(name: str) -> tuple[bool, str]:
    return name in ONE_WAY, name


def _checked(name: str) -> str:
    if not _SETTING.match(name):
        raise Refused.by_us(115, "UNKNOWN_SETTING", f"Unknown setting {quoted(name)}")
    return name


def stop_statements(folder: Folder, tag: str = TAG) -> None:
    """Have the engine stop the statements of lanes with this `log_comment`, wherever they are."""
    connection = folder.connect()
    with suppress(*ENGINE_ERRORS):
        connection.query(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(tag)} ASYNC")
    connection.close()
