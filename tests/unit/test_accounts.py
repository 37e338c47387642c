"""Accounts in memory: which go first, and whether they take what they say."""

import gc
import tracemalloc
from itertools import count

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import Mark, Standard
from streams.accounts import IDLE_FLUSHES, HotAccounts, first_row
from streams.core.account import Account
from streams.core.metrics import COUNTERS, FOREVER, Terms
from streams.core.stories import OrderFact
from streams.lagging import ACCOUNTS_A_SLICE, EVENTS_A_SLICE, ROWS_A_SLICE, next_slice

DAY = 19_723


def account(seller: str, orders: int, days: int) -> Account:
    """An account of so many orders of three events each, placed over so many days, restated."""
    made, ranks = Account((seller, "M"), Terms()), count(1 << 60)
    for n in range(orders):
        for step, kind in enumerate(("PLACED", "SHIPPED", "DELIVERED")):
            time_ms = (DAY + n * days // orders + step) * MS_A_DAY + n
            fact = OrderFact(time_ms, f"{seller}-event-{n:08d}-{step}", next(ranks), kind, None, time_ms + MS_A_DAY)
            made.add(f"{seller}-order-{n:010d}", fact)
    made.restate(DAY + days)
    return made


@pytest.mark.parametrize("orders, days", [(10, 300), (300, 30), (3000, 365)])
def test_an_account_takes_the_memory_that_it_says(orders: int, days: int) -> None:
    gc.collect()
    tracemalloc.start()
    made = account("S", orders, days)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert made.bytes == pytest.approx(taken, rel=0.25)


def test_steps_too_wide_for_their_width_widen_it_and_change_nothing() -> None:
    made = Account(("S", "M"), Terms())
    for n in range(40_000):
        made.add(f"order-{n}", OrderFact(DAY * MS_A_DAY + n, f"e{n}", n, "PLACED", None, None))
        if n in (100, 200, 39_999):
            made.restate(DAY + 400)
            rows = made.rows(DAY)
            assert rows is not None
            orders = dict(zip((counter.name for counter in COUNTERS), rows.counters.T, strict=True))["orders_30d"]
            assert orders.tolist() == [n + 1] * 30 + [0] * 371


def test_the_account_touched_longest_ago_goes_first() -> None:
    hot = HotAccounts(budget=0)
    for seller in "ABC":
        hot.put(account(seller, 5, 5), FOREVER)
    hot.touch(("A", "M"))
    hot.budget = hot.bytes - 1
    gone = []
    for key in hot.surplus():
        hot.drop(key)
        gone.append(key)
    assert gone == [("B", "M")]
    assert list(hot) == [("C", "M"), ("A", "M")]
    assert hot.bytes <= hot.budget


def test_only_what_is_idle_makes_room_for_others() -> None:
    hot = HotAccounts(budget=1 << 30)
    for seller in "ABC":
        hot.put(account(seller, 5, 5), FOREVER)
    hot.budget = hot.bytes
    for _ in range(IDLE_FLUSHES - 1):
        hot.next_flush()
        hot.touch(("A", "M"))
    assert hot.room() == 0
    hot.next_flush()
    assert hot.room() == hot[("B", "M")].bytes + hot[("C", "M")].bytes
    hot.touch(("B", "M"))
    assert hot.room() == hot[("C", "M")].bytes


def test_what_is_counted_of_memory_is_what_is_in_it() -> None:
    hot = HotAccounts(budget=1 << 30)
    grows = account("A", 5, 5)
    hot.put(grows, FOREVER)
    assert hot.bytes == grows.bytes
    grows.add("one more", OrderFact(DAY * MS_A_DAY, "e", 1, "PLACED", None, None))
    hot.touch(grows.id)
    assert hot.bytes == grows.bytes
    hot.drop(grows.id)
    assert (hot.bytes, len(hot), hot.floors) == (0, 0, {})


def test_a_slice_ends_with_the_account_that_makes_it_full_and_the_next_begins_after_it() -> None:
    keys = [(f"{n:05d}", "M") for n in range(2 * ACCOUNTS_A_SLICE + 1)]
    of_few, rest = iter(keys), iter(keys)
    assert [len(next_slice(of_few, lambda _: (1, 1))) for _ in range(4)] == [ACCOUNTS_A_SLICE, ACCOUNTS_A_SLICE, 1, 0]
    assert next_slice(rest, lambda _: (ROWS_A_SLICE // 2, 1)) == keys[:2]
    assert next_slice(rest, lambda _: (1, 2 * EVENTS_A_SLICE)) == keys[2:3]


def test_an_account_may_have_rows_from_where_its_mark_or_its_events_say() -> None:
    mark = Mark(("A", "M"), 0, Standard(1), DAY - 3, DAY, 1)
    assert first_row(mark) == DAY - 3
    assert first_row(mark._replace(first_day=DAY + 1)) == first_row(None) == FOREVER
    hot = HotAccounts(budget=1 << 30)
    hot.put(account("A", 5, 5), first_row(mark))
    hot.put(account("B", 5, 5), FOREVER)
    assert hot.floors == {("A", "M"): DAY - 3, ("B", "M"): DAY}
