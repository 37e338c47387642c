"""Records in: decoded, checked, masked, and set down for the next flush.

Its place in the flow: between a fetched batch and the stories. Pure but for what it is given: no clock, no Kafka.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from aiokafka.partitioner import murmur2

from schemas.batch import BatchReader, Checked
from schemas.codec import Codec
from schemas.events import TOPICS, Refusal, Topic
from schemas.rows import Rejected
from streams.core.privacy import mask_event
from streams.core.pseudonyms import Pseudonyms
from streams.core.stories import AnyFact, fact_of

Partition = tuple[str, int]  # topic, partition
Header = TypeVar("Header", bound=tuple[str, bytes | None])


class Outgoing(NamedTuple):
    """A record to send on: refused to a dead-letter topic (any partition), or misplaced to where it belongs."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass
class Pending:
    """What waits for the next flush, and the offsets that are durable after it."""

    events: dict[Topic, list[Checked]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    outgoing: list[Outgoing] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    misplaced: Counter[Partition] = field(default_factory=Counter)
    offsets: dict[Partition, int] = field(default_factory=dict)
    refused: Counter[tuple[Topic, str]] = field(default_factory=Counter)  # by topic and reason
    bytes: int = 0  # of the records' values
    came: float = 0.0  # when the first record did, by the event loop's clock

    def __len__(self) -> int:
        return sum(map(len, self.events.values())) + len(self.outgoing) + len(self.rejected)

    def outcomes(self, stored: Mapping[Topic, int]) -> Counter[tuple[str, str]]:
        """How many records of each topic became what, if so many of the events are stored."""
        found: Counter[tuple[str, str]] = Counter()
        for topic, events in self.events.items():
            found[topic, "stored"] = stored.get(topic, 0)
            found[topic, "duplicate"] = len(events) - stored.get(topic, 0)
        for (topic, _), count in self.refused.items():
            found[topic, "refused"] += count
        found.update((sent.topic, "forwarded") for sent in self.outgoing if sent.partition is not None)
        return found


class Intake:
    """Sorts the records of a tenure that owns these partitions, of so many; some orders may be `forgotten`."""

    def __init__(
        self, codec: Codec, partitions: int, owned: frozenset[int], forgotten: Pseudonyms | None = None
    ) -> None:
        self._codec, self._partitions, self._owned, self._forgotten = codec, partitions, owned, forgotten
        self._reader = BatchReader(codec)
        self._homes: dict[bytes, int] = {}  # an account's key -> its partition

    def decode(self, topic: Topic, records: Sequence[Any], now_ms: int) -> list[Checked | Refusal]:
        """Each record's event, or why it is refused. `now_ms` is the wall clock.

        A record is anything with the `key`, `value`, `headers` and `offset` of a Kafka record. Raises Unavailable, and
        may block for seconds, when a Schema Registry is to be asked and does not answer.
        """
        keys, values = [record.key for record in records], [record.value for record in records]
        found = self._reader.accept(topic, keys, values, now_ms)
        if (forgotten := self._forgotten) is None:
            return found
        return [self._without_ids(topic, one, forgotten) if type(one) is Checked else one for one in found]

    def _without_ids(self, topic: Topic, found: Checked, forgotten: Pseudonyms) -> Checked:
        """The event by its pseudonyms, if its order is forgotten: before anything of it is stored."""
        if found.account not in forgotten.accounts:
            return found
        event = self._codec.event(topic, found.payload) if found.event is None else found.event
        if not forgotten.give(topic, event):
            return found
        payload, digest = self._codec.restated(topic, event)
        return found._replace(payload=payload, digest=digest, event=event)

    def sort(
        self,
        topic: Topic,
        partition: int,
        records: Sequence[Any],
        decoded: Sequence[Checked | Refusal],
        now_ms: int,
        pending: Pending,
    ) -> None:
        """Every record becomes an event, a dead letter or one sent on to its partition."""
        homes, events = self._homes, pending.events[topic]
        for record, found in zip(records, decoded, strict=True):
            if type(found) is Checked and found.event is None and homes.get(record.key) == partition:
                events.append(found)
            elif isinstance(found, Refusal):
                pending.outgoing.append(dead_letter(topic, partition, record, found.reason, now_ms))
                pending.refused[topic, found.reason] += 1
            elif self._is_ours(topic, partition, record, pending):
                events.append(self._masked(topic, found))

    def _is_ours(self, topic: Topic, partition: int, record: Any, pending: Pending) -> bool:
        """Whether an event is for this worker; one that is misplaced is counted, and sent on if it is not."""
        home = self._homes.get(record.key)
        if home is None:
            home = self._homes[record.key] = (murmur2(record.key) & 0x7FFFFFFF) % self._partitions
        if home != partition:
            pending.misplaced[topic, partition] += 1
            if home not in self._owned:
                pending.outgoing.append(Outgoing(topic, home, record.key, record.value, list(record.headers)))
                return False
        return True

    def _masked(self, topic: Topic, found: Checked) -> Checked:
        """The event without what tells who its buyer is."""
        if topic == "orders" or found.event is None or not mask_event(topic, found.event):
            return found
        payload, digest = self._codec.restated(topic, found.event)
        return found._replace(payload=payload, digest=digest)

    def fact(self, topic: Topic, found: Checked) -> tuple[str, AnyFact]:
        """The event's subject, and what the metrics need of it."""
        event = found.event if found.event is not None else self._codec.event(topic, found.payload)
        return fact_of(topic, event, found.digest)


_ABOUT = ("reason", "source_topic", "source_partition", "source_offset", "refused_at")


def dead_letter(topic: str, partition: int, record: Any, reason: str, now_ms: int) -> Outgoing:
    """The record as it came; what we say of it stands behind its own headers."""
    said = (reason, topic, partition, record.offset, now_ms)
    about = [(name, str(value).encode()) for name, value in zip(_ABOUT, said, strict=True)]
    return Outgoing(f"{topic}.dlq", None, record.key, record.value, [*record.headers, *about])


def own_headers(headers: Sequence[Header]) -> list[Header]:
    """The headers that the record of a dead letter came with: those before what we said of it."""
    names = tuple(name for name, _ in headers[-len(_ABOUT) :])
    return list(headers[: -len(_ABOUT)] if names == _ABOUT else headers)


def rejected(dlq: str, partition: int, record: Any) -> Rejected:
    """The row of a dead letter. Of a header that comes twice the last one counts: it is ours.

    One that does not say where it came from, and so is not ours, came from where it is.
    """
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    source = said.get("source_topic") or dlq.removesuffix(".dlq")
    at = _number(said.get("source_partition")), _number(said.get("source_offset"))
    file, line = said.get("source_file", ""), _number(said.get("source_line"))
    if (*at, file, line) == (-1, -1, "", -1):
        source, at = dlq, (partition, record.offset)
    time = _number(said.get("refused_at"), record.timestamp)
    return Rejected(source, *at, file, line, said.get("reason", "not said"), time)


def _number(text: str | None, otherwise: int = -1) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else otherwise
