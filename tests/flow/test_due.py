"""What falls due by the clock alone: each change is announced, and once, unless a worker died over it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AlertRow
from streams.alerts import change_of
from streams.clocks import LOOK_S, Clocks, day_of
from streams.core.rules import OFF_BY_DEFAULT, OTHER_RULES
from tests.flow.driver import World, play
from tests.flow.test_flushes import order, rating

HOUR, MINUTE = 3_600_000, 60_000
DAY = 19_800
NOON = DAY * MS_A_DAY + 12 * HOUR
RULES = [rule for name, rule in OTHER_RULES.items() if name not in OFF_BY_DEFAULT]


T = TypeVar("T")


class Killed(BaseException):
    """The process is gone."""


class Scene:
    """A world whose workers look at the clocks; what they said is in `told`, by rule and state."""

    def __init__(self, *, rules: Sequence[Any] = RULES) -> None:
        self.world, self.rules = World(NOON, partitions=1), rules
        self.sent: list[AlertRow] = []
        self.dies_at = ""  # after it sent, or before
        self.clocks = self.begin()

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(alert.rule, alert.state) for alert in self.sent]

    def begin(self) -> Clocks:
        """Another worker has the partitions."""
        self.world.assign()
        tenure = self.world.workers[0].pipeline.tenure

        async def run(call: Callable[..., T], *args: Any) -> T:
            return call(*args)

        async def announce(alerts: Sequence[AlertRow]) -> None:
            if self.dies_at == "before":
                raise Killed
            self.sent += alerts
            if self.dies_at == "after":
                raise Killed
            self.world.store.add_alerts(alerts, [change_of(alert, day_of(alert)) for alert in alerts])

        self.clocks = Clocks(self.rules, self.world.store, tenure, run, announce)
        return self.clocks

    async def at(self, hours: float, *events: dict[str, Any]) -> list[tuple[str, str]]:
        """So long after noon these events have come, and the worker looks; what it has to say."""
        self.world.now_ms = NOON + int(hours * HOUR)
        for event in events:
            self.world.produce(event)
        before = len(self.sent)
        await self.world.drain(self.world.now_ms // MS_A_DAY)
        self.clocks.stir()
        await asyncio.sleep(LOOK_S)
        await self.clocks.look(self.world.now_ms)
        return self.told[before:]


def fact(kind: str, hours: float) -> dict[str, Any]:
    return rating(None, event_id=f"{kind}-{hours}", kind=kind, rating=None, event_time=NOON + int(hours * HOUR))


FIRED, OVER = "firing", "resolved"
BAD = rating("bad", event_id="bad", event_time=NOON)


def test_a_case_is_followed_from_its_opening_to_its_end() -> None:
    async def drama() -> None:
        scene = Scene()
        assert await scene.at(0, order("e", event_time=NOON - MS_A_DAY), BAD) == [("negative_feedback", FIRED)]
        assert await scene.at(1) == []
        assert await scene.at(23.99) == []
        assert await scene.at(24) == [("case_overdue", FIRED)]  # with no event
        assert await scene.at(25) == []
        assert await scene.at(30, fact("REMOVAL_REQUESTED", 29)) == [("case_overdue", OVER)]
        assert await scene.at(29 + 71.9) == []
        assert await scene.at(29 + 72) == [("case_follow_up", FIRED)]
        assert await scene.at(110, fact("REMOVAL_DENIED", 109)) == [("case_follow_up", OVER)]
        assert await scene.at(53 * 24 - 1) == []
        assert await scene.at(53 * 24) == [("case_closing", FIRED)]
        assert await scene.at(54 * 24, fact("REMOVED", 54 * 24 - 1)) == [
            ("negative_feedback", OVER),
            ("case_closing", OVER),
        ]
        assert await scene.at(70 * 24) == []
        assert scene.world.store.alerts(None, True) == []
        scene.world.end()

    play(drama())


def test_a_case_expires_with_no_event() -> None:
    async def drama() -> None:
        scene = Scene(rules=[OTHER_RULES["negative_feedback"]])
        assert await scene.at(0, BAD) == [("negative_feedback", FIRED)]
        assert await scene.at(60 * 24 - 0.1) == []
        assert await scene.at(60 * 24) == [("negative_feedback", OVER)]
        scene.world.end()

    play(drama())


def test_a_backfill_is_quiet_and_so_is_what_is_over_before_anybody_looks() -> None:
    async def drama() -> None:
        scene = Scene()
        old = rating("bad", event_id="old", order_id="o2", event_time=NOON - 49 * HOUR)
        assert await scene.at(0, old) == [("case_overdue", FIRED)]  # that was 25 hours ago
        taken_back = rating(None, event_id="gone", order_id="o3", kind="REMOVED", rating=None, event_time=NOON - HOUR)
        assert (
            await scene.at(0, rating("bad", event_id="b", order_id="o3", event_time=NOON - 2 * HOUR), taken_back) == []
        )
        scene.world.end()

    play(drama())


@pytest.mark.parametrize("dies_at, times", [("before", 1), ("after", 2)])
@pytest.mark.parametrize("hours, rule, state", [(0, "negative_feedback", FIRED), (24, "case_overdue", FIRED),
                                                (30, "case_overdue", OVER)])  # fmt: skip
def test_a_kill_at_any_change_loses_none_and_doubles_it_at_most_with_the_same_id(
    dies_at: str, times: int, hours: int, rule: str, state: str
) -> None:
    async def drama() -> None:
        scene = Scene()
        for now, events in ((0, [BAD]), (24, []), (30, [fact("RESPONDED", 29)])):
            if now == hours:
                scene.dies_at = dies_at
                with pytest.raises(Killed):
                    await scene.at(now, *events)
                scene.dies_at = ""
                scene.begin()
                await scene.at(now + 0.1)
            else:
                await scene.at(now, *events)
        await scene.at(31)
        scene.begin()  # and once more, for nothing
        await scene.at(32)
        same = [alert for alert in scene.sent if (alert.rule, alert.state) == (rule, state)]
        assert len(same) == times
        assert len({(alert.alert_id, alert.since, alert.resolved_at) for alert in same}) == 1
        told = [("negative_feedback", FIRED), ("case_overdue", FIRED), ("case_overdue", OVER)]
        assert sorted({*scene.told}) == sorted(told)
        assert len(scene.told) == len(told) + times - 1
        scene.world.end()

    play(drama())


def test_a_silent_source_is_noticed_and_its_return_too() -> None:
    async def drama() -> None:
        scene = Scene()
        times = [NOON - day * MS_A_DAY + n * HOUR for day in range(1, 21) for n in range(5)]
        for n, time in enumerate(times):
            scene.world.produce(order(f"e{n}", order_id=f"o{n}", event_time=time))
        assert await scene.at(0, order("last", order_id="last", event_time=NOON)) == []
        assert await scene.at(47.9) == []
        assert await scene.at(48) == [("source_silent", FIRED)]
        assert scene.sent[-1].subject == order("e")["source"]
        scene.begin()
        assert await scene.at(60) == []
        assert await scene.at(70, order("again", order_id="again", event_time=NOON + 69 * HOUR)) == [
            ("source_silent", OVER)
        ]
        scene.world.end()

    play(drama())


def test_a_rule_that_is_switched_off_ends_its_alerts() -> None:
    async def drama() -> None:
        scene = Scene()
        await scene.at(24, BAD)
        assert sorted(scene.told) == [("case_overdue", FIRED), ("negative_feedback", FIRED)]
        scene.rules = [OTHER_RULES["negative_feedback"]]
        scene.begin()
        assert await scene.at(25) == [("case_overdue", OVER)]
        scene.world.end()

    play(drama())
