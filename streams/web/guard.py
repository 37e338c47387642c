"""Who may ask, by which name, and how whatever is answered is locked up in the browser.

Place in the flow: around every route of the worker's server, also around those that are not there.
"""

import hmac
import logging
from collections.abc import Iterable
from ipaddress import ip_address

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from schemas.errors import ConfigurationError, SellerpulseError, SinkRejected
from streams.reading.account import TooLarge, Unknown
from streams.web.probes import PATHS
from streams.web.reader import Busy

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "sellerpulse",
}
_STATUS: dict[type[Exception], int] = {
    Unknown: 404, TooLarge: 413, ConfigurationError: 400, Busy: 503, SinkRejected: 500, SellerpulseError: 503,
}  # fmt: skip

log = logging.getLogger(__name__)


class Guard:
    """Knows the names by which this machine may be asked, beside its addresses, and the token of those who may act."""

    def __init__(self, names: Iterable[str], token: str | None) -> None:
        self._names = {"localhost", *(name.lower() for name in names)}
        self._token = None if token is None else token.encode()

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer with the headers that every answer has, and an error with its one line."""
        answer = await self._answer(request, handler)
        if not answer.prepared:
            for name, value in HEADERS.items():
                answer.headers.setdefault(name, value)
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in PATHS and not self._knows(request.headers.get("Host", "")):
            return _error(421, "this name is not among those by which the page may be asked for: see web.names")
        try:
            return await handler(request)
        except web.HTTPException as refused:
            headers = {name: value for name, value in refused.headers.items() if name in ("Allow", "WWW-Authenticate")}
            return _error(refused.status, refused.reason, headers)
        except (SellerpulseError, Busy) as refused:
            return _refused(refused)
        except Exception:
            log.exception("%s could not be answered", request.path)
            return _error(500, "this is a bug: the log has more")

    def _knows(self, host: str) -> bool:
        """Whether a Host header is of an address, or of a name that we go by."""
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ip_address(name)
        except ValueError:
            return name.lower().removesuffix(".") in self._names
        return True

    def admit(self, request: web.Request) -> None:
        """Raises HTTPException unless this may act: with the token, in JSON, which no form of another site sends."""
        if self._token is None:
            raise web.HTTPForbidden(reason="nobody may change anything here: no web.token is set")
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, b"Bearer " + self._token):
            raise web.HTTPUnauthorized(reason="this needs the token", headers={"WWW-Authenticate": "Bearer"})
        if request.content_type != "application/json":
            raise web.HTTPBadRequest(reason="the content type is not application/json")


def _refused(refused: Exception) -> web.Response:
    status = next(status for kind, status in _STATUS.items() if isinstance(refused, kind))
    if status == 500:
        log.error("%s", refused)
        return _error(500, "the database refused the question: the log has more")
    words = "there is much to do just now: ask again in a second" if isinstance(refused, Busy) else str(refused)
    return _error(status, words)


def _error(status: int, words: str, headers: dict[str, str] | None = None) -> web.Response:
    more = {"Retry-After": "1"} if status == 503 else {}
    return web.Response(
        status=status, body=orjson.dumps({"error": words}), headers={**more, **(headers or {})},
        content_type="application/json", charset="utf-8",
    )  # fmt: skip
