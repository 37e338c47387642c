"""What a pipeline does, moment by moment: what waits for what, and what is durable when."""

import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from schemas.codec import Codec, Registry
from schemas.errors import TooManyRefused
from schemas.events import MS_A_DAY, TOPICS
from streams.accounts import HEAT_EVENTS
from streams.core.account import BYTES_AN_ACCOUNT, BYTES_AN_EVENT
from streams.intake import Outgoing
from streams.pipeline import FAR_EVENTS, FLUSH_BYTES, FLUSH_EVENTS, NEAR_EVENTS, ROWS_EVERY_S
from streams.refusals import NO_LIMIT
from tests.flow.driver import CODEC, Record, Worker, World, play, settle
from tests.flow.test_pipeline import standing
from tests.reference import seller_daily
from tests.unit.test_guarantee import same

Event = dict[str, Any]

DAY = 19_723  # 2024-01-01
NOON = DAY * MS_A_DAY + MS_A_DAY // 2
IN_ORDER = ["add_events", "add_rows", "alerts", "add_marks"]  # the calls of a flush; alerts: the judge's


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def order(event_id: str = "e", day: int = 0, **fields: Any) -> Event:
    known: Event = {"topic": "orders", "event_id": event_id, "seller_id": "S", "marketplace_id": "M", "source": "test"}
    known |= {"event_time": NOON + day * MS_A_DAY, "order_id": "o", "kind": "PLACED"}
    return known | {"fulfilment": None, "deliver_by": None, "skus": []} | fields


def rating(comment: str | None, **fields: Any) -> Event:
    known: Event = {"topic": "feedback", "event_id": "r", "seller_id": "S", "marketplace_id": "M", "source": "test"}
    known |= {"event_time": NOON, "order_id": "o", "kind": "SUBMITTED", "rating": 1, "comment": comment}
    known |= dict.fromkeys(("agent", "amount", "currency", "root_cause"))
    known |= dict.fromkeys(("arrived_on_time", "item_as_described", "customer_service"))
    return known | {"date_only": False} | fields


async def begun(
    *, partitions: int = 1, codec: Codec = CODEC, day: int | None = DAY, dlq_limit: float = NO_LIMIT
) -> tuple[World, Worker]:
    """A world with one worker that has nothing left to do, its as-of day moved to `day`."""
    world = World(NOON + 10 * MS_A_DAY, partitions=partitions, codec=codec, dlq_limit=dlq_limit)
    world.assign()
    worker = world.workers[0]
    await worker.steps()
    if day is not None:
        worker.turn(day)
        await worker.steps()
    worker.thread.names.clear()
    return world, worker


def committed(world: World, topic: str = "orders") -> int:
    return sum(offset for (of, _), offset in world.log.committed.items() if of == topic)


# --- what is durable when ------------------------------------------------------------------------------------


def test_a_flush_stores_events_then_commits_then_writes_rows_and_marks() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        worker.take_all()
        worker.flush()
        await worker.steps(until="add_events")
        assert (committed(world), world.store.events("orders")) == (0, [])
        await worker.step()
        assert committed(world) == 1
        assert world.store.seller_daily() == []
        await worker.steps()
        assert worker.thread.names == IN_ORDER
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_an_event_that_is_known_is_committed_and_written_nowhere() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        await world.drain(DAY)
        worker.thread.names.clear()
        world.produce(order())
        worker.take_all()
        worker.flush()
        await worker.steps()
        assert (worker.thread.names, committed(world)) == ([], 2)
        assert worker.pipeline.counts["taken"] == 2
        assert worker.pipeline.counts["stored"] == 1

    play(drama())


def test_before_there_is_an_as_of_day_events_are_stored_and_rows_wait() -> None:
    async def drama() -> None:
        world, worker = await begun(day=None)
        world.produce(order())
        worker.take_all()
        worker.flush()
        await worker.steps()
        assert (worker.thread.names, committed(world)) == (["add_events"], 1)
        worker.turn(DAY + 1)
        await worker.steps()
        same(world.store.seller_daily(), seller_daily(world.events, DAY + 1))

    play(drama())


def test_events_after_the_as_of_day_are_kept_and_their_rows_come_when_it_moves() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order(day=3))
        await world.drain(DAY)
        assert world.store.seller_daily() == []
        assert len(world.store.events("orders")) == 1
        for day in (DAY + 2, DAY + 3, DAY + 5):
            worker.turn(day)
            await worker.steps()
            same(world.store.seller_daily(), seller_daily(world.events, day))

    play(drama())


def test_days_turn_for_accounts_that_are_not_in_memory_and_they_do_not_stay_there() -> None:
    async def drama() -> None:
        world, _ = await begun()
        world.produce(order())
        world.produce(order(seller_id="S2"))
        await world.drain(DAY)
        world.assign()
        await world.drain(DAY + 2)
        same(world.store.seller_daily(), seller_daily(world.events, DAY + 2))
        assert list(world.workers[0].pipeline.rows.hot) == []

    play(drama())


def test_far_from_the_head_events_are_made_durable_and_rows_are_computed_when_it_is_near() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.waiting = 2 * FAR_EVENTS
        for n in range(NEAR_EVENTS):
            world.produce(order(f"e{n}"))
        worker.take_all()
        worker.flush(idle=False)
        await worker.steps()
        assert worker.thread.names == ["add_marks", "add_events"]  # the first mark tells how early rows begin
        assert committed(world) == NEAR_EVENTS
        worker.flush()
        await worker.steps()
        assert worker.thread.names[2:] == [
            "sizes",
            "stored",
            "marks",
            "recompute",
            "stale_orders",
            "alerts",
            "add_marks",
        ]
        assert list(worker.pipeline.rows.hot) == []
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_far_from_the_head_rows_follow_now_and_then() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.waiting = 2 * FAR_EVENTS
        for seconds in (1.0, ROWS_EVERY_S):
            for n in range(NEAR_EVENTS):
                world.produce(order(f"{seconds}-{n}"))
            worker.take_all()
            await settle(seconds)
            worker.flush(idle=False)
            await worker.steps()
        assert worker.thread.names.count("add_events") == 2
        assert worker.thread.names.count("recompute") == 1
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_accounts_have_their_first_row_noted_where_there_is_one() -> None:
    async def drama() -> None:
        world, _ = await begun()
        world.produce(order(day=-3))
        world.produce(order(seller_id="later", day=5))
        await world.drain(DAY)
        assert world.store.accounts() == {("S", "M"): DAY - 3, ("later", "M"): None}

    play(drama())


def test_accounts_that_outgrow_memory_leave_it_and_come_back_when_touched() -> None:
    async def drama() -> None:
        world = World(NOON + 10 * MS_A_DAY, partitions=1, hot_bytes=BYTES_AN_ACCOUNT + 2 * BYTES_AN_EVENT)
        world.assign()
        for n, seller in enumerate(("S1", "S2", "S1", "S2")):
            world.produce(order(f"e{n}", seller_id=seller))
            await world.drain(DAY)
            assert list(world.workers[0].pipeline.rows.hot) == []  # a calendar's days are more than was left
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_an_account_too_large_to_load_stays_cold() -> None:
    async def drama() -> None:
        world, worker = await begun()
        for n in range(HEAT_EVENTS + 1):
            world.produce(order(f"e{n}"))
        await world.drain(DAY)
        world.assign()
        world.produce(order("one more", event_time=NOON + 1))
        worker = world.workers[0]
        await world.drain(DAY)
        assert list(worker.pipeline.rows.hot) == []
        same(world.store.seller_daily(), seller_daily(world.events[-1:], DAY))

    play(drama())


# --- what has gone wrong before ------------------------------------------------------------------------------


def test_a_day_that_turns_between_rows_and_mark_is_not_taken_for_written() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        worker.take_all()
        worker.flush()
        await worker.steps(until="alerts")
        worker.turn(DAY + 1)
        await worker.steps()
        same(world.store.seller_daily(), seller_daily(world.events, DAY + 1))

    play(drama())


def two_contents() -> tuple[Event, Event]:
    """An event on day 0 and, under its id, one on a later day whose content stands."""
    first = order()
    return first, next(other for day in range(1, 9) if standing([first, other := order(day=day)]) == [other])


@pytest.mark.parametrize("died_before", ["alerts", "add_marks", "nothing"])
def test_an_account_that_begins_later_than_it_seemed_to_leaves_no_row_behind(died_before: str) -> None:
    async def drama() -> None:
        first, stands = two_contents()
        world, worker = await begun()
        world.produce(first)
        worker.take_all()
        worker.flush()
        await worker.steps(until=died_before)
        worker.kill()
        world.assign()
        world.produce(stands)
        await world.drain(DAY + 10)
        same(world.store.seller_daily(), seller_daily([stands], DAY + 10))

    play(drama())


def test_rows_that_a_sleeper_writes_late_of_days_before_the_account_began_are_not_shown() -> None:
    async def drama() -> None:
        first, stands = two_contents()
        world, worker = await begun()
        world.produce(first)
        worker.take_all()
        worker.flush()
        await worker.steps(until="add_rows")
        world.assign()
        world.produce(stands)
        await world.drain(DAY + 10)
        await world.wake()
        assert worker.thread.names[-1] == "add_marks"
        same(world.store.seller_daily(), seller_daily([stands], DAY + 10))

    play(drama())


# --- a sink that does not answer -----------------------------------------------------------------------------


def test_a_sink_out_of_reach_holds_all_back_and_then_all_is_right() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        worker.take_all()
        worker.flush()
        await settle()
        for _ in range(10):
            await worker.step("not made")
        assert (worker.thread.names, committed(world)) == ([], 0)
        while worker.is_busy():
            await worker.step("answer lost")
            await worker.step()
        assert worker.thread.names == [name for name in IN_ORDER for _ in range(2)]
        assert committed(world) == 1
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_a_tenure_ends_in_time_though_the_sink_does_not_answer() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        worker.take_all()
        worker.finish()
        await settle(20.0)
        assert worker.pipeline.over
        world.produce(order("later"))
        worker.take_all()  # a batch that comes too late is the next owner's
        await settle()
        world.assign()
        await world.drain(DAY)
        await world.wake()
        assert worker.failures() == []
        assert len(world.store.events("orders")) == 2
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def waiting_takes(worker: Worker) -> list[str]:
    return [name for name, task in worker._tasks.items() if name.startswith("take") and not task.done()]


async def with_too_much_waiting(letters: int = 2 * FLUSH_EVENTS, size: int = 0) -> tuple[World, Worker]:
    """A worker to which as many dead letters came as may wait for a flush, then an order."""
    world, worker = await begun()
    world.log.records["orders.dlq", 0] += [Record(None, bytes(size), (), n, 0) for n in range(letters)]
    worker.take_all()
    await settle()
    assert waiting_takes(worker) == []
    world.produce(order())
    worker.take_all()
    await settle(100.0)
    assert len(waiting_takes(worker)) == 1
    return world, worker


@pytest.mark.parametrize("letters, size", [(2 * FLUSH_EVENTS, 0), (64, FLUSH_BYTES // 32)], ids=["many", "large"])
def test_agents_wait_while_too_much_waits_for_a_flush(letters: int, size: int) -> None:
    async def drama() -> None:
        world, worker = await with_too_much_waiting(letters, size)
        worker.flush()
        await settle()
        assert waiting_takes(worker) == []
        await worker.steps()
        worker.flush()
        await worker.steps()
        assert world.log.is_drained()

    play(drama())


def test_waiting_agents_go_on_when_the_tenure_ends_and_what_they_have_is_nobodys() -> None:
    async def drama() -> None:
        world, worker = await with_too_much_waiting()
        worker.pipeline.over = True
        worker.finish()
        await settle(20.0)
        assert waiting_takes(worker) == []
        assert world.store.events("orders") == []
        worker.kill()

    play(drama())


# --- records in ----------------------------------------------------------------------------------------------


def test_dead_letters_that_do_not_say_where_they_came_from_are_told_apart() -> None:
    async def drama() -> None:
        world, _ = await begun()
        for headers in ([], [("reason", b"ours?")], [("source_offset", b"x")]):
            world.log.append(Outgoing("orders.dlq", 0, None, b"rubbish", headers))
        await world.drain(DAY)
        rows = [(row["topic"], row["offset"], row["reason"]) for row in world.store.rejected_events()]
        assert rows == [("orders.dlq", 0, "not said"), ("orders.dlq", 1, "ours?"), ("orders.dlq", 2, "not said")]

    play(drama())


def test_comments_are_masked_before_anything_is_written() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(rating("write to ana@example.com or +49 171 1234567"))
        world.produce(rating("write to [e-mail] or [phone]"))  # as a connector has masked it: the same event
        await world.drain(DAY)
        assert [event["comment"] for event in world.store.events("feedback")] == ["write to [e-mail] or [phone]"]
        assert worker.pipeline.counts["stored"] == 1
        assert world.store.behind(DAY, worker.pipeline.rows.standard) == {}

    play(drama())


def test_a_record_astray_is_taken_where_both_partitions_are_ours() -> None:
    async def drama() -> None:
        world, worker = await begun(partitions=2)
        world.produce(order(), astray=1)
        world.produce(order("e2"))
        worker.take_all()
        worker.flush()
        await worker.steps()
        assert sum(len(records) for records in world.log.records.values()) == 2
        assert len(world.store.events("orders")) == 2
        found_in = 1 - world.log.home(b"S|M")
        assert world.store.misplaced() == {("orders", found_in, 1): 1}

    play(drama())


def test_a_record_astray_is_sent_on_to_the_owner_of_its_account() -> None:
    async def drama() -> None:
        world = World(NOON, partitions=2)
        world.assign(2)
        world.produce(order(), astray=1)
        home = world.log.home(b"S|M")
        finder, owner = world.workers[1 - home], world.workers[home]
        for worker in world.workers:
            await worker.steps()
        finder.take_all()
        finder.flush()
        await finder.steps()
        (sent,) = world.log.records["orders", home]
        assert sent[:3] == world.log.records["orders", 1 - home][0][:3]
        assert (world.log.committed["orders", 1 - home], world.store.events("orders")) == (1, [])
        await world.drain(DAY)
        assert owner.pipeline.counts["stored"] == 1
        assert world.store.misplaced() == {("orders", 1 - home, 1): 1}
        same(world.store.seller_daily(), seller_daily(world.events, DAY))

    play(drama())


def test_a_refused_record_goes_to_its_dead_letters_as_it_came_and_says_why_and_whence() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        world.produce_rubbish("orders", 0, b"\xff", b"rubbish")
        worker.take_all()
        worker.flush()
        await worker.steps()
        (letter,) = world.log.records["orders.dlq", 0]
        assert letter[:2] == (b"\xff", b"rubbish")
        assert letter.headers == (
            ("trace", b"\xff"),
            ("reason", b"not decodable: neither single-object encoding nor Confluent wire format"),
            ("source_topic", b"orders"), ("source_partition", b"0"), ("source_offset", b"1"),
            ("refused_at", str(world.now_ms).encode()),
        )  # fmt: skip
        assert (committed(world), worker.pipeline.counts["refused"]) == (2, 1)
        await world.drain(DAY)
        (row,) = world.store.rejected_events()
        assert row == {
            "topic": "orders", "partition": 0, "offset": 1, "file": None, "line": None, "time": world.now_ms,
            "reason": "not decodable: neither single-object encoding nor Confluent wire format",
        }  # fmt: skip

    play(drama())


def test_what_exceeds_the_limit_goes_nowhere_and_what_came_before_is_flushed() -> None:
    async def drama() -> None:
        world, worker = await begun(dlq_limit=0.1)
        world.produce(order())
        for _ in range(150):
            world.produce_rubbish("orders", 0, b"S|M", b"rubbish")
        worker.take(("orders", 0), 60)
        worker.take(("orders", 0), 91)
        await settle()
        (failed,) = worker.failures()
        assert isinstance(failed, TooManyRefused)
        worker.finish()
        await worker.steps()
        assert (committed(world), len(world.log.records["orders.dlq", 0])) == (60, 59)
        assert len(world.store.events("orders")) == 1

    play(drama())


def test_a_new_tenure_goes_on_counting_what_is_refused() -> None:
    async def drama() -> None:
        world, worker = await begun(dlq_limit=0.1)
        for _ in range(99):
            world.produce_rubbish("orders", 0, b"S|M", b"rubbish")
        await world.drain(DAY)
        world.assign()
        world.produce_rubbish("orders", 0, b"S|M", b"rubbish")
        (worker,) = world.workers
        worker.take_all()
        await settle()
        assert [type(failed) for failed in worker.failures()] == [TooManyRefused]

    play(drama())


HERE = {"topic": "surveys.dlq", "partition": 0, "offset": 0}  # one that does not say comes from where it is
DEAD_LETTERS: list[tuple[str, list[tuple[str, bytes]], dict[str, Any]]] = [
    (
        "unknown.dlq",
        [("reason", b"no topic"), ("source_file", "é.jsonl".encode()), ("source_line", b"7"), ("refused_at", b"5")],
        {"topic": "unknown", "file": "é.jsonl", "line": 7, "reason": "no topic", "time": 5},
    ),
    (
        "feedback.dlq",
        [("reason", b"theirs"), ("source_offset", b"1"), ("reason", b"ours"), ("source_offset", b"2")],
        {"topic": "feedback", "offset": 2, "reason": "ours"},
    ),
    ("surveys.dlq", [("reason", b"\xff")], HERE | {"reason": "\ufffd"}),
    ("surveys.dlq", [("source_offset", b"-5"), ("source_partition", b"many")], HERE),
    ("surveys.dlq", [("source_line", "٣".encode()), ("source_offset", b"9" * 30)], HERE),
    ("surveys.dlq", [], HERE),
]


@pytest.mark.parametrize("topic, headers, expected", DEAD_LETTERS)
def test_a_dead_letter_becomes_a_row_whatever_its_headers_say(
    topic: str, headers: list[tuple[str, bytes]], expected: dict[str, Any]
) -> None:
    async def drama() -> None:
        world, _ = await begun()
        world.log.append(Outgoing(topic, 0, b"k", None, headers))
        await world.drain(DAY)
        nothing = {"partition": None, "offset": None, "file": None, "line": None, "reason": "not said", "time": 0}
        assert world.store.rejected_events() == [nothing | expected]

    play(drama())


# --- a Schema Registry that does not answer ------------------------------------------------------------------


class RegisteredSchema(NamedTuple):
    schema_str: str


class RegistryThatFails:
    """Knows the newest schemas under the ids 1 to 3, and answers after so many failures."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def get_schema(self, schema_id: int) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        return RegisteredSchema(json.dumps(CODEC.newest[TOPICS[schema_id - 1]]))

    def register_schema(self, subject_name: str, schema: Any) -> int:
        raise ConnectionError


def test_records_wait_for_a_registry_that_does_not_answer() -> None:
    async def drama() -> None:
        registry: Registry = RegistryThatFails(3)
        world, worker = await begun(codec=Codec(registry=registry))
        world.produce(order())
        body = CODEC.payload("orders", order("by id"))
        world.log.append(Outgoing("orders", 0, b"S|M", b"\0\0\0\0\1" + body, []))
        worker.take_all()
        worker.flush()
        await worker.steps()
        assert (world.store.events("orders"), committed(world)) == ([], 0)
        await settle(30.0)
        while await worker.step():
            await settle(30.0)
        await world.drain(DAY)
        assert [event["event_id"] for event in world.store.events("orders")] == ["by id", "e"]
        assert worker.pipeline.counts["taken"] == 2

    play(drama())
