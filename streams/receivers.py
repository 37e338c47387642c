"""Receivers: who is told of an alert's changes. A hanging or failing one holds up neither the others nor the flow.

Place in the flow: its end. Nobody waits for a receiver: what it was not told is still in ClickHouse and on the topic
`alerts`. All of this runs on one event loop.
"""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import orjson

log = logging.getLogger(__name__)

Change = Mapping[str, Any]  # as `alerts.as_json` makes it

WAITING_MAX = 1000  # changes that wait for one receiver
ATTEMPTS = 4
BACKOFF_S = 0.5  # the longest pause after the first attempt; doubles with each
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class Receiver(Protocol):
    """Somebody who is told of changes, one after the other."""

    async def notify(self, change: Change) -> None:
        """Tell of a change, or log in one line why not. Never raises."""

    async def close(self) -> None:
        """Let go of connections."""


class LogReceiver:
    """One line in the log for each change: JSON, without the orders behind."""

    async def notify(self, change: Change) -> None:
        """Log the change, at the level of its severity while it fires."""
        told = {key: value for key, value in change.items() if key != "order_ids"}
        level = _LEVELS.get(change["severity"], logging.WARNING) if change["state"] == "firing" else logging.INFO
        log.log(level, "alert %s", orjson.dumps(told).decode())

    async def close(self) -> None:
        """Nothing to let go of."""


class WebhookReceiver:
    """POSTs each change as JSON. Told is whom answers 2xx; what may pass (5xx, 408, 429, no answer) is tried again."""

    def __init__(self, url: str, timeout_s: float = 10, backoff_s: float = BACKOFF_S) -> None:
        self._url = url
        self._host = urlsplit(url).hostname  # all of the address that a log may show: paths hold keys too
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._backoff_s = backoff_s
        self._session: aiohttp.ClientSession | None = None

    async def notify(self, change: Change) -> None:
        """Post the change; at worst this takes all attempts' time-outs, and the pauses between."""
        body = orjson.dumps(dict(change))
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0.5, 1) * self._backoff_s * 2 ** (attempt - 1))
            failure, may_pass = await self._post(body)
            if failure is None:
                return
            if not may_pass:
                break
        log.error("webhook at %s was not told of alert %s: %s", self._host, change.get("alert_id"), failure)

    async def _post(self, body: bytes) -> tuple[str | None, bool]:
        """What went wrong, if anything, and whether that may pass."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {"Content-Type": "application/json"}
        try:
            # A redirected POST would arrive as a GET without its body.
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                told = 200 <= answer.status < 300
                return None if told else f"HTTP {answer.status}", answer.status >= 500 or answer.status in (408, 429)
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            return type(failed).__name__, True  # its words may repeat the address

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()


class _Lane:
    """A receiver, what waits for it, and the task that tells it."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.waiting: asyncio.Queue[Change] = asyncio.Queue(WAITING_MAX)
        self.untold = 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            change = await self.waiting.get()
            try:
                await self.receiver.notify(change)
            except Exception:  # the task must live on
                log.exception("a receiver broke its promise not to raise")
            self.untold -= 1
            self.waiting.task_done()


class Receivers:
    """All receivers, each at its own pace."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self._receivers = receivers
        self._lanes: list[_Lane] = []

    def notify(self, change: Change) -> None:
        """Tell all of a change, without waiting. One that is too far behind misses it, which is logged.

        Call it on the running event loop.
        """
        if not self._lanes:
            self._lanes = [_Lane(receiver) for receiver in self._receivers]
        for lane in self._lanes:
            try:
                lane.waiting.put_nowait(change)
                lane.untold += 1
            except asyncio.QueueFull:
                name = type(lane.receiver).__name__
                log.error("%s is %d changes behind and misses alert %s", name, WAITING_MAX, change.get("alert_id"))  # noqa: TRY400  # one line

    async def close(self, timeout_s: float = 5) -> None:
        """Give what waits that much time, then let go of everything; what is left is logged by number."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(lane.waiting.join() for lane in self._lanes)), timeout_s)
        for lane in self._lanes:
            lane.task.cancel()
            if lane.untold:
                log.error("%s was not told of %d changes", type(lane.receiver).__name__, lane.untold)
        await asyncio.gather(*(lane.task for lane in self._lanes), return_exceptions=True)
        self._lanes = []
        for receiver in self._receivers:
            await receiver.close()
