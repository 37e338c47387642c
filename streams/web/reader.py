"""The page's way to the database: two threads with a store each, so much work at once, and answers kept for a second.

Place in the flow: beside it. The event loop never waits here for more than a word: what blocks runs on the threads, and
whoever comes while they have enough to do is sent away for a while.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

from schemas.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from sink.store import Store

THREADS = 2
AT_WORK = 24  # questions, those that wait for a thread among them
KEPT_S = 1.0
_KEPT = 64  # answers
STOP_S = 5.0
_SETTINGS = {
    "max_execution_time": 15,  # seconds
    "max_threads": max((os.cpu_count() or 1) // 2, 1),  # the rest is the writer's
}

log = logging.getLogger(__name__)

T = TypeVar("T")


class Busy(Exception):
    """There is enough to do already: come again in a second."""


class Reader:
    """Asks the store that `open_store` opens, from threads of its own. For one event loop."""

    def __init__(self, open_store: "Callable[[], Store]") -> None:
        self._open = open_store
        self._pool = ThreadPoolExecutor(THREADS, "page")
        self._mine = threading.local()
        self._opening = threading.Lock()  # the driver is imported by whoever is first: two at once would see half of it
        self._stores: list[Store] = []
        self._at_work = 0
        self._kept: dict[Hashable, tuple[float, asyncio.Task[object]]] = {}

    async def ask(self, call: "Callable[[Store], T]") -> T:
        """What the call answers. Raises Busy, and whatever it raises."""
        if self._at_work >= AT_WORK:
            raise Busy
        self._at_work += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._call, call)
        finally:
            self._at_work -= 1

    async def ask_once(self, key: Hashable, call: "Callable[[Store], T]") -> T:
        """The same for a question of that name, asked once for all who ask at the same time or within a second."""
        now = asyncio.get_running_loop().time()
        until, task = self._kept.get(key, (0.0, None))
        if task is None or (task.done() and now >= until) or (task.done() and task.exception() is not None):
            for stale in [k for k, (end, one) in self._kept.items() if one.done() and end <= now]:
                del self._kept[stale]
            if len(self._kept) >= _KEPT:
                raise Busy
            task = asyncio.create_task(self.ask(call))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits any more
            self._kept[key] = (now + KEPT_S, task)
        return cast("T", await asyncio.shield(task))

    def _call(self, call: "Callable[[Store], T]") -> T:
        if not hasattr(self._mine, "store"):
            self._mine.store = self._opened()
        return call(self._mine.store)

    def _opened(self) -> "Store":
        try:
            with self._opening:
                store = self._open()
        except ConfigurationError as failed:  # of ours, not of who asks
            log.warning("the page cannot open the database: %s", failed)
            raise Unavailable("the database cannot be opened") from failed
        self._stores.append(store)
        for name, value in _SETTINGS.items():
            offered = store.client.server_settings.get(name)
            if offered is not None and not offered.readonly:
                store.client.set_client_setting(name, value)
        return store

    async def stop(self) -> None:
        """Let go of the database; a question that takes long is left to itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        done = asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        try:
            await asyncio.wait_for(asyncio.shield(done), STOP_S)
        except TimeoutError:
            return
        for store in self._stores:
            store.close()
