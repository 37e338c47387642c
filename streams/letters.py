"""Dead letters read from their topics as they were put there, and put back where they came from.

Place in the flow: behind its end, and before its beginning again. Reads the topics from their beginning to their
present end; joins no group, commits nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.errors import Unavailable
from schemas.events import TOPICS, UNKNOWN_TOPIC
from schemas.rows import Rejected
from streams.credentials import librdkafka
from streams.intake import Partition, own_headers, rejected
from streams.topics import Cluster

if TYPE_CHECKING:
    from streams.sections import Kafka

ANSWER_S = 60.0  # nothing read or acknowledged for so long: Kafka is away
PORTION = 1000  # put back, acknowledged, noted

Progress = Callable[[int, int], None]  # so many records of so many


class Letter(NamedTuple):
    """A dead letter as it stands in its topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int  # epoch ms

    @property
    def record(self) -> Rejected:
        """Where it came from and why it was refused."""
        return rejected(self.topic, self.partition, self)


def is_of_a_topic(record: Rejected) -> bool:
    """Whether a refused record came from a topic of events, so that it can be put back: no line of a file."""
    return record.topic in TOPICS and not record.file and record.partition >= 0 and record.offset >= 0


# --- reading -------------------------------------------------------------------------------------------------


def read(kafka: "Kafka", wanted: Iterable[Rejected], progress: Progress) -> Iterator[Letter]:
    """The letters of these records that their topics still hold; of a record that has two, the first.

    Raises Unavailable.
    """
    left = {record[:5] for record in wanted}  # by where they came from
    if not left:
        return
    present = Cluster(kafka).replicas()
    topics = [f"{topic}.dlq" for topic in (*TOPICS, UNKNOWN_TOPIC)]
    config = librdkafka(kafka) | {"log_level": 0}
    config |= {"enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    consumer = Consumer(config | {"group.id": kafka.group})  # has the workers' rights
    try:
        every = [(topic, partition) for topic in topics for partition in range(len(present.get(topic, ())))]
        spans = {at: consumer.get_watermark_offsets(TopicPartition(*at), timeout=ANSWER_S) for at in every}
        for letter in _through(consumer, spans, progress):
            source = letter.record[:5]
            if source in left:
                yield letter
                left.remove(source)
                if not left:
                    return
    except KafkaException as failed:
        raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed
    finally:
        consumer.close()


def _through(consumer: Consumer, spans: dict[Partition, tuple[int, int]], progress: Progress) -> Iterator[Letter]:
    """What stands between these offsets, the second ones open."""
    ends = {at: end for at, (first, end) in spans.items() if first < end}
    consumer.assign([TopicPartition(*at, spans[at][0]) for at in ends])
    done, total = 0, sum(end - spans[at][0] for at, end in ends.items())
    while ends:
        message = consumer.poll(ANSWER_S)
        if message is None:
            raise Unavailable("Kafka does not answer")
        at = cast("Partition", (message.topic(), message.partition()))
        if (error := message.error()) is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # public, in spite of its name
                raise KafkaException(error)
            ends.pop(at, None)  # where the last offsets are no records
        elif at in ends:
            letter = _letter(message)
            if letter.offset + 1 >= ends[at]:
                del ends[at]
            yield letter
            done += 1
            if done % PORTION == 0 or not ends:
                progress(done, total)


def _letter(message: Message) -> Letter:
    _, time = message.timestamp()
    at = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return Letter(*at, message.key(), message.value(), headers, time)


# --- putting back --------------------------------------------------------------------------------------------


def put_back(kafka: "Kafka", letters: Iterable[Letter], note: Callable[[list[Letter]], None]) -> None:
    """Send the records of letters to their topics as they were, key, bytes and headers.

    `note` is told of those that Kafka has acknowledged, so many at a time. Should that be interrupted they are sent
    again, which changes nothing: an event counts once. Raises Unavailable.
    """
    failed: list[str] = []
    producer = Producer(
        librdkafka(kafka)
        | {
            "partitioner": "murmur2_random",
            "enable.idempotence": True,  # so all replicas acknowledge
            "message.max.bytes": 64 << 20,
            "delivery.report.only.error": True,
            "on_delivery": partial(_failed, failed),
            "log_level": 0,
        }
    )
    rest = iter(letters)
    while portion := list(islice(rest, PORTION)):
        for letter in portion:
            _send(producer, letter)
        if producer.flush(ANSWER_S) or failed:
            raise Unavailable(f"Kafka did not take everything: {''.join(failed) or 'no answer'}")
        note(portion)


def _send(producer: Producer, letter: Letter) -> None:
    while True:
        try:
            producer.produce(letter.record.topic, letter.value, letter.key, headers=[*own_headers(letter.headers)])
            return
        except BufferError:
            producer.poll(0.1)
        except KafkaException as failed:
            raise Unavailable(f"Kafka: {failed.args[0].str()}") from failed


def _failed(failed: list[str], error: KafkaError | None, _: Message) -> None:
    if error is not None:
        failed[:] = [error.str()]
