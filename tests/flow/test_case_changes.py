"""Cases in the whole pipeline: what is told of them and when, and what somebody who slept too long writes of them."""

from typing import Any

import pytest

from schemas.events import MS_A_DAY
from tests.flow.driver import World, play
from tests.flow.test_flushes import DAY, order
from tests.reference_cases import feedback_cases

HOUR = 3_600_000


def feedback(event_id: str, kind: str = "SUBMITTED", *, at: int = 0, **fields: Any) -> dict[str, Any]:
    """Feedback on order `o` of account S on M, so many ms after the as-of day's beginning."""
    nothing = dict.fromkeys(("comment", "agent", "amount", "currency", "root_cause"))
    answers = dict.fromkeys(("arrived_on_time", "item_as_described", "customer_service"))
    known = {"topic": "feedback", "seller_id": "S", "marketplace_id": "M", "order_id": "o", "source": "test"}
    told = {"event_id": event_id, "kind": kind, "event_time": DAY * MS_A_DAY + at, "date_only": False, "rating": 1}
    return known | nothing | answers | told | fields


def told(world: World) -> list[tuple[str, str]]:
    return [(change.case.feedback_event_id, change.step.status) for change in world.told]


@pytest.mark.parametrize("hot_bytes", [0, 1 << 30])
def test_each_change_of_a_case_is_told_once(hot_bytes: int) -> None:
    async def drama() -> None:
        world = World((DAY + 1) * MS_A_DAY, hot_bytes=hot_bytes)
        world.assign()
        for event in (order("p"), feedback("e"), feedback("5", order_id="fine", rating=5)):
            world.produce(event)
        await world.drain(DAY)
        assert told(world) == [("e", "open")]
        for event in (feedback("c", "CONTACTED", at=HOUR), feedback("r", "REMOVED", at=2 * HOUR), order("q")):
            world.produce(event)
            world.produce(event)
            await world.drain(DAY)
        assert told(world) == [("e", "open"), ("e", "acted"), ("e", "removed")]
        world.assign()
        await world.drain(DAY + 70)
        assert len(world.told) == 3  # who takes over tells nothing anew
        assert world.store.feedback_cases() == feedback_cases(world.events, DAY + 70)

    play(drama())


def test_a_change_is_told_before_it_is_written() -> None:
    async def drama() -> None:
        world = World((DAY + 1) * MS_A_DAY)
        world.assign()
        world.produce(feedback("e"))
        (worker,) = world.workers
        await worker.steps()
        worker.turn(DAY)
        await worker.steps()
        worker.take_all()
        worker.flush()
        await worker.steps(until="add_cases")
        assert told(world) == [("e", "open")]
        assert world.store.feedback_cases() == []
        worker.kill()
        world.assign()
        await world.drain(DAY)
        assert told(world) == [("e", "open")] * 2  # at least once: it may be that nobody heard of it
        assert len(world.store.feedback_cases()) == 1

    play(drama())


def test_who_slept_through_an_assignment_brings_no_case_back() -> None:
    """It is about to write a case of a rating that has since given way to a good one, of the same id."""

    async def drama() -> None:
        for good in (feedback("e", rating=5, comment=text) for text in "abcdefgh"):
            world = World((DAY + 1) * MS_A_DAY)
            world.assign()
            world.produce(order("p", day=-2))
            await world.drain(DAY)
            world.produce(feedback("e"))
            (sleeper,) = world.workers
            sleeper.take_all()
            sleeper.flush()
            await sleeper.steps(until="add_cases")
            world.produce(good)
            world.assign()
            (owner,) = world.workers
            owner.take_all()
            await owner.steps(until="add_events")
            await owner.step()
            owner.kill()
            world.assign()
            (owner,) = world.workers
            await owner.steps(until="stale_orders")
            await owner.step()  # it has looked, and found no bad rating
            await world.wake()
            await world.drain(DAY)
            if world.store.events("feedback")[0]["rating"] == 1:
                continue  # the content of the bad one has the smaller digest, and stands
            assert world.store.feedback_cases() == []
            return
        pytest.fail("no good rating took the place of the bad one")

    play(drama())
