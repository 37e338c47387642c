"""The embedded database: one chDB folder, held by one process, opened as an ordinary client.

Place in the flow: below the writer and the reader of stories, which see a `clickhouse_connect` client and
need not know whether an engine in this process or a server answers. Knows no table and no HTTP.

What was measured on chDB 4.4 (engine 26.9), and is relied on here:

- An engine takes 0.3 s to start, a further connection 0.5 ms and 0.1 MB. A process has one engine and so one
  folder at a time; when the last connection closes, another folder can be opened.
- A connection is a session of its own: settings, `USE` and temporary tables are not seen by the others. It
  takes one statement at a time (a second one during an open stream silently answers nothing), so it belongs
  to one thread at a time. Different connections work in parallel: the engine lets go of the GIL.
- `session_timezone` in the connection string makes `timezone()` and columns without a zone UTC. Background
  merges and `serverTimezone()` stay in the host's: DDL names 'UTC' wherever a day is taken from a time.
- Data survives kill -9; what had not been answered may or may not be there.
- Tables live in the database `sellerpulse` (engine Atomic). chDB's own `default` is a catch-all that also
  looks for files in the process's working folder.
- A second process on the folder gets "Error initializing EmbeddedServer: .", hence the lock file.
"""

import fcntl
import os
import re
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from schemas.errors import ConfigurationError

DATABASE = "sellerpulse"
MARKER = "sellerpulse.db"
LOCK = "sellerpulse.lock"
NOTE = "sellerpulse.http"  # where the holder of the folder serves analysts, if it does

# Every connection starts with these. `implicit_select` is chDB's own habit of answering a bare `1 + 1`;
# `async_insert` is on by default in the engine, but our writers make the batches.
# An insert that the disk fails in the middle of can leave a part that cannot be read: none begins without this room.
SESSION_SETTINGS = {
    "session_timezone": "UTC", "implicit_select": "0", "async_insert": "0",
    "min_free_disk_bytes_to_perform_insert": str(128 << 20),
}  # fmt: skip


class InUse(ConfigurationError):
    """Another process holds the folder."""


@dataclass
class _Held:
    """The lock of one folder, shared by everything in this process that opened it."""

    descriptor: int
    holders: int


# flock belongs to an open file, so a second opening of our own must find the first.
_held: dict[Path, _Held] = {}
_held_mutex = threading.Lock()


class Folder:
    """A chDB folder that this process holds until `close`. Several of the same folder share lock and engine.

    Raises ConfigurationError, in one line, for a folder that is not ours, not writable or held by another
    process, and if this process has a different one open.
    """

    def __init__(self, path: str | Path) -> None:
        from chdb import ChdbError

        self.path = Path(path).resolve()  # the engine compares paths letter by letter
        self._closed = False
        _claim(self.path)
        try:
            self._anchor = self._open()  # keeps the engine up while other connections come and go
            self._anchor.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        except (RuntimeError, ChdbError) as error:
            _release(self.path)
            reason = str(error).rpartition("DB::Exception: ")[2].partition("\n")[0]
            raise ConfigurationError(f"{self.path} cannot be opened as a database: {reason}") from error

    def _open(self) -> Any:
        import chdb

        address = f"{self.path}?{urlencode(SESSION_SETTINGS)}"
        return chdb.connect(address)  # type: ignore[no-untyped-call]

    def connect(self) -> Any:
        """A new raw chDB connection in our database; for one thread at a time, to be closed by the caller."""
        connection = self._open()
        connection.query(f"USE {DATABASE}")
        return connection

    def client(self) -> Client:
        """A new client on a connection of its own, which shares the folder until it is closed or lost.

        A client takes one call at a time (other threads wait) and inserts by way of a temporary file.
        """
        share = Folder(self.path)
        client = clickhouse_connect.get_client(
            interface="chdb", path=str(self.path), database=DATABASE, chdb_options=dict(SESSION_SETTINGS)
        )
        let_go = weakref.finalize(client, share.close)
        close = client.close

        def close_and_let_go() -> None:
            close()
            let_go()

        client.close = close_and_let_go  # type: ignore[method-assign]  # its class is not public, to derive from
        return client

    def note(self, url: str | None) -> None:
        """Leave word beside the lock where analysts are served, for commands that find the folder held; None: no more.

        Everybody may read it: it never holds a password.
        """
        if url is None:
            (self.path / NOTE).unlink(missing_ok=True)
        else:
            (self.path / NOTE).write_text(url + "\n")

    def close(self) -> None:
        """Let go of the folder; again does nothing. Connections still open keep the engine up, unlocked."""
        if not self._closed:
            self._closed = True
            self._anchor.close()
            _release(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def served_at(path: str | Path) -> str | None:
    """Where whoever holds the folder serves analysts from it, if it does."""
    try:
        return (Path(path) / NOTE).read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def open_embedded(path: str | Path) -> Client:
    """The folder as a `clickhouse_connect` client in the database `sellerpulse`, session in UTC.

    Closing the client lets go of the folder. Threads open one each: they share the engine. Raises
    ConfigurationError as `Folder` does.
    """
    with Folder(path) as folder:
        return folder.client()


def _claim(path: Path) -> None:
    """Make the folder if absent, lock it and mark it as ours. Writes nothing into a folder that is not."""
    with _held_mutex:
        if held := _held.get(path):
            held.holders += 1
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in path.iterdir()}
            if MARKER not in names and names - {LOCK, "lost+found"}:
                raise ConfigurationError(f"{path} is neither empty nor a Sellerpulse database")
            descriptor = _lock(path)
            _held[path] = _Held(descriptor, holders=1)
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigurationError(f"{path} is not a folder") from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot hold a database: {error.strerror}") from error


def _lock(path: Path) -> int:
    """Lock the folder for this process and say so in the lock file; then mark the folder.

    The kernel frees the lock however the process ends, unless the process forked without executing another
    program: then the child holds it too.
    """
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} ({_command_line()})\n".encode(), 0)
        (path / NOTE).unlink(missing_ok=True)  # of a holder that was killed
        (path / MARKER).write_text("sellerpulse 1\n")
    except BlockingIOError as error:
        holder = os.pread(descriptor, 400, 0).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise InUse(f"{path} is in use by {holder}") from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _command_line() -> str:
    """The program's words, shortened, without the passwords that an address may carry."""
    return re.sub(r"://[^/@\s]*@", "://", " ".join(sys.argv))[:200].strip()


def _release(path: Path) -> None:
    with _held_mutex:
        held = _held[path]
        held.holders -= 1
        if held.holders == 0:
            del _held[path]
            os.ftruncate(held.descriptor, 0)  # who held it may have named an order that is to be forgotten
            os.close(held.descriptor)
