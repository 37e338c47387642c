"""An embedded database in a process of its own. It imports little: whoever starts it waits for it to open."""

import multiprocessing
import os
import signal
import threading
from contextlib import nullcontext
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import SellerpulseError

if TYPE_CHECKING:
    from sink.analysts import Desk

STOP_S = 20.0


class Addresses(NamedTuple):
    """Where a database process is reached: by whom it works for, and by analysts, if it has a desk for them."""

    url: str
    analysts: str | None


class DatabaseProcess:
    """An embedded database, served on loopback by a process of its own for a `with` block.

    Beside the feeder in one process, each insert would wait for Python's lock. Raises ConfigurationError as `Server`.
    """

    def __init__(self, folder: str, port: int, desk: "Desk | None" = None) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._answer, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_serve, args=(folder, port, desk, theirs), name="database", daemon=True)

    def __enter__(self) -> Addresses:
        self._process.start()
        try:
            answer = self._answer.recv()
        except EOFError:
            raise SellerpulseError("the database's process ended before it answered") from None
        if isinstance(answer, SellerpulseError):
            raise answer
        return Addresses(*answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join(STOP_S)
        self._process.kill()


def _serve(folder: str, port: int, desk: "Desk | None", answer: Connection) -> None:
    """The body of a database process."""
    from sink.analysts import Analysts
    from sink.embedded import DATABASE
    from sink.serve import Server

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    server = Server(folder, port)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        server.start()
        with Analysts(folder, desk) if desk else nullcontext() as analysts:
            answer.send((f"{server.url}/{DATABASE}", analysts.url if analysts else None))
            told.wait()
    except SellerpulseError as refused:
        answer.send(refused)
        return
    server.stop()
    os._exit(0)  # chDB may not end well with a statement still running


def end_with_parent() -> None:
    """Ends this process when the one that started it has ended: what is left of a run that was killed is of no use."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
