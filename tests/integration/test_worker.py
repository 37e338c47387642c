"""Live workers on a real broker and a ClickHouse server: killed, stopped, cut off, fed rubbish; the tables never care.

The server is `sellerpulse clickhouse`: chDB behind ClickHouse's HTTP interface, in a process of its own. Topic names
are fixed, so each test has a group that begins where the topics end, and a database of its own.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Message

from schemas.codec import Codec
from schemas.events import MS_A_DAY, TOPICS, Parsed, Topic, account_key, from_json
from tests.integration.program import (
    DAILY,
    DLQ,
    EVERY,
    FAUST,
    PARTITIONS,
    REST,
    Ground,
    Headers,
    Partition,
    Place,
    Program,
    Sent,
    Webhook,
    assert_same,
    identity,
    sql,
    stored,
    succeed,
    wait_until,
)
from tests.unit.sources import ORDER, RATING, SURVEY

SELLERS, DAYS, SIMULATED = 30, 90, 200_000
FEW_SELLERS, FEW_DAYS, FEW_SIMULATED = 10, 60, 5_000
LAST_DAY = "2025-06-30"  # of what is simulated; live rows go on to today
UP_TO_THEN = f" WHERE day <= '{LAST_DAY}'"

Coordinates = tuple[str, int, int]  # topic, partition, offset
Tables = tuple[str, str]  # rows of seller_daily, and events, as `sql` gives them
CODEC = Codec()


def full(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with every field of its topic."""
    parsed = from_json(event)
    assert isinstance(parsed, Parsed)
    return parsed.event


@dataclass(frozen=True)
class Input:
    """A file of simulated events, and the tables of a clean replay of it."""

    file: Path
    replayed: "Future[Tables]"


@pytest.fixture(scope="module")
def alone(ground: Ground) -> Iterator[dict[str, Program]]:
    """Workers that miss something, by what they are to say. Begun before the others: one waits for 8 s."""
    nowhere = "127.0.0.1:1"
    missing = {
        f"http://{nowhere}/pulse cannot be used: Connection refused": (ground.kafka, f"http://{nowhere}/pulse"),
        f"Kafka at {nowhere} cannot be reached": (nowhere, ground.database.url("unused")),
    }
    with ExitStack() as stack:
        yield {
            said: stack.enter_context(Program(ground.folder, "worker", "--kafka", kafka, "--db", db))
            for said, (kafka, db) in missing.items()
        }


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, int, int], Input]]:
    """Makes an input, with its replay under way."""
    with ThreadPoolExecutor(1) as pool:

        def make(sellers: int, days: int, events: int) -> Input:
            folder = tmp_path_factory.mktemp("simulated")
            words = ["--sellers", sellers, "--days", days, "--events", events, "-o", "events.jsonl"]
            succeed(folder, "simulate", *map(str, words))
            return Input(folder / "events.jsonl", pool.submit(_replayed, folder))

        yield make


def _replayed(folder: Path) -> Tables:
    succeed(folder, "replay", "events.jsonl", "--db", "db", "--as-of", LAST_DAY)
    return sql(folder / "db", DAILY.format(where=UP_TO_THEN)), sql(folder / "db", REST.format(more=""))


@pytest.fixture(scope="module")
def much(simulated: Callable[[int, int, int], Input]) -> Input:
    """So much that it takes workers seconds."""
    return simulated(SELLERS, DAYS, SIMULATED)


@pytest.fixture(scope="module")
def little(simulated: Callable[[int, int, int], Input]) -> Input:
    """Little."""
    return simulated(FEW_SELLERS, FEW_DAYS, FEW_SIMULATED)


def _become(place: Place, wanted: Tables, within_s: float, *running: Program) -> None:
    """Wait until nothing is left to do and the tables are these, and stay so."""
    wait_until(lambda: not place.left(), within_s, f"drained in {place.group}", *running)
    daily, rest = DAILY.format(where=UP_TO_THEN), REST.format(more="")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and sql(place.db, daily) != wanted[0]:
        time.sleep(0.5)
    assert_same(sql(place.db, daily), wanted[0])
    assert_same(sql(place.db, rest), wanted[1])
    assert all(program.runs() for program in running)


# --- kill -9 -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    """What was seen of two workers, of which one was killed in the middle, and of the other at the end."""

    place: Place
    shared: list[set[Partition]]  # by worker, before
    lost: set[Partition]  # of events, the killed one's
    committed: dict[Partition, int]  # right after the kill
    stored: set[tuple[str, ...]]  # ids, a moment later
    taken_over_s: float
    left_over: int  # records that the killed one had not done with


@pytest.fixture(scope="module")
def killed(ground: Ground, alone: dict[str, Program], much: Input) -> Killed:
    """Two workers under load, one killed as soon as it has committed something; the other goes on to the end."""
    assert alone
    place = ground.place("killed")
    with ExitStack() as stack:
        workers = [stack.enter_context(place.worker()) for _ in range(2)]
        wait_until(lambda: place.shared_by(2), 60, "two workers that share", *workers)
        shared = place.owned()
        victim, other = workers
        wait_until(lambda: len(_partitions(victim)) == PARTITIONS // 2, 30, "a worker that says what is its", *workers)
        lost: set[Partition] = {(topic, p) for topic in TOPICS for p in _partitions(victim)}
        ingest = stack.enter_context(Program(ground.folder, "ingest", much.file, "--kafka", ground.kafka))
        wait_until(lambda: place.progress([*lost]), 60, "something done", *workers)
        victim.kill()
        since, committed = time.monotonic(), place.committed()
        durable = stored(place.db)
        wait_until(lambda: place.shared_by(1), 30, "everything at one worker", other)
        taken_over_s = time.monotonic() - since
        assert ingest.ended(60) == 0, ingest.log()
        left_over = sum(end - committed[at] for at, end in place.ends().items() if at in lost)
        _become(place, much.replayed.result(), 90, other)
        assert other.stop() == 0, other.log()  # or it would answer for the tests to come
    return Killed(place, shared, lost, committed, durable, taken_over_s, left_over)


def _partitions(worker: Program) -> list[int]:
    """Those that a worker says it has."""
    told = re.findall(r"partitions \[([\d, ]*)\] of", worker.log())
    return [int(number) for number in told[-1].split(", ")] if told and told[-1] else []


def test_two_workers_share_whole_accounts(killed: Killed) -> None:
    for owned in killed.shared:
        by_topic = [{p for topic, p in owned if topic == wanted} for wanted in TOPICS]
        assert by_topic[0] == by_topic[1] == by_topic[2]
        assert len(by_topic[0]) == PARTITIONS // 2
    assert set[Partition]().union(*killed.shared) == {at for at in EVERY if at[0] != "alerts"}


def test_a_killed_worker_is_taken_over_within_fifteen_seconds(killed: Killed) -> None:
    assert killed.left_over > 1000, "it was killed too late to tell"
    assert killed.taken_over_s < 15


def test_no_offset_is_committed_before_its_event_is_stored(killed: Killed) -> None:
    events = {at: (killed.place.begin[at], end) for at, end in killed.committed.items() if at[0] in TOPICS}
    done = {identity(record) for record in killed.place.records(events)}
    assert len(done) == sum(end - begin for begin, end in events.values()) > 0
    assert done <= killed.stored


def test_two_workers_of_which_one_is_killed_leave_the_rows_of_a_clean_replay(killed: Killed, much: Input) -> None:
    _become(killed.place, much.replayed.result(), 10)
    assert killed.place.ask("SELECT count() AS n FROM rejected_events") == [{"n": 0}]


def test_live_rows_are_dense_up_to_today(killed: Killed) -> None:
    today = datetime.now(UTC).date().isoformat()
    query = f"""SELECT countIf(rows != 1 + dateDiff('day', first, last)) AS gaps, countIf(last != '{today}') AS short,
        count() AS accounts FROM (SELECT min(day) AS first, max(day) AS last, count() AS rows FROM seller_daily
        GROUP BY seller_id, marketplace_id)"""
    (found,) = killed.place.ask(query)
    assert (found["gaps"], found["short"]) == (0, 0)
    assert found["accounts"] > SELLERS
    latest = "SELECT * FROM seller_daily ORDER BY day DESC LIMIT 1 BY seller_id, marketplace_id"
    each = f"SELECT * FROM ({latest}) UNION ALL SELECT * FROM seller_current"
    differing = f"SELECT toString(tuple(*)) AS row FROM ({each}) GROUP BY row HAVING count() != 2"
    assert killed.place.ask(differing) == []  # whoever was killed while writing


# --- stops and outages ---------------------------------------------------------------------------------------


def test_a_worker_told_to_stop_ends_within_seconds_and_one_that_faust_starts_goes_on(
    ground: Ground, much: Input
) -> None:
    place = ground.place("stopped")
    with ExitStack() as stack:
        # Before it starts and three times over, which changes no row: more than a last flush can finish.
        for _ in range(3):
            ground.ingest(much.file)
        worker = stack.enter_context(place.worker())
        wait_until(place.progress, 60, "something done", worker)
        since = time.monotonic()
        assert worker.stop(20) == 0, worker.log()
        assert time.monotonic() - since < 10
        assert "Traceback" not in worker.log()
        assert 0 < place.progress() < 3 * SIMULATED, "it was stopped too late to tell"
        settings = {"KAFKA__BOOTSTRAP": place.kafka, "KAFKA__GROUP": place.group, "CLICKHOUSE__URL": place.db}
        words = ["-A", "streams.app", "worker", "-l", "warn"]
        faust = stack.enter_context(Program(place.folder, *words, command=FAUST, **settings))
        _become(place, much.replayed.result(), 90, faust)
        assert faust.stop() == 0, faust.log()


def test_a_database_that_is_gone_for_ten_seconds_holds_the_load_up_and_harms_nothing(
    ground: Ground, much: Input
) -> None:
    place = ground.place("gone")
    with place.worker() as worker:
        wait_until(lambda: place.shared_by(1), 60, "a worker", worker)
        ground.ingest(much.file)
        wait_until(place.progress, 60, "something done", worker)
        ground.database.kill()
        time.sleep(10)
        done = place.progress()
        ground.database.start()
        assert 0 < done < SIMULATED, "it was gone too late to tell"
        _become(place, much.replayed.result(), 90, worker)
        assert "trying again" in worker.log()
        assert worker.stop() == 0


def test_a_worker_without_database_or_broker_says_so_in_one_line(alone: dict[str, Program]) -> None:
    for said, worker in alone.items():
        assert worker.ended(30) == 1
        assert worker.log().startswith(f"sellerpulse: {said}")
        assert worker.log().count("\n") == 1


# --- one worker for what is small ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Live:
    """A worker at rest, and whom it tells of alerts."""

    place: Place
    worker: Program
    webhook: Webhook


@pytest.fixture(scope="module")
def live(ground: Ground) -> Iterator[Live]:
    """A worker that goes on from test to test."""
    place = ground.place("live")
    with Webhook() as webhook, place.worker(RECEIVERS__WEBHOOK__URL=webhook.url) as worker:
        wait_until(lambda: place.shared_by(1), 60, "a worker", worker)
        yield Live(place, worker, webhook)
        assert worker.stop() == 0, worker.log()


# --- records that are not as they should be ------------------------------------------------------------------


def _home(key: bytes) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


def _sent(topic: str, event: Mapping[str, Any], headers: Headers | None = None) -> Sent:
    """An event as a connector sends it."""
    return topic, account_key(event), CODEC.encode(cast("Topic", topic), event), headers or []


def test_records_of_another_partitioner_are_counted_and_their_rows_are_right(ground: Ground, little: Input) -> None:
    place = ground.place("misplaced")
    parsed = [from_json(json.loads(line)) for line in little.file.read_bytes().splitlines()]
    with place.worker() as one, place.worker() as two:
        wait_until(lambda: place.shared_by(2), 60, "two workers that share", one, two)
        records = (_sent(event.topic, event.event) for event in parsed if isinstance(event, Parsed))
        reports = place.produce(records, "consistent")  # that is CRC32
        _become(place, little.replayed.result(), 60, one, two)
        counted = place.ask("SELECT sum(records) AS n FROM misplaced_records")
    misplaced = sum(_home(cast("bytes", report.key())) != report.partition() for report in reports)
    assert misplaced > FEW_SIMULATED / 4
    assert counted == [{"n": misplaced}]


def _rubbish() -> list[Sent]:
    """Whatever strangers may send on a topic, with headers of their own."""
    orders, feedback, surveys = ("orders", ORDER), ("feedback", RATING), ("surveys", SURVEY)
    records: list[Sent] = []
    for topic, event in (orders, feedback, surveys):
        key, good = account_key(event), CODEC.encode(cast("Topic", topic), full(event))
        unknown = [b"\xc3\x01" + bytes(8) + good[10:], b"\x00\x00\x00\x00\x07" + good[10:]]
        values = [b"rubbish", b"", None, good[:-1], good + b"x", *unknown]
        records += [(topic, key, value, [("trace", b"\x00\xff")]) for value in values]
        records += [(topic, other, good, []) for other in (b"S1|elsewhere", b"", None, b"\xff")]
    tomorrow = time.time_ns() // 1_000_000 + 2 * MS_A_DAY
    wrong: list[tuple[tuple[str, dict[str, Any]], dict[str, Any]]] = [
        (orders, {"kind": "SOLD"}), (orders, {"event_id": ""}), (orders, {"order_id": "o" * 257}),
        (orders, {"event_time": 1}), (orders, {"event_time": tomorrow}), (orders, {"deliver_by": 1}),
        (feedback, {"rating": 300}), (feedback, {"rating": None}), (surveys, {"buyer_initiated": False}),
    ]  # fmt: skip
    ours: Headers = [("reason", b"none of yours"), ("empty", b"")]
    records += [_sent(topic, full(event) | change, ours) for (topic, event), change in wrong]
    records.append(("orders", *_sent("feedback", full(RATING))[1:]))
    return records


def test_refused_records_are_kept_as_they_were_once_each_and_the_worker_goes_on(live: Live) -> None:
    place, rubbish = live.place, _rubbish()
    begin = place.ends()
    reports = place.produce([*rubbish, _sent("orders", full(ORDER))])[:-1]
    wait_until(lambda: not place.left(), 60, "drained", live.worker)
    end = place.ends()
    letters = place.records({(name, 0): (begin[name, 0], end[name, 0]) for name in DLQ})
    by_source = {_source(letter): letter for letter in letters}
    assert len(letters) == len(rubbish) == len(by_source)
    for (topic, key, value, headers), report in zip(rubbish, reports, strict=True):
        letter = by_source[topic, cast("int", report.partition()), cast("int", report.offset())]
        assert (letter.topic(), letter.key(), letter.value()) == (f"{topic}.dlq", key, value)
        assert _headers(letter)[: len(headers)] == headers
    rows = place.ask("SELECT topic, partition, offset, file, line, reason FROM rejected_events")
    told = {(row["topic"], row["partition"], row["offset"]): row["reason"].encode() for row in rows}
    assert len(rows) == len(rubbish)
    assert told == {at: dict(_headers(letter))["reason"] for at, letter in by_source.items()}
    assert not {b"", b"none of yours"} & set(told.values())
    assert {(row["file"], row["line"]) for row in rows} == {(None, None)}
    assert place.ask("SELECT event_id FROM order_events") == [{"event_id": ORDER["event_id"]}]


def _headers(letter: Message) -> Headers:
    return cast("Headers", letter.headers() or [])


def _source(letter: Message) -> Coordinates:
    said = cast("dict[str, bytes]", dict(_headers(letter)))
    return said["source_topic"].decode(), int(said["source_partition"]), int(said["source_offset"])


# --- alerts --------------------------------------------------------------------------------------------------


def _orders(kind: str, numbers: Iterable[int]) -> list[Sent]:
    """What happens to these orders of one seller, now."""
    now = time.time_ns() // 1_000_000
    common = full(ORDER) | {"seller_id": "breaching", "kind": kind, "event_time": now}
    events = ({**common, "event_id": f"{kind}-{number}", "order_id": str(number)} for number in numbers)
    return [_sent("orders", event) for event in events]


def test_a_breach_of_today_fires_once_everywhere_and_is_resolved_once(live: Live) -> None:
    place = live.place
    shown = "SELECT state, severity, value < 0.05 AS mended FROM alerts WHERE seller_id = 'breaching'"
    changes = "SELECT state FROM alert_history WHERE seller_id = 'breaching' ORDER BY changed_at, state"
    begin = place.ends()
    place.produce([*_orders("PLACED", range(40)), *_orders("CLAIM_OPENED", range(2))])
    wait_until(lambda: live.webhook.told, 30, "an alert", live.worker)
    place.produce(_orders("PLACED", [40]))  # another row in breach is no news
    now = "SELECT max(odr_orders_60d) AS n FROM seller_current WHERE seller_id = 'breaching'"
    wait_until(lambda: place.ask(now) == [{"n": 41}], 30, "a row of it", live.worker)
    assert place.ask(shown) == [{"state": "firing", "severity": "critical", "mended": 0}]
    assert place.ask(changes) == [{"state": "firing"}]
    place.produce(_orders("CLAIM_DENIED", range(2)))
    wait_until(lambda: len(live.webhook.told) > 1, 30, "its end", live.worker)
    place.produce(_orders("PLACED", [41]))
    wait_until(lambda: place.ask(now) == [{"n": 42}], 30, "a row after it", live.worker)
    assert place.ask(shown) == [{"state": "resolved", "severity": "critical", "mended": 1}]
    assert place.ask(changes) == [{"state": "firing"}, {"state": "resolved"}]
    told = [alert for message in live.webhook.told for alert in message["alerts"]]
    spans = {at: (begin[at], end) for at, end in place.ends().items() if at[0] == "alerts"}
    sent = [json.loads(cast("bytes", record.value())) for record in place.records(spans)]
    assert sent == [{name: alert[name] for name in sent[0]} for alert in told]
    assert [(one["rule"], one["state"]) for one in sent] == [("order_defect_rate", s) for s in ("firing", "resolved")]
    assert sorted(sent[0]["order_ids"]) == ["0", "1"]
