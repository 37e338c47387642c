"""What a worker counts of itself while events come twice, astray, bad, and while the store is away."""

import logging
from collections.abc import Iterator

import pytest

from schemas.events import MS_A_DAY
from tests.flow.driver import World, play, settle
from tests.flow.test_flushes import DAY, NOON, begun, order


@pytest.fixture(autouse=True)
def without_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_every_durable_record_is_counted_once_by_what_became_of_it() -> None:
    async def drama() -> None:
        world, _ = await begun()
        for event in (order("a"), order("b"), order("a")):
            world.produce(event)
        world.produce_rubbish("orders", 0, b"S|M", b"rubbish")
        world.produce_rubbish("orders", 0, b"S|M", None)
        await world.drain(DAY)
        assert +world.tally.records == {
            ("orders", "stored"): 2, ("orders", "duplicate"): 1, ("orders", "refused"): 2,
        }  # fmt: skip
        assert world.tally.refused == {("orders", "not decodable"): 1, ("orders", "empty value"): 1}
        assert world.tally.rows["memory"] == len(world.store.seller_daily()) == 1
        assert sum(world.tally.flushes) >= 1

    play(drama())


def test_what_is_sent_on_is_counted_as_that_and_as_stored_by_whose_it_is() -> None:
    async def drama() -> None:
        world = World(NOON + 10 * MS_A_DAY, partitions=2)
        world.assign(2)
        world.produce(order(), astray=1)
        await world.drain(DAY)
        assert +world.tally.records == {("orders", "forwarded"): 1, ("orders", "stored"): 1}

    play(drama())


def test_a_record_of_which_a_flush_comes_to_nothing_is_counted_by_who_reads_it_again() -> None:
    async def drama() -> None:
        world, worker = await begun()
        world.produce(order())
        worker.take_all()
        worker.flush()
        await worker.steps(until="add_events")
        world.assign()
        worker.finish()
        await settle(60.0)
        assert not +world.tally.records
        await world.drain(DAY)
        assert +world.tally.records == {("orders", "stored"): 1}

    play(drama())


def test_accounts_are_loaded_once_and_hit_from_then_on() -> None:
    async def drama() -> None:
        world, _ = await begun()
        for event_id in "abc":
            world.produce(order(event_id))
            await world.drain(DAY)
        world.assign()
        world.produce(order("d"))
        await world.drain(DAY)
        assert +world.tally.accounts == {"loaded": 2, "hit": 2}
        world.hot_bytes = 0
        world.assign()
        world.produce(order("e"))
        await world.drain(DAY)
        assert world.tally.accounts["cold"] == 1
        assert world.tally.rows["statement"] == 1

    play(drama())


def test_the_oldest_record_ages_until_it_is_durable_and_the_store_that_is_away_is_told() -> None:
    async def drama() -> None:
        world, worker = await begun()
        pipeline = worker.pipeline
        assert pipeline.oldest_s() is None
        world.produce(order("a"))
        worker.take_all()
        await settle()
        worker.flush()
        await worker.steps(until="add_events")
        assert worker.thread.step("not made")
        await settle(0.1)
        assert pipeline.oldest_s() == pytest.approx(0.1, abs=0.02), "that of the first, in a flush"
        world.produce(order("b"))
        worker.take_all()
        await settle()
        (wait,) = world.tally.waits.values()
        assert wait.reason == "not made"
        await settle(15.0)
        await worker.steps()
        assert not world.tally.waits
        assert pipeline.oldest_s() == pytest.approx(15.0, abs=0.02), "that of the second"
        worker.flush()
        await worker.steps()
        assert pipeline.oldest_s() is None

    play(drama())
