"""Alerts of workers that live through turns of the day, a backfill, a take-over and a kill: what is muted."""

from collections.abc import Iterable

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AlertChange
from streams.core.rules import Condition, Level, Rule
from streams.pipeline import FAR_EVENTS
from tests.flow.driver import Worker, World, play, settle
from tests.flow.test_flushes import DAY, NOON, Event, order, rating

UNHAPPY = Rule("unhappy", (Condition("negative_30d"),), ">", (Level(0, "warning"),))
IDLE = Rule("idle", (Condition("orders_30d"),), "<", (Level(1, "info"),))
RULES = (UNHAPPY, IDLE)


def bad(event_id: str, day: float, seller: str = "S") -> Event:
    """One star, so many days after the first noon."""
    at = NOON + int(day * MS_A_DAY)
    return rating(None, event_id=event_id, seller_id=seller, order_id=event_id, event_time=at)


def placed(event_id: str, day: int, seller: str = "S") -> Event:
    return order(event_id, day, seller_id=seller, order_id=event_id)


def world_at(day: int = 0, *, rules: tuple[Rule, ...] = RULES) -> World:
    """At the evening of a day, with a worker."""
    world = World(0, partitions=1, rules=rules)
    on(world, day)
    world.assign()
    return world


def on(world: World, day: int) -> None:
    world.now_ms = NOON + day * MS_A_DAY + MS_A_DAY // 4


async def lives(world: World, day: int, *events: Event) -> None:
    """The clock shows that day, and all that is to happen of these events happens."""
    on(world, day)
    for event in events:
        world.produce(event)
    await world.drain(DAY + day)
    await settle()


def told(world: World, rules: Iterable[str] = ("unhappy", "idle")) -> list[tuple[str, str, str, int]]:
    """Seller, rule, state and day of the changes of which people are told."""
    return [one[:4] for one in every_change(world) if not one[4] and one[1] in rules]


def every_change(world: World) -> list[tuple[str, str, str, int, int]]:
    accounts = {(event["seller_id"], event["marketplace_id"]) for event in world.events}
    changes: list[AlertChange] = world.store.alert_changes(sorted(accounts))
    return sorted((c.seller_id, c.rule, c.state, c.day - DAY, c.muted) for c in changes)


def test_a_breach_of_today_is_told_and_so_is_its_end_by_ageing() -> None:
    async def drama() -> None:
        world = world_at()
        await lives(world, 0, placed("o", 0))
        await lives(world, 0, bad("r", 0.1))
        assert told(world) == [("S", "unhappy", "firing", 0)]
        for day in range(1, 33):
            await lives(world, day)
        assert told(world) == [
            ("S", "idle", "firing", 30),
            ("S", "unhappy", "firing", 0),
            ("S", "unhappy", "resolved", 30),
        ]
        assert [(one["rule"], one["state"]) for one in world.alerts] == [
            ("unhappy", "firing"), ("unhappy", "resolved"), ("idle", "firing"),
        ]  # fmt: skip

    play(drama())


def test_what_came_late_of_an_account_that_is_long_quiet_is_muted() -> None:
    async def drama() -> None:
        world = world_at()
        await lives(world, 0, placed("o", 0))
        for day in range(1, 9):
            await lives(world, day)
        await lives(world, 8, bad("r", 3))
        assert every_change(world) == [("S", "unhappy", "firing", 8, 1)]
        await lives(world, 9, bad("late", 3), placed("o2", 9))  # it is alive again
        await lives(world, 33)
        assert told(world) == [("S", "unhappy", "resolved", 33)]

    play(drama())


@pytest.mark.parametrize("hot_bytes", [1 << 30, 0])
def test_a_year_of_many_accounts_is_muted_and_then_each_breach_is_told_once(hot_bytes: int) -> None:
    sellers = [f"S{n:02}" for n in range(6)]  # as many as take a step at once

    async def drama() -> None:
        world = world_at(365)
        world.hot_bytes = hot_bytes
        world.assign()
        await lives(world, 365)
        for month in range(12):  # far from the head, with rows now and then
            for seller in sellers:
                world.produce(bad(f"{seller}-{month}", 30 * month + 15, seller))
                world.produce(placed(f"{seller}-{month}", 30 * month + 34, seller))
            world.waiting = 2 * FAR_EVENTS
            worker = world.workers[0]
            worker.take_all()
            worker.flush(idle=month % 2 == 0)
            await worker.steps()
        world.waiting = 0
        for seller in sellers:
            world.produce(placed(f"{seller}-now", 365, seller))
        await lives(world, 365)
        assert every_change(world) != []
        assert told(world) == []
        assert {alert.rule for alert in world.store.alerts(only_open=True)} == {"unhappy"}
        for day in range(366, 376):  # the alerts end by ageing
            await lives(world, day)
        before = told(world)
        assert {state for _, _, state, _ in before} == {"resolved"}
        await lives(world, 376, *(bad(f"{seller}-live", 376, seller) for seller in sellers))
        await lives(world, 376, *(bad(f"{seller}-more", 376, seller) for seller in sellers))
        assert [one for one in told(world) if one not in before] == [
            (seller, "unhappy", "firing", 376) for seller in sellers
        ]

    play(drama())


def test_the_first_take_over_of_a_replayed_history_is_muted_and_what_follows_is_told() -> None:
    async def drama() -> None:
        world = world_at()
        world.is_live = False
        world.assign()
        await lives(world, 0, placed("o", 0), bad("r", 0), placed("o", 0, "T"))
        assert every_change(world) == [("S", "unhappy", "firing", 0, 1)]
        world.is_live = True
        world.assign()
        await lives(world, 0, bad("now", 0.2, "T"))  # the rest is not behind, and nobody looks at it
        assert told(world) == [("T", "unhappy", "firing", 0)]
        await lives(world, 31)
        assert told(world, ["idle"]) == [("T", "idle", "firing", 31)]  # S was never judged by a worker
        await lives(world, 32, placed("o32", 32))
        await lives(world, 62)
        assert told(world, ["idle"]) == [
            ("S", "idle", "firing", 62),
            ("S", "idle", "resolved", 32),
            ("T", "idle", "firing", 31),
        ]

    play(drama())


def test_a_new_account_is_told_of_unless_it_brings_a_past() -> None:
    async def drama() -> None:
        world = world_at(20)
        await lives(world, 20, bad("new", 20, "new"), bad("old", 20, "old"), placed("past", 3, "old"))
        assert told(world) == [("new", "idle", "firing", 20), ("new", "unhappy", "firing", 20)]

    play(drama())


@pytest.mark.parametrize("died_before", ["load", "add_alerts", "add_marks", "nothing"])
def test_a_worker_that_dies_leaves_a_breach_to_the_next_one(died_before: str) -> None:
    async def drama() -> None:
        world = world_at()
        await lives(world, 0, placed("o", 0))
        worker: Worker = world.workers[0]
        world.produce(bad("r", 0.1))
        worker.take_all()
        worker.flush()
        await worker.steps(until=died_before)
        worker.kill()
        world.assign()
        await lives(world, 0)
        assert told(world) == [("S", "unhappy", "firing", 0)]
        assert len({one["alert_id"] for one in world.alerts}) == 1
        assert len(world.alerts) <= 2

    play(drama())


def test_a_breach_that_has_yet_to_hold_outlives_its_worker_and_fires_without_an_event() -> None:
    patient = Rule("unhappy", (Condition("negative_30d"),), ">", (Level(0, "warning"),), for_days=2)

    async def drama() -> None:
        world = world_at(rules=(patient,))
        await lives(world, 0, placed("o", 0), bad("r", 0.1))
        assert [alert.state for alert in world.store.alerts()] == ["pending"]
        assert (every_change(world), world.alerts) == ([], [])
        for day in (1, 2, 3):
            world.assign()
            await lives(world, day)
            assert [a.state for a in world.store.alerts()] == ["pending" if day < 2 else "firing"]
        assert told(world) == [("S", "unhappy", "firing", 2)]
        await lives(world, 3, bad("r2", 3, "T"))
        assert len(world.store.alerts()) == 2
        await lives(
            world, 4, bad("r2", 4, "T") | {"event_id": "gone", "kind": "REMOVED", "rating": None, "order_id": "r2"}
        )
        assert [alert.seller_id for alert in world.store.alerts()] == ["S"]

    play(drama())
