"""The worker's one HTTP server: its metrics, its health, and the page. It runs on the event loop beside the flow.

Place in the flow: beside it. Whoever adds routes must not block: what takes longer than a few milliseconds belongs on a
thread of its own. Nobody is asked for a password, so it is at loopback unless the settings say another address.
"""

import asyncio
import logging
import threading
from collections.abc import Iterable
from errno import EADDRINUSE
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from streams.transport import Beside

log = logging.getLogger(__name__)

_DEAF = log.getChild("deaf")  # what is no HTTP is answered, and not worth a traceback of whatever a stranger sent
_DEAF.setLevel(logging.CRITICAL)
STOP_S = 1.0  # for requests under way
BODY_BYTES = 16 << 10


class Server:
    """Serves these routes at an address from `start` to `stop`; port 0 is a free one, `spare` ones are tried after it.

    A port that is taken is one line in the log: the worker has more to do than to be looked at.
    """

    def __init__(
        self,
        routes: Iterable[web.AbstractRouteDef],
        *,
        host: str,
        port: int,
        spare: int = 0,
        around: Iterable[Middleware] = (),
    ) -> None:
        self.url: str | None = None  # while it is served
        self._routes, self._host, self._ports = tuple(routes), host, range(port, port + spare + 1)
        self._around = tuple(around)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve, if the address can be had."""
        app = web.Application(middlewares=self._around, client_max_size=BODY_BYTES)
        app.add_routes(self._routes)
        self._runner = runner = web.AppRunner(
            app, access_log=None, logger=_DEAF, handle_signals=False, shutdown_timeout=STOP_S
        )
        await runner.setup()
        try:
            await self._listen(runner)
        except OSError as failed:
            log.error(  # noqa: TRY400  # one line
                "metrics, health and page are not served, the rest goes on: %s port %d: %s (see web.port)",
                self._host, self._ports[0], failed.strerror or failed,
            )  # fmt: skip
            await self.stop()
            return
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{runner.addresses[0][1]}"
        log.info("the page, metrics and health are at %s", self.url)

    async def _listen(self, runner: web.AppRunner) -> None:
        for port in self._ports:
            try:
                await web.TCPSite(runner, self._host, port).start()
            except OSError as failed:
                if failed.errno != EADDRINUSE or port == self._ports[-1]:
                    raise
            else:
                return

    async def stop(self) -> None:
        """Let go of the port."""
        runner, self._runner, self.url = self._runner, None, None
        if runner is not None:
            await runner.cleanup()


class Apart:
    """A server on an event loop and a thread of its own, for a `with` block; `pages` are stopped after it."""

    def __init__(self, server: Server, *pages: Beside) -> None:
        self._server, self._beside = server, (server, *pages)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="page", daemon=True)

    @property
    def url(self) -> str | None:
        """Where it is served."""
        return self._server.url

    def __enter__(self) -> Self:
        self._thread.start()
        for one in self._beside:
            asyncio.run_coroutine_threadsafe(one.start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._beside:
            asyncio.run_coroutine_threadsafe(one.stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
