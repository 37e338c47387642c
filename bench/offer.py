"""Events offered to a running worker: at a steady rate, each happening as it is sent."""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self

from bench.kafka import FLUSH_S, producer
from bench.measured import SubjectFailed
from bench.wire import deal, year_of
from schemas.codec import Codec
from schemas.events import Parsed, Topic, account_key
from schemas.rows import AccountId
from streams.connectors.simulate import simulate

TICK_S = 0.01
SPARE = 1.2  # for those that are left out


class Offer:
    """Sends so many events a second of so many accounts, for so many seconds, in a thread, for a `with` block.

    `every`: the accounts are scattered among that many times as many.

    `sent` has, of each of the `watched` accounts, when its events happened, epoch ms, as they were handed to the
    producer. Those accounts get events of one topic alone: of one partition, so that a row that shows an event shows
    all before it.
    """

    def __init__(
        self,
        bootstrap: str,
        accounts: int,
        *,
        a_second: int,
        seconds: float,
        every: int = 1,
        watched: Collection[AccountId] = (),
    ) -> None:
        self.sent: defaultdict[AccountId, list[int]] = defaultdict(list)
        self.count = 0
        self._events = new_events(accounts, every, int(a_second * seconds * SPARE), watched)
        self._a_second, self._seconds, self._watched = a_second, seconds, frozenset(watched)
        self._producer, self._codec = producer(bootstrap, linger_ms=5), Codec()
        self._over = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="offer", daemon=True)

    def is_over(self) -> bool:
        """Whether all was sent. Raises SubjectFailed if it could not be."""
        if self._failed is not None:
            raise SubjectFailed(f"the events cannot be offered: {self._failed}") from self._failed
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._send_all()
        except Exception as failed:  # noqa: BLE001  # told by `is_over`, in the thread that waits
            self._failed = failed

    def _send_all(self) -> None:
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < self._seconds and not self._over.is_set():
            due = int(elapsed * self._a_second) - self.count
            for topic, event in islice(self._events, due):
                self._send(topic, event)
            self._producer.poll(0)
            time.sleep(TICK_S)
        if self._producer.flush(FLUSH_S):
            raise SubjectFailed("Kafka did not take everything")

    def _send(self, topic: Topic, event: dict[str, Any]) -> None:
        event["event_time"] = now_ms = time.time_ns() // 1_000_000
        account = (event["seller_id"], event["marketplace_id"])
        self._producer.produce(topic, self._codec.encode(topic, event), account_key(event), timestamp=now_ms)
        if account in self._watched:
            self.sent[account].append(now_ms)
        self.count += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def new_events(accounts: int, every: int, count: int, watched: Collection[AccountId]) -> Iterator[Parsed]:
    """So many events, or somewhat less, of orders that no stored history knows."""
    watched = frozenset(watched)
    for topic, event in simulate(year_of(accounts, count).simulation):
        if event["order_id"] is not None:
            event["order_id"] = f"new-{event['order_id']}"
        if topic == "surveys":
            event["conversation_id"] = f"new-{event['conversation_id']}"
        deal(event, accounts, every)
        if topic == "orders" or (event["seller_id"], event["marketplace_id"]) not in watched:
            yield Parsed(topic, event)
