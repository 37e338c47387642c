"""The catalogue: every column has an example here, worked out by hand, and goes through the product's own core.

One account's ninety-odd days, told once and read column by column; then formulas at their edges. What the contract
says about each metric in every case is in `test_worked_examples`.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np
import pytest

from streams.core.metrics import (
    COUNTERS,
    METRIC_BY_NAME,
    METRICS,
    Terms,
    band,
    iso,
    monday_of,
    points,
    ratio,
    score,
    spread,
)
from tests.fold import fold
from tests.unit.test_worked_examples import DAY_0, answer, at, order, rated

Event = dict[str, Any]


def _story() -> list[Event]:
    """Days counted from Monday 2024-01-01; the row read is that of day 89, a Saturday: the windows are

        30 d: 60-89    60 d: 30-89    90 d: 0-89    365 d and lifetime: all

    order  placed  then                                            rated
    a      -5      shipped -4, delivered -2                        5 stars on -1
    b      0       shipped 1, delivered 2                          5 stars on 3: on time, as described; service not told
    c      29      shipped 30, promised for 40, never delivered    3 stars on 41: late, as described
    d      30      shipped 31, delivered 33, promised for 32: late 2 stars on 60: late, not as described, service good
    e      59      cancelled 60                                    1 star on 61, removed 62
    f      60      claim opened 65; marketplace fulfils            -
    g      70      shipped 71, delivered 72, chargeback 80         4 stars on 89
    h      85      shipped 88                                      -
    """
    return [
        order("PLACED", at(-5), "a"), order("SHIPPED", at(-4), "a"), order("DELIVERED", at(-2), "a"),
        rated(5, at(-1), "a"),
        order("PLACED", at(0), "b"), order("SHIPPED", at(1), "b"), order("DELIVERED", at(2), "b"),
        rated(5, at(3), "b", arrived_on_time=True, item_as_described=True),
        order("PLACED", at(29), "c"), order("SHIPPED", at(30), "c", deliver_by=at(40)),
        rated(3, at(41), "c", arrived_on_time=False, item_as_described=True),
        order("PLACED", at(30), "d", deliver_by=at(32)), order("SHIPPED", at(31), "d"), order("DELIVERED", at(33), "d"),
        rated(2, at(60), "d", arrived_on_time=False, item_as_described=False, customer_service=True),
        order("PLACED", at(59), "e"), order("CANCELLED", at(60), "e"),
        rated(1, at(61), "e"), rated(1, at(62), "e") | {"kind": "REMOVED", "event_id": "gone"},
        order("PLACED", at(60), "f", fulfilment="MARKETPLACE"), order("CLAIM_OPENED", at(65), "f"),
        order("PLACED", at(70), "g"), order("SHIPPED", at(71), "g"), order("DELIVERED", at(72), "g"),
        order("CHARGEBACK", at(80), "g"), rated(4, at(89), "g"),
        order("PLACED", at(85), "h"), order("SHIPPED", at(88), "h"),
        # Of the week's Monday, day 84, the 28 days are 56-83: 42 answers in 41 conversations, 25 solved.
        *[answer(n < 24, at(70), f"c{n}") for n in range(40)],
        answer(False, at(71), "turned"), answer(True, at(72), "turned"),
        # In the 28 days that end with day 89, 62-89, one of them turns and one is new: 42 conversations, 24 solved.
        answer(False, at(85), "turned"), answer(False, at(89, 23), "new"),
    ]  # fmt: skip


EXAMPLES: dict[str, Any] = {
    # In 30 days: d's 2 stars, g's 4; f, g, h placed. e's star is removed.
    "positive_30d": 1, "neutral_30d": 0, "negative_30d": 1,
    "positive_rate_30d": 1 / 2, "negative_rate_30d": 1 / 2, "average_stars_30d": 6 / 2, "orders_30d": 3,
    # In 90 days: b 5, c 3, d 2, g 4; b to h placed.
    "positive_90d": 2, "neutral_90d": 1, "negative_90d": 1,
    "positive_rate_90d": 2 / 4, "negative_rate_90d": 1 / 4, "average_stars_90d": 14 / 4, "orders_90d": 7,
    # And a's 5.
    "positive_365d": 3, "neutral_365d": 1, "negative_365d": 1,
    "positive_rate_365d": 3 / 5, "negative_rate_365d": 1 / 5, "average_stars_365d": 19 / 5, "orders_365d": 8,
    "positive_lifetime": 3, "neutral_lifetime": 1, "negative_lifetime": 1,
    "positive_rate_lifetime": 3 / 5, "negative_rate_lifetime": 1 / 5, "average_stars_lifetime": 19 / 5,
    "orders_lifetime": 8,
    # b yes; c and d no.
    "arrived_on_time_answers_90d": 3, "arrived_on_time_rate_90d": 1 / 3,
    # b and c yes, d no.
    "item_as_described_answers_90d": 3, "item_as_described_rate_90d": 2 / 3,
    "customer_service_answers_90d": 1, "customer_service_rate_90d": 1.0,
    # Received: b on 2, c on 40 by its promise, d on 33, g on 72. Free of trouble: b, c. Points: 2 x 100 - 1 x 500.
    "problem_free_orders_90d": 2, "buy_box_points_90d": -300, "received_orders_90d": 4,
    "buy_box_points_per_order_90d": -300 / 4,
    # Placed on 30-89: d to h. Negative: d. Claim: f. Chargeback: g.
    "odr_orders_60d": 5, "odr_negative_60d": 1, "odr_claims_60d": 1, "odr_chargebacks_60d": 1, "odr_defects_60d": 3,
    "order_defect_rate_60d": 3 / 5,
    # Without f.
    "odr_orders_seller_60d": 4, "odr_defects_seller_60d": 2, "order_defect_rate_seller_60d": 2 / 4,
    "negative_feedback_rate_60d": 1 / 5, "feedback_per_100_orders_90d": 100 * 4 / 7,
    # 10 x 25 / 41 = 6.0976 of Monday 2024-03-25
    "cs_responses": 42, "cs_conversations": 41, "cs_solved": 25, "cs_score": 6.1, "cs_week": "2024-03-25",
    "cs_is_current": 1, "cs_band": "yellow",
    # 10 x 24 / 42 = 5.714
    "cs_running_conversations": 42, "cs_running_solved": 24, "cs_running_score": 5.7,
    "last_event_time": at(89, 23),
}  # fmt: skip


def test_every_column_of_the_catalogue_has_an_example() -> None:
    assert EXAMPLES.keys() == METRIC_BY_NAME.keys()
    assert len(METRICS) == len(METRIC_BY_NAME)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_comes_out(name: str) -> None:
    (row,) = (row for row in fold([_story()], DAY_0 + 89) if row["day"] == iso(DAY_0 + 89))
    assert row[name] == (pytest.approx(EXAMPLES[name]) if isinstance(EXAMPLES[name], float) else EXAMPLES[name])


def test_a_metric_says_what_it_is() -> None:
    for metric in METRICS:
        assert metric.formula
        assert metric.unit
        assert metric.source
        assert metric.type in {
            "UInt32", "UInt8", "Int64", "Nullable(Float64)", "Nullable(Date)", "DateTime64(3, 'UTC')",
            "LowCardinality(Nullable(String))",
        }  # fmt: skip


def test_a_counter_of_every_fact_is_spread_over_its_window() -> None:
    terms = Terms(short_days=3, medium_days=9, long_days=36, odr_days=6, odr_lag_days=1, cs_days=4)
    found = {COUNTERS[index].name: (days, lag) for entries in spread(terms).values() for index, days, lag in entries}
    assert len(found) == len(COUNTERS) == len({counter.name for counter in COUNTERS})
    windows = {"_30d": (3, 0), "_90d": (9, 0), "_365d": (36, 0), "_lifetime": (1 << 30, 0), "_60d": (6, 1)}
    for name, window in found.items():
        expected = next((days for suffix, days in windows.items() if name.endswith(suffix)), (4, 0))
        assert window == expected, name


# --- formulas at their edges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part, whole, expected", [(90, 100, 0.9), (1, 3, 1 / 3), (0, 7, 0.0), (-500, 2, -250.0), (0, 0, None)]
)
def test_a_ratio_is_unrounded_and_null_of_nothing(part: int, whole: int, expected: float | None) -> None:
    (found,) = ratio(np.array([part]), np.array([whole]))
    assert np.isnan(found) if expected is None else found == expected


@pytest.mark.parametrize("conversations", [1, 2, 3, 7, 38, 40, 41, 200, 999])
def test_a_score_is_the_decimal_fraction_rounded_half_up(conversations: int) -> None:
    solved = np.arange(conversations + 1)
    expected = [
        float((Decimal(10 * int(n)) / conversations).quantize(Decimal("0.1"), ROUND_HALF_UP)) for n in solved
    ]  # of thirds and sevenths no digit is a half, of the others Decimal knows them all
    assert score(solved, np.full_like(solved, conversations)).tolist() == expected


@pytest.mark.parametrize(
    "shown, colour", [(0.0, "red"), (5.9, "red"), (6.0, "yellow"), (7.9, "yellow"), (8.0, "green"), (10.0, "green")]
)
def test_bands_begin_at_their_edge(shown: float, colour: str) -> None:
    assert band(np.array([shown]), np.array([6.0]), np.array([8.0])).tolist() == [colour]


@pytest.mark.parametrize("free, negative, expected", [(1, 0, 100), (0, 1, -500), (5, 1, 0), (5, 2, -500), (0, 0, 0)])
def test_plus_100_and_minus_500(free: int, negative: int, expected: int) -> None:
    assert points(np.array([free]), np.array([negative]), np.array([100]), np.array([-500])).tolist() == [expected]


def test_mondays() -> None:
    days = np.arange(DAY_0 - 14, DAY_0 + 14)
    assert monday_of(days).tolist() == [DAY_0 - 14] * 7 + [DAY_0 - 7] * 7 + [DAY_0] * 7 + [DAY_0 + 7] * 7
    assert monday_of(np.array([-1, 0, 3, 4])).tolist() == [-3, -3, -3, 4]  # 1970-01-01 was a Thursday
