"""What a story says: facts, dated, true of the rows from a day until a day; and the steps that windows make of them.

Days are counted from day 0; a line is a run of days, `|` its first row and the first without it:

    day      0    1    2    3    4    5
    fact     |----+----+---------|            said of the rows 0-3
"""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from streams.core.metrics import COUNTER_INDEX, FOREVER, Terms, spread
from streams.core.packed import Stories
from streams.core.stories import (
    MS_A_DAY,
    FeedbackFact,
    OrderFact,
    Span,
    SurveyFact,
    conversation_says,
    fact_of,
    order_says,
    points,
)

NOON = MS_A_DAY // 2
RATED = ("stars", "positive", "neutral", "negative")


def order(kind: str, day: int, *, ms: int = NOON, **fields: Any) -> OrderFact:
    known = {"fulfilment": None, "deliver_by": None} | fields
    return OrderFact(day * MS_A_DAY + ms, kind, 0, kind, **known)


def feedback(kind: str, day: int, rating: int | None = None, *, ms: int = NOON, answers: Any = None) -> FeedbackFact:
    return FeedbackFact(day * MS_A_DAY + ms, f"{kind}{day}", 0, kind, rating, answers)


def survey(day: int, solved: bool, *, ms: int = NOON, event_id: str = "e") -> SurveyFact:
    return SurveyFact(day * MS_A_DAY + ms, event_id, 0, solved, None)


def said(story: Sequence[Any], *facts: str, receipt_days: int = 14) -> set[tuple[Any, ...]]:
    """(fact, day it is dated, first row, first row without it) of these facts, or of all."""
    orders = [fact for fact in story if isinstance(fact, OrderFact)]
    ratings = [fact for fact in story if isinstance(fact, FeedbackFact)]
    spans = order_says(orders, ratings, receipt_days)
    return {(s.fact, s.dated, s.start, s.end) for s in spans if not facts or s.fact in facts}


def test_a_story_is_unpacked_as_it_was_packed() -> None:
    for of, facts in (
        (OrderFact, [order("PLACED", 0)._replace(rank=(1 << 64) - 1), order("無", 1 << 20, fulfilment="")]),
        (FeedbackFact, [feedback("SUBMITTED", 0, 5, answers=(True, None, False)), feedback("OPTED_OUT", 1)]),
        (SurveyFact, [survey(0, True), survey(0, False, event_id="\0")]),
    ):
        stories = Stories(of)
        assert stories["one"] == {}
        stories.open("one").update({fact.event_id: fact for fact in facts})
        opened = dict(stories["one"])
        stories.pack()
        assert stories["one"] == opened
        assert [type(fact) for fact in stories["one"].values()] == [of, of]
        assert [*stories] == ["one"]


PLACED = {("orders", 0, 0, FOREVER), ("odr_orders_seller", 0, 0, FOREVER)}


def test_an_order_is_placed_once_for_ever() -> None:
    assert said([order("PLACED", 0)]) == PLACED
    assert said([order("PLACED", 0), order("PLACED", 3)]) == PLACED
    assert said([order("PLACED", 0), order("CANCELLED", 3), order("RETURNED", 4)]) == PLACED
    assert said([order("CANCELLED", 0)]) == set()


@pytest.mark.parametrize(
    "stars, fact", [(1, "negative"), (2, "negative"), (3, "neutral"), (4, "positive"), (5, "positive")]
)
def test_a_rating_stands_for_ever(stars: int, fact: str) -> None:
    story = [feedback("SUBMITTED", 2, stars)]
    assert said(story) == {(fact, 2, 2, FOREVER), ("stars", 2, 2, FOREVER)}
    assert [span.amount for span in order_says([], story, 14) if span.fact == "stars"] == [stars]


@pytest.mark.parametrize("end", ["REMOVED", "STRUCK"])
def test_a_rating_stands_until_it_is_taken_back(end: str) -> None:
    # 5 stars on 1, taken back on 4      1 |---------| 4
    story = [feedback("SUBMITTED", 1, 5), feedback(end, 4), feedback("RESPONDED", 6)]
    assert said(story, *RATED) == {("positive", 1, 1, 4), ("stars", 1, 1, 4)}
    assert said([story[0], feedback(end, 1, ms=NOON + 1)]) == set()  # the same day: no row ever saw it
    assert said([story[0], feedback(end, 1, ms=NOON - 1)], "positive") == {("positive", 1, 1, FOREVER)}  # before it


def test_a_rating_that_is_replaced_has_its_own_day() -> None:
    # 1 star on 1       1 |-----| 3
    # 4 stars on 3            3 |------------
    story = [feedback("SUBMITTED", 1, 1), feedback("SUBMITTED", 3, 4)]
    assert said(story, "negative", "positive") == {("negative", 1, 1, 3), ("positive", 3, 3, FOREVER)}


def test_what_stays_true_goes_on_as_one_span_whatever_else_happens() -> None:
    quiet = [feedback(kind, day) for day, kind in enumerate(("RESPONDED", "CONTACTED", "REFUNDED", "REVIEWED"), 2)]
    assert said([order("PLACED", 0), feedback("SUBMITTED", 1, 3), *quiet], *RATED) == {
        ("neutral", 1, 1, FOREVER),
        ("stars", 1, 1, FOREVER),
    }


def test_answers_count_where_they_were_given() -> None:
    given = feedback("SUBMITTED", 1, 3, answers=(True, False, None))
    assert said([given]) - said([given._replace(answers=None)]) == {
        ("arrived_on_time_answers", 1, 1, FOREVER),
        ("arrived_on_time_yes", 1, 1, FOREVER),
        ("item_as_described_answers", 1, 1, FOREVER),
    }


RECEIVED: list[tuple[str, list[OrderFact], list[tuple[int, int, int]], list[tuple[int, int, int]]]] = [
    # name, story, received: (dated, start, end), problem-free likewise
    ("never shipped", [order("PLACED", 0, deliver_by=3 * MS_A_DAY)], [], []),
    ("delivered", [order("SHIPPED", 1), order("DELIVERED", 3)], [(3, 3, FOREVER)], [(3, 3, FOREVER)]),
    ("delivered twice", [order("DELIVERED", 3), order("DELIVERED", 5)], [(3, 3, FOREVER)], [(3, 3, FOREVER)]),
    ("no promise: 14 days", [order("SHIPPED", 1)], [(15, 15, FOREVER)], [(15, 15, FOREVER)]),
    # A promise for 00:00 of day 4 has passed in the row of day 4, not in that of day 3.
    ("by its promise", [order("SHIPPED", 1, deliver_by=4 * MS_A_DAY)], [(4, 4, FOREVER)], [(4, 4, FOREVER)]),
    ("shipped late", [order("SHIPPED", 5, deliver_by=4 * MS_A_DAY)], [(5, 5, FOREVER)], []),
    ("late", [order("SHIPPED", 1, deliver_by=4 * MS_A_DAY), order("DELIVERED", 4)], [(4, 4, FOREVER)], []),
    (
        "late by the marketplace",
        [order("SHIPPED", 1, deliver_by=2 * MS_A_DAY, fulfilment="MARKETPLACE"), order("DELIVERED", 2)],
        [(2, 2, FOREVER)],
        [(2, 2, FOREVER)],
    ),
    # The promise stands in on day 2 until the parcel arrives on day 5: the rows of 2-4 keep what was true then.
    #   by promise   2 |--------| 5
    #   delivered             5 |----------
    (
        "delivered after the promise stood in",
        [order("SHIPPED", 1, deliver_by=2 * MS_A_DAY), order("DELIVERED", 5)],
        [(2, 2, 5), (5, 5, FOREVER)],
        [(2, 2, 5)],
    ),
    (
        "promised anew before it stood in",
        [order("SHIPPED", 1, deliver_by=3 * MS_A_DAY), order("PLACED", 2, deliver_by=6 * MS_A_DAY)],
        [(6, 6, FOREVER)],
        [(6, 6, FOREVER)],
    ),
    (
        "promised anew after it stood in",
        [order("SHIPPED", 1, deliver_by=2 * MS_A_DAY), order("PLACED", 4, deliver_by=6 * MS_A_DAY)],
        [(2, 2, 4), (6, 6, FOREVER)],
        [(2, 2, 4), (6, 6, FOREVER)],
    ),
    ("returned", [order("DELIVERED", 3), order("RETURNED", 6)], [(3, 3, FOREVER)], [(3, 3, 6)]),
    ("cancelled before", [order("CANCELLED", 1), order("DELIVERED", 3)], [(3, 3, FOREVER)], []),
    ("charged back", [order("DELIVERED", 3), order("CHARGEBACK", 4)], [(3, 3, FOREVER)], [(3, 3, 4)]),
    (
        "claim opened, then denied",
        [order("DELIVERED", 3), order("CLAIM_OPENED", 4), order("CLAIM_DENIED", 6)],
        [(3, 3, FOREVER)],
        [(3, 3, 4), (3, 6, FOREVER)],
    ),
]


@pytest.mark.parametrize("story, received, free", [case[1:] for case in RECEIVED], ids=[case[0] for case in RECEIVED])
def test_receipt(
    story: list[OrderFact], received: list[tuple[int, int, int]], free: list[tuple[int, int, int]]
) -> None:
    assert said(story, "received_orders") == {("received_orders", *span) for span in received}
    assert said(story, "problem_free_orders") == {("problem_free_orders", *span) for span in free}


def test_a_negative_rating_spoils_the_order_while_it_stands() -> None:
    # free of trouble      3 |---| 5      8 |----
    story = [order("DELIVERED", 3), feedback("SUBMITTED", 5, 2), feedback("REMOVED", 8)]
    expected = {("problem_free_orders", 3, 3, 5), ("problem_free_orders", 3, 8, FOREVER)}
    assert said(story, "problem_free_orders") == expected


def test_a_defect_is_dated_by_the_order_and_counts_once() -> None:
    # 1 star      2 |--------| 5
    # claim           3 |---------| 6
    # chargeback                        8 |---
    # defect      2 |-------------| 6   8 |---
    story = [
        order("PLACED", 0), feedback("SUBMITTED", 2, 1), order("CLAIM_OPENED", 3), feedback("REMOVED", 5),
        order("CLAIM_DENIED", 6), order("CHARGEBACK", 8),
    ]  # fmt: skip
    assert said(story, "odr_negative") == {("odr_negative", 0, 2, 5)}
    assert said(story, "odr_claims") == {("odr_claims", 0, 3, 6)}
    assert said(story, "odr_chargebacks") == {("odr_chargebacks", 0, 8, FOREVER)}
    defects = {("odr_defects", 0, 2, 6), ("odr_defects", 0, 8, FOREVER)}
    assert said(story, "odr_defects") == defects
    assert said(story, "odr_defects_seller") == {("odr_defects_seller", *rest) for _, *rest in defects}


def test_three_stars_are_no_defect() -> None:
    assert said([order("PLACED", 0), feedback("SUBMITTED", 1, 3)]) == PLACED | {
        ("neutral", 1, 1, FOREVER),
        ("stars", 1, 1, FOREVER),
    }


def test_without_an_order_there_is_no_defect() -> None:
    assert said([feedback("SUBMITTED", 1, 1), order("CLAIM_OPENED", 2)], "odr_defects", "odr_claims") == set()
    assert said([feedback("SUBMITTED", 1, 1), order("PLACED", 4)], "odr_defects") == {("odr_defects", 4, 4, FOREVER)}


def test_who_fulfils_is_what_was_told_last() -> None:
    story = [order("PLACED", 0, fulfilment="MARKETPLACE"), order("SHIPPED", 2), order("DELIVERED", 4, fulfilment="NEW")]
    assert said(story, "odr_orders_seller") == {("odr_orders_seller", 0, 4, FOREVER)}


def test_a_story_is_told_in_the_order_of_time_then_of_ids_by_bytes() -> None:
    def rating(event_id: str, stars: int) -> FeedbackFact:
        return feedback("SUBMITTED", 1, stars)._replace(event_id=event_id)

    for last in ("10", "2", "a", "é", "評", "😀"):
        before = [rating(event_id, 1) for event_id in ("1", "10", "2", "a", "é", "評") if event_id < last]
        story = [rating(last, 5), *before]
        random.Random(1).shuffle(story)
        assert said(story, "positive", "negative") == {("positive", 1, 1, FOREVER)}


# --- conversations -------------------------------------------------------------------------------------------


def test_every_answer_is_a_response_and_the_latest_speaks_for_the_conversation() -> None:
    # no on 1      1 |-----| 3
    # yes on 3           3 |---------
    spans = conversation_says([survey(3, True), survey(1, False)])
    assert set(spans) == {
        Span("cs_responses", 1, 1, 1, FOREVER),
        Span("cs_responses", 1, 3, 3, FOREVER),
        Span("cs_running_conversations", 1, 1, 1, 3),
        Span("cs_running_conversations", 1, 3, 3, FOREVER),
        Span("cs_running_solved", 1, 3, 3, FOREVER),
    }


def test_of_answers_on_one_day_the_last_one_counts() -> None:
    spans = conversation_says([survey(1, True, ms=5), survey(1, False, ms=5, event_id="f"), survey(1, True, ms=4)])
    assert [span.fact for span in spans].count("cs_responses") == 3
    assert [span[:2] for span in spans if span.fact != "cs_responses"] == [("cs_running_conversations", 1)]


# --- windows -------------------------------------------------------------------------------------------------

TERMS = Terms(short_days=3, medium_days=5, long_days=9, odr_days=4, odr_lag_days=2)


def steps(spans: Sequence[Span], counter: str) -> dict[int, int]:
    """Day -> step of one counter."""
    index = COUNTER_INDEX[counter]
    return {day: step for (day, of), step in points(spans, spread(TERMS)).items() if of == index}


@pytest.mark.parametrize(
    "span, counter, expected",
    [
        # dated 10      10 |-----| 13          a window of three days: 10, 11, 12
        (Span("positive", 1, 10, 10, FOREVER), "positive_30d", {10: 1, 13: -1}),
        (Span("positive", 1, 10, 10, FOREVER), "positive_90d", {10: 1, 15: -1}),
        (Span("positive", 1, 10, 10, FOREVER), "positive_365d", {10: 1, 19: -1}),
        (Span("positive", 1, 10, 10, FOREVER), "positive_lifetime", {10: 1}),
        # taken back on 12, within the window    10 |---| 12
        (Span("positive", 1, 10, 10, 12), "positive_30d", {10: 1, 12: -1}),
        # taken back on 13 or later: it had left by itself
        (Span("positive", 1, 10, 10, 13), "positive_30d", {10: 1, 13: -1}),
        (Span("positive", 1, 10, 10, 40), "positive_30d", {10: 1, 13: -1}),
        (Span("positive", 1, 10, 10, 40), "positive_lifetime", {10: 1, 40: -1}),
        # dated 10, in a window of four days that ends two days before the row's    12 |------| 16
        (Span("odr_defects", 1, 10, 10, FOREVER), "odr_defects_60d", {12: 1, 16: -1}),
        (Span("odr_defects", 1, 10, 14, FOREVER), "odr_defects_60d", {14: 1, 16: -1}),
        (Span("odr_defects", 1, 10, 16, FOREVER), "odr_defects_60d", {}),  # true too late for the window
        (Span("odr_defects", 1, 10, 10, 12), "odr_defects_60d", {}),  # over before the window came to it
        (Span("stars", 4, 10, 10, 11), "stars_30d", {10: 4, 11: -4}),
    ],
)
def test_a_window_is_no_more_than_a_spans_end(span: Span, counter: str, expected: dict[int, int]) -> None:
    assert steps([span], counter) == expected


def test_steps_of_several_spans_add_up() -> None:
    spans = [Span("positive", 1, 10, 10, FOREVER), Span("positive", 1, 7, 7, FOREVER), Span("positive", 1, 7, 7, 9)]
    assert steps(spans, "positive_30d") == {7: 2, 9: -1, 10: 0, 13: -1}


def test_a_fact_keeps_what_metrics_need() -> None:
    event = {"event_time": 5, "event_id": "e", "order_id": "o", "kind": "SUBMITTED", "rating": 4} | dict.fromkeys(
        ("arrived_on_time", "item_as_described", "customer_service")
    )
    event["source"], digest = "report", b"\x01\0\0\0\0\0\0\0"
    assert fact_of("feedback", event, digest) == ("o", FeedbackFact(5, "e", 1, "SUBMITTED", 4, None, "report"))
    answered = fact_of("feedback", event | {"customer_service": False}, digest)[1]
    assert answered == FeedbackFact(5, "e", 1, "SUBMITTED", 4, (None, None, False), "report")
