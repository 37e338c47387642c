"""The analysts' ClickHouse on an embedded database: what `door` admits is asked of the engine in this process.

Place in the flow: beside the writer, in the process that holds the folder. An analyst's statement has one thread of
the engine, so much time and so much memory; so few run at once that the writer keeps its pace; an answer leaves this
process as fast as it comes. Who connects, and how slowly, is the business of `door`, another process.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from schemas.errors import ConfigurationError
from sink.door import BODY_BYTES, Answered, Asked, Failed, House, decode_asked, encode
from sink.embedded import DATABASE, Folder
from sink.gate import FUNCTIONS, Function
from sink.lane import Lane, stop_statements
from sink.request import is_loopback
from sink.serve import listen
from sink.statement import Refused, Statement, Terms

USER = "analyst"
PORT = 8123
TAG = "sellerpulse analyst"
_NEXT_PORTS = 10  # tried, when nobody said which one
_AGAIN_S = 1.0  # before a door that broke is opened again
_STOP_S = 2.0
_REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # any address is also this machine's own

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Of one statement of an analyst."""

    seconds: int = 30
    rows: int = 1_000_000
    memory_mb: int = 1024

    def settings(self) -> dict[str, int]:
        """As the engine calls them; what a request asks for beyond them is cut down to them."""
        return {
            "max_execution_time": self.seconds,
            "max_result_rows": self.rows,
            "max_result_bytes": 128 << 20,
            "max_memory_usage": self.memory_mb << 20,
            "max_threads": 1,
            "max_final_threads": 1,
            "max_query_size": 2 * BODY_BYTES,  # what it grows to, put together anew
            "max_block_size": 16_384,  # between blocks it is seen that the time is up
            "max_ast_depth": 500,
            "max_ast_elements": 20_000,
            "max_expanded_ast_elements": 100_000,
            "function_range_max_elements_in_block": 10_000_000,
        }


# Beside the limits. A read-only lane can be dressed in other settings, only not in another `readonly`.
_FIXED = {
    "readonly": "2", "output_format_parallel_formatting": "0", "timeout_overflow_mode": "throw",
    "max_parser_backtracks": "100000",
    "os_thread_priority": "10",  # where the kernel lets us
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """Where analysts are served, by whose leave, and how much: a port of None is 8123, or the next that is free."""

    host: str = "127.0.0.1"
    port: int | None = None
    password: str | None = field(default=None, repr=False)
    limits: Limits = Limits()


class Analysts:
    """Serves analysts from a folder, which this process may hold already, for a `with` block.

    Raises ConfigurationError for a folder or port that cannot be had, and for a host that others can reach without a
    password.
    """

    def __init__(self, folder: str | Path, desk: Desk = Desk()) -> None:
        if not desk.password and not is_loopback(desk.host):
            raise ConfigurationError(f"serving analysts on {desk.host}, where others can connect, needs a password")
        self._path, self._desk, self._limits = Path(folder), desk, desk.limits.settings()
        self._stopping = threading.Event()
        self._at_work: set[threading.Thread] = set()

    def __enter__(self) -> Self:
        self._folder = Folder(self._path)
        try:
            self._listening = _listen(self._desk)
        except ConfigurationError:
            self._folder.close()
            raise
        connection = self._folder.connect()
        rows = connection.query(FUNCTIONS, "JSONCompactEachRow").bytes().splitlines()
        connection.close()
        functions = [msgspec.json.decode(row, type=Function, strict=False) for row in rows]
        self._house = House(USER, self._desk.password, DATABASE, functions, self._limits)
        self._door = self._open_door()
        host, port = self._listening.getsockname()[:2]
        self._folder.note(_url(_REACHED.get(host, host), port))
        if self._desk.port is None and port != PORT:
            log.info("port %d is taken: analysts are served at %d instead", PORT, port)
        return self

    @property
    def url(self) -> str:
        """Where they are served."""
        return _url(*self._listening.getsockname()[:2])

    def _open_door(self) -> "subprocess.Popen[bytes]":
        """Start the door's process."""
        pairs = [Pipe() for _ in range(1 + slots())]
        theirs = [self._listening.fileno(), *(their.fileno() for _, their in pairs)]
        command = [sys.executable, "-P", "-m", "sink.door", *map(str, theirs)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=theirs)
        for _, their in pairs:
            their.close()
        (word, _), *others = pairs
        with suppress(OSError):
            word.send_bytes(encode(self._house))
        for number, (slot, _) in enumerate(others):
            thread = threading.Thread(target=self._serve, args=(slot, _tag(number)), name="analyst", daemon=True)
            self._at_work.add(thread)
            thread.start()
        threading.Thread(target=self._watch, args=(process, word), name="door", daemon=True).start()
        return process

    def _watch(self, process: subprocess.Popen[bytes], word: Connection) -> None:
        """Stop statements that the door wants no more, and open it again should it break: analysts depend on it."""
        with suppress(EOFError, OSError):
            while True:
                stop_statements(self._folder, _tag(int(word.recv_bytes())))
        code = process.wait()
        if not self._stopping.is_set():
            log.error("the analysts' door ended with code %d; it is opened again", code)
            if not self._stopping.wait(_AGAIN_S):
                self._door = self._open_door()

    def _serve(self, slot: Connection, tag: str) -> None:
        """Answer what comes by this slot, one statement at a time, until the door ends."""
        settings = {**self._settings(), "log_comment": tag}
        with slot, closing(Lane(self._folder, settings)) as lane, suppress(EOFError, OSError, RuntimeError):
            while True:
                asked = decode_asked(slot.recv_bytes())
                pipe = recv_handle(slot)
                try:
                    end = _answer(lane, asked, pipe)
                finally:
                    os.close(pipe)
                slot.send_bytes(encode(end))
        self._at_work.discard(threading.current_thread())

    def _settings(self) -> dict[str, str]:
        return {**{name: str(value) for name, value in self._limits.items()}, **_FIXED}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the door, and have the engine stop what still runs. One that does not is left the folder."""
        self._stopping.set()
        self._folder.note(None)
        self._listening.close()
        self._door.terminate()  # then all that wait for a word of it hear its end
        for number in range(slots()):
            stop_statements(self._folder, _tag(number))
        deadline = time.monotonic() + _STOP_S
        for thread in list(self._at_work):
            thread.join(max(deadline - time.monotonic(), 0))
        if not self._at_work:
            self._folder.close()


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{DATABASE}"


def _tag(number: int) -> str:
    return f"{TAG} {number}"


def slots() -> int:
    """How many statements of analysts run at once: half of the processors are the writer's."""
    return max((os.cpu_count() or 1) // 2, 1)


def _listen(desk: Desk) -> socket.socket:
    if desk.port is not None:
        return listen(desk.host, desk.port)
    for port in range(PORT, PORT + _NEXT_PORTS - 1):
        with suppress(ConfigurationError):
            return listen(desk.host, port)
    return listen(desk.host, PORT + _NEXT_PORTS - 1)


def _answer(lane: Lane, asked: Asked, pipe: int) -> Answered | Failed:
    """Run what was asked, its answer written to the pipe as it comes."""
    terms = Terms(asked.settings, asked.params, asked.database, asked.default_format)
    try:
        answer = lane.write(Statement(asked.sql, asked.verb, asked.format), terms, f"/dev/fd/{pipe}")
    except Refused as refused:
        return Failed(refused.code, str(refused))
    except Exception as error:
        log.exception("an analyst's statement failed outside the engine")
        return Failed(49, str(Refused.by_us(49, "LOGICAL_ERROR", type(error).__name__)))
    return Answered(answer.format, answer.summary)
