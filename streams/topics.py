"""The Kafka topics as they should be: made where missing, and where they differ, told how.

Place in the flow: before it. Changes nothing that exists: with more partitions accounts move to others, so that is
a person's decision, taken while producers pause.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # public
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ConfigurationError, SellerpulseError, Unavailable
from schemas.events import MS_A_DAY, TOPICS, UNKNOWN_TOPIC
from streams.credentials import librdkafka

if TYPE_CHECKING:
    from streams.sections import Kafka

ALERTS = "alerts"
ANSWER_WITHIN_S = 8
LOOK_AFTER_S = 2  # for reasons why there is no answer yet
DEAD_LETTER_BYTES = 16 << 20
ADVICE = (
    "Producers: key = seller_id|marketplace_id, partition by murmur2. Kafka's own Java client does; "
    "librdkafka and what is built on it need partitioner=murmur2_random."
)

_OUT_OF_REACH = frozenset(("_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_TRANSPORT"))
_NOT_YET = ("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "_WAIT_COORD")
_PASSING = frozenset((*_NOT_YET, "LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "UNKNOWN_TOPIC_OR_PART"))
_HUNG_UP = "it hangs up on us; is kafka.security_protocol the one that is spoken there?"
_REFUSALS = {  # by what librdkafka says
    "certificate verify failed": "has a certificate that kafka.ca_file did not sign, or of another host",
    "PLAINTEXT broker listener": "speaks no TLS: is kafka.security_protocol the one that is spoken there?",
    "SSL alert": "breaks TLS off: does it trust kafka.certificate_file?",
}
T = TypeVar("T")


class Wanted(NamedTuple):
    """A topic as it should be; `config` are the settings that matter to us."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


def wanted(kafka: "Kafka") -> list[Wanted]:
    """All topics that these settings ask for."""
    ours = [(name, kafka.partitions, kafka.retention_days) for name in (*TOPICS, ALERTS)]
    ours += [(f"{name}.dlq", 1, kafka.dlq_retention_days) for name in (*TOPICS, UNKNOWN_TOPIC)]
    return [Wanted(name, partitions, kafka.replication, _config(name, days)) for name, partitions, days in ours]


def _config(name: str, retention_days: float) -> dict[str, str]:
    # A dead letter is the original record and some headers: it must not be too large where the original was not.
    size = {"max.message.bytes": str(DEAD_LETTER_BYTES)} if name.endswith(".dlq") else {}
    return size | {
        "cleanup.policy": "delete",
        # Retention counts from arrival: by a producer's own time, last year's events would be deleted as they come.
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": "-1",
        "retention.ms": str(int(retention_days * MS_A_DAY)),
    }


class Lag(NamedTuple):
    """How many records of a topic a group has not committed yet."""

    topic: str
    records: int


class Cluster:
    """A Kafka cluster asked about its topics. Connects when asked; each answer comes within some seconds.

    Everything raises Unavailable if the brokers cannot be reached, SellerpulseError if they refuse.
    """

    def __init__(self, kafka: "Kafka", *, within_s: float = ANSWER_WITHIN_S) -> None:
        self.bootstrap = kafka.bootstrap
        self._within_s = within_s
        self._reasons: list[KafkaError] = []
        note = self._reasons.append  # not a method of ours: the client would not go before the next collection
        self._config: dict[str, Any] = librdkafka(kafka) | {"log_level": 0}
        try:
            self._admin = AdminClient(self._config | {"error_cb": note})
        except KafkaException as wrong:
            raise ConfigurationError(f"Kafka at {self.bootstrap}: {wrong.args[0].str()}") from wrong

    def replicas(self) -> dict[str, list[int]]:
        """The topics there are: how many replicas each partition has."""
        until = time.monotonic() + self._within_s

        def ask() -> Any:
            return self._admin.list_topics(timeout=min(max(until - time.monotonic(), 0.1), LOOK_AFTER_S))

        listed = self._patiently(ask)
        topics = listed.topics.items()
        return {name: [len(p.replicas) for p in topic.partitions.values()] for name, topic in topics}

    def create(self, topics: Iterable[Wanted]) -> list[str]:
        """Make those that are missing; the names of those made. Several may do so at once."""
        present = self.replicas()
        missing = [
            NewTopic(topic.name, topic.partitions, topic.replication, config=topic.config)
            for topic in topics
            if topic.name not in present
        ]
        asked = self._admin.create_topics(missing, request_timeout=self._within_s) if missing else {}
        return [name for name, future in asked.items() if self._made(name, future)]

    def _made(self, name: str, future: "Future[None]") -> bool:
        try:
            future.result(self._within_s + 2)
        except KafkaException as failed:
            if failed.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._converted(failed, f"topic {name} was not made: ") from failed
            return False
        return True

    def differences(self, topics: Iterable[Wanted]) -> list[str]:
        """What is missing or not as it should be, a line each."""
        present = self.replicas()
        lines = []
        for topic in topics:
            if topic.name not in present:
                lines.append(f"{topic.name}: missing")
            else:
                told = _differences(topic, present[topic.name], self._config_of(topic.name))
                lines += [f"{topic.name}: {line}" for line in told]
        return lines

    def _config_of(self, topic: str) -> dict[str, str]:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)

        def ask() -> dict[str, str]:
            asked = self._admin.describe_configs([resource], request_timeout=self._within_s)[resource]
            return {name: entry.value for name, entry in asked.result(self._within_s + 2).items()}

        return self._patiently(ask)

    def lag(self, group: str) -> list[Lag]:
        """How far the group is behind on each topic of events that there is."""
        present = self.replicas()
        # Not by the admin client: asked of a coordinator that is just starting, it crashes (librdkafka issue 5040).
        consumer = Consumer(self._config | {"group.id": group})

        def behind(partition: TopicPartition) -> int:
            (committed,) = consumer.committed([partition], timeout=self._within_s)
            if committed.error is not None:
                raise KafkaException(committed.error)
            first, end = consumer.get_watermark_offsets(partition, timeout=self._within_s)
            return end - max(committed.offset, first)

        try:
            found = {name: [TopicPartition(name, p) for p in range(len(present.get(name, ())))] for name in TOPICS}
            return [
                Lag(name, sum(self._patiently(partial(behind, partition)) for partition in partitions))
                for name, partitions in found.items()
                if partitions
            ]
        finally:
            consumer.close()

    def members(self, group: str) -> int:
        """How many workers the group has now."""

        def ask() -> int:
            asked = self._admin.describe_consumer_groups([group], request_timeout=self._within_s)[group]
            return len(asked.result(self._within_s + 2).members)

        return self._patiently(ask)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """What Kafka answers, asked again for some seconds while it may yet: not when it does not let us in."""
        until = time.monotonic() + self._within_s
        while True:
            try:
                return ask()
            except KafkaException as failed:
                self._admin.poll(0)  # brings the reasons
                passing = failed.args[0].name() in _PASSING | _OUT_OF_REACH and not self._refused()
                if not passing or time.monotonic() > until:
                    raise self._converted(failed) from failed
            time.sleep(0.2)

    def _refused(self) -> str | None:
        """Why we shall not be let in however often we ask, as far as is known."""
        for reason in self._reasons:
            text = _bare(reason)
            if reason.name() == "_AUTHENTICATION":
                return f"does not let us in: {text}"
            for sign, words in _REFUSALS.items():
                if sign in text:
                    return words
        return None

    def _converted(self, failed: KafkaException, what: str = "") -> SellerpulseError:
        error = failed.args[0]
        if error.name() not in _OUT_OF_REACH:
            return SellerpulseError(f"Kafka at {self.bootstrap}: {what}{error.str()}")
        self._admin.poll(0)
        if refused := self._refused():
            return SellerpulseError(f"Kafka at {self.bootstrap} {refused}")
        told = [_bare(reason) for reason in self._reasons if reason.name() != "_ALL_BROKERS_DOWN"]
        why = told[0] if told else _HUNG_UP if self._reasons else error.str()
        return Unavailable(f"Kafka at {self.bootstrap} cannot be reached: {why}")


def _bare(reason: KafkaError) -> str:
    return reason.str().rpartition("/bootstrap: ")[2].partition(" (after ")[0]


def _differences(topic: Wanted, replicas: list[int], config: Mapping[str, str]) -> Iterator[str]:
    if len(replicas) != topic.partitions:
        yield f"{len(replicas)} partitions, should be {topic.partitions}"
    if {*replicas} != {topic.replication}:
        yield f"replication {min(replicas, default=0)}, should be {topic.replication}"
    for name, value in topic.config.items():
        if config.get(name) != value:
            yield f"{name} {config.get(name)}, should be {value}"
