"""Files to topics: what `ingest`, `replay` and `demo` do with their input. Every event is checked before it is sent."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import sleep
from typing import Any

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException, Producer

from schemas.codec import Codec
from schemas.errors import FileDamaged, Unavailable
from schemas.events import UNKNOWN_TOPIC, Refusal, account_key, check
from streams.broker import PARTITIONS, Window
from streams.connectors.files import Record, Source

FLUSH_S = 60.0
POLL_EVERY = 500  # records


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

    `clock` gives epoch ms. Raises Unavailable if Kafka does not take what is sent.
    """

    def __init__(self, bootstrap: str, codec: Codec, *, clock: Callable[[], int], window: Window | None = None) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 20,
                "queue.buffering.max.messages": 500_000,
                "message.max.bytes": 64 << 20,
                "delivery.report.only.error": True,
                "log_level": 0,
            }
        )
        self._codec, self._clock, self._window = codec, clock, window
        self._homes: dict[bytes, int] = {}
        self._failed: str | None = None
        self._sent = 0

    def feed(self, sources: Sequence[Source], progress: Callable[[int, int], None]) -> Fed:
        """Send all of these sources; returns when Kafka has them. `progress` hears of bytes read, of how many."""
        fed, before, total = Fed(), 0, sum(source.size for source in sources)
        for source in sources:
            try:
                for record in source.read(lambda done, before=before: progress(before + done, total)):  # type: ignore[misc]
                    self._feed_one(source, record, fed)
            except FileDamaged as damaged:
                fed.damaged.append(str(damaged))
            before += source.size
            fed.left_out += source.left_out
        if self._producer.flush(FLUSH_S) or self._failed:
            raise Unavailable(f"Kafka did not take everything: {self._failed or 'no answer'}")
        return fed

    def _feed_one(self, source: Source, record: Record, fed: Fed) -> None:
        item = record.item
        if not isinstance(item, Refusal):
            topic, event = item
            reason = check(topic, event, self._clock())
            if reason is None:
                fed.met(event["event_time"])
                self._send(topic, account_key(event), self._codec.encode(topic, event))
                return
            item = Refusal(reason, topic)
        fed.refused[item.reason] += 1
        about = {
            "reason": item.reason, "source_topic": item.topic, "source_file": source.path, "source_line": record.line,
            "refused_at": self._clock(),
        }  # fmt: skip
        headers: list[tuple[str, str | bytes | None]] = [
            (name, str(value).encode()) for name, value in about.items() if value is not None
        ]
        self._send(f"{item.topic or UNKNOWN_TOPIC}.dlq", None, record.raw, headers)

    def _send(
        self, topic: str, key: bytes | None, value: bytes, headers: list[tuple[str, str | bytes | None]] | None = None
    ) -> None:
        window = self._window
        partition = self._home(key) if window else -1  # -1: by the producer's murmur2
        while True:
            try:
                self._producer.produce(topic, value, key, partition, self._delivered, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as failed:
                raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed
        self._sent += 1
        if self._sent % POLL_EVERY == 0:
            self._producer.poll(0)
            if self._failed:
                raise Unavailable(f"Kafka: {self._failed}")
        if window and not window.sent((topic, partition), len(value) + len(key or b"") + 200 * bool(headers)):
            self._wait_for_room(window)

    def _wait_for_room(self, window: Window) -> None:
        self._producer.flush(FLUSH_S)
        while not window.has_room():
            sleep(0.02)

    def _home(self, key: bytes | None) -> int:
        """The partition of an account in the embedded broker."""
        if key is None:
            return 0
        home = self._homes.get(key)
        if home is None:
            home = self._homes[key] = (murmur2(key) & 0x7FFFFFFF) % PARTITIONS
        return home

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed = error.str()
