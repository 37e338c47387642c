"""The embedded broker: librdkafka's own test broker, which real clients connect to on loopback.

It lives in this process's memory, makes topics of 4 partitions on first use, and drops a partition's oldest records
past 5 MB or 100,000: whoever writes to it keeps within `Window`.
"""

from collections import deque
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas.errors import SellerpulseError, Unavailable

PARTITIONS = 4
RECORDS_MAX = 80_000
BYTES_MAX = 4_800_000
RECORD_OVERHEAD = 30  # bytes of a record and its part of a batch beside key, value and headers
CHECKPOINT_EVERY = 200  # records

Partition = tuple[str, int]


class EmbeddedBroker:
    """A broker in this process, up from construction until `close`, at `bootstrap`."""

    def __init__(self, topics: Iterable[str]) -> None:
        # Its clients note every disconnection; at the end of a run that is all of them.
        self._holder: Producer | None = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        metadata = self._holder.list_topics(timeout=10)
        address = next(iter(metadata.brokers.values()))
        self.bootstrap = f"{address.host}:{address.port}"
        for topic in topics:
            self._holder.list_topics(topic, timeout=10)

    def close(self) -> None:
        """Everything in it is gone."""
        self._holder = None


class Progress:
    """How far a consumer group is in some topics, asked of the broker."""

    def __init__(self, bootstrap: str, group: str, partitions: Iterable[Partition]) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
        self._partitions = [TopicPartition(*at) for at in partitions]

    def committed(self) -> dict[Partition, int]:
        """The group's next offset in each partition, 0 before its first commit. Raises Unavailable."""
        try:
            found = self._consumer.committed(self._partitions, timeout=10)
        except KafkaException as failed:
            raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed
        return {(at.topic, at.partition): max(at.offset, 0) for at in found}

    def ends(self) -> dict[Partition, tuple[int, int]]:
        """The first offset kept and the next one to be written, of each partition. Raises Unavailable."""
        try:
            found = [self._consumer.get_watermark_offsets(at, timeout=10) for at in self._partitions]
        except KafkaException as failed:
            raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed
        return {(at.topic, at.partition): ends for at, ends in zip(self._partitions, found, strict=True)}

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


class Window:
    """Keeps a feeder within what the embedded broker holds: so much past the committed offsets, a partition.

    The feeder is the only one who writes, so the n-th record of a partition has offset n.
    """

    def __init__(self, progress: Progress, while_waiting: Callable[[], None] = lambda: None) -> None:
        self._progress, self._while_waiting = progress, while_waiting
        self._sent: dict[Partition, list[int]] = {}  # records and bytes so far, and of both until the next look
        self._read: dict[Partition, tuple[int, int]] = {}  # records and bytes
        self._checkpoints: dict[Partition, deque[tuple[int, int]]] = {}  # records and bytes, now and then

    def sent(self, at: Partition, size: int) -> bool:
        """A record of so many bytes was written; False if the next one is to wait until there is room."""
        sent = self._sent.get(at)
        if sent is None:
            sent = self._sent[at] = [0, 0, RECORDS_MAX // 4, BYTES_MAX // 4]
            self._read[at], self._checkpoints[at] = (0, 0), deque()
        sent[0] += 1
        sent[1] += size + RECORD_OVERHEAD
        if sent[0] % CHECKPOINT_EVERY == 0:
            self._checkpoints[at].append((sent[0], sent[1]))
        return sent[0] < sent[2] and sent[1] < sent[3]

    def check(self) -> None:
        """Raises SellerpulseError if records were dropped before the group had read them."""
        self._while_waiting()
        ends = self._progress.ends()
        for at, offset in self._progress.committed().items():
            if ends[at][0] > offset:
                raise SellerpulseError(f"the embedded broker dropped records of {at[0]} before they were read")

    def has_room(self) -> bool:
        """Ask how far the group is: whether a quarter of every partition is free."""
        self._while_waiting()
        committed = self._progress.committed()
        for at, sent in self._sent.items():
            checkpoints = self._checkpoints[at]
            if not checkpoints or checkpoints[-1][0] < sent[0]:  # a few large records may fill a partition
                checkpoints.append((sent[0], sent[1]))
            while checkpoints and checkpoints[0][0] <= committed[at]:
                self._read[at] = checkpoints.popleft()
            sent[2:] = sent[0] + RECORDS_MAX // 4, sent[1] + BYTES_MAX // 4
        return all(
            sent[2] <= self._read[at][0] + RECORDS_MAX and sent[3] <= self._read[at][1] + BYTES_MAX
            for at, sent in self._sent.items()
        )
