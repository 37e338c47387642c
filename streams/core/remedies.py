"""What would end a breach: how many more ratings, orders or conversations that go well, to the last one.

Rows are sums of what stories say, so a row with n more of something good is the row plus n times what one says; the
smallest n is found by trying. Reads a course, changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from streams.core.account import Account, Rows, snapshot_columns
from streams.core.metrics import WINDOWS, Array, Terms, monday_of, snapshot
from streams.core.outlook import Course, end_of, judged, past_of
from streams.core.rules import Rule
from streams.core.stories import AnyFact, FeedbackFact, OrderFact, SurveyFact

MOST = 1_000_000  # good events that are tried before it is said that none end a breach
_TRIED_AT_ONCE, _MOST_AT_ONCE = 256, 1 << 12


class Good(NamedTuple):
    """Something good that a seller can bring about: what it is called, and its events, given their instant."""

    name: str
    facts: Callable[[int], Sequence[AnyFact]]


def _order(*kinds: str) -> Callable[[int], Sequence[AnyFact]]:
    return lambda at_ms: [OrderFact(at_ms, str(n), n, kind, "SELLER", None) for n, kind in enumerate(kinds)]


RATING = Good("5-star ratings", lambda at_ms: [FeedbackFact(at_ms, "0", 0, "SUBMITTED", 5, (True, True, True))])
PROBLEM_FREE = Good("problem-free orders", _order("PLACED", "SHIPPED", "DELIVERED"))
PLACED = Good("orders placed", _order("PLACED"))
SOLVED = Good("solved conversations", lambda at_ms: [SurveyFact(at_ms, "0", 0, True, None)])
_QUESTIONS = ("arrived_on_time", "item_as_described", "customer_service")
# Metric -> what makes it better. One that is not here (a mere count of bad things) nothing but time and removal does.
GOOD_FOR: dict[str, Good] = {
    **{f"{name}_{w}": RATING for w in WINDOWS for name in ("positive", "positive_rate", "negative_rate")},
    **{f"average_stars_{w}": RATING for w in WINDOWS},
    **{f"{question}_{of}_90d": RATING for question in _QUESTIONS for of in ("answers", "rate")},
    "feedback_per_100_orders_90d": RATING,
    **dict.fromkeys(("problem_free_orders_90d", "received_orders_90d"), PROBLEM_FREE),
    **dict.fromkeys(("buy_box_points_90d", "buy_box_points_per_order_90d"), PROBLEM_FREE),
    **{f"orders_{w}": PLACED for w in WINDOWS},
    **{f"{name}{of}_60d": PLACED for name in ("odr_orders", "order_defect_rate") for of in ("", "_seller")},
    "negative_feedback_rate_60d": PLACED,
    **dict.fromkeys(("cs_responses", "cs_conversations", "cs_solved", "cs_score"), SOLVED),
    **{f"cs_running_{of}": SOLVED for of in ("conversations", "solved", "score")},
}
_WEEKLY = frozenset(("cs_responses", "cs_conversations", "cs_solved", "cs_score"))


class Remedy(NamedTuple):
    """How many of what is `good` for a rule's metric would end its breach in today's row, and in that of a later day.

    0: it is in no breach then. None: none would, or nothing but time and removal does, and `good` is empty.
    """

    rule: str
    good: str
    today: int | None
    by: int | None


def remedies(rules: Iterable[Rule], course: Course, by: int) -> list[Remedy]:
    """Of each rule that is in breach today or on day `by`. Each is judged alone: silence hides a breach, no more."""
    days = (course.as_of, by)
    needed = [(rule, [fewest(rule, course, on) for on in days]) for rule in rules]
    return [
        Remedy(rule.name, GOOD_FOR[rule.subject].name if rule.subject in GOOD_FOR else "", today, later)
        for rule, (today, later) in needed
        if (today, later) != (0, 0)
    ]


def counts_until(rule: Rule, on: int, terms: Terms) -> int:
    """The last day on which something good can happen that is to count in the rule's metric in the row of a day."""
    if rule.subject in _WEEKLY:
        return int(monday_of(on)) - 1
    return on - terms.odr_lag_days if rule.subject.endswith("_60d") else on


def fewest(rule: Rule, course: Course, on: int) -> int | None:
    """How many more of what is good for it end a rule's breach in the row of a day, while one less does not.

    All on the day of `counts_until`; or, for a rule without memory, on any from today to that one whose windows reach
    the row. None: not even `MOST` would. (A good thing too many makes no metric worse: if that many fail, all do.)
    """
    alone = judged([rule], course.rows.account, course.columns, [len(course.rows.last_event_time)])[rule.name]
    if not alone.breach[on - course.rows.first]:
        return 0
    happens = counts_until(rule, on, course.terms)
    if rule.subject not in GOOD_FOR or happens < course.as_of:
        return None
    says = _says(GOOD_FOR[rule.subject], course, happens, on)
    if _in_breach(rule, course, says, np.array([MOST]), on)[0]:
        return None
    tried = np.arange(1, _TRIED_AT_ONCE)
    while not len(ended := np.flatnonzero(~_in_breach(rule, course, says, tried, on))):
        tried = np.arange(tried[-1] + 1, min(tried[-1] + _MOST_AT_ONCE, MOST) + 1)
    return int(tried[ended[0]])


def _says(good: Good, course: Course, happens: int, on: int) -> Rows:
    """What one of it that happens on a day adds to each row from that day to day `on`."""
    one = Account(course.rows.account, course.terms)
    for fact in good.facts(end_of(happens)):
        one.add("one", fact)
    one.restate(on)
    rows = one.rows(happens)
    assert rows is not None
    return rows


def _in_breach(rule: Rule, course: Course, says: Rows, times: Array, on: int) -> Array:
    """Whether the rule is in breach in the row of a day with so many times more of it; for each of `times`."""
    rows, n, days = course.rows, times[:, None, None], np.arange(says.first, on + 1)
    cut = slice(says.first - rows.first, on + 1 - rows.first)
    week = rows.week[cut] + n * says.week
    columns = snapshot_columns(
        [
            Rows(
                rows.account,
                says.first,
                _flat(rows.counters[cut] + n * says.counters),
                np.tile(rows.last_event_time[cut], len(n)),
                _flat(week),
                _flat(_shown(rows.shown[cut.start], week, days, course.terms)),
            )
        ],
        lambda account: course.terms,
    ) | {"day": np.tile(days, len(n))}
    past = past_of([rule], course, says.first, len(n))
    verdicts = judged([rule], rows.account, snapshot(columns), [len(days)] * len(n), past)[rule.name]
    ended: Array = verdicts.breach.reshape(len(n), -1)[:, -1]
    return ended


def _shown(first: Array, week: Array, days: Array, terms: Terms) -> Array:
    """The evaluation on show on each of these days, given that of the first, and that of each day's week."""
    shown = np.empty_like(week)
    shown[:, 0] = first
    for i, day in enumerate(days[1:], 1):
        of_week = np.column_stack([np.full(len(week), day), week[:, i, 1:]])
        enough = (day == monday_of(day)) & (week[:, i, :1] >= terms.cs_min_responses) & (week[:, i, 1:2] > 0)
        shown[:, i] = np.where(enough, of_week, shown[:, i - 1])
    return shown


def _flat(rows: Array) -> Array:
    flat: Array = rows.reshape(-1, rows.shape[-1])
    return flat
