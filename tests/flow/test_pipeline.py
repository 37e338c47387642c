"""The one guarantee, of the whole pipeline: whatever happens to workers, drained tables are those of the events.

Records in any order over topics and partitions, lost ones among them and rubbish; ids used twice for other content;
workers killed before or after any call of the sink, or asleep through an assignment and writing late; answers of the
sink lost; days that turn at any moment; accounts hot, cold, or put out of memory all the time.
"""

import logging
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import digest_of
from schemas.events import MS_A_DAY, TOPICS
from streams.core.account import BYTES_AN_ACCOUNT
from streams.core.metrics import Terms
from streams.pipeline import FAR_EVENTS
from tests.flow.driver import CODEC, STANDARD, World, play, settle
from tests.reference import ReferenceSettings, seller_daily
from tests.reference_cases import case_history, feedback_cases
from tests.unit.test_guarantee import FEEDBACK, ORDERS, PARTIAL, START, SURVEYS, same

Event = dict[str, Any]

DAY = START // MS_A_DAY
DAYS = 24
NOW_MS = START + 40 * MS_A_DAY
TERMS = Terms(
    short_days=3, medium_days=7, long_days=20, odr_days=5, receipt_days=4, cs_min_responses=2, partial_sources=PARTIAL
)
REFERENCE = ReferenceSettings(
    short_days=3, medium_days=7, long_days=20, odr_days=5, receipt_fallback_days=4, cs_minimum=2,
    partial_sources=PARTIAL,
)  # fmt: skip

HOT_BYTES = (0, 2 * BYTES_AN_ACCOUNT, 1 << 30)  # none is ever hot; one or two, and all the time others; all

# How often, of a hundred things that happen.
ACTIONS = {
    "take": 22, "flush": 18, "step": 36, "fail": 3, "turn": 4, "day": 3, "crash": 3, "sleep": 3, "finish": 2, "wake": 6,
    "flood": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    """A sink that fails is told of each time; here it fails all the time."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def _sooner(event: Event) -> Event:
    return event | {"event_time": START + (event["event_time"] - START) % (DAYS * MS_A_DAY)}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    events=st.lists((ORDERS | FEEDBACK | SURVEYS).map(_sooner), min_size=1, max_size=40),
    seed=st.integers(0, 1 << 30),
    length=st.integers(0, 150),
    last=st.integers(0, 10),
)
def test_drained_tables_are_those_of_the_set_of_events(events: list[Event], seed: int, length: int, last: int) -> None:
    happens(events, seed, length, last)


@pytest.mark.parametrize("seed", [*range(300), 10_743, 12_313, 700_362, 706_023])  # the last once failed
def test_a_few_events_are_enough_for_trouble(seed: int) -> None:
    """The same with few events on few days, where crashes and sleepers meet the first days of accounts."""
    chance = random.Random(seed)
    events = [_simple(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    if seed % 4 == 0:
        events[0]["source"] = "report"  # which says but a part
    happens(events, seed, chance.randrange(10, 80), chance.randrange(3))


def _simple(chance: random.Random) -> Event:
    known = {"source": "test", "marketplace_id": "M", "event_time": START + chance.randrange(6) * MS_A_DAY}
    known |= {"event_id": chance.choice("12"), "seller_id": chance.choice(["S1", "S2"])}
    if chance.random() < 0.3:
        known |= {"topic": "feedback", "order_id": "o1", "kind": chance.choice(["SUBMITTED"] * 3 + ["RESPONDED"])}
        known |= {"rating": chance.choice([1, 2, 3, 5]), "date_only": False}
        nothing = ("comment", "agent", "amount", "currency", "root_cause")
        return known | dict.fromkeys((*nothing, "arrived_on_time", "item_as_described", "customer_service"))
    if chance.random() < 0.7:
        known |= {"topic": "orders", "order_id": "o1", "kind": chance.choice(["PLACED", "SHIPPED"])}
        return known | {"fulfilment": None, "deliver_by": None, "skus": []}
    known |= {"topic": "surveys", "conversation_id": "c1", "message_id": "m", "solved": True, "buyer_initiated": True}
    return known | dict.fromkeys(("order_id", "agent", "comment"))


def happens(events: list[Event], seed: int, length: int, last: int) -> None:
    """So many things, by chance; then all that is left; then what sleepers had begun. Tables are right both times."""
    slices = mock.patch("streams.lagging.ACCOUNTS_A_SLICE", 1 if seed % 2 else 10_000)

    async def drama() -> None:
        chance = random.Random(seed)
        world = World(NOW_MS, terms=TERMS, hot_bytes=chance.choice(HOT_BYTES))
        for event in with_ids_reused(events, chance):
            world.produce(event, astray=chance.choice([0, 0, 0, 1]))
            if chance.random() < 0.2:
                world.produce_rubbish(event["topic"], chance.randrange(2), *_spoiled(event, chance))
        world.assign(2)
        day = DAY - 1
        for what in chance.choices(list(ACTIONS), list(ACTIONS.values()), k=length):
            day = await act(world, what, chance, day)
        world.waiting = 0
        await world.drain(day + last)
        check(world, day + last)
        await world.wake()
        await world.drain(day + last)
        check(world, day + last)
        world.end()

    with slices:
        play(drama())


def with_ids_reused(events: list[Event], chance: random.Random) -> list[Event]:
    """Some events come once more, dated otherwise, anywhere among the others."""
    delivered = list(events)
    for event in chance.sample(events, chance.randint(0, len(events))):
        other = event | {"event_time": START + chance.randrange(DAYS * MS_A_DAY)}
        delivered.insert(chance.randint(0, len(delivered)), other)
    return delivered


def _spoiled(event: Event, chance: random.Random) -> tuple[bytes | None, bytes | None]:
    """The key and value of a record that must be refused."""
    key, wire = f"{event['seller_id']}|M".encode(), CODEC.encode(event["topic"], event)
    late = CODEC.encode(event["topic"], event | {"event_time": NOW_MS + 2 * MS_A_DAY})
    return chance.choice(
        [(key, wire[:-1]), (key, wire + b"\0"), (key, None), (b"S9|M", wire), (None, wire), (key, late)]
    )


async def act(world: World, what: str, chance: random.Random, day: int) -> int:
    """One thing happens; the day it is then."""
    worker = chance.choice(world.workers)
    if what == "take":
        waiting = [at for at, offset in worker.reads.items() if offset < len(world.log.records[at])]
        if waiting:
            worker.take(chance.choice(waiting), chance.randint(1, 8))
    elif what == "flush":
        worker.flush(idle=chance.random() < 0.5)
    elif what == "step":
        for _ in range(chance.randint(1, 3)):
            await worker.step()
    elif what == "fail":
        await worker.step(chance.choice(["answer lost", "not made"]))
    elif what == "turn":
        worker.turn(day)
    elif what == "day":
        day += chance.randint(1, 8)
        for each in world.workers:
            each.turn(day)
    elif what == "flood":
        world.waiting = 0 if world.waiting else 2 * FAR_EVENTS
    elif what == "wake":
        if world.sleepers:
            await chance.choice(world.sleepers).step(chance.choice(["done", "done", "done", "not made"]))
    else:
        await leave(world, what, chance)
        world.assign(chance.randint(1, 3))
    await settle()
    return day


async def leave(world: World, how: str, chance: random.Random) -> None:
    """Some of the workers die, or all finish in good time or not; those who do neither sleep on."""
    for worker in world.workers:
        if how == "crash" and chance.random() < 0.5:
            if chance.random() < 0.5:
                chance.choice((worker.thread, worker.computing)).step()  # it was made, and nobody came to know
            worker.kill()
        elif how == "finish":
            worker.finish()
            await settle()
            for _ in range(chance.randint(0, 8)):
                await worker.step()
    if how == "finish":
        await settle(20.0)


def standing(events: list[Event]) -> list[Event]:
    """Of events that share an id, the one whose content has the smaller digest."""
    kept: dict[Any, tuple[int, Event]] = {}
    for event in events:
        subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
        identity = (event["topic"], event["seller_id"], subject, event["event_id"])
        rank = int.from_bytes(digest_of(CODEC.payload(event["topic"], event)), "little")
        kept[identity] = min(kept.get(identity, (rank, event)), (rank, event), key=lambda one: one[0])
    return [event for _, event in kept.values()]


def check(world: World, day: int) -> None:
    """Every table is what it should be, and every record came to its end."""
    stand = standing(world.events)
    assert world.store.as_of() == day
    same(world.store.seller_daily(), seller_daily(stand, day, REFERENCE))
    assert world.store.feedback_cases() == feedback_cases(stand, day)
    assert world.store.case_history() == case_history(stand, day)
    assert world.store.behind(day, STANDARD) == {}
    for topic in TOPICS:
        stored = [{"topic": topic} | event for event in world.store.events(topic)]
        assert _in_order(stored) == _in_order([event for event in stand if event["topic"] == topic])
    refused = world.store.rejected_events()
    assert [(row["topic"], row["partition"], row["offset"]) for row in refused] == sorted(world.rubbish)
    assert world.log.is_drained()


def _in_order(events: list[Event]) -> list[list[tuple[str, Any]]]:
    return sorted((sorted(event.items()) for event in events), key=repr)
