"""An embedded database in a process of its own. It imports little: whoever starts it waits for it to open."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from types import TracebackType

from schemas.errors import SellerpulseError

STOP_S = 20.0


class DatabaseProcess:
    """An embedded database, served on loopback by a process of its own for a `with` block.

    Beside the feeder in one process, each insert would wait for Python's lock. Raises ConfigurationError as `Server`.
    """

    def __init__(self, folder: str, port: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._answer, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_serve, args=(folder, port, theirs), name="database", daemon=True)

    def __enter__(self) -> str:
        """Its address."""
        self._process.start()
        try:
            answer = self._answer.recv()
        except EOFError:
            raise SellerpulseError("the database's process ended before it answered") from None
        if isinstance(answer, SellerpulseError):
            raise answer
        return str(answer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join(STOP_S)
        self._process.kill()


def _serve(folder: str, port: int, answer: Connection) -> None:
    """The body of a database process."""
    from sink.embedded import DATABASE
    from sink.serve import Server

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    server = Server(folder, port)
    try:
        server.start()
    except SellerpulseError as refused:
        answer.send(refused)
        return
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    answer.send(f"{server.url}/{DATABASE}")
    told.wait()
    server.stop()
    os._exit(0)  # chDB may not end well with a statement still running


def end_with_parent() -> None:
    """Ends this process when the one that started it has ended: what is left of a run that was killed is of no use."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
