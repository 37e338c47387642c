"""Records in: decoded, checked, masked, and set down for the next flush.

Its place in the flow: between a fetched batch and the stories. Pure but for what it is given: no clock, no Kafka.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiokafka.partitioner import murmur2

from schemas.codec import Accepted, Codec
from schemas.events import Refusal, Topic
from schemas.rows import AccountId, Rejected
from streams.core.privacy import mask_event
from streams.core.stories import AnyFact, fact_of

Partition = tuple[str, int]  # topic, partition


class Outgoing(NamedTuple):
    """A record to send on: refused to a dead-letter topic (any partition), or misplaced to where it belongs."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Incoming(NamedTuple):
    """An accepted event on its way into its story."""

    account: AccountId
    subject: str
    fact: AnyFact
    topic: Topic
    payload: bytes
    digest: bytes


@dataclass
class Pending:
    """What waits for the next flush, and the offsets that are durable after it."""

    events: list[Incoming] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    misplaced: Counter[Partition] = field(default_factory=Counter)
    offsets: dict[Partition, int] = field(default_factory=dict)
    refused: int = 0

    def __len__(self) -> int:
        return len(self.events) + len(self.outgoing) + len(self.rejected)


class Intake:
    """Sorts the records of a tenure that owns these partitions, of so many."""

    def __init__(self, codec: Codec, partitions: int, owned: frozenset[int]) -> None:
        self._codec, self._partitions, self._owned = codec, partitions, owned
        self._homes: dict[AccountId, int] = {}  # account -> hash of its key

    def decode(self, topic: Topic, records: Sequence[Any], now_ms: int) -> list[Accepted | Refusal]:
        """Each record's event, or why it is refused. `now_ms` is the wall clock.

        A record is anything with the `key`, `value`, `headers` and `offset` of a Kafka record. Raises Unavailable, and
        may block for seconds, when a Schema Registry is to be asked and does not answer.
        """
        accept = self._codec.accept
        return [accept(topic, record.key, record.value, now_ms) for record in records]

    def sort(
        self,
        topic: Topic,
        partition: int,
        records: Sequence[Any],
        decoded: Sequence[Accepted | Refusal],
        now_ms: int,
        pending: Pending,
    ) -> None:
        """Every record becomes an event, a dead letter or one sent on to its partition."""
        for record, found in zip(records, decoded, strict=True):
            if isinstance(found, Refusal):
                pending.outgoing.append(dead_letter(topic, partition, record, found.reason, now_ms))
                pending.refused += 1
                continue
            event, payload, digest = found.event, found.payload, found.digest
            account = (event["seller_id"], event["marketplace_id"])
            home = self._home(account, record.key)
            if home != partition:
                pending.misplaced[topic, partition] += 1
                if home not in self._owned:
                    pending.outgoing.append(Outgoing(topic, home, record.key, record.value, list(record.headers)))
                    continue
            if topic != "orders" and mask_event(topic, event):
                payload, digest = self._codec.restated(topic, event)
            subject, fact = fact_of(topic, event, digest)
            pending.events.append(Incoming(account, subject, fact, topic, payload, digest))

    def _home(self, account: AccountId, key: bytes) -> int:
        """The partition that an account belongs in."""
        hashed = self._homes.get(account)
        if hashed is None:
            hashed = self._homes[account] = murmur2(key) & 0x7FFFFFFF
        return hashed % self._partitions


def dead_letter(topic: str, partition: int, record: Any, reason: str, now_ms: int) -> Outgoing:
    about = {
        "reason": reason, "source_topic": topic, "source_partition": partition, "source_offset": record.offset,
        "refused_at": now_ms,
    }  # fmt: skip
    headers = [*record.headers, *((name, str(value).encode()) for name, value in about.items())]
    return Outgoing(f"{topic}.dlq", None, record.key, record.value, headers)


def rejected(dlq: str, record: Any) -> Rejected:
    """The row of a dead letter. Of a header that comes twice the last one counts: it is ours."""
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    return Rejected(
        said.get("source_topic") or dlq.removesuffix(".dlq"),
        _number(said.get("source_partition")),
        _number(said.get("source_offset")),
        said.get("source_file", ""),
        _number(said.get("source_line")),
        said.get("reason", "not said"),
        _number(said.get("refused_at"), record.timestamp),
    )


def _number(text: str | None, otherwise: int = -1) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else otherwise
