"""`POST /v1/events`: who asks, what for, within which limits, and the one answer that it gets.

Place in the flow: around it, on the event loop; what takes long is done on threads. 202 is said of what Kafka has
acknowledged and of nothing else.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
from aiohttp import ClientError, web

from schemas.codec import Codec
from schemas.errors import Unavailable
from streams.gateway.body import ENCODINGS, FORMATS, decompressed, records_of, too_large
from streams.gateway.keys import Holder, Keyring
from streams.gateway.openapi import EVENTS, document
from streams.gateway.refusing import NotTaken
from streams.gateway.sender import RETRY_S, Sender
from streams.gateway.telemetry import Telemetry
from streams.gateway.verdicts import Judged, judge
from streams.sections import Gateway
from streams.web.guard import HEADERS
from streams.web.probes import probes

READ_S = 30.0  # for a body, from its first byte to its last
WRITE_S = 10.0  # for an answer
REQUESTS = 64  # at once, of all keys: each holds a body
THREADS = 2  # that read bodies: what these become takes ten times their bytes

log = logging.getLogger(__name__)


class Door:
    """The routes, and what is asked at them. `clock` gives epoch ms."""

    def __init__(
        self, gateway: Gateway, codec: Codec, sender: Sender, clock: Callable[[], int], *, read_s: float = READ_S
    ) -> None:
        self._limit, self._events_max, self._read_s = gateway.body_mb << 20, gateway.events_per_request, read_s
        self._keys, self._codec, self._sender, self._clock = Keyring(gateway), codec, sender, clock
        self._registry_lost: list[str] = []
        self._threads = ThreadPoolExecutor(THREADS, "bodies")
        self.telemetry = Telemetry(sender.waiting, lambda: not self.unready())
        self._described = orjson.dumps(document(codec.newest, gateway))
        self.routes: list[web.AbstractRouteDef] = [
            web.post(EVENTS, self._events),
            web.get("/openapi.json", self._document, allow_head=False),
            *probes(self.telemetry.text, list, self.unready),
        ]

    def unready(self) -> Sequence[str]:
        """Why events cannot be taken now, one line each."""
        return [*self._sender.unready(), *self._registry_lost]

    def close(self) -> None:
        """Read no more bodies."""
        self._threads.shutdown(cancel_futures=True)

    async def _document(self, _: web.Request) -> web.Response:
        return _answer(200, self._described)

    # --- one request ---------------------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        began, telemetry, named = time.monotonic(), self.telemetry, ""
        telemetry.under_way += 1
        try:
            holder = self._keys.holder_of(request.headers.get("Authorization", ""))
            named = holder.name
            media_type, encoding = _types(request)
            with holder.admitted():
                judged = await self._taken(request, holder, media_type, encoding)
            answer = _answer(judged.status, judged.answer())
        except NotTaken as why:
            answer = _no(why)
        finally:
            telemetry.under_way -= 1
        telemetry.answered(named, answer.status, time.monotonic() - began)
        return await _written(request, answer)

    async def _taken(self, request: web.Request, holder: Holder, media_type: str, encoding: str) -> Judged:
        if self.telemetry.under_way > REQUESTS:
            raise NotTaken(503, "too many requests at once", retry_s=1)
        body = await self._body(request)
        reading = asyncio.get_running_loop().run_in_executor(
            self._threads, self._judged, body, holder, media_type, encoding
        )
        judged = await reading
        holder.bucket.take(len(judged.verdicts))
        is_there = False
        try:
            if judged.outgoing:
                await self._sender.send(judged.outgoing)
            is_there = True
        finally:
            self.telemetry.judged(judged, acknowledged=is_there)
        return judged

    async def _body(self, request: web.Request) -> bytes:
        """Raises NotTaken: 400, 408, 413."""
        if (request.content_length or 0) > self._limit:
            raise too_large(self._limit)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._read_s):
                async for part in request.content.iter_any():
                    parts.append(part)
                    size += len(part)
                    if size > self._limit:
                        raise too_large(self._limit)
        except TimeoutError:
            raise NotTaken(408, f"the body did not come within {self._read_s:g} s") from None
        except (ClientError, OSError, web.PayloadAccessError, web.RequestPayloadError):
            raise NotTaken(400, "the body ended too soon") from None
        return b"".join(parts)

    def _judged(self, body: bytes, holder: Holder, media_type: str, encoding: str) -> Judged:
        content = decompressed(body, encoding, self._limit)
        records = records_of(content, media_type, limit=self._limit, events_max=self._events_max)
        # The same body sent again gives the same dead letters, which are told apart by where they came from.
        where = f"gateway/{holder.name}/{hashlib.blake2b(content, digest_size=8).hexdigest()}"
        try:
            judged = judge(records, holder, self._codec, self._clock(), where)
        except Unavailable as lost:
            if not self._registry_lost:
                log.warning("%s", lost)
            self._registry_lost = ["the Schema Registry does not answer"]
            raise NotTaken(503, "the Schema Registry does not answer: send the same again", retry_s=RETRY_S) from None
        if judged.total("accepted"):
            self._registry_lost = []
        return judged


def _types(request: web.Request) -> tuple[str, str]:
    """Format and encoding of the body. Raises NotTaken, 415."""
    media_type = request.content_type if "Content-Type" in request.headers else ""
    if media_type not in FORMATS or (request.charset or "utf-8").lower() not in ("utf-8", "us-ascii"):
        raise NotTaken(415, f"the content type is none of {', '.join(FORMATS)} in UTF-8")
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in ENCODINGS:
        raise NotTaken(415, f"the content encoding is none of identity, {', '.join(ENCODINGS)}")
    return media_type, encoding


# --- answers -------------------------------------------------------------------------------------------------


@web.middleware
async def around(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
    """Every answer has the same headers, and what no route answers is an error of one line."""
    try:
        answer = await handler(request)  # type: ignore[misc]  # a coroutine function
    except web.HTTPException as refused:
        answer = _answer(refused.status, orjson.dumps({"error": refused.reason}))
        if "Allow" in refused.headers:
            answer.headers["Allow"] = refused.headers["Allow"]
    except Exception:
        log.exception("%s could not be answered", request.path)
        answer = _answer(500, orjson.dumps({"error": "this is a bug: the log has more"}))
    assert isinstance(answer, web.StreamResponse)
    if not answer.prepared:
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
    return answer


def _answer(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers=HEADERS, content_type="application/json")


def _no(why: NotTaken) -> web.Response:
    answer = _answer(why.status, orjson.dumps({"error": why.words}))
    if why.retry_s is not None:
        answer.headers["Retry-After"] = str(int(why.retry_s))
    if why.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if why.status in (408, 413):
        answer.force_close()  # there may be more of it to come
    return answer


async def _written(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Give the answer to whoever reads it in time; else hang up."""
    try:
        async with asyncio.timeout(WRITE_S):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except OSError:
        pass  # the client has gone; what it sent is where it is
    return answer
