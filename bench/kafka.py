"""Real brokers that hold a simulation's events, each loaded once and shared by all subjects of a bench.

Every subject reads them in a consumer group of its own. One broker is up at a time, so that none takes memory or
processor from what is measured on another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from bench.measured import Step, SubjectFailed
from bench.wire import Year, read_wire, wire_file
from streams.sections import Kafka as KafkaSettings
from streams.topics import Cluster, wanted
from tests.integration.broker import Broker, fetch

FLUSH_S = 60.0
# Unlike a real topic's: event times stand in the records, and no record is too old, or ends a segment by its age.
_CONFIG = {"message.timestamp.type": "CreateTime", "retention.ms": "-1", "segment.ms": str(3650 * 86_400_000)}


class Brokers:
    """The brokers of a bench, by what they hold. `close` stops the one that is up."""

    def __init__(self, folder: Path, output: Path, step: Step) -> None:
        self._folder, self._output, self._step = folder, output, step
        self._brokers: dict[Year, Broker] = {}
        self._up: Broker | None = None

    def holding(self, year: Year) -> str:
        """The address of a broker with exactly these events on its topics, beside what earlier subjects left."""
        broker = self._brokers.get(year)
        if broker is not None and broker is self._up:
            return broker.bootstrap
        self.close()
        if broker is not None:
            self._step("starting Kafka again")
            broker.start()
        else:
            broker = self._load(year)
            self._brokers[year] = broker
        self._up = broker
        return broker.bootstrap

    def close(self) -> None:
        """Nothing is up any more; what was loaded stays on disk."""
        if self._up is not None:
            self._up.stop()
            self._up = None

    def _load(self, year: Year) -> Broker:
        file = wire_file(year, self._output, self._step)
        self._step(f"starting Kafka and loading it with {year.events:,} records")
        broker = start(self._folder / f"kafka-{len(self._brokers)}")
        try:
            load(file, broker.bootstrap)
        except BaseException:
            broker.stop()
            raise
        return broker


def start(folder: Path) -> Broker:
    """A broker with all topics of the program, empty; whoever starts it stops it."""
    fetch()
    folder.mkdir()
    broker = Broker(folder, lives_long=True)
    broker.start()
    Cluster(KafkaSettings(bootstrap=broker.bootstrap)).create(
        topic._replace(config=topic.config | _CONFIG) for topic in wanted(KafkaSettings())
    )
    return broker


@contextmanager
def empty(folder: Path) -> Iterator[str]:
    """The address of a broker with nothing on its topics, for a `with` block."""
    broker = start(folder / "kafka")
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


def producer(bootstrap: str, linger_ms: int = 50) -> Producer:
    """A producer that partitions as Kafka's own client does, and as the program asks for."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
        }
    )


def load(file: Path, bootstrap: str) -> None:
    """Send every record of the file, in its order. Raises SubjectFailed."""
    sender = producer(bootstrap)
    failed: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    for n, (topic, key, value, time_ms) in enumerate(read_wire(file)):
        while True:
            try:
                sender.produce(topic, value, key, on_delivery=delivered, timestamp=time_ms)
                break
            except BufferError:
                sender.poll(0.1)
            except KafkaException as wrong:
                raise SubjectFailed(f"Kafka does not take a record: {wrong}") from wrong
        if n % 1000 == 0:
            sender.poll(0)
    if sender.flush(FLUSH_S) or failed:
        raise SubjectFailed(f"Kafka did not take everything: {failed[0] if failed else 'no answer'}")
