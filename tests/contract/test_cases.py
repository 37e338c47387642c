"""Cases in a store: those that are not what the stored events give are found, and written as they should be."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import EPOCH_BITS, AccountId, CaseRow, Mark, Standard
from sink.store import Store
from streams.casework import CaseChange, restate_cases
from streams.core.cases import FeedbackPart, cases_of
from streams.core.comments import VERSION
from tests.contract.conftest import Opening
from tests.contract.tables import Opened, Row
from tests.contract.test_recompute import accounts_of
from tests.contract.test_store import ACCOUNT, DAY, NOON, feedback, order, put
from tests.flow.test_pipeline import standing
from tests.reference_cases import case_history, feedback_cases
from tests.unit.test_guarantee import EVENTS, START

T = TypeVar("T")


async def _at_once(call: Callable[..., T], *args: Any) -> T:
    return call(*args)


def restated(store: Store, accounts: Iterable[AccountId], as_of: int, version: int = 1) -> list[CaseChange]:
    """Write what cases of these accounts are behind; what was told of it."""
    changes: list[CaseChange] = []

    async def tell(these: Sequence[CaseChange]) -> None:
        changes.extend(these)

    versions = dict.fromkeys(accounts, version)
    asyncio.run(restate_cases(store, _at_once, tell, versions, [], whole=list(versions), as_of=as_of))
    return changes


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(EVENTS, min_size=10, max_size=20), seed=st.integers(0, 1 << 30))
def test_cases_are_those_of_the_set_of_events(opening: Opening, histories: list[list[Row]], seed: int) -> None:
    store, tables = opening()
    chance = random.Random(seed)
    events = [event | {"seller_id": f"{event['seller_id']}-{n}"} for n, some in enumerate(histories) for event in some]
    delivered = events + chance.sample(events, len(events) // 2)
    chance.shuffle(delivered)
    accounts, as_of, told = accounts_of(events), START // MS_A_DAY, []
    for n in range(4):
        put(store, *delivered[n::4])
        as_of += chance.choice([0, 1, 50])
        told += restated(store, accounts, as_of, version=n + 1)
        assert store.stale_orders(accounts, (as_of + 1) * MS_A_DAY, VERSION) == []
        store.move_as_of(as_of)
        stand = standing([event for m in range(n + 1) for event in delivered[m::4]])
        assert tables.feedback_cases() == feedback_cases(stand, as_of)
        assert tables.case_history() == case_history(stand, as_of)
    assert restated(store, accounts, as_of) == []
    known = {(change.case.order, change.case.feedback_event_id, change.step.status, change.step.at) for change in told}
    by_events = [row for row in tables.case_history() if row["event_id"]]
    assert {
        ((row["seller_id"], row["marketplace_id"], row["order_id"]), row["feedback_event_id"], row["status"], row["at"])
        for row in by_events
    } <= known


def test_ratings_that_make_no_case_are_looked_at_once(opened: Opened) -> None:
    store, tables = opened
    put(store, order(), feedback(rating=3), feedback("e2", order_id="o2", rating=5))
    assert [one[2] for one in store.stale_orders([ACCOUNT], (DAY + 1) * MS_A_DAY, VERSION)] == ["o"]
    restated(store, [ACCOUNT], DAY)
    assert store.stale_orders([ACCOUNT], (DAY + 1) * MS_A_DAY, VERSION) == []
    assert tables.feedback_cases() == []


def test_a_reading_by_other_word_lists_is_found(opened: Opened) -> None:
    put(opened.store, feedback(rating=1))
    restated(opened.store, [ACCOUNT], DAY)
    assert opened.store.stale_orders([ACCOUNT], (DAY + 1) * MS_A_DAY, VERSION + 1) == [(*ACCOUNT, "o")]
    assert opened.store.stale_orders([ACCOUNT], (DAY + 1) * MS_A_DAY, 0) == [(*ACCOUNT, "o")]


def case(version: int, seller: str = ACCOUNT[0], comment: str | None = "c") -> CaseRow:
    rating = FeedbackPart(NOON, "e", 1 << 63, "SUBMITTED", 1, comment, None, None, False, None, None, None)
    return cases_of((seller, ACCOUNT[1], "o"), [], [rating], known=(), version=version)[0]


def test_cases_come_back_as_they_were_written(opened: Opened) -> None:
    rows = [case(1, comment='it\'s "fine"\\\n😀\0\t{a}'), case(1, "S2", None)]
    opened.store.add_cases(rows)
    assert sorted(opened.store.cases([ACCOUNT, ("S2", ACCOUNT[1])])) == sorted(rows)
    assert opened.store.case_stories([rows[0].order], 1 << 50).cases == [rows[0]]


def test_who_slept_through_losing_an_account_writes_no_case_of_it(opened: Opened) -> None:
    store, tables = opened
    store.add_marks([Mark(ACCOUNT, 0, Standard(0), 1, 0, 3 << EPOCH_BITS | 7)])
    store.add_cases([case(2 << EPOCH_BITS | 9), case(2 << EPOCH_BITS | 9, "S2")])
    assert [row["seller_id"] for row in tables.feedback_cases()] == ["S2"]
    store.add_cases([case(3 << EPOCH_BITS)])
    assert len(tables.feedback_cases()) == 2
    store.drop_cases([ACCOUNT])
    assert [row["seller_id"] for row in tables.feedback_cases()] == ["S2"]
