"""The broker that the other integration tests stand on."""

import time

from confluent_kafka import Consumer, Producer

from tests.integration.broker import Broker


def produce(kafka: Broker, topic: str, keys: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(topic, value=b"v", key=key)
    assert producer.flush(30) == 0


def consume(kafka: Broker, topic: str, count: int) -> list[tuple[bytes | None, int | None]]:
    """(key, partition) of the topic's first `count` records, or of as many as come in 30 s."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap, "group.id": f"{topic}-reader", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[tuple[bytes | None, int | None]] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        records = consumer.consume(count - len(found), 0.5)
        found += [(record.key(), record.partition()) for record in records if record.error() is None]
    consumer.close()
    return found


def test_records_come_back_from_every_partition(kafka: Broker) -> None:
    kafka.create_topics("smoke", partitions=4)
    keys = [b"seller-%d|DE" % n for n in range(100)]
    produce(kafka, "smoke", keys)
    found = consume(kafka, "smoke", len(keys))
    assert sorted(key for key, _ in found if key is not None) == sorted(keys)
    assert {partition for _, partition in found} == {0, 1, 2, 3}


def test_what_was_acknowledged_survives_kill_9(kafka: Broker) -> None:
    kafka.create_topics("survivor", partitions=1)
    produce(kafka, "survivor", [b"a", b"b"])
    kafka.kill()
    kafka.restart()
    assert consume(kafka, "survivor", 2) == [(b"a", 0), (b"b", 0)]
