"""The analysts' door: a process of its own, so that what strangers send costs the engine's process nothing.

Place in the flow: started by `analysts`, which holds the engine and answers what is admitted. Takes connections, reads
requests, refuses what `gate` does not admit, and hands the rest over, a few at a time. An answer is taken from the
engine as fast as it comes and given to its reader as fast as that one reads: nobody's slowness holds a slot. Gives way
to whatever else the machine has to do. Ends when its parent does.
"""

import contextlib
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Generator
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import IO

import msgspec
from msgspec import Struct

from sink.front import Front
from sink.gate import Function, Gate
from sink.lanes import Answer, Lanes
from sink.request import Entry
from sink.statement import Refused, Statement, Terms

NICE = 10
IDLE_S = 60.0
CONNECTIONS = 256
BODY_BYTES = 256 << 10  # of a statement
WAIT_S = 10.0  # for a slot
_ANSWER_BYTES = 256 << 20
_HELD_BYTES = 1 << 30  # of answers that are being read
_IN_MEMORY = 1 << 20  # of an answer; the rest of it is in a temporary file
_BLOCK = 1 << 18


class House(Struct):
    """What the door is told when it opens."""

    user: str
    password: str | None
    database: str
    functions: list[Function]
    limits: dict[str, int]


class Asked(Struct):
    """A statement that was admitted."""

    sql: bytes
    verb: bytes
    format: str | None  # that it names itself
    default_format: str | None
    settings: dict[str, str]
    params: dict[str, str]
    database: str | None


class Answered(Struct, tag="answered"):
    """All of an answer was written to the pipe that came with what was asked."""

    format: str | None
    summary: dict[str, int]


class Failed(Struct, tag="failed"):
    """No answer, or no more of one."""

    code: int
    text: str


encode = msgspec.msgpack.encode
decode_asked = msgspec.msgpack.Decoder(Asked).decode
_decode_end = msgspec.msgpack.Decoder(Answered | Failed).decode


class _Slots:
    """The connections to the engine's process: a statement at a time on each."""

    def __init__(self, parent: Connection, slots: list[Connection]) -> None:
        self._parent, self._slots = parent, slots
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(slots)):
            self._free.put(number)
        self._held, self._mutex = 0, threading.Lock()

    def ask(self, asked: Asked) -> Answer:
        """What the engine answers, all of it. Raises Refused."""
        try:
            number = self._free.get(timeout=WAIT_S)
        except queue.Empty:
            raise Refused.by_us(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many queries; try again") from None
        kept = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # closed when it was read
        try:
            end = self._run(number, asked, kept)
            self._hold(kept.tell())
        except BaseException:
            kept.close()
            raise
        finally:
            self._free.put(number)
        return Answer(end.format, self._blocks(kept), end.summary)

    def _run(self, number: int, asked: Asked, kept: IO[bytes]) -> Answered:
        """Have the engine write to a pipe, and keep what it writes. Raises Refused."""
        slot = self._slots[number]
        failed: OSError | None = None
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as written:
            try:
                slot.send_bytes(encode(asked))
                send_handle(slot, theirs, None)
            finally:
                os.close(theirs)
            try:
                while (block := written.read(_BLOCK)) and kept.tell() < _ANSWER_BYTES:
                    kept.write(block)
            except OSError as error:
                failed = error
        if block:
            with self._mutex:
                self._parent.send_bytes(b"%d" % number)  # stop it: it would go on for nobody
        end: Answered | Failed = _decode_end(slot.recv_bytes())  # in any case, or who comes next would take it for his
        if failed is not None:
            raise Refused.by_us(243, "NOT_ENOUGH_SPACE", f"No temporary file: {failed.strerror}") from failed
        if block:
            raise Refused.by_us(396, "TOO_MANY_ROWS_OR_BYTES", f"The answer has more than {_ANSWER_BYTES} bytes")
        if isinstance(end, Failed):
            raise Refused(end.code, end.text)
        return end

    def _blocks(self, kept: IO[bytes]) -> Generator[bytes]:
        with kept:
            size = kept.tell()
            try:
                kept.seek(0)
                while block := kept.read(_BLOCK):
                    yield block
            finally:
                with self._mutex:
                    self._held -= size

    def _hold(self, size: int) -> None:
        """Keep an answer for its reader. Raises Refused for one that is large while many are."""
        with self._mutex:
            if size > _IN_MEMORY and self._held + size > _HELD_BYTES:
                raise Refused.by_us(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Many answers wait to be read; try again")
            self._held += size


class _Lane:
    """A lane by way of the slots. It keeps nothing."""

    spent = False

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots

    def run(self, statement: Statement, terms: Terms) -> Answer:
        """See `sink.lanes.Lane`."""
        asked = Asked(
            statement.sql, statement.verb, statement.format, terms.format,
            dict(terms.settings), dict(terms.params), terms.database,
        )  # fmt: skip
        return self._slots.ask(asked)

    def close(self) -> None:
        """Nothing to do."""


def main(numbers: list[str]) -> None:
    """Serve the listening socket, the first of these descriptors, until the next, the parent's word, is at its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    listening, word, *slots = map(int, numbers)
    parent = Connection(word)
    house = msgspec.msgpack.decode(parent.recv_bytes(), type=House)
    entry = Entry(
        user=house.user, password=house.password, body_limit=BODY_BYTES, idle_s=IDLE_S, connections=CONNECTIONS,
        gate=Gate(house.database, house.functions, house.limits),
    )  # fmt: skip
    shared = _Slots(parent, [Connection(number) for number in slots])
    front = Front(socket.socket(fileno=listening), Lanes(lambda: _Lane(shared)), entry)
    threading.Thread(target=front.serve_forever, args=(0.1,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        parent.recv_bytes()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
