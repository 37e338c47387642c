"""Tells listeners, as server-sent events, that accounts changed: the database is looked at once a second for it.

Place in the flow: beside it. Several workers share a database, so what this one does would tell too little. Nobody
looks while nobody listens.
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import SellerpulseError
from streams.core.metrics import iso
from streams.web.reader import Busy, Reader

if TYPE_CHECKING:
    from sink.overview import Look
    from sink.store import Store

LOOK_S = 1.0
NAMED = 200  # accounts; of more it is only said that there are many
WAITING = 8  # changes that a slow listener may have yet to hear of

log = logging.getLogger(__name__)

Event = bytes


class Live:
    """One watcher for all listeners."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._listeners: set[asyncio.Queue[Event]] = set()
        self._task: asyncio.Task[None] | None = None
        self._number = 0

    def __len__(self) -> int:
        return len(self._listeners)

    async def listen(self) -> "asyncio.Queue[Event]":
        """Changes from now on, each once. Raises Busy, and SellerpulseError if the database cannot be looked at."""
        queue: asyncio.Queue[Event] = asyncio.Queue(WAITING)
        if self._is_idle():
            before = await self._reader.ask(_look)
            if self._is_idle():  # nobody was faster
                self._task = asyncio.create_task(self._watch(before))
        self._listeners.add(queue)
        return queue

    def _is_idle(self) -> bool:
        return self._task is None or self._task.done()

    def leave(self, queue: "asyncio.Queue[Event]") -> None:
        """Hear no more; the last one who leaves ends the watch."""
        self._listeners.discard(queue)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def stop(self) -> None:
        """Watch no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _watch(self, before: "Look") -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                after = await self._reader.ask(_look)
                if after != before:
                    told = await self._reader.ask(partial(_changed, before=before, after=after))
                    before = after
                    if told["accounts"] != []:  # what a mutation removed is no news
                        self._tell(told)
            except (Busy, SellerpulseError) as failed:
                log.debug("no look at what changed: %s", failed)

    def _tell(self, told: dict[str, Any]) -> None:
        self._number += 1
        event = _event(told | {"version": self._number})
        for queue in self._listeners:
            if queue.full():  # who is that slow is told no more than that much has changed
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_event(told | {"accounts": None, "version": self._number}))
            else:
                queue.put_nowait(event)


def _event(told: dict[str, Any]) -> Event:
    return b"event: changed\ndata: %b\n\n" % orjson.dumps(told)


def _look(store: "Store") -> "Look":
    from sink.overview import look

    return look(store)


def _changed(store: "Store", before: "Look", after: "Look") -> dict[str, Any]:
    from sink.overview import changed

    as_of = store.as_of()
    return {"as_of": None if as_of is None else iso(as_of), "accounts": changed(store, before, after, NAMED)}
