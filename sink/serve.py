"""An embedded folder served by ClickHouse's HTTP interface, for several workers or tools on one machine.

Place in the flow: beside the writer and the reader, which reach the same folder through it from other
processes. Starts and stops; `front` speaks HTTP, `lanes` asks the engine.

Loopback only, unless there is a password: who may connect may do whatever this process may, for chDB has
neither users nor rights, and its `file()` reads what the process can read.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from clickhouse_connect.driver.client import Client

from schemas.errors import ConfigurationError
from sink.embedded import Folder
from sink.front import Front
from sink.lane import Lane, stop_statements
from sink.lanes import Lanes
from sink.request import Entry, is_loopback

BODY_LIMIT = 512 << 20
BACKLOG = 128
GRACE_S = 1.0  # for running statements when the server stops, and once more after they were told to stop
PASSWORD_VARIABLE = "CLICKHOUSE_PASSWORD"  # noqa: S105  # a name


class Server:
    """Serves a folder, or that of an embedded client, from `start` to `stop` on threads of its own.

    Port 0 takes a free one. Raises ConfigurationError for a folder or port that cannot be had, and for a host
    that others can reach when no password is set.
    """

    def __init__(
        self,
        place: Client | str | Path,
        port: int = 8123,
        *,
        host: str = "127.0.0.1",
        password: str | None = None,
        body_limit: int = BODY_LIMIT,
    ) -> None:
        if not password and not is_loopback(host):
            raise ConfigurationError(f"serving on {host}, where others can connect, needs a password")
        path = getattr(place, "path", None) if isinstance(place, Client) else place
        if path is None:
            raise ConfigurationError("only an embedded database can be served")
        self._path: str | Path = path
        self._address = (host, port)
        self._password = password or None
        self._body_limit = body_limit
        self._asked_to_stop = threading.Event()
        self._running: tuple[Front, Lanes, Folder] | None = None

    def start(self) -> None:
        """Open the folder and the port; returns when requests are answered."""
        self._asked_to_stop.clear()
        folder = Folder(self._path)
        lanes = Lanes(partial(Lane, folder))
        try:
            front = Front(listen(*self._address), lanes, Entry(password=self._password, body_limit=self._body_limit))
        except ConfigurationError:
            folder.close()
            raise
        self._running = front, lanes, folder
        threading.Thread(target=front.serve_forever, args=(0.1,), name="clickhouse-http", daemon=True).start()

    @property
    def url(self) -> str:
        """Where it answers, once started."""
        if self._running is None:
            raise ConfigurationError("the server is not running")
        host = self._address[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self._running[0].server_port}"

    def stop(self) -> bool:
        """Finish what runs, at most two seconds long, and let go of port and folder; whether all has ended.

        Statements that take longer are told to stop: who sent them gets an error, or no answer, and may not take
        them for done.
        """
        self._asked_to_stop.set()
        if self._running is None:
            return True
        (front, lanes, folder), self._running = self._running, None
        front.shutdown()
        front.server_close()
        front.hang_up()
        if not (ended := lanes.drain(GRACE_S)):
            stop_statements(folder)
            ended = lanes.drain(GRACE_S)
        lanes.close()
        folder.close()
        return ended

    def serve_forever(self) -> bool:
        """Serve until `stop` is called elsewhere or, in the main thread, SIGTERM or SIGINT comes; as `stop`.

        After False the process should end by `os._exit`: the engine does not bear being torn down at work.
        """

        def ask(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._asked_to_stop.set()

        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            if self._running is None:
                self.start()
            self._asked_to_stop.wait()
        finally:
            ended = self.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
        return ended

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else error  # create_server's own words name the address again
        raise ConfigurationError(f"port {port} of {host} cannot be served: {reason}") from error


def main(arguments: list[str] | None = None) -> int:
    """Serve a folder until told to stop; prints the address. The password comes by the environment."""
    parser = argparse.ArgumentParser(prog="python -m sink.serve", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8123, help="0: a free one")
    parser.add_argument("--host", default="127.0.0.1", help=f"others than loopback need {PASSWORD_VARIABLE}")
    parser.add_argument("--body-limit", type=int, default=BODY_LIMIT, help="bytes")
    asked = parser.parse_args(arguments)
    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        server = Server(asked.folder, asked.port, host=asked.host, password=password, body_limit=asked.body_limit)
        server.start()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    print(server.url, flush=True)
    if not server.serve_forever():
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
