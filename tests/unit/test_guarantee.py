"""The one guarantee (SPEC section 2): rows are a pure function of the set of accepted events."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import FEEDBACK_KINDS, MS_A_DAY, ORDER_KINDS
from schemas.rows import AccountId
from streams.core.account import Account
from streams.core.metrics import Terms, iso
from tests.fold import add, fold, rows_of
from tests.reference import ReferenceSettings, seller_daily

START = 19_000 * MS_A_DAY  # a Saturday
# Instants that tell mistakes: midnights, the millisecond before, and whatever lies between.
MOMENTS = st.builds(
    lambda day, ms: START + day * MS_A_DAY + ms,
    st.integers(0, 140),
    st.sampled_from([0, MS_A_DAY - 1]) | st.integers(0, MS_A_DAY - 1),
)
COMMON = {
    "event_id": st.sampled_from(["1", "2", "10", "é", "a"]),
    "seller_id": st.sampled_from(["S1", "S2"]),
    "marketplace_id": st.just("M"),
    "event_time": MOMENTS,
    "source": st.sampled_from(["test"] * 7 + ["report"]),
}
ORDER_IDS = st.sampled_from(["o1", "o2", "o3"])
ORDERS = st.fixed_dictionaries(
    COMMON
    | {
        "topic": st.just("orders"),
        "order_id": ORDER_IDS,
        "kind": st.sampled_from(sorted(ORDER_KINDS)) | st.sampled_from(["PLACED", "SHIPPED", "DELIVERED"]),
        "fulfilment": st.sampled_from([None, None, "SELLER", "MARKETPLACE", "OTHER"]),
        "deliver_by": st.none() | MOMENTS,
        "skus": st.sampled_from([[], [], ["a"], ["b", "a", "b"]]),
    }
)
ANSWER = st.sampled_from([None, True, False])
FEEDBACK = st.fixed_dictionaries(
    COMMON
    | {
        "topic": st.just("feedback"),
        "order_id": ORDER_IDS,
        "kind": st.sampled_from(["SUBMITTED"] * 4 + sorted(FEEDBACK_KINDS)),
        "rating": st.integers(1, 5),
        "arrived_on_time": ANSWER,
        "item_as_described": ANSWER,
        "customer_service": ANSWER,
        "date_only": st.sampled_from([False, False, True]),
        "comment": st.sampled_from([None, "", "Call [phone]!", "é"]),
        "agent": st.sampled_from([None, "Ana", "Bo"]),
        "root_cause": st.sampled_from([None, None, "late"]),
    }
    | dict.fromkeys(("amount", "currency"), st.none())
)
SURVEYS = st.fixed_dictionaries(
    COMMON
    | {
        "topic": st.just("surveys"),
        "conversation_id": st.sampled_from(["c1", "c2", "c3"]),
        "message_id": st.just("m"),
        "solved": st.booleans(),
        "buyer_initiated": st.just(True),
    }
    | dict.fromkeys(("order_id", "agent", "comment"), st.none())
)
EVENTS = st.lists(ORDERS | FEEDBACK | SURVEYS, min_size=1, max_size=40)
PARTIAL = frozenset({"report", "'; DROP"})
# Short windows and a low minimum, so that 140 days see everything enter and leave.
TERMS = [
    (Terms(cs_min_responses=3), ReferenceSettings(cs_minimum=3)),
    (
        Terms(
            short_days=3, medium_days=7, long_days=20, odr_days=5, odr_lag_days=2, receipt_days=4, cs_min_responses=2,
            partial_sources=PARTIAL,
        ),
        ReferenceSettings(
            short_days=3, medium_days=7, long_days=20, odr_days=5, odr_lag_days=2, receipt_fallback_days=4,
            cs_minimum=2, partial_sources=PARTIAL,
        ),
    ),
]  # fmt: skip


def without_id_reuse(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first event of each id: the reference has a rule of its own for ids used twice."""
    seen: dict[Any, dict[str, Any]] = {}
    for event in events:
        subject = event.get("conversation_id") or event["order_id"]
        seen.setdefault((event["seller_id"], event["topic"], subject, event["event_id"]), event)
    return list(seen.values())


def same(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Equal cell by cell; rates up to the last bit of a float."""
    assert [row["day"] for row in ours] == [row["day"] for row in theirs]
    for mine, expected in zip(ours, theirs, strict=True):
        different = {
            name: (mine[name], value)
            for name, value in expected.items()
            if mine[name] != (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
        }
        assert not different, (expected["seller_id"], expected["day"], different)


@pytest.mark.parametrize("terms, settings_of_reference", TERMS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=EVENTS, days_more=st.integers(0, 60))
def test_rows_are_those_of_a_brute_force_reading_of_the_contract(
    terms: Terms, settings_of_reference: ReferenceSettings, events: list[dict[str, Any]], days_more: int
) -> None:
    events = without_id_reuse(events)
    as_of = max(event["event_time"] for event in events) // MS_A_DAY + days_more
    same(fold([events], as_of, terms), seller_daily(events, as_of, settings_of_reference))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=EVENTS, seed=st.integers(0, 1 << 30), as_of=st.none() | st.integers(18_990, 19_200))
def test_order_repetition_and_batches_change_nothing(
    events: list[dict[str, Any]], seed: int, as_of: int | None
) -> None:
    chance, terms = random.Random(seed), Terms(partial_sources=PARTIAL)
    delivered = events + chance.sample(events, chance.randint(0, len(events)))
    chance.shuffle(delivered)
    cuts = sorted(chance.randint(0, len(delivered)) for _ in range(chance.randint(0, 6)))
    batches = [delivered[a:b] for a, b in zip([0, *cuts], [*cuts, len(delivered)], strict=True)]
    as_of = as_of if as_of is not None else max(event["event_time"] for event in events) // MS_A_DAY
    assert fold(batches, as_of, terms) == fold([events], as_of, terms)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(events=EVENTS, seed=st.integers(0, 1 << 30))
def test_writing_only_what_restate_names_leaves_every_row_right(events: list[dict[str, Any]], seed: int) -> None:
    """As the sink sees it: rows overwritten from the first touched day on, the as-of day moving in between."""
    chance, terms = random.Random(seed), Terms(cs_min_responses=2, partial_sources=PARTIAL)
    accounts: dict[AccountId, Account] = {}
    table: dict[tuple[str, str], dict[str, Any]] = {}
    as_of = 19_000
    for event in chance.sample(events, len(events)):
        add(accounts, event, terms)
        as_of += chance.choice([0, 0, 0, 1, 20])
        for account in accounts.values():
            touched = account.restate(as_of)
            if touched is not None:
                for key in [k for k in table if k[0] == account.id[0] and k[1] < iso(account.first_day)]:
                    del table[key]  # the worker writes them as gone
                table |= {(row["seller_id"], row["day"]): row for row in rows_of([account], terms, touched)}
    assert [table[key] for key in sorted(table)] == fold([events], as_of, terms)
