"""Digests: one for each account and week, whoever dies over it; and what they say."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from streams.core.digest import as_json, text
from streams.core.metrics import Terms
from streams.digest import Digests, Schedule, digests_of
from streams.outbox import Outbox
from tests.flow.driver import World, play
from tests.flow.test_due import HOUR, Killed, fact
from tests.flow.test_flushes import order, rating

MONDAY = 19_800  # 2024-03-18
SIX = MONDAY * MS_A_DAY + 6 * HOUR
T = TypeVar("T")


class Scene:
    """A world with two accounts, one of them at rest, and what was sent."""

    def __init__(self) -> None:
        self.world = World(SIX, partitions=1)
        self.sent: list[Mapping[str, Any]] = []
        self.dies_at = ""

    async def until(self, now: int) -> None:
        """Another worker has the partitions, has done all there is to, and looks."""
        self.world.now_ms = now
        self.world.assign()
        await self.world.drain(now // MS_A_DAY)

        async def call(call: Callable[..., T], *args: Any) -> T:
            if self.dies_at == getattr(call, "__name__", ""):
                raise Killed
            return call(*args)

        async def send(digests: Sequence[tuple[AccountId, Mapping[str, Any]]]) -> None:
            await asyncio.sleep(0)
            self.sent += [told for _, told in digests]

        tenure, nobody = self.world.workers[0].pipeline.tenure, Outbox((), lambda: self.world.store)  # type: ignore[arg-type, return-value]
        weekly = Schedule(0, 6)
        await Digests(weekly, self.world.store, lambda _: Terms(), tenure, call=call, send=send, outbox=nobody).look(
            now
        )

    def produce(self) -> None:
        for n in range(3):
            day = MONDAY - 3 * n
            self.world.produce(order(f"e{n}", order_id=f"o{n}", event_time=day * MS_A_DAY))
        self.world.produce(rating("bad", event_id="r0", order_id="o1", event_time=(MONDAY - 2) * MS_A_DAY))
        old = (MONDAY - 88) * MS_A_DAY
        self.world.produce(order("old", order_id="old", event_time=old))
        self.world.produce(rating("old", event_id="r1", order_id="old", event_time=old))
        self.world.produce(order("long ago", seller_id="quiet", order_id="q", event_time=old))


def test_each_account_that_has_something_to_say_is_sent_a_digest_a_week() -> None:
    async def drama() -> None:
        scene = Scene()
        scene.produce()
        await scene.until(SIX - 1)
        assert scene.sent == []
        await scene.until(SIX)
        (first,) = scene.sent
        assert (first["type"], first["seller_id"], first["day"]) == ("digest", "S", "2024-03-18")
        for later in (SIX + 1, SIX + HOUR, SIX + 6 * MS_A_DAY):
            await scene.until(later)
        assert scene.sent == [first]
        await scene.until(SIX + 7 * MS_A_DAY)
        assert [told["day"] for told in scene.sent] == ["2024-03-18", "2024-03-25"]
        assert scene.sent[0]["id"] != scene.sent[1]["id"]
        scene.world.end()

    play(drama())


@pytest.mark.parametrize("dies_at, times", [("undigested", 1), ("digests_of", 1), ("add_digests", 2)])
def test_a_kill_loses_none_and_doubles_one_at_most_with_the_same_id(dies_at: str, times: int) -> None:
    async def drama() -> None:
        scene = Scene()
        scene.produce()
        scene.dies_at = dies_at
        with pytest.raises(Killed):
            await scene.until(SIX)
        scene.dies_at = ""
        await scene.until(SIX + HOUR)
        await scene.until(SIX + 2 * HOUR)
        assert len(scene.sent) == times
        assert len({told["id"] for told in scene.sent}) == 1
        scene.world.end()

    play(drama())


def test_one_that_is_two_days_late_is_not_sent() -> None:
    assert Schedule(0, 6).due(SIX) == MONDAY
    assert Schedule(0, 6).due(SIX + 48 * HOUR - 1) == MONDAY
    assert Schedule(0, 6).due(SIX + 48 * HOUR) is None
    assert Schedule(2, 0).due(SIX + 48 * HOUR) == MONDAY + 2


def test_a_digest_tells_standing_cases_and_what_leaves_the_windows() -> None:
    async def drama() -> None:
        scene = Scene()
        scene.produce()
        scene.world.produce(fact("REMOVAL_REQUESTED", 0) | {"order_id": "o1", "event_time": (MONDAY - 1) * MS_A_DAY})
        await scene.until(SIX)
        (digest,) = digests_of(scene.world.store, lambda _: Terms(), [("S", "M")], MONDAY, SIX)
        told = as_json(digest)
        assert told["metrics"][0] == {"metric": "orders_30d", "value": 3.0, "before": 0.0}
        assert told["metrics"][2] == {"metric": "negative_rate_90d", "value": 1.0, "before": 1.0}
        assert told["leaving"] == [{"day": "2024-03-20", "counter": "negative_90d", "count": 1}]
        assert told["firing"] == []
        assert "alerts" not in told  # receivers know changes of alerts by that name
        (case,) = told["cases"]
        assert (case["order_id"], case["status"], case["due"]) == ("o1", "removal_requested", "case_follow_up")
        assert case["due_at"] == "2024-03-20T00:00:00Z"
        assert text(digest).splitlines()[:3] == [
            "S on M, week to 2024-03-18: 0 alerts, 1 open case", "", "Standing, and a week before:",
        ]  # fmt: skip
        assert "  order o1, 1 of 5 stars, removal_requested: case_follow_up at 2024-03-20T00:00" in text(digest)
        assert "  2024-03-20: 1 of negative_90d" in text(digest)
        scene.world.end()

    play(drama())
