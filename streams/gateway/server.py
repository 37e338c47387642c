"""The gateway as a process: listens, and when told to stop answers what it has begun before it ends.

Place in the flow: around it. A connection on which no whole head of a request comes in time is closed, and there are
only so many, so that slow strangers do not keep others out for long.
"""

import asyncio
import gc
import logging
import signal
import time
from asyncio import BaseTransport
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from schemas.codec import Codec
from schemas.errors import SellerpulseError
from streams.agents import now_ms
from streams.gateway.door import READ_S, Door, around
from streams.gateway.sender import Sender
from streams.settings import Settings

CONNECTIONS = 512
IDLE_S = 20.0  # of a connection, and for the head of a request
LOOK_S = 1.0
STOP_S = 12.0  # for requests under way, of which the slowest wait for Kafka
FLUSH_S = 2.0

log = logging.getLogger(__name__)
_DEAF = log.getChild("deaf")  # what is no HTTP is answered, and not worth a traceback of whatever a stranger sent
_DEAF.setLevel(logging.CRITICAL)


class Connections:
    """Closes those on which nothing is asked for so long, and the idlest of too many."""

    def __init__(self, idle_s: float = IDLE_S, most: int = CONNECTIONS) -> None:
        self._idle_s, self._most = idle_s, most
        self._busy: set[BaseTransport] = set()
        self._since: dict[BaseTransport, float] = {}  # idle ones

    @web.middleware
    async def around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Something is asked on a connection."""
        if (transport := request.transport) is None:
            return await handler(request)
        self._busy.add(transport)
        self._since.pop(transport, None)
        try:
            return await handler(request)
        finally:
            self._busy.discard(transport)

    async def watch(self, server: web.Server) -> None:
        """Look every second, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            there = {one.transport for one in server.connections if one.transport is not None} - self._busy
            self._since = {each: self._since.get(each, now) for each in there}
            longest = sorted(there, key=self._since.__getitem__)
            too_many = max(len(server.connections) - self._most, 0)
            for n, each in enumerate(longest):
                if n < too_many or now - self._since[each] >= self._idle_s:
                    each.abort()


async def serve(settings: Settings, codec: Codec, *, read_s: float = READ_S, idle_s: float = IDLE_S) -> None:
    """Take events until SIGTERM or Ctrl-C. Raises SellerpulseError if the address cannot be had."""
    gateway = settings.gateway
    sender = Sender(settings.kafka, gateway.kafka_s)
    door, connections = Door(gateway, codec, sender, now_ms, read_s=read_s), Connections(idle_s)
    app = web.Application(middlewares=[connections.around, around])
    app.add_routes(door.routes)
    runner = web.AppRunner(
        app, access_log=None, logger=_DEAF, handle_signals=False, shutdown_timeout=STOP_S, auto_decompress=False
    )
    await runner.setup()
    assert runner.server is not None
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    watching = asyncio.create_task(connections.watch(runner.server))
    try:
        await sender.start()
        await _listen(runner, gateway.host, gateway.port)
        gc.freeze()
        host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
        log.info("events are taken at http://%s:%d/v1/events", host, runner.addresses[0][1])
        await told.wait()
        log.info("stopping")
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await runner.cleanup()  # listens no more, and lets requests under way end
        await sender.stop(FLUSH_S)
        door.close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as failed:
        why = failed.strerror or failed
        raise SellerpulseError(f"the gateway cannot listen at {host} port {port}: {why} (see gateway.port)") from failed
