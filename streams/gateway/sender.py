"""To Kafka, and back with its word that all of a request is there: an idempotent producer, acks of all replicas.

Place in the flow: last. What was given to the producer and not acknowledged in time may be in Kafka all the same: the
client is told to send it again, and event ids make that harmless.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import ConfigurationError
from streams.credentials import librdkafka
from streams.gateway.refusing import NotTaken
from streams.gateway.verdicts import Outgoing
from streams.sections import Kafka
from streams.topics import wanted

QUEUE = 200_000  # records that may wait for Kafka; and their bytes
QUEUE_KIB = 128 << 10
POLL_S = 0.1
ASK_S = 5.0  # how often Kafka is asked whether it is there, and how long it has to answer
RETRY_S = 5
RETRY_FULL_S = 1

log = logging.getLogger(__name__)


class _Acks:
    """Those that a request waits for. `delivered` is called on the producer's thread."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._failed = count, False
        self.all: asyncio.Future[bool] = self._loop.create_future()  # whether none failed

    def delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failed = True
        self._left -= 1
        if not self._left:
            with suppress(RuntimeError):  # the loop is over: nobody waits
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self.all.done():
            self.all.set_result(not self._failed)


class Sender:
    """One producer, from `start` to `stop`. Raises ConfigurationError for settings that Kafka's client refuses."""

    def __init__(self, kafka: Kafka, within_s: float, queue: int = QUEUE) -> None:
        self._within_s, self._queue, self._topics = within_s, queue, wanted(kafka)
        self._config: dict[str, Any] = librdkafka(kafka) | {
            "partitioner": "murmur2_random",
            "enable.idempotence": True,  # and with it acks=all
            "linger.ms": 5,
            "message.timeout.ms": int(within_s * 1000),  # nobody waits for it any longer
            "queue.buffering.max.messages": queue,
            "queue.buffering.max.kbytes": QUEUE_KIB,
            "message.max.bytes": 2 << 20,
            "reconnect.backoff.max.ms": 1000,
            "log_level": 0,
            "error_cb": self._on_error,
        }
        self._fatal: str | None = None
        self._lost: list[str] = ["Kafka was not asked yet"]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="acknowledgements", daemon=True)
        self._watch: asyncio.Task[None] | None = None
        self._producer = self._made()

    def waiting(self) -> int:
        """Records that Kafka has not acknowledged."""
        return len(self._producer)

    def unready(self) -> Sequence[str]:
        """Why Kafka cannot be written to, as of the last look."""
        return self._lost

    async def start(self) -> None:
        """Begin to take acknowledgements, and to look whether Kafka is there."""
        self._thread.start()
        self._watch = asyncio.create_task(self._look())

    async def stop(self, within_s: float) -> None:
        """What the producer has still goes to Kafka, if that can be in time."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await asyncio.to_thread(self._producer.flush, within_s)
        self._over.set()
        await asyncio.to_thread(self._thread.join)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Returns when Kafka has acknowledged all of them. Raises NotTaken, 503: some may be there all the same."""
        if len(self._producer) + len(records) > self._queue:
            raise NotTaken(503, "too many events wait for Kafka", retry_s=RETRY_FULL_S)
        acks = _Acks(len(records))
        try:
            await asyncio.to_thread(self._produce, records, acks)
            async with asyncio.timeout(self._within_s):
                taken = await acks.all
        except TimeoutError:
            taken = False
        if not taken:
            raise NotTaken(503, "Kafka did not acknowledge all of it: send the same again", retry_s=RETRY_S)

    def _produce(self, records: Sequence[Outgoing], acks: _Acks) -> None:
        produce, delivered = self._producer.produce, acks.delivered
        try:
            for topic, key, value, headers in records:  # once an event
                if headers is None:
                    produce(topic, value, key, on_delivery=delivered)
                else:
                    produce(topic, value, key, on_delivery=delivered, headers=headers)
        except BufferError:
            raise NotTaken(503, "too many events wait for Kafka", retry_s=RETRY_FULL_S) from None
        except KafkaException as failed:
            log.error("Kafka: %s", failed.args[0].str())  # noqa: TRY400  # one line
            raise NotTaken(503, "Kafka does not take it: send the same again", retry_s=RETRY_S) from None

    # --- the producer --------------------------------------------------------------------------------------

    def _made(self) -> Producer:
        try:
            return Producer(self._config)
        except KafkaException as wrong:
            raise ConfigurationError(f"Kafka: {wrong.args[0].str()}") from wrong

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error.str()

    def _run(self) -> None:
        """Take acknowledgements, and another producer where one lost its place in a topic for good."""
        while not self._over.is_set():
            self._producer.poll(POLL_S)
            if self._fatal is not None:
                log.error("Kafka's producer cannot go on, another one does: %s", self._fatal)
                self._fatal, self._producer = None, self._made()

    async def _look(self) -> None:
        while True:
            lost = await asyncio.to_thread(self._missing)
            if lost != self._lost:
                log.warning("%s", "; ".join(lost)) if lost else log.info("Kafka answers")
            self._lost = lost
            await asyncio.sleep(ASK_S)

    def _missing(self) -> list[str]:
        try:
            there = self._producer.list_topics(timeout=ASK_S).topics
        except KafkaException:
            return ["Kafka does not answer"]
        absent = [topic.name for topic in self._topics if topic.name not in there]
        return [f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`"] if absent else []
