"""The page and what it asks for: files of `static`, JSON, and server-sent events. Who changes anything shows a token.

Place in the flow: beside it. Every answer forbids the browser whatever the page does not need; strangers' text leaves
here as JSON alone. Without a password, so a name that is not this machine's is refused: else any web site could be read
by way of the visitor's browser, once its name is made to lead here.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from schemas.errors import ConfigurationError, SellerpulseError
from schemas.rows import AccountId
from streams.core.metrics import METRIC_BY_NAME
from streams.core.rules import NUMERIC
from streams.credentials import open_store, page_token
from streams.reading import notices, standing
from streams.reading.account import TooLarge
from streams.reading.catalogue import catalogue
from streams.reading.forecast import Forecast
from streams.sections import ClickHouse
from streams.settings import Settings
from streams.web.asked import account_of, day_of, metric_of, moment_of, said, wanted_of
from streams.web.guard import HEADERS, Guard
from streams.web.live import Live
from streams.web.reader import Reader

STATIC = Path(__file__).parent / "static"
KEEP_ALIVE_S = 15.0
LISTENERS = 200
_FORECASTS = 16  # kept, half a megabyte each
_TYPES = {
    ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json",
    ".svg": "image/svg+xml", ".txt": "text/plain",
}  # fmt: skip

Lag = Callable[[], int | None]


def page_of(settings: Settings, clickhouse: ClickHouse, lag: Lag = lambda: None) -> "Page":
    """The page over the database there; `lag` tells how many records are not in it yet, as far as that is known.

    Raises ConfigurationError for a token that cannot be read.
    """
    terms_of = settings.terms_of
    told = catalogue(settings.alerts.rules, settings.alerts.other_rules, terms_of(""))
    return Page(
        Reader(partial(open_store, clickhouse, create=False)),
        Guard({settings.web.host, *settings.web.names}, page_token(settings.web)),
        standing.Standards(terms_of, settings.alerts.rules),
        orjson.dumps(told),
        lag,
    )


class Page:
    """Its routes, and what they need, until `stop`."""

    def __init__(self, reader: Reader, guard: Guard, standards: standing.Standards, catalogue: bytes, lag: Lag) -> None:
        self.guard = guard
        self._reader, self._standards, self._catalogue, self._lag = reader, standards, catalogue, lag
        self._live = Live(reader)
        self._files = {str(file.relative_to(STATIC)): file for file in STATIC.rglob("*") if file.is_file()}
        self._forecasts: dict[AccountId, tuple[object, Forecast]] = {}

    def routes(self) -> list[web.AbstractRouteDef]:
        """All of it."""
        return [
            web.get("/", self._index),
            web.get("/static/{name:.+}", self._file),
            web.get("/api/catalogue", self._told),
            web.get("/api/overview", self._overview),
            web.get("/api/account", self._account),
            web.get("/api/series", self._series),
            web.get("/api/explain", self._explain),
            web.get("/api/live", self._listen),
            web.post("/api/alerts/{id}/ack", self._acknowledge),
            web.post("/api/silences", self._silence),
        ]

    async def start(self) -> None:
        """Nothing is opened before somebody asks."""

    async def stop(self) -> None:
        """Let go of the database."""
        await self._live.stop()
        await self._reader.stop()

    # --- files -------------------------------------------------------------------------------------------

    async def _index(self, _: web.Request) -> web.StreamResponse:
        return _sent(STATIC / "index.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _sent(file)

    # --- what is so --------------------------------------------------------------------------------------

    async def _told(self, _: web.Request) -> web.Response:
        return _json(self._catalogue)

    async def _overview(self, request: web.Request) -> web.Response:
        wanted = wanted_of(request.query)
        told = await self._reader.ask_once(wanted, lambda store: standing.accounts(store, wanted))
        return _json(orjson.dumps(told | {"fresh": told["fresh"] | {"lag_records": self._lag()}}))

    async def _account(self, request: web.Request) -> web.Response:
        key = account_of(request.query)

        def call(store: Any) -> bytes:
            told = standing.standing(store, key)
            try:
                outlook = standing.outlook(self._ahead(store, key))
            except TooLarge as refused:
                return orjson.dumps(told | {"outlook": None, "outlook_refused": str(refused)})
            return orjson.dumps(told | {"outlook": outlook})

        return _json(await self._reader.ask_once(("account", key), call))

    async def _series(self, request: web.Request) -> web.Response:
        key, name = account_of(request.query), metric_of(request.query, NUMERIC)

        def call(store: Any) -> bytes:
            try:
                told: Forecast | None = self._ahead(store, key)
            except TooLarge:
                told = None
            return orjson.dumps(standing.series(store, self._standards, key, name, told))

        return _json(await self._reader.ask_once(("series", key, name), call))

    async def _explain(self, request: web.Request) -> web.Response:
        key, name, day = account_of(request.query), metric_of(request.query, METRIC_BY_NAME), day_of(request.query)

        def call(store: Any) -> bytes:
            return orjson.dumps(standing.explained(store, self._standards, key, name, day))

        return _json(await self._reader.ask_once(("explain", key, name, day), call))

    def _ahead(self, store: Any, key: AccountId) -> Forecast:
        """The account's coming days, kept until its rows are others."""
        version = store.as_of(), store.marks([key]).get(key)
        known = self._forecasts.get(key)
        if known is None or known[0] != version:
            known = version, standing.ahead(store, self._standards, key)
            while len(self._forecasts) >= _FORECASTS:
                self._forecasts.pop(next(iter(self._forecasts)), None)
            self._forecasts[key] = known
        return known[1]

    # --- what changes ------------------------------------------------------------------------------------

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if len(self._live) >= LISTENERS:
            raise web.HTTPServiceUnavailable
        queue = await self._live.listen()
        try:
            answer = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream; charset=utf-8"})
            await answer.prepare(request)
            await answer.write(b"retry: 2000\n\n")
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    event = b": keep-alive\n\n"
                await answer.write(event)
        except ConnectionResetError:  # nobody listens any more
            return answer
        finally:
            self._live.leave(queue)

    async def _acknowledge(self, request: web.Request) -> web.Response:
        body = await self._order(request)
        by, comment = said(body, "by"), said(body, "comment", "")

        def call(store: Any) -> list[str]:
            return [alert.alert_id for alert in notices.acknowledge(store, [request.match_info["id"]], by, comment)]

        return _json(orjson.dumps({"acknowledged": await self._done(call)}))

    async def _silence(self, request: web.Request) -> web.Response:
        body = await self._order(request)
        globs = {name: said(body, name, "*") for name in notices.GLOBS}
        by, comment, until = said(body, "by"), said(body, "comment"), moment_of(body)
        if set(globs.values()) == {"*"}:
            raise ConfigurationError(f"say of which alerts: {', '.join(notices.GLOBS)}")
        made = await self._done(lambda store: notices.silence(store, globs, until, by, comment))
        return _json(orjson.dumps({"silence_id": made.silence_id}))

    async def _order(self, request: web.Request) -> dict[str, Any]:
        """What somebody may ask to be done. Raises HTTPException, and ConfigurationError for what is no object."""
        self.guard.admit(request)
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise ConfigurationError("the body is no JSON object")
        return body

    async def _done(self, call: Callable[[Any], Any]) -> Any:
        try:
            return await self._reader.ask(call)
        except SellerpulseError as refused:
            if type(refused) is SellerpulseError:
                raise ConfigurationError(str(refused)) from refused
            raise


def _sent(file: Path) -> web.FileResponse:
    kind = _TYPES.get(file.suffix)
    headers = {"Cache-Control": "no-cache"} | ({"Content-Type": f"{kind}; charset=utf-8"} if kind else {})
    return web.FileResponse(file, headers=headers)


def _json(body: bytes) -> web.Response:
    return web.Response(
        body=body, headers={"Cache-Control": "no-store"}, content_type="application/json", charset="utf-8"
    )
