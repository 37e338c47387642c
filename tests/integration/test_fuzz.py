"""10,000 records that nobody should send, on a real broker: each is stored, or a dead letter that says why."""

import ast
import re
import time
from collections.abc import Iterator
from typing import cast

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from schemas.events import TOPICS, Refusal
from tests.fuzz_corpus import CODEC, SIZE, corpus
from tests.integration.broker import Broker
from tests.integration.program import DLQ, LARGEST_BYTES, PARTITIONS, Ground, Program, serving, succeed, wait_until

STORED = """SELECT (SELECT count() FROM order_events) + (SELECT count() FROM feedback_events)
    + (SELECT count() FROM survey_events) AS events, (SELECT count() FROM rejected_events) AS rejected,
    (SELECT countIf(reason = '') FROM rejected_events) AS without_reason,
    (SELECT uniqExact(seller_id, marketplace_id) FROM seller_current) AS accounts"""


@pytest.fixture(scope="module")
def ground(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Topics as `topics create` makes them, but for records of any size, and a server."""
    folder = tmp_path_factory.mktemp("fuzz")
    succeed(folder, "topics", "create", "--kafka", kafka.bootstrap, KAFKA__PARTITIONS=str(PARTITIONS))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    _take(admin, AlterConfigOpType.SET)
    with serving(folder) as database:
        yield Ground(folder, kafka.bootstrap, admin, database)
    _take(admin, AlterConfigOpType.DELETE)


def _take(admin: AdminClient, operation: AlterConfigOpType) -> None:
    """Let topics of events take large records, or no longer."""
    large = ConfigEntry("max.message.bytes", str(LARGEST_BYTES), incremental_operation=operation)
    topics = [ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[large]) for topic in TOPICS]
    for altered in admin.incremental_alter_configs(topics).values():
        altered.result(10)


def test_every_fuzzed_record_is_stored_or_a_dead_letter_with_a_reason(ground: Ground) -> None:
    place, fuzzed, now_ms = ground.place("fuzz"), list(corpus()), time.time_ns() // 1_000_000
    found = [CODEC.accept(one.topic, one.key, one.value, now_ms) for one in fuzzed]
    reports = place.produce((one.topic, one.key, one.value, one.headers) for one in fuzzed)
    reasons = {
        _place_of(report): of.reason for report, of in zip(reports, found, strict=True) if isinstance(of, Refusal)
    }
    with place.worker("--dlq-limit", "1") as worker:
        wait_until(lambda: place.committed() != place.begin, 60, "a worker that has begun", worker)
        wait_until(lambda: not place.left(), 60, "drained", worker)
        spans = {(name, 0): (place.begin[name, 0], place.ends()[name, 0]) for name in DLQ}
        letters = {_source(letter): letter for letter in place.records(spans)}
        assert {at: _said(letter)["reason"] for at, letter in letters.items()} == reasons
        assert sum(end - begin for begin, end in spans.values()) == len(reasons)
        for report, one in zip(reports, fuzzed, strict=True):
            if (letter := letters.get(_place_of(report))) is not None:
                assert (letter.key(), letter.value()) == (one.key, one.value), one.kind
        accepted = SIZE - len(reasons)
        (stored,) = place.ask(STORED)
        accounts = {(of.event["seller_id"], of.event["marketplace_id"]) for of in found if not isinstance(of, Refusal)}
        wait_until(lambda: place.ask(STORED)[0]["accounts"] == len(accounts), 60, "rows of every account", worker)
        assert (stored["events"], stored["rejected"], stored["without_reason"]) == (accepted, len(reasons), 0)
        assert worker.stop() == 0, worker.log()[-3000:]
    counts = _counted(worker)
    assert (counts["taken"], counts["refused"]) == (accepted, len(reasons))
    assert "Traceback" not in worker.log()


def _counted(worker: Program) -> dict[str, int]:
    """What a worker says of its tenure when it ends."""
    told = re.findall(r"(\{'.*?\}); seconds", worker.log())
    return cast("dict[str, int]", ast.literal_eval(told[-1]))


def _place_of(record: Message) -> tuple[str, int, int]:
    return cast("str", record.topic()), cast("int", record.partition()), cast("int", record.offset())


def _source(letter: Message) -> tuple[str, int, int]:
    said = _said(letter)
    return said["source_topic"], int(said["source_partition"]), int(said["source_offset"])


def _said(letter: Message) -> dict[str, str]:
    """The last of the headers of each name: ours."""
    headers = cast("list[tuple[str, bytes | None]]", letter.headers() or [])
    return {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
