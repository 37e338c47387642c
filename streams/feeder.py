"""Files to topics: what `ingest`, `replay` and `demo` do with their input. Every event is checked before it is sent."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic, sleep
from typing import Any

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException, Producer

from schemas.codec import Codec
from schemas.errors import FileDamaged, Unavailable
from schemas.events import UNKNOWN_TOPIC, Refusal, account_key, check
from streams.broker import PARTITIONS, Window
from streams.connectors.files import Record, Source
from streams.connectors.input import Progress
from streams.credentials import librdkafka
from streams.failpoints import reach
from streams.sections import Kafka

FLUSH_S = 60.0
LOOK_EVERY = 500  # records

Headers = list[tuple[str, str | bytes | None]]
Home = tuple[bytes, int]


@dataclass
class Fed:
    """What became of the input. `damaged` names the files that end too soon, `last_ms` is the last event's time."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    left_out: Counter[str] = field(default_factory=Counter)  # rows that are no events, by why
    damaged: list[str] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None

    def met(self, time_ms: int) -> None:
        """An event of that time was accepted."""
        self.accepted += 1
        if self.last_ms is None or time_ms > self.last_ms:
            self.last_ms = time_ms
        if self.first_ms is None or time_ms < self.first_ms:
            self.first_ms = time_ms


class Feeder:
    """Sends events to their topics, refused lines to the dead-letter topics; keeps within `window` if there is one.

    `clock` gives epoch ms. Raises Unavailable if Kafka does not take what is sent, the last of it within `patience_s`.
    """

    def __init__(
        self, kafka: Kafka, codec: Codec, *, clock: Callable[[], int], window: Window | None = None,
        patience_s: float = FLUSH_S,
    ) -> None:  # fmt: skip
        self._failed: list[str] = []  # what befell the last record that Kafka did not take
        self._producer = Producer(
            librdkafka(kafka)
            | {
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 40,
                "queue.buffering.max.messages": 500_000,
                "message.max.bytes": 64 << 20,
                "delivery.report.only.error": True,
                # Once for all: told with every record it takes 1 us. And of no method, to leave no cycle behind.
                "on_delivery": partial(_note, self._failed),
                "log_level": 0,
            }
        )
        self._codec, self._clock, self._window, self._patience_s = codec, clock, window, patience_s
        self._homes: dict[tuple[str, str], Home] = {}
        self._sent = 0
        self._now_ms = 0  # of the clock's last look: it is asked once in so many records

    def feed(self, sources: Sequence[Source], progress: Callable[[int, int], None]) -> Fed:
        """Send all of these sources; returns when Kafka has them. `progress` hears of bytes read, of how many."""
        fed, before, total = Fed(), 0, sum(source.size for source in sources)
        for source in sources:
            self._now_ms = self._clock()
            try:
                self._feed_source(source, lambda done, before=before: progress(before + done, total), fed)  # type: ignore[misc]
            except FileDamaged as damaged:
                fed.damaged.append(str(damaged))
            before += source.size
            fed.left_out += source.left_out
        if self._flush() or self._failed:
            raise Unavailable(f"Kafka did not take everything: {''.join(self._failed) or 'no answer'}")
        return fed

    def _flush(self) -> int:
        """How many records Kafka does not have when patience is over. In slices: a signal is not heard in one."""
        deadline = monotonic() + self._patience_s
        while (left := self._producer.flush(0.5)) and monotonic() < deadline and not self._failed:
            pass
        return left

    def _feed_source(self, source: Source, progress: Progress, fed: Fed) -> None:
        for record in source.read(progress):  # runs for every event: nothing here that once in a while would do
            item = record.item
            if isinstance(item, Refusal):
                self._refuse(source, record, item, fed)
                continue
            topic, event = item
            reason = check(topic, event, self._now_ms)
            if reason is not None:
                self._refuse(source, record, Refusal(reason, topic), fed)
                continue
            fed.met(event["event_time"])
            key, partition = self._homes.get((event["seller_id"], event["marketplace_id"])) or self._home(event)
            self._send(topic, key, self._codec.encode(topic, event), partition)

    def _refuse(self, source: Source, record: Record, refusal: Refusal, fed: Fed) -> None:
        fed.refused[refusal.reason] += 1
        about = {
            "reason": refusal.reason, "source_topic": refusal.topic, "source_file": source.path,
            "source_line": record.line, "refused_at": self._clock(),
        }  # fmt: skip
        headers: Headers = [(name, str(value).encode()) for name, value in about.items() if value is not None]
        topic = f"{refusal.topic or UNKNOWN_TOPIC}.dlq"
        self._send(topic, None, record.raw, 0 if self._window else -1, headers=headers)

    def _send(
        self, topic: str, key: bytes | None, value: bytes, partition: int, *, headers: Headers | None = None
    ) -> None:
        while True:
            try:
                if headers is None:  # 0.3 us less than to say so
                    self._producer.produce(topic, value, key, partition)
                else:
                    self._producer.produce(topic, value, key, partition, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as failed:
                raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed
        self._sent += 1
        if self._sent % LOOK_EVERY == 0:
            self._look_around()
        # What has no key is a dead letter, which has headers.
        if self._window and not self._window.sent((topic, partition), len(value) + (len(key) if key else 200)):
            self._wait_for_room(self._window)

    def _look_around(self) -> None:
        """What need not be done for every record."""
        self._now_ms = self._clock()
        self._producer.poll(0)
        reach("fed")
        if self._failed:
            raise Unavailable(f"Kafka: {''.join(self._failed)}")

    def _wait_for_room(self, window: Window) -> None:
        window.check()
        while not window.has_room():
            self._producer.flush(FLUSH_S)
            sleep(0.02)

    def _home(self, event: Mapping[str, Any]) -> Home:
        """An account's key, and its partition in the embedded broker or -1: by the producer's murmur2."""
        key = account_key(event)
        home = key, (murmur2(key) & 0x7FFFFFFF) % PARTITIONS if self._window else -1
        self._homes[event["seller_id"], event["marketplace_id"]] = home
        return home


def _note(failed: list[str], error: Any, _: Any) -> None:
    """The producer's report of a record."""
    if error is not None:
        failed[:] = [error.str()]
