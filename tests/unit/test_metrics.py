"""The catalogue: every column has an example here, worked out by hand, and goes through the product's own core.

One account's ninety-odd days, told once and read column by column, as the documentation shows them; then formulas at
their edges. What the contract says about each metric in every case is in `test_worked_examples`.
"""

import json
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from docs.metrics import EVENTS, examples
from schemas.events import Parsed, from_json, to_ms
from streams.core.metrics import (
    COUNTERS,
    METRIC_BY_NAME,
    METRICS,
    Terms,
    band,
    monday_of,
    points,
    ratio,
    score,
    spread,
)
from tests.fold import fold
from tests.unit.test_worked_examples import DAY_0

Event = dict[str, Any]
EXAMPLES = examples()


def _story() -> list[Event]:
    """The events of the account whose days `docs/metrics.md` tells."""
    found = [from_json(json.loads(line)) for line in EVENTS.read_text().splitlines()]
    return [{"topic": each.topic, **each.event} for each in found if isinstance(each, Parsed)]


@pytest.fixture(scope="module")
def last_row() -> dict[str, Any]:
    """That account's row of its last day."""
    return fold([_story()])[-1]


def test_every_column_of_the_catalogue_has_an_example() -> None:
    assert EXAMPLES.keys() == METRIC_BY_NAME.keys()
    assert len(METRICS) == len(METRIC_BY_NAME)


def test_every_line_of_the_example_is_an_event_of_its_own() -> None:
    assert len({(event["topic"], event["event_id"]) for event in _story()}) == len(EVENTS.read_text().splitlines())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_comes_out(name: str, last_row: dict[str, Any]) -> None:
    value, got = EXAMPLES[name].value, last_row[name]
    if name == "last_event_time":
        assert got == to_ms(str(value))
    else:
        assert got == (pytest.approx(float(Fraction(value))) if isinstance(got, float) else value)


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
    windows = {
        "partial_ratings": (1 << 30, 0),
        "_30d": (3, 0),
        "_90d": (9, 0),
        "_365d": (36, 0),
        "_lifetime": (1 << 30, 0),
        "_60d": (6, 1),
    }
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
