"""Clocks and calendars: leap days, years' ends, a clock that jumps. A live worker's as-of day is the clock's."""

from datetime import date, timedelta

import pytest

from schemas.events import MS_A_DAY
from tests.flow.driver import World, play
from tests.flow.test_flushes import order, rating
from tests.reference import seller_daily
from tests.unit.test_guarantee import same

EPOCH = date(1970, 1, 1)


def last_ms(day: int) -> int:
    """The last millisecond of a day."""
    return (day + 1) * MS_A_DAY - 1


@pytest.mark.parametrize("first", [date(2024, 2, 27), date(2023, 2, 26), date(2024, 12, 30), date(2000, 2, 27)])
@pytest.mark.parametrize("jumps", [[0, 1, 2, 3, 4], [0, 3, 2, 4], [4, 3, 0, 4], [0, 1, 0, 1, 2, 1, 4]])
def test_days_turn_over_leap_days_and_years_ends_by_a_clock_that_may_jump(first: date, jumps: list[int]) -> None:
    began = (first - EPOCH).days

    async def drama() -> None:
        world = World(last_ms(began + 5), partitions=1)
        world.assign()
        for n, jump in enumerate(jumps):  # an event in the first and the last instant of each day that the clock shows
            day = began + jump
            world.produce(order(f"first-{n}", order_id=f"o{n}", event_time=day * MS_A_DAY))
            world.produce(rating(None, event_id=f"last-{n}", order_id=f"o{n}", event_time=last_ms(day)))
            await world.drain(day)
            as_of = began + max(jumps[: n + 1])  # it never moves back
            same(world.store.seller_daily(), seller_daily(world.events, as_of))
        days = [row["day"] for row in world.store.seller_daily()]
        assert days == [str(first + timedelta(n)) for n in range(min(jumps), max(jumps) + 1)]

    play(drama())
