"""A TCP proxy before ClickHouse that can be told to misbehave, as bad networks and overloaded servers do."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

Mode = Literal["well", "refusing", "failing", "forgetting", "slow"]
SLOW_S = 1.0
_FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\nConnection: close\r\n\r\noops\n"


class Proxy:
    """Passes connections on to a port of this machine, for a `with` block.

    `mode` may change at any time: `refusing` closes every connection, `failing` answers 500 to every request,
    `forgetting` has the server do its work and closes the connection instead of answering, `slow` answers late.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "well"
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # at the end
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._to)) as server:
            answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
            answers.start()
            while asked := client.recv(1 << 16):
                if self.mode == "refusing":
                    break
                if self.mode == "failing":
                    client.sendall(_FAILURE)
                    break
                server.sendall(asked)
            for end in (client, server):
                end.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(1 << 16):
                if self.mode in ("forgetting", "refusing"):
                    client.shutdown(socket.SHUT_RDWR)
                    return
                if self.mode == "slow":
                    time.sleep(SLOW_S)
                client.sendall(answer)
            client.shutdown(socket.SHUT_RDWR)
