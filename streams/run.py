"""Runs Faust workers: one in this process, or several in processes of their own."""

import gc
import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from schemas.errors import SellerpulseError
from sink.process import end_with_parent
from streams.refusals import NO_LIMIT
from streams.settings import Settings

STOP_S = 20.0
END_S = 15.0  # after it was told to stop, a worker ends: a last flush has 8 s, receivers 5

log = logging.getLogger(__name__)


def run_worker(
    settings: Settings, *, live: bool = True, share: tuple[int, int] | None = None, dlq_limit: float = NO_LIMIT
) -> None:
    """A Faust worker in this process until SIGTERM or Ctrl-C. Raises SystemExit with Faust's exit code.

    Raises TooManyRefused if more than that share of the records is refused.
    """
    from faust.worker import Worker

    from streams.app import create_app

    app = create_app(settings, live=live, share=share, dlq_limit=dlq_limit)
    # Events make no cycles and stay for long: looking for some after every 700 of them took a third of the time.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)

    class Punctual(Worker):
        """Faust's worker, which may wait for ever for a consumer's thread that died of Kafka's going away."""

        async def on_stop(self) -> None:
            giving_up = threading.Timer(END_S, _give_up)
            giving_up.daemon = True
            giving_up.start()

        def on_worker_shutdown(self) -> None:
            super().on_worker_shutdown()
            if app.ended is not None:
                self.crash_reason = None  # Faust would call it a crash; it is raised below

    worker = Punctual(app, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None  # it writes to stdout, terminal or not
    try:
        worker.execute_from_commandline()
    except SystemExit:
        if app.ended is not None:
            raise app.ended from None
        raise


def _give_up() -> None:
    log.error("not stopped after %d s, so this ends at once; what was not committed is read again", END_S)
    os._exit(1)


def _run_silently(orders: Connection) -> None:
    """The body of a worker process of `replay`: it ends with its parent's word, not with the terminal's Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    import streams.app  # noqa: F401  # takes a second, in which the database opens
    from streams.log import configure_logging

    configure_logging("text")
    logging.getLogger("streams").setLevel(logging.WARNING)
    settings, share = orders.recv()
    run_worker(settings, live=False, share=share)


class WorkerProcesses:
    """So many workers that follow the database's as-of day, each in a process of its own, for a `with` block."""

    def __init__(self, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._processes = []
        self._orders: list[Connection] = []
        for n in range(count):
            theirs, ours = spawn.Pipe(duplex=False)
            self._orders.append(ours)
            self._processes.append(
                spawn.Process(target=_run_silently, args=(theirs,), name=f"worker {n + 1}", daemon=True)
            )

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def work(self, settings: Settings) -> None:
        """Begin: broker and database are there."""
        for n, orders in enumerate(self._orders):
            orders.send((settings, (n, len(self._orders))))

    def check(self) -> None:
        """Raises SellerpulseError if a worker ended by itself."""
        for process in self._processes:
            if process.exitcode is not None:
                raise SellerpulseError(f"{process.name} ended with exit code {process.exitcode}")

    def stop(self) -> None:
        """End at once: what is durable is durable, and the broker that they would take leave of goes away too."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join(STOP_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
