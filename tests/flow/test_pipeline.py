"""The one guarantee, of the whole pipeline: whatever happens to workers, drained tables are those of the events."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import digest_of
from schemas.events import MS_A_DAY, TOPICS
from streams.core.metrics import Terms
from tests.flow.driver import CODEC, STANDARD, World, play, settle
from tests.reference import ReferenceSettings, seller_daily
from tests.unit.test_guarantee import FEEDBACK, ORDERS, START, SURVEYS, same

DAY = START // MS_A_DAY
DAYS = 24
NOW_MS = START + 40 * MS_A_DAY
TERMS = Terms(short_days=3, medium_days=7, long_days=20, odr_days=5, receipt_days=4, cs_min_responses=2)
REFERENCE = ReferenceSettings(
    short_days=3, medium_days=7, long_days=20, odr_days=5, receipt_fallback_days=4, cs_minimum=2
)


def _sooner(event: dict[str, Any]) -> dict[str, Any]:
    """The event within the days of these tests, on one of more accounts."""
    event_time = START + (event["event_time"] - START) % (DAYS * MS_A_DAY)
    return event | {"event_time": event_time}


SOME_EVENTS = st.lists((ORDERS | FEEDBACK | SURVEYS).map(_sooner), min_size=1, max_size=40)


def with_ids_reused(events: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """Some events come a second time with another content, anywhere after the first."""
    delivered = list(events)
    for event in chance.sample(events, chance.randint(0, len(events))):
        moved = event | {"event_time": START + chance.randrange(DAYS * MS_A_DAY)}
        delivered.insert(chance.randint(0, len(delivered)), moved)
    return delivered


def standing(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of events that share an id, the one whose content has the smaller digest."""
    kept: dict[Any, tuple[int, dict[str, Any]]] = {}
    for event in events:
        subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
        key = (event["topic"], event["seller_id"], subject, event["event_id"])
        rank = int.from_bytes(digest_of(CODEC.payload(event["topic"], event)), "little")
        kept[key] = min(kept.get(key, (rank, event)), (rank, event), key=lambda one: one[0])
    return [event for _, event in kept.values()]


# How often, of a hundred things that happen.
ACTIONS = {
    "take": 22,
    "flush": 18,
    "step": 36,
    "fail": 3,
    "turn": 4,
    "day": 3,
    "crash": 3,
    "sleep": 3,
    "finish": 2,
    "wake": 6,
}


async def act(world: World, what: str, a: int, b: int, day: int) -> int:
    """One thing that happens; the day it is then."""
    worker = world.workers[a % len(world.workers)]
    if what == "take":
        places = sorted(worker.reads)
        if places:
            # where there is something to be had, if anywhere
            places = [at for at in places if worker.reads[at] < len(world.log.records[at])] or places
            worker.take(places[b % len(places)], 1 + b)
    elif what == "flush":
        worker.flush(idle=b % 2 == 0)
    elif what == "step":
        for _ in range(1 + b % 3):
            await worker.step()
    elif what == "fail":
        await worker.step("answer lost" if b % 2 else "not made")
    elif what == "turn":
        worker.turn(day)
    elif what == "day":
        day += 1 + b
        world.turn(day)
    elif what == "wake":
        if world.sleepers:
            sleeper = world.sleepers[a % len(world.sleepers)]
            await sleeper.step("not made" if b == 0 else "done")
    else:
        for n, leaver in enumerate(world.workers):
            if what == "crash" and (a >> n) % 2 == 0:
                if b % 2:
                    leaver.thread.step()
                leaver.kill()
            elif what == "finish":
                leaver.finish()
                await settle()
                for _ in range(b):
                    await leaver.step()
        if what == "finish":
            await settle(20.0)
        world.assign(1 + a % 3)
    await settle()
    return day


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(events=SOME_EVENTS, seed=st.integers(0, 1 << 30), length=st.integers(0, 150), last=st.integers(0, 10))
def test_drained_tables_are_those_of_the_set_of_events(
    events: list[dict[str, Any]], seed: int, length: int, last: int
) -> None:
    happens(events, seed, length, last)


def happens(events: list[dict[str, Any]], seed: int, length: int, last: int) -> None:
    """So many things, by chance, then everything there is, then what sleepers had begun; tables are right twice."""

    async def drama() -> None:
        chance = random.Random(seed)
        world = World(terms=TERMS, now_ms=NOW_MS)
        for event in with_ids_reused(events, chance):
            world.produce(event, astray=chance.choice([0, 0, 0, 1]))
        world.assign(2)
        day = DAY - 1
        for what in chance.choices(list(ACTIONS), list(ACTIONS.values()), k=length):
            day = await act(world, what, chance.randrange(8), chance.randrange(8), day)
        await world.drain(day + last)
        check(world, day + last)
        await world.wake()
        await world.drain(day + last)
        check(world, day + last)
        world.end()

    play(drama())


def check(world: World, day: int) -> None:
    stand = standing(world.produced)
    assert world.store.as_of() == day
    same(world.store.seller_daily(), seller_daily(stand, day, REFERENCE))
    assert world.store.behind(day, STANDARD) == []
    assert world.log.is_drained()
    for topic in TOPICS:
        stored = [{"topic": topic} | event for event in world.store.events(topic)]
        expected = [event for event in stand if event["topic"] == topic]
        assert sorted(map(repr, (sorted(e.items()) for e in stored))) == sorted(
            map(repr, (sorted(e.items()) for e in expected))
        )
