"""What is fetched is handed on or fetched again, whatever a rebalance does meanwhile."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from faust.types import TP

from streams.transport import Consumer, ConsumerThread

ORDERS, FEEDBACK = TP("orders", 2), TP("feedback", 2)
Change = Callable[[Any], None]


def fetched(first: int, last: int) -> list[Any]:
    return [SimpleNamespace(offset=offset, timestamp=0, timestamp_type=0) for offset in range(first, last + 1)]


def nothing(_: Any) -> None:
    """Goes on as before."""


def rebalanced(consumer: Any) -> None:
    """Other partitions are active, of another generation."""
    consumer.app.consumer_generation_id += 1


def stopped(consumer: Any) -> None:
    """Partitions are about to go."""
    consumer.flow_active = False


async def got(active: set[TP] | None, *, meanwhile: Change = nothing, after: Change = nothing) -> tuple[Any, Any]:
    """What is handed on of a batch for each topic, and what is taken back; `after`: the first was handed on."""
    taken_back: dict[TP, int] = {}
    consumer: Any = Consumer.__new__(Consumer)
    records = {ORDERS: fetched(5, 9), FEEDBACK: fetched(3, 3), TP("surveys", 2): []}

    async def next_records(_: float) -> tuple[Any, Any]:
        meanwhile(consumer)
        return records, active

    async def call_thread(_: Any, offsets: dict[TP, int]) -> None:
        taken_back.update(offsets)

    consumer.__dict__ |= {
        "app": SimpleNamespace(consumer_generation_id=7, monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None)),
        "_thread": SimpleNamespace(call_thread=call_thread, take_back=None), "_wait_next_records": next_records,
        "_buffered_partitions": set(), "_fetched": {}, "_begun": {}, "highwater": lambda _: 10,
        "flow_active": True, "_stopped": asyncio.Event(), "_crashed": asyncio.Event(),
    }  # fmt: skip
    handed = []
    async for tp, message in consumer.getmany(1.0):
        handed.append((tp, message.offset, message.generation_id))
        after(consumer)
    return handed, taken_back


def of(active: set[TP] | None, **changes: Change) -> tuple[Any, Any]:
    return asyncio.run(got(active, **changes))


def test_each_batch_is_handed_on() -> None:
    both = [(ORDERS, 9, 7), (FEEDBACK, 3, 7)]
    assert of(None) == of({ORDERS, FEEDBACK}) == (both, {})


def test_what_nobody_waits_for_is_fetched_again() -> None:
    assert of(set()) == ([], {ORDERS: 5, FEEDBACK: 3})
    assert of({FEEDBACK}) == ([(FEEDBACK, 3, 7)], {ORDERS: 5})


@pytest.mark.parametrize("change", [rebalanced, stopped])
def test_a_fetch_that_lasts_into_a_rebalance_is_made_again(change: Change) -> None:
    assert of({ORDERS, FEEDBACK}, meanwhile=change) == ([], {ORDERS: 5, FEEDBACK: 3})
    assert of({ORDERS, FEEDBACK}, after=change) == ([(ORDERS, 9, 7)], {FEEDBACK: 3})


def test_a_partition_is_read_again_from_there_unless_it_is_before_or_gone() -> None:
    async def play() -> list[int]:
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user([ORDERS, FEEDBACK])
        subscriptions.seek(ORDERS, 10)
        subscriptions.seek(FEEDBACK, 2)  # from what is committed: a rebalance was faster
        consumer = SimpleNamespace(_subscription=subscriptions, seek=subscriptions.seek)
        thread = cast("Any", ConsumerThread.__new__(ConsumerThread))
        thread._ensure_consumer = lambda: consumer
        await thread.take_back({ORDERS: 5, FEEDBACK: 3, TP("surveys", 2): 0})
        found = [subscriptions.subscription.assignment.state_value(tp).position for tp in (ORDERS, FEEDBACK)]
        subscriptions.unsubscribe()
        await thread.take_back({ORDERS: 5})
        return found

    assert asyncio.run(play()) == [5, 2]
