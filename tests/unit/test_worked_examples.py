"""Worked examples of every metric: every number expected was derived by hand from the contract.

Each runs twice: against the product's core, and against the brute-force reading (`tests/reference.py`) that property
tests hold the product to. Days are counted from day 0, which is Monday 2024-01-01 UTC; `at(3, 5)` is 05:00 on day 3.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.metrics import Terms
from tests import reference
from tests.fold import fold
from tests.reference import DEFAULTS, Evaluation, ReferenceSettings, score

Event = dict[str, Any]
Row = dict[str, Any]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
QUESTIONS = ("arrived_on_time", "item_as_described", "customer_service")
DAY_0 = 19_723  # 2024-01-01, a Monday


# What the two call the same settings.
TERMS = {
    "cs_minimum": "cs_min_responses",
    "cs_yellow_from": "cs_red_below",
    "cs_green_from": "cs_yellow_below",
    "problem_free_points": "points_problem_free",
    "negative_points": "points_negative",
    "receipt_fallback_days": "receipt_days",
}


def product(events: Iterable[Event], as_of: int | None = None, chosen: ReferenceSettings = DEFAULTS) -> list[Row]:
    """The rows of the product's core, its columns in the order of the contract."""
    terms = Terms(**{TERMS.get(of.name, of.name): getattr(chosen, of.name) for of in fields(chosen)})
    rows = fold([list(events)], as_of, terms)
    return [{name: row[name] for name in COLUMNS} for row in rows]


IMPLEMENTATIONS = {"reference": reference.seller_daily, "product": product}
compute: Callable[..., list[Row]] = product


@pytest.fixture(params=IMPLEMENTATIONS, scope="module", autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this file, for each implementation."""
    global compute  # noqa: PLW0603  # one name for both, rather than an argument of every test
    compute = IMPLEMENTATIONS[request.param]
    yield
    compute = product


def at(day: int, hour: int = 12, ms: int = 0) -> int:
    """The instant in epoch milliseconds; noon unless told."""
    return (DAY_0 + day) * DAY_MS + hour * HOUR_MS + ms


def event(topic: str, name: str, time: int, **fields: Any) -> Event:
    """What every event has; the id is made of what the event says, so equal events are one event."""
    common = {
        "topic": topic,
        "event_id": f"{name}@{time}",
        "seller_id": "S",
        "marketplace_id": "M",
        "event_time": time,
        "source": "test",
    }
    return {**common, **fields}


def order(kind: str, time: int, order_id: str = "o", **fields: Any) -> Event:
    """An event of topic `orders`."""
    empty: Event = {"order_id": order_id, "kind": kind, "fulfilment": None, "deliver_by": None, "skus": []}
    return event("orders", kind, time, **{**empty, **fields})


def feedback(kind: str, time: int, order_id: str = "o", **fields: Any) -> Event:
    """An event of topic `feedback`."""
    nullable = ("rating", "comment", "agent", "amount", "currency", "root_cause")
    empty: Event = {
        "order_id": order_id,
        "kind": kind,
        "date_only": False,
        **dict.fromkeys(nullable + QUESTIONS),
    }
    return event("feedback", kind, time, **{**empty, **fields})


def rated(stars: int, time: int, order_id: str = "o", **fields: Any) -> Event:
    """A rating submitted."""
    return feedback("SUBMITTED", time, order_id, rating=stars, **fields)


def answer(solved: bool, time: int, conversation_id: str = "c", **fields: Any) -> Event:
    """A survey's answer."""
    empty: Event = {
        "conversation_id": conversation_id,
        "message_id": "m",
        "solved": solved,
        "buyer_initiated": True,
        "order_id": None,
        "agent": None,
        "comment": None,
    }
    return event("surveys", f"{conversation_id}-answer", time, **{**empty, **fields})


def row(events: Iterable[Event], day: int, chosen: ReferenceSettings = DEFAULTS) -> Row:
    """The one account's row of a day, with everything delivered that there is."""
    last = compute(events, DAY_0 + day, chosen)[-1]
    assert last["day"] == iso(day)
    return last


def iso(day: int) -> str:
    """Days of January to March 2024, which is a leap year."""
    month, start = next((m, s) for m, s in ((4, 91), (3, 60), (2, 31), (1, 0)) if day >= s)
    return f"2024-{month:02d}-{day - start + 1:02d}"


def by_day(events: Iterable[Event], column: str, days: Iterable[int]) -> list[Any]:
    """A column's values on some days; "-" where there is no row."""
    given_events, days = list(events), list(days)
    rows = {r["day"]: r for r in compute(given_events, DAY_0 + max(days))}
    return [rows[iso(day)][column] if iso(day) in rows else "-" for day in days]


# --- rows

PER_WINDOW = ("positive", "neutral", "negative", "positive_rate", "negative_rate", "average_stars", "orders")
COLUMNS = [
    *("seller_id", "marketplace_id", "day"),
    *(f"{name}_{w}" for w in ("30d", "90d", "365d", "lifetime") for name in PER_WINDOW),
    "partial_ratings",
    *(f"{q}_{what}_90d" for q in QUESTIONS for what in ("answers", "rate")),
    *("problem_free_orders_90d", "buy_box_points_90d", "received_orders_90d", "buy_box_points_per_order_90d"),
    *("odr_orders_60d", "odr_negative_60d", "odr_claims_60d", "odr_chargebacks_60d", "odr_defects_60d"),
    *("order_defect_rate_60d", "odr_orders_seller_60d", "odr_defects_seller_60d"),
    *("order_defect_rate_seller_60d", "negative_feedback_rate_60d", "feedback_per_100_orders_90d"),
    "last_event_time",
    *("cs_responses", "cs_conversations", "cs_solved", "cs_score", "cs_week", "cs_is_current", "cs_band"),
    *("cs_running_conversations", "cs_running_solved", "cs_running_score"),
]


def test_a_row_has_the_columns_of_the_contract_in_their_order() -> None:
    assert list(row([order("PLACED", at(0))], 0)) == COLUMNS


def test_rows_are_dense_from_the_first_event_day_to_the_as_of_day() -> None:
    events = [order("PLACED", at(2)), order("SHIPPED", at(5))]
    assert [r["day"] for r in compute(events)] == [f"2024-01-0{n}" for n in (3, 4, 5, 6)]
    assert [r["day"] for r in compute(events, DAY_0 + 6)][-1] == "2024-01-07"
    assert [r["day"] for r in compute(events, DAY_0 + 3)] == ["2024-01-03", "2024-01-04"]
    assert compute(events, DAY_0 + 1) == []
    assert compute([]) == []


def test_the_default_as_of_day_is_that_of_the_whole_input() -> None:
    events = [order("PLACED", at(0)), order("PLACED", at(2), seller_id="T")]
    assert [(r["seller_id"], r["day"][-2:]) for r in compute(events)] == [
        ("S", "01"), ("S", "02"), ("S", "03"), ("T", "03"),
    ]  # fmt: skip


def test_feedback_earned_on_one_marketplace_never_counts_on_another() -> None:
    events = [rated(5, at(0)), rated(1, at(0), marketplace_id="N"), rated(5, at(0), seller_id="R")]
    found = [(r["seller_id"], r["marketplace_id"], r["positive_30d"], r["negative_30d"]) for r in compute(events)]
    assert found == [("R", "M", 1, 0), ("S", "M", 1, 0), ("S", "N", 0, 1)]


def test_an_account_with_nothing_but_a_staff_action_has_zeros_and_nulls() -> None:
    got = row([feedback("RESPONDED", at(0))], 0)
    none = {c for c in COLUMNS if "rate" in c or "average" in c or "per_" in c}
    none |= {"cs_score", "cs_week", "cs_band", "cs_running_score"}
    assert {c for c, v in got.items() if v is None} == none
    assert got["last_event_time"] == at(0)
    assert all(got[c] == 0 for c in COLUMNS[3:] if c not in none and c != "last_event_time")


def test_an_event_exactly_at_midnight_belongs_to_the_day_that_begins() -> None:
    # |--- day 0 ---|--- day 1 ---|    a at the last millisecond of day 0, b at 00:00 of day 1
    events = [order("PLACED", at(1, 0, -1), "a"), order("PLACED", at(1, 0), "b")]
    assert by_day(events, "orders_30d", [0, 1]) == [1, 2]
    assert by_day(events, "last_event_time", [0, 1]) == [at(1, 0) - 1, at(1, 0)]
    assert by_day(events[1:], "orders_30d", [0, 1]) == ["-", 1]


# --- ratings


def test_ninety_positive_of_a_hundred_is_nine_tenths() -> None:
    # 90 of 4-5 stars (60 fives, 30 fours), 6 of three, 4 of 1-2 (three ones, one two):
    # stars 300 + 120 + 18 + 3 + 2 = 443
    stars = [5] * 60 + [4] * 30 + [3] * 6 + [1] * 3 + [2]
    got = row([rated(s, at(0), f"o{n}") for n, s in enumerate(stars)], 0)
    for w in ("30d", "90d", "365d", "lifetime"):
        assert (got[f"positive_{w}"], got[f"neutral_{w}"], got[f"negative_{w}"]) == (90, 6, 4)
        assert (got[f"positive_rate_{w}"], got[f"negative_rate_{w}"], got[f"average_stars_{w}"]) == (
            0.9,
            0.04,
            4.43,
        )
    assert got["buy_box_points_90d"] == -2000  # nothing received: 4 x -500
    assert got["feedback_per_100_orders_90d"] is None  # nothing placed


def test_three_stars_are_neutral_and_no_defect() -> None:
    got = row([order("PLACED", at(0)), order("DELIVERED", at(1)), rated(3, at(1, 13))], 1)
    assert (got["neutral_30d"], got["positive_rate_30d"], got["negative_rate_30d"]) == (1, 0.0, 0.0)
    assert (got["odr_negative_60d"], got["odr_defects_60d"], got["problem_free_orders_90d"]) == (0, 0, 1)
    assert got["buy_box_points_90d"] == 100


@pytest.mark.parametrize(
    "later, before, after",  # positive, neutral, negative on the days 0 and 2
    [
        ([feedback("REMOVED", at(2))], (0, 0, 1), (0, 0, 0)),
        ([feedback("STRUCK", at(2))], (0, 0, 1), (0, 0, 0)),
        ([rated(5, at(2))], (0, 0, 1), (1, 0, 0)),
        (
            [rated(5, at(2)), feedback("REMOVED", at(2, 13))],
            (0, 0, 1),
            (0, 0, 0),
        ),  # the first does not come back
        ([feedback("REMOVED", at(2)), rated(3, at(2, 13))], (0, 0, 1), (0, 1, 0)),  # submitted again: stands
        ([feedback("REMOVED", at(2), "other")], (0, 0, 1), (0, 0, 1)),
        ([feedback("REMOVED", at(0, 11))], (0, 0, 1), (0, 0, 1)),  # before it was submitted
        ([feedback("RESPONDED", at(2)), feedback("REMOVAL_DENIED", at(2))], (0, 0, 1), (0, 0, 1)),
        ([feedback("REFUNDED", at(2), rating=5)], (0, 0, 1), (0, 0, 1)),  # a rating counts on SUBMITTED only
    ],
)
def test_a_rating_stands_until_removed_struck_or_replaced(
    later: list[Event], before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    rows = compute([rated(1, at(0)), *later], DAY_0 + 2)
    found = [tuple(r[f"{k}_90d"] for k in ("positive", "neutral", "negative")) for r in (rows[0], rows[2])]
    assert found == [before, after]
    assert [r["buy_box_points_90d"] for r in (rows[0], rows[2])] == [-500 * before[2], -500 * after[2]]


def test_at_one_instant_the_smaller_event_id_comes_first_by_bytes() -> None:
    # "10" < "9" by bytes: REMOVED with id 10 comes before SUBMITTED with id 9, which stands
    assert row([rated(5, at(0), event_id="9"), feedback("REMOVED", at(0), event_id="10")], 0)["positive_30d"] == 1
    assert row([rated(5, at(0), event_id="10"), feedback("REMOVED", at(0), event_id="9")], 0)["positive_30d"] == 0


def test_a_second_rating_has_its_own_date() -> None:
    # submitted on day 0 and again on day 20: in the 30 days until day 20 + 29 = 49, with no gap at 30
    events = [rated(5, at(0)), rated(4, at(20))]
    assert by_day(events, "positive_30d", [0, 19, 20, 29, 30, 49, 50]) == [1, 1, 1, 1, 1, 1, 0]
    assert by_day(events, "average_stars_30d", [19, 20, 50]) == [5.0, 4.0, None]


def test_a_staff_action_changes_no_metric() -> None:
    kinds = ["RESPONDED", "CONTACTED", "REFUNDED", "REPLACED", "REMOVAL_REQUESTED", "REMOVAL_DENIED"]
    kinds += ["REVIEWED", "FEEDBACK_ASKED", "REVIEW_ASKED", "OPTED_OUT"]
    life = [order("PLACED", at(0)), order("DELIVERED", at(0, 13)), rated(2, at(0, 14))]
    with_staff, without = row(life + [feedback(k, at(1)) for k in kinds], 1), row(life, 1)
    assert with_staff.pop("last_event_time") == at(1)
    assert without.pop("last_event_time") == at(0, 14)
    assert with_staff == without


def test_answers_are_shares_of_yes_among_standing_ratings_that_answered() -> None:
    # arrived on time: yes, no, (no answer), yes (removed on day 1): day 0: 2 of 3; day 1: 1 of 2
    events = [
        rated(5, at(0), "a", arrived_on_time=True),
        rated(1, at(0), "b", arrived_on_time=False, item_as_described=False),
        rated(5, at(0), "c"),
        rated(5, at(0), "d", arrived_on_time=True),
        feedback("REMOVED", at(1), "d"),
    ]
    assert by_day(events, "arrived_on_time_answers_90d", [0, 1, 89, 90]) == [3, 2, 2, 0]
    assert by_day(events, "arrived_on_time_rate_90d", [0, 1, 89, 90]) == [2 / 3, 0.5, 0.5, None]
    assert by_day(events, "item_as_described_rate_90d", [0]) == [0.0]
    assert by_day(events, "customer_service_rate_90d", [0]) == [None]


@pytest.mark.parametrize("days", [30, 90])
def test_what_is_dated_day_3_is_in_a_window_of_w_days_from_3_to_3_plus_w_less_1(days: int) -> None:
    #        3                     3+W-1
    # -------[#####################]-------> t
    events = [order("PLACED", at(0), "first"), order("PLACED", at(3)), rated(5, at(3))]
    seen = [2, 3, 3 + days - 1, 3 + days]
    assert by_day(events, f"positive_{days}d", seen) == [0, 1, 1, 0]
    assert by_day(events, f"orders_{days}d", seen) == [1, 2, 1, 0]
    assert by_day(events, "positive_lifetime", seen) == [0, 1, 1, 1]


def test_the_long_window_ends_after_365_days() -> None:
    rows = compute([order("PLACED", at(0)), rated(4, at(0))], DAY_0 + 365)
    assert [(r["orders_365d"], r["positive_365d"]) for r in rows[364:]] == [(1, 1), (0, 0)]
    assert (rows[365]["orders_lifetime"], rows[365]["positive_lifetime"]) == (1, 1)


def test_an_order_is_dated_by_its_first_placed_and_counts_though_cancelled() -> None:
    events = [
        order("PLACED", at(5), "a"), order("PLACED", at(2), "a"),  # told twice: day 2
        order("PLACED", at(3), "b"), order("CANCELLED", at(4), "b"),
        order("SHIPPED", at(1), "c"),  # never placed: no order date
    ]  # fmt: skip
    assert by_day(events, "orders_30d", [1, 2, 3, 4, 5, 31, 32]) == [0, 1, 2, 2, 2, 2, 1]


def test_feedback_per_hundred_orders_takes_what_stands_in_the_window() -> None:
    # 8 orders on day 0; one rating on day 0, removed on day 2, another on day 1 for an order never placed
    events = [order("PLACED", at(0), f"o{n}") for n in range(8)]
    events += [rated(5, at(0), "o1"), feedback("REMOVED", at(2), "o1"), rated(3, at(1), "elsewhere")]
    assert by_day(events, "feedback_per_100_orders_90d", [0, 1, 2, 89, 90]) == [12.5, 25.0, 12.5, 12.5, None]


# --- receipt and Buy Box points


def buy_box(got: Row) -> tuple[int, int, int]:
    """Received, problem-free, points."""
    return got["received_orders_90d"], got["problem_free_orders_90d"], got["buy_box_points_90d"]


REPORT = ReferenceSettings(partial_sources=frozenset({"report"}))
OVER_ALL_RATINGS = [
    c for c in COLUMNS if c.startswith(("positive_rate", "negative_rate", "average_stars", "feedback_per"))
] + [f"{question}_rate_90d" for question in QUESTIONS]


def test_from_the_first_rating_of_a_partial_source_on_what_needs_all_ratings_is_null() -> None:
    """A 5-star rating on day 0 by the seller's own survey; on day 2 the report of 1-3 stars brings its first."""
    events = [
        order("PLACED", at(0)),
        rated(5, at(0), customer_service=True),
        order("PLACED", at(1), "p"),
        rated(2, at(2), "p", source="report", customer_service=False),
        feedback("REMOVED", at(4), "p", source="report"),
        rated(3, at(5), "p", source="report"),
    ]
    before, since, removed, last = (row(events[:n], day, REPORT) for n, day in ((4, 1), (4, 2), (5, 4), (6, 100)))
    assert None not in {before[c] for c in OVER_ALL_RATINGS if not c.startswith(("arrived", "item"))}
    assert (before["positive_rate_90d"], before["customer_service_rate_90d"]) == (1.0, 1.0)
    assert before["feedback_per_100_orders_90d"] == 50.0  # one rating, two orders
    for got in (since, removed, last):
        assert {got[c] for c in OVER_ALL_RATINGS} == {None}
    assert [got["partial_ratings"] for got in (before, since, removed, last)] == [0, 1, 1, 2]
    # What is counted stays: the rating, the points, the defect of two orders.
    assert (since["positive_90d"], since["negative_90d"], since["customer_service_answers_90d"]) == (1, 1, 2)
    assert (since["buy_box_points_90d"], since["odr_defects_60d"]) == (-500, 1)
    assert (since["order_defect_rate_60d"], since["negative_feedback_rate_60d"]) == (0.5, 0.5)
    assert (removed["negative_90d"], removed["order_defect_rate_60d"]) == (0, 0.0)
    assert last["positive_lifetime"] == last["neutral_lifetime"] == 1
    assert row(events[:4], 2)["negative_rate_90d"] == 0.5  # of a source that is declared nothing


def test_plus_100_for_a_problem_free_order_and_minus_500_for_a_rating_of_1_or_2_stars() -> None:
    # three received; one of them rated 1 star, another 2 stars: 1 x 100 - 2 x 500 = -900; -900 / 3 = -300
    events = [order("DELIVERED", at(0), o) for o in "abc"] + [rated(1, at(1), "a"), rated(2, at(1), "b")]
    assert by_day(events, "buy_box_points_90d", [0, 1]) == [300, -900]
    assert by_day(events, "buy_box_points_per_order_90d", [0, 1]) == [100.0, -300.0]


def test_a_negative_rating_spoils_the_order_for_ever_and_the_points_for_90_days() -> None:
    # received on day 50 and counted until 139; rated on day 10 (before it came), -500 until 99
    events = [rated(1, at(10)), order("DELIVERED", at(50))]
    rows = compute(events, DAY_0 + 140)
    found = {t: buy_box(rows[t - 10]) for t in (10, 49, 50, 99, 100, 139, 140)}
    assert found == {
        10: (0, 0, -500), 49: (0, 0, -500), 50: (1, 0, -500), 99: (1, 0, -500), 100: (1, 0, 0),
        139: (1, 0, 0), 140: (0, 0, 0),
    }  # fmt: skip


def test_a_removed_negative_gives_the_points_back_from_its_own_day() -> None:
    # -500, then +100 again
    events = [order("DELIVERED", at(0)), rated(1, at(1)), feedback("REMOVED", at(3))]
    assert by_day(events, "buy_box_points_90d", [0, 1, 2, 3]) == [100, -500, -500, 100]


PROMISED = at(6)
RECEIPTS: list[tuple[str, list[Event], list[tuple[int, int, int]]]] = [
    # name; events after a PLACED on day 0; received, problem-free, points at the end of the days 5, 6, 7
    ("nothing shipped", [], [(0, 0, 0)] * 3),
    ("promise alone", [order("PLACED", at(1), deliver_by=PROMISED)], [(0, 0, 0)] * 3),
    (
        "stands in at the promise",
        [order("SHIPPED", at(1), deliver_by=PROMISED)],
        [(0, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "the promise's last millisecond of the day",
        [order("SHIPPED", at(1), deliver_by=at(7, 0, -1))],
        [(0, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "a promise at midnight has passed at the end of the day that begins",
        [order("SHIPPED", at(1), deliver_by=at(7, 0))],
        [(0, 0, 0), (0, 0, 0), (1, 1, 100)],
    ),
    (
        "shipped after the promise: received at once, late",
        [order("SHIPPED", at(6), deliver_by=at(4))],
        [(0, 0, 0), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "the same, fulfilled by the marketplace",
        [order("SHIPPED", at(6), deliver_by=at(4), fulfilment="MARKETPLACE")],
        [(0, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "delivered at the promised instant",
        [order("DELIVERED", PROMISED, deliver_by=PROMISED)],
        [(0, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "delivered a millisecond later",
        [order("DELIVERED", PROMISED + 1, deliver_by=PROMISED)],
        [(0, 0, 0), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "delivered late by the marketplace",
        [order("SHIPPED", at(1), fulfilment="MARKETPLACE"), order("DELIVERED", at(6), deliver_by=at(4))],
        [(0, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "the first DELIVERED counts",
        [order("DELIVERED", at(7), deliver_by=PROMISED), order("DELIVERED", at(5))],
        [(1, 1, 100)] * 3,
    ),
    (
        "cancelled and returned orders were received all the same",
        [order("DELIVERED", at(5)), order("CANCELLED", at(6)), order("RETURNED", at(7))],
        [(1, 1, 100), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "a return alone spoils it from its own day",
        [order("DELIVERED", at(5)), order("RETURNED", at(6))],
        [(1, 1, 100), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "a return before the promise stands in: received at the promise, with trouble",
        [order("SHIPPED", at(1), deliver_by=PROMISED), order("RETURNED", at(5))],
        [(0, 0, 0), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "a claim opened, denied, opened again",
        [
            order("DELIVERED", at(1)),
            order("CLAIM_OPENED", at(5)),
            order("CLAIM_DENIED", at(6)),
            order("CLAIM_OPENED", at(7)),
        ],
        [(1, 0, 0), (1, 1, 100), (1, 0, 0)],
    ),
    (
        "a denial told without the claim",
        [order("DELIVERED", at(1)), order("CLAIM_DENIED", at(6))],
        [(1, 1, 100)] * 3,
    ),
    (
        "a chargeback stays",
        [order("DELIVERED", at(1)), order("CHARGEBACK", at(6)), order("CLAIM_DENIED", at(7))],
        [(1, 1, 100), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "the last promise in story order counts, though smaller: late from day 6",
        [
            order("DELIVERED", at(5), deliver_by=PROMISED),
            order("RETURNED", at(7)),
            order("PLACED", at(6), deliver_by=at(4)),
        ],
        [(1, 1, 100), (1, 0, 0), (1, 0, 0)],
    ),
    (
        "a promise told after delivery makes up for the lateness",
        [order("DELIVERED", at(5), deliver_by=at(4)), order("CLAIM_DENIED", at(6), deliver_by=PROMISED)],
        [(1, 0, 0), (1, 1, 100), (1, 1, 100)],
    ),
    (
        "a promise moved after it had stood in takes the receipt back",
        [order("SHIPPED", at(1), deliver_by=at(4)), order("PLACED", at(6), deliver_by=at(7))],
        [(1, 1, 100), (0, 0, 0), (1, 1, 100)],
    ),
    (
        "fulfilment by the last event that tells it: the seller's from day 6",
        [
            order("DELIVERED", at(5), deliver_by=at(4), fulfilment="MARKETPLACE"),
            order("CLAIM_DENIED", at(6), fulfilment="SELLER"),
            order("CLAIM_DENIED", at(7)),
        ],
        [(1, 1, 100), (1, 0, 0), (1, 0, 0)],
    ),
]


@pytest.mark.parametrize("events, expected", [case[1:] for case in RECEIPTS], ids=[case[0] for case in RECEIPTS])
def test_receipt(events: list[Event], expected: list[tuple[int, int, int]]) -> None:
    rows = compute([order("PLACED", at(0)), *events], DAY_0 + 7)
    assert [buy_box(r) for r in rows[5:]] == expected


def test_without_a_promise_receipt_stands_in_14_days_after_the_first_shipped() -> None:
    # shipped on day 1 at noon and again on day 3: received on day 15 at noon, counted until 15 + 89 = 104
    events = [order("SHIPPED", at(1)), order("SHIPPED", at(3))]
    assert by_day(events, "received_orders_90d", [14, 15, 104, 105]) == [0, 1, 1, 0]
    assert by_day(events, "problem_free_orders_90d", [14, 15, 104, 105]) == [0, 1, 1, 0]
    # shipped at 00:00 of day 1: at 00:00 of day 15, which is no part of day 14
    assert by_day([order("SHIPPED", at(1, 0))], "received_orders_90d", [14, 15]) == [0, 1]
    # shipped in the last millisecond of day 1: in that of day 15
    assert by_day([order("SHIPPED", at(2, 0, -1))], "received_orders_90d", [14, 15]) == [0, 1]


def test_a_delivery_after_the_promise_had_stood_in_restates_from_its_own_day_only() -> None:
    # day      0 shipped   4 promised    9 delivered (late)      4+89=93      9+89=98
    # rows of 4..8 keep: received on 4, in time; rows from 9 on: received on 9, late
    events = [order("SHIPPED", at(0), deliver_by=at(4)), order("DELIVERED", at(9))]
    days = [3, 4, 8, 9, 93, 94, 98, 99]
    assert by_day(events, "received_orders_90d", days) == [0, 1, 1, 1, 1, 1, 1, 0]
    assert by_day(events, "problem_free_orders_90d", days) == [0, 1, 1, 0, 0, 0, 0, 0]


def test_a_delivery_after_the_14_days_is_not_late_without_a_promise() -> None:
    # stands in on day 14, delivered on day 20: the receipt moves, in the window until 20 + 89 = 109
    events = [order("SHIPPED", at(0)), order("DELIVERED", at(20))]
    assert by_day(events, "problem_free_orders_90d", [13, 14, 19, 20, 103, 104, 109, 110]) == [0] + [1] * 6 + [0]


# --- order defects

ODR = ["odr_orders", "odr_negative", "odr_claims", "odr_chargebacks", "odr_defects"]


def odr(got: Row) -> list[int]:
    """Orders, negative, claims, chargebacks, defects; then orders and defects without the marketplace's."""
    return [got[f"{name}_60d"] for name in [*ODR, "odr_orders_seller", "odr_defects_seller"]]


def test_defects_go_by_order_date_and_count_an_order_once() -> None:
    # placed on day 0: a (everything at once), b (rated 1 star on day 30), c (nothing), m (a claim)
    events = [order("PLACED", at(0), o) for o in "abc"] + [order("PLACED", at(0), "m", fulfilment="MARKETPLACE")]
    events += [order("CLAIM_OPENED", at(1), "a"), order("CHARGEBACK", at(2), "a"), rated(2, at(3), "a")]
    events += [rated(1, at(30), "b"), order("CLAIM_OPENED", at(4), "m")]
    rows = compute(events, DAY_0 + 60)
    assert {t: odr(rows[t]) for t in (0, 1, 3, 4, 29, 30, 59, 60)} == {
        0: [4, 0, 0, 0, 0, 3, 0],
        1: [4, 0, 1, 0, 1, 3, 1],
        3: [4, 1, 1, 1, 1, 3, 1],
        4: [4, 1, 2, 1, 2, 3, 1],
        29: [4, 1, 2, 1, 2, 3, 1],
        30: [4, 2, 2, 1, 3, 3, 2],
        59: [4, 2, 2, 1, 3, 3, 2],
        60: [0, 0, 0, 0, 0, 0, 0],  # by order date: the rating of day 30 left with its order
    }
    rates = ("order_defect_rate_60d", "order_defect_rate_seller_60d", "negative_feedback_rate_60d")
    assert [rows[59][name] for name in rates] == [3 / 4, 2 / 3, 2 / 4]
    assert [rows[60][name] for name in rates] == [None, None, None]
    assert rows[60]["negative_rate_90d"] == 1.0  # a share of the ratings, beside it


def test_a_rating_before_or_without_the_order_is_no_defect_until_the_order_is_placed() -> None:
    events = [rated(1, at(0), "a"), order("PLACED", at(2), "a"), rated(1, at(0), "never placed")]
    assert by_day(events, "odr_negative_60d", [0, 1, 2, 61, 62]) == [0, 0, 1, 1, 0]
    assert by_day(events, "negative_90d", [0, 1, 2]) == [2, 2, 2]


def test_claim_opened_denied_opened_has_one_state_and_removal_ends_the_defect() -> None:
    events = [
        order("PLACED", at(0)), order("CLAIM_OPENED", at(1)), order("CLAIM_DENIED", at(2)),
        order("CLAIM_OPENED", at(3)), order("CLAIM_OPENED", at(4)), order("CLAIM_DENIED", at(5)),
    ]  # fmt: skip
    assert by_day(events, "odr_claims_60d", range(6)) == [0, 1, 0, 1, 1, 0]
    events = [
        order("PLACED", at(0)),
        rated(1, at(1)),
        feedback("STRUCK", at(2)),
        rated(2, at(3)),
        rated(3, at(4)),
    ]
    assert by_day(events, "odr_defects_60d", range(5)) == [0, 1, 0, 1, 0]


def test_a_cancelled_order_stays_in_the_defect_rate() -> None:
    events = [order("PLACED", at(0)), order("CANCELLED", at(1)), order("CHARGEBACK", at(2))]
    assert [odr(r)[:5] for r in compute(events)] == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 1, 1]]


def test_fulfilment_told_later_moves_the_order_from_its_own_day_and_a_new_value_is_the_sellers() -> None:
    events = [
        order("PLACED", at(0)), order("SHIPPED", at(1), fulfilment="MARKETPLACE"), order("DELIVERED", at(2)),
        order("RETURNED", at(3), fulfilment="POST_OFFICE"),
    ]  # fmt: skip
    assert by_day(events, "odr_orders_seller_60d", range(4)) == [1, 0, 0, 1]


def test_the_lag_moves_the_end_of_the_defect_window_and_not_what_is_known() -> None:
    # lag 5: placed on day 0 is in the window from day 5 to 5 + 59 = 64; the chargeback of day 7 shows then
    events = [order("PLACED", at(0)), order("CHARGEBACK", at(7))]
    rows = compute(events, DAY_0 + 65, ReferenceSettings(odr_lag_days=5))
    assert {t: odr(rows[t])[::4] for t in (4, 5, 6, 7, 64, 65)} == {
        4: [0, 0], 5: [1, 0], 6: [1, 0], 7: [1, 1], 64: [1, 1], 65: [0, 0],
    }  # fmt: skip
    assert rows[4]["orders_90d"] == 1


# --- Customer Service score

CS = ["cs_responses", "cs_conversations", "cs_solved", "cs_score", "cs_week", "cs_is_current", "cs_band"]
RUNNING = ["cs_running_conversations", "cs_running_solved", "cs_running_score"]


def cs(got: Row) -> list[Any]:
    """The seven columns of the weekly evaluation."""
    return [got[name] for name in CS]


def running(got: Row) -> list[Any]:
    """The three columns of the running one."""
    return [got[name] for name in RUNNING]


def answers(solved: int, unsolved: int, time: int, prefix: str = "c") -> list[Event]:
    """As many conversations, each with one answer."""
    verdicts = [True] * solved + [False] * unsolved
    return [answer(verdict, time, f"{prefix}{n}") for n, verdict in enumerate(verdicts)]


@pytest.mark.parametrize(
    "count, expected",
    [
        (39, [39, 39, 30, None, None, 0, None]),
        (40, [40, 40, 30, 7.5, "2024-01-08", 1, "yellow"]),  # 30 / 40
        (41, [41, 41, 30, 7.3, "2024-01-08", 1, "yellow"]),  # 300 / 41 = 7.317
    ],
)
def test_a_score_takes_40_responses(count: int, expected: list[Any]) -> None:
    assert cs(row(answers(30, count - 30, at(0)), 7)) == expected


def test_45_responses_in_38_conversations_are_enough_and_count_38() -> None:
    # 38 conversations: 7 answered twice (no, then yes), 31 once (20 yes, 11 no): 27 of 38: 7.105 -> 7.1
    events = answers(20, 11, at(0)) + answers(0, 7, at(1), "twice") + answers(7, 0, at(2), "twice")
    assert cs(row(events, 7)) == [45, 38, 27, 7.1, "2024-01-08", 1, "yellow"]


@pytest.mark.parametrize(
    "solved, unsolved, shown, colour",
    [
        (119, 81, 6.0, "yellow"),  # 1190 / 200 = 5.95: half up, and the band is that of the shown score
        (1189, 811, 5.9, "red"),  # 5.945
        (159, 41, 8.0, "green"),  # 7.95
        (158, 42, 7.9, "yellow"),  # 7.90
        (24, 16, 6.0, "yellow"),
        (1, 399, 0.0, "red"),  # 0.025
        (2, 398, 0.1, "red"),  # 0.05
        (40, 0, 10.0, "green"),
        (0, 40, 0.0, "red"),
    ],
)
def test_the_score_is_rounded_half_up_and_the_band_is_that_of_the_shown_score(
    solved: int, unsolved: int, shown: float, colour: str
) -> None:
    got = row(answers(solved, unsolved, at(6)), 7)
    assert (got["cs_score"], got["cs_band"]) == (shown, colour)
    assert got["cs_running_score"] == shown


def test_every_half_is_rounded_up() -> None:
    # 10 x (2k + 1) / 200 = (k + 1/2) / 10: halfway between two tenths, shown as the upper one
    for k in range(100):
        halfway = Evaluation(responses=200, conversations=200, solved=2 * k + 1)
        assert score(halfway) == (k + 1) / 10
    assert score(Evaluation(responses=0, conversations=0, solved=0)) is None


def test_monday_looks_at_the_28_days_before_it_and_at_nothing_of_its_own() -> None:
    #       Monday 28 (2024-01-29): [0, 28)        Monday 35: [7, 35)
    # one answer at 00:00 of day 0, one a millisecond before 00:00 of day 28, one at 00:00 of day 28
    events = [answer(True, at(0, 0), "a"), answer(True, at(28, 0, -1), "b"), answer(False, at(28, 0), "c")]
    events.append(answer(False, at(-1, 23), "before"))
    assert by_day(events, "cs_responses", [0, 6, 7, 27, 28, 34, 35, 55, 56]) == [
        1,
        1,
        2,
        2,
        2,
        2,
        2,
        2,
        1,
    ]
    # Monday 0: "before"; 7 and 21: "before", a; 28: a, b; 35: b, c; 49: b, c (from 21); 56: c (from 28)
    assert by_day(events, "cs_solved", [0, 7, 28, 35, 49, 56, 63]) == [0, 1, 2, 1, 1, 0, 0]


def test_days_of_one_week_show_the_evaluation_of_its_monday() -> None:
    events = answers(40, 0, at(3))
    assert by_day(events, "cs_responses", [3, 6, 7, 13, 14, 31, 34, 35]) == [0, 0, 40, 40, 40, 40, 40, 0]
    assert by_day(events, "cs_week", [6, 7, 13, 14, 28]) == [
        None,
        *["2024-01-08"] * 2,
        "2024-01-15",
        "2024-01-29",
    ]


def test_the_score_stays_on_show_with_fewer_than_40_responses() -> None:
    # 40 on day 3 (30 solved: 7.5) count on the Mondays 7, 14, 21, 28; on 35, [7, 35), one answer is left
    events = [*answers(30, 10, at(3)), answer(False, at(30), "lone")]
    assert cs(row(events, 34)) == [41 - 1, 40, 30, 7.5, "2024-01-29", 1, "yellow"]
    assert cs(row(events, 35)) == [1, 1, 0, 7.5, "2024-01-29", 0, "yellow"]
    assert cs(row(events, 90)) == [0, 0, 0, 7.5, "2024-01-29", 0, "yellow"]


def test_an_answer_delivered_late_restates_the_weeks_it_belongs_to() -> None:
    early = answers(39, 0, at(3))
    assert row(early, 8)["cs_score"] is None
    assert row([*early, answer(False, at(4), "late")], 8)["cs_score"] == 9.8  # 390 / 40 = 9.75


def test_a_conversation_counts_once_by_its_latest_answer_before_the_evaluation() -> None:
    # answered no on day 1, yes on day 8: Monday 7 knows the no, Monday 14 the yes
    events = [answer(False, at(1)), answer(True, at(8))]
    found = {day: cs(row(events, day))[:3] for day in (7, 13, 14, 28, 35, 42)}
    assert found == {7: [1, 1, 0], 13: [1, 1, 0], 14: [2, 1, 1], 28: [2, 1, 1], 35: [1, 1, 1], 42: [0, 0, 0]}


def test_a_late_answer_leaves_the_conversation_in_the_evaluation_before_it() -> None:
    # the latest answer of all falls on the evaluation's own instant: it is after it
    events = [answer(True, at(3)), answer(False, at(7, 0))]
    assert cs(row(events, 7))[:3] == [1, 1, 1]
    assert running(row(events, 7)) == [1, 0, 0.0]  # the running one knows it
    assert running(row(events, 6)) == [1, 1, 10.0]


def test_answers_at_one_instant_are_ordered_by_event_id() -> None:
    events = [answer(True, at(3), event_id="9"), answer(False, at(3), event_id="10")]
    assert cs(row(events, 7))[:3] == [2, 1, 1]


def test_the_running_score_is_over_the_28_days_that_end_with_the_day_and_has_no_minimum() -> None:
    # answered on day 2: in the running score on the days 2..29; three answers, two of them yes: 6.67 -> 6.7
    events = answers(2, 1, at(2))
    assert [running(row(events, day)) for day in (2, 29, 30)] == [[3, 2, 6.7], [3, 2, 6.7], [0, 0, None]]
    assert by_day([order("PLACED", at(0)), *events], "cs_running_score", [1, 2]) == [None, 6.7]


def test_surveys_count_whoever_fulfilled_the_order() -> None:
    events = [order("PLACED", at(0), fulfilment="MARKETPLACE"), answer(True, at(1), order_id="o")]
    assert running(row(events, 1)) == [1, 1, 10.0]


# --- the set of events


def test_an_event_told_twice_changes_nothing_and_an_id_is_an_events_on_its_topic_and_subject_only() -> None:
    same_id = [
        order("PLACED", at(0), "a", event_id="1"),
        order("PLACED", at(0), "b", event_id="1"),
        rated(5, at(0), "a", event_id="1"),
        answer(True, at(0), "a", event_id="1"),
        order("PLACED", at(0), "a", event_id="1", marketplace_id="N"),
    ]
    got = compute(same_id + same_id)
    assert got == compute(same_id)
    found = [(r["orders_30d"], r["positive_30d"], r["cs_running_conversations"]) for r in got]
    assert found == [(2, 1, 1), (1, 0, 0)]


def test_of_an_id_used_again_for_other_content_the_same_one_stands_in_any_order() -> None:
    one, other = rated(5, at(0), event_id="1"), rated(1, at(1), event_id="1")
    assert compute([one, other], DAY_0 + 1) == compute([other, one], DAY_0 + 1)


def test_settings_change_the_numbers_and_no_column_name() -> None:
    chosen = ReferenceSettings(
        short_days=1, medium_days=2, long_days=3, odr_days=1, cs_days=7, cs_minimum=1, cs_yellow_from=9.0,
        cs_green_from=10.0, problem_free_points=7, negative_points=-11, receipt_fallback_days=1,
    )  # fmt: skip
    events = [order("PLACED", at(0)), order("SHIPPED", at(0)), rated(5, at(0)), rated(1, at(1), "p")]
    events += [answer(True, at(0))]
    rows = compute(events, DAY_0 + 14, chosen)
    assert all(list(r) == COLUMNS for r in rows)
    assert [[r[f"positive_{w}"] for r in rows[:4]] for w in ("30d", "90d", "365d", "lifetime")] == [
        [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1],
    ]  # fmt: skip
    assert [r["buy_box_points_90d"] for r in rows[:4]] == [0, -4, -4, 0]  # received on day 1, in for two days
    assert [r["odr_orders_60d"] for r in rows[:2]] == [1, 0]
    assert [rows[t]["cs_score"] for t in (6, 7, 14)] == [None, 10.0, 10.0]
    assert [rows[t]["cs_is_current"] for t in (6, 7, 14)] == [0, 1, 0]
    assert rows[7]["cs_band"] == "green"


INSTANTS = st.builds(at, st.integers(0, 40), st.integers(0, 23))
ORDER_KINDS = ["PLACED", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED"]
ORDER_KINDS += ["CLAIM_OPENED", "CLAIM_DENIED", "CHARGEBACK"]
ORDERS = st.builds(
    order,
    st.sampled_from(ORDER_KINDS),
    INSTANTS,
    st.sampled_from(["a", "b"]),
    deliver_by=st.none() | INSTANTS,
)
RATINGS = st.builds(rated, st.integers(1, 5), INSTANTS, st.sampled_from(["a", "b"]))
REMOVALS = st.builds(feedback, st.sampled_from(["REMOVED", "STRUCK"]), INSTANTS, st.sampled_from(["a", "b"]))
ANSWERS = st.builds(answer, st.booleans(), INSTANTS, st.sampled_from(["c", "d"]))
HISTORIES = st.lists(ORDERS | RATINGS | REMOVALS | ANSWERS, min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(HISTORIES, st.randoms(use_true_random=False))
def test_out_of_order_and_doubled_events_give_the_same_rows(events: list[Event], random: Any) -> None:
    doubled = events + random.sample(events, len(events) // 2)
    random.shuffle(doubled)
    assert compute(doubled) == compute(events)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(HISTORIES, st.integers(0, 40))
def test_a_row_knows_nothing_of_what_happened_after_its_day(events: list[Event], day: int) -> None:
    until = [e for e in events if e["event_time"] < at(day + 1, 0)]
    as_of_then = compute(events, DAY_0 + day)
    assert as_of_then == compute(until, DAY_0 + day)
    assert compute(events, DAY_0 + 50)[: len(as_of_then)] == as_of_then
