"""The Kafka topics as they should be: made where missing, and where they differ, told how.

Place in the flow: before it. Changes nothing that exists: with more partitions accounts move to others, so that is
a person's decision, taken while producers pause.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec  # type: ignore[attr-defined]  # public
from confluent_kafka.cimpl import NewTopic

from schemas.errors import ConfigurationError, SellerpulseError, Unavailable
from schemas.events import MS_A_DAY, TOPICS, UNKNOWN_TOPIC

if TYPE_CHECKING:
    from streams.sections import Kafka

ALERTS = "alerts"
ANSWER_WITHIN_S = 8
ADVICE = (
    "Producers: key = seller_id|marketplace_id, partition by murmur2. Kafka's own Java client does; "
    "librdkafka and what is built on it need partitioner=murmur2_random."
)

_OUT_OF_REACH = frozenset(("_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT", "_TRANSPORT"))
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
    return [Wanted(name, partitions, kafka.replication, _config(days)) for name, partitions, days in ours]


def _config(retention_days: float) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        # Retention counts from arrival: by a producer's own time, last year's events would be deleted as they come.
        "message.timestamp.type": "LogAppendTime",
        "retention.bytes": "-1",
        "retention.ms": str(int(retention_days * MS_A_DAY)),
    }


class Lag(NamedTuple):
    """How far a group is behind on a topic: records it has not committed, and whether it ever committed."""

    topic: str
    records: int
    started: bool


class Cluster:
    """A Kafka cluster asked about its topics. Connects when asked; each answer comes within some seconds.

    Everything raises Unavailable if the brokers cannot be reached, SellerpulseError if they refuse.
    """

    def __init__(self, bootstrap: str, *, within_s: float = ANSWER_WITHIN_S) -> None:
        self.bootstrap = bootstrap
        self._within_s = within_s
        self._reason = ""
        config: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0, "error_cb": self._note}
        try:
            self._admin = AdminClient(config)
        except KafkaException as wrong:
            raise ConfigurationError(f"Kafka at {bootstrap}: {wrong.args[0].str()}") from wrong

    def _note(self, error: KafkaError) -> None:
        """Keep the first reason why a broker cannot be reached; what follows repeats it."""
        self._reason = self._reason or f": {error.str().rpartition('/bootstrap: ')[2].partition(' (after ')[0]}"

    def replicas(self) -> dict[str, list[int]]:
        """The topics there are: how many replicas each partition has."""
        try:
            listed = self._admin.list_topics(timeout=self._within_s)
        except KafkaException as failed:
            raise self._converted(failed) from failed
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
        found = self._admin.describe_configs([resource], request_timeout=self._within_s)
        return {name: entry.value for name, entry in self._answer(found[resource]).items()}

    def lag(self, group: str) -> list[Lag]:
        """How far the group is behind on each topic of events that there is."""
        present = self.replicas()
        partitions = [TopicPartition(t, p) for t in TOPICS for p in range(len(present.get(t, ())))]
        if not partitions:
            return []
        first = self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # says the library
        end = self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # likewise
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, partitions)])
        committed = {(at.topic, at.partition): at.offset for at in self._answer(asked[group]).topic_partitions}
        return [
            Lag(
                topic,
                sum(end[at] - max(committed[at], first[at]) for at in end if at[0] == topic),
                any(offset >= 0 for at, offset in committed.items() if at[0] == topic),
            )
            for topic in TOPICS
            if topic in present
        ]

    def _offsets(self, partitions: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = self._admin.list_offsets(dict.fromkeys(partitions, which), request_timeout=self._within_s)
        return {(at.topic, at.partition): self._answer(future).offset for at, future in asked.items()}

    def members(self, group: str) -> int:
        """How many workers the group has now."""
        asked = self._admin.describe_consumer_groups([group], request_timeout=self._within_s)
        return len(self._answer(asked[group]).members)

    def _answer(self, future: "Future[T]") -> T:
        try:
            return future.result(self._within_s + 2)
        except KafkaException as failed:
            raise self._converted(failed) from failed

    def _converted(self, failed: KafkaException, what: str = "") -> SellerpulseError:
        error = failed.args[0]
        if error.name() in _OUT_OF_REACH:
            self._admin.poll(0)  # what `_note` has not been told yet
            return Unavailable(f"Kafka at {self.bootstrap} cannot be reached{self._reason}")
        return SellerpulseError(f"Kafka at {self.bootstrap}: {what}{error.str()}")


def _differences(topic: Wanted, replicas: list[int], config: Mapping[str, str]) -> Iterator[str]:
    if len(replicas) != topic.partitions:
        yield f"{len(replicas)} partitions, should be {topic.partitions}"
    if {*replicas} != {topic.replication}:
        yield f"replication {min(replicas, default=0)}, should be {topic.replication}"
    for name, value in topic.config.items():
        if config.get(name) != value:
            yield f"{name} {config.get(name)}, should be {value}"
