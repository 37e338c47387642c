"""The worker's one HTTP server: its metrics, its health, and the page. It runs on the event loop beside the flow.

Place in the flow: beside it. Whoever adds routes must not block: what takes longer than a few milliseconds belongs on a
thread of its own. Nobody is asked for a password, so it is at loopback unless the settings say another address.
"""

import logging
from collections.abc import Iterable

from aiohttp import web

log = logging.getLogger(__name__)

STOP_S = 1.0  # for requests under way


class Server:
    """Serves these routes at an address from `start` to `stop`; port 0 is a free one.

    A port that is taken is one line in the log: the worker has more to do than to be looked at.
    """

    def __init__(self, routes: Iterable[web.AbstractRouteDef], *, host: str, port: int) -> None:
        self.url: str | None = None  # while it is served
        self._routes, self._host, self._port = tuple(routes), host, port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve, if the address can be had."""
        app = web.Application()
        app.add_routes(self._routes)
        self._runner = runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as failed:
            log.error(  # noqa: TRY400  # one line
                "metrics, health and page are not served, the rest goes on: %s port %d: %s (see web.port)",
                self._host, self._port, failed.strerror or failed,
            )  # fmt: skip
            await self.stop()
            return
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{runner.addresses[0][1]}"
        log.info("metrics and health are at %s", self.url)

    async def stop(self) -> None:
        """Let go of the port."""
        runner, self._runner, self.url = self._runner, None, None
        if runner is not None:
            await runner.cleanup()
