"""Rows held against their events: what is wrong is told and counted, what is merely late is not."""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from schemas.rows import AccountId, Cell, SelfCheck, Standard, Stored, Wrong
from streams.checking import ACCOUNTS_A_CHECK, EVENTS_A_CHECK, _light_ones, check
from streams.core.metrics import Terms
from streams.pipeline import NEAR_EVENTS
from tests.flow.driver import STANDARD, Worker, World, play
from tests.flow.test_flushes import DAY, begun, order
from tests.memory import MemoryStore

ACCOUNT = ("S", "M")
EPOCH = 1  # of the only worker


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def spoil(store: MemoryStore, day: int = DAY, account: AccountId = ACCOUNT) -> None:
    """A row with 9 orders, by somebody who outranks all workers."""
    _, (columns, at) = store._daily[(*account, day)]
    wrong = {name: values[at : at + 1].copy() for name, values in columns.items()}
    wrong["orders_lifetime"][:] = 9
    wrong["version"] = np.array([1 << 60], np.uint64)
    store.add_rows([account], [1], wrong)


async def checked(worker: Worker) -> SelfCheck | None:
    """What the worker notes after a check, if anything."""
    worker._begin("check", worker.pipeline.check(worker.sampler))
    await worker.steps()
    assert worker.failures() == []
    return worker.world.store.self_checks.get(EPOCH)


def test_rows_that_are_right_are_counted_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def drama() -> None:
        world, worker = await begun()
        assert await checked(worker) is None  # there is no account
        world.produce(order("1", day=-2))
        world.produce(order("2", seller_id="T"))
        await world.drain(DAY)
        assert await checked(worker) == SelfCheck(EPOCH, world.now_ms, 2, 4, 0, None)
        assert await checked(worker) == SelfCheck(EPOCH, world.now_ms, 4, 8, 0, None)
        assert caplog.records == []

    play(drama())


@pytest.mark.parametrize("hot_bytes", [0, 1 << 30])
def test_rows_that_are_wrong_are_told_and_counted(caplog: pytest.LogCaptureFixture, hot_bytes: int) -> None:
    async def drama() -> None:
        world = World(order()["event_time"], partitions=1, hot_bytes=hot_bytes)
        world.assign()
        world.produce(order("1", day=-2))
        world.produce(order("2", day=-2, seller_id="T"))
        await world.drain(DAY)
        spoil(world.store)
        world.store.drop_rows({("T", "M"): 0})
        found = await checked(world.workers[0])
        assert found == SelfCheck(EPOCH, world.now_ms, 2, 6, 4, world.now_ms)
        world.now_ms += 1
        assert await checked(world.workers[0]) == SelfCheck(EPOCH, world.now_ms, 4, 12, 8, world.now_ms)
        told = sorted(record.getMessage().partition(";")[0] for record in caplog.records[:2])
        assert told == [
            "rows of 'S' on 'M' are not what the stored events give: 1 differ",
            "rows of 'T' on 'M' are not what the stored events give: 3 are missing",
        ]

    play(drama())


def test_accounts_whose_rows_lag_are_left_alone() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order("1"))
        await world.drain(DAY)
        spoil(world.store)
        worker.pipeline.rows.changed.add(ACCOUNT)
        assert await checked(worker) is None

    play(drama())


def test_nothing_is_checked_while_many_records_wait() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order("1"))
        await world.drain(DAY)
        world.waiting = NEAR_EVENTS
        assert await checked(worker) is None

    play(drama())


def test_a_check_takes_a_few_accounts_of_few_events() -> None:
    async def drama() -> None:
        world, worker = await begun()
        for n in range(ACCOUNTS_A_CHECK + 5):
            world.produce(order(seller_id=str(n)))
            await world.drain(DAY)
        found = await checked(worker)
        assert found is not None
        assert found.accounts == ACCOUNTS_A_CHECK

    play(drama())


def test_accounts_with_more_events_than_a_check_has_time_for_are_left_out() -> None:
    sizes = {"a": EVENTS_A_CHECK - 5, "b": EVENTS_A_CHECK + 1, "c": 6, "d": 5}
    stored = {(seller, "M"): Stored(events, 0, DAY) for seller, events in sizes.items()}
    assert _light_ones(stored) == [("a", "M"), ("d", "M")]


# --- accounts at which somebody is at work -------------------------------------------------------------------


class BusyStore(MemoryStore):
    """A store in which something happens while rows are compared."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.__dict__ |= vars(world.store)
        self.happens: Callable[[], object] = lambda: None

    def differing(self, accounts: Sequence[AccountId], terms: Terms, *, as_of: int) -> dict[AccountId, Wrong]:
        found = super().differing(accounts, terms, as_of=as_of)
        self.happens()
        return found


def test_only_accounts_that_are_at_rest_before_and_after_are_wrong() -> None:
    async def drama() -> None:
        world, _ = await begun()
        world.produce(order("1"))
        await world.drain(DAY)
        spoil(world.store)
        busy = BusyStore(world)

        def look(standard: Standard = STANDARD) -> tuple[list[AccountId], set[AccountId]]:
            found = check(busy, [ACCOUNT], lambda _: world.terms, standard)
            return list(found.wrong), found.late

        wrong, late = ([ACCOUNT], set[AccountId]()), (list[AccountId](), {ACCOUNT})
        assert look() == wrong
        assert look(Standard(2)) == late  # the settings changed
        (mark,) = busy.marks([ACCOUNT]).values()
        busy.happens = lambda: busy.add_marks([mark._replace(version=mark.version + 1)])
        assert look() == late  # it was marked meanwhile
        busy.happens = lambda: None
        assert look() == wrong
        busy.happens = lambda: busy.move_as_of(DAY + 1)
        assert look() == late  # the day turned meanwhile
        assert look() == late  # rows of the new day are still to come

    play(drama())


def test_an_account_with_events_that_its_rows_do_not_know_is_late() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order("1"))
        await world.drain(DAY)
        spoil(world.store)
        world.produce(order("2"))
        worker.take_all()
        worker.flush()
        await worker.steps(until="add_marks")
        found = check(world.store, [ACCOUNT], lambda _: world.terms, STANDARD)
        assert (found.wrong, found.late) == ({}, {ACCOUNT})

    play(drama())


def test_a_cell_that_is_wrong_is_named() -> None:
    async def drama() -> None:
        world, _ = await begun()
        world.produce(order("1", day=-1))
        await world.drain(DAY)
        spoil(world.store)
        found = check(world.store, [ACCOUNT], lambda _: world.terms, STANDARD)
        assert found.wrong == {ACCOUNT: Wrong(1, 0, 0, 1, [Cell(DAY, "orders_lifetime", "9", "1")])}
        assert (found.accounts, found.rows) == (1, 2)

    play(drama())
