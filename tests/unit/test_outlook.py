"""The outlook held against what it speaks of: days that pass, and events that are really fed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from streams.core.calendar import Account, snapshot_columns
from streams.core.metrics import Array, Terms, snapshot
from streams.core.outlook import (
    REMOVABLE_DAYS,
    breaches,
    course,
    open_ratings,
    quiet_from,
    removal,
    removals,
    still_to_rate,
)
from streams.core.remedies import GOOD_FOR, counts_until, fewest, remedies
from streams.core.rules import DEFAULT_RULES, NUMERIC, QUIET, Condition, Level, Rule, judge
from tests.fold import add, fold, rows_of
from tests.unit.test_guarantee import EVENTS, TERMS

DAY = 19_000  # a Saturday
KEY = ("S", "M")
# The default rules, about accounts of a few orders.
RULES = tuple(
    replace(rule, conditions=tuple(Condition(c.metric, {t: min(n, 3) for t, n in c.minimum.items()})
                                   for c in rule.conditions))
    for rule in DEFAULT_RULES
)  # fmt: skip


def event(topic: str, subject: str, day: int, **more: Any) -> dict[str, Any]:
    """An event of the account, on some instant of a day."""
    at = {"event_time": day * MS_A_DAY + len(subject) * 1_000_003 % MS_A_DAY}
    common = at | {"topic": topic, "seller_id": KEY[0], "marketplace_id": KEY[1], "source": "test"}
    rest: dict[str, dict[str, Any]] = {
        "orders": {"order_id": subject, "fulfilment": None, "deliver_by": None, "skus": []},
        "feedback": {"order_id": subject, "rating": None, "date_only": False}
        | dict.fromkeys(("comment", "agent", "amount", "currency", "root_cause"))
        | dict.fromkeys(("arrived_on_time", "item_as_described", "customer_service")),
        "surveys": {"conversation_id": subject, "message_id": "m", "buyer_initiated": True}
        | dict.fromkeys(("order_id", "agent", "comment")),
    }
    return common | rest[topic] | {"event_id": f"{more.get('kind', '')}{day}"} | more


def order(subject: str, day: int, stars: int | None, then: str, promised: int) -> Iterator[dict[str, Any]]:
    """An order's events: placed, shipped after two days, delivered after four or not, perhaps rated, perhaps worse."""
    yield event("orders", subject, day, kind="PLACED", deliver_by=(day + promised) * MS_A_DAY)
    yield event("orders", subject, day + 2, kind="SHIPPED")
    if then:
        yield event("orders", subject, day + 4, kind=then)
    if stars:
        yield event("feedback", subject, day + 5, kind="SUBMITTED", rating=stars, arrived_on_time=stars > 3)


def conversation(subject: str, day: int, solved: bool) -> Iterator[dict[str, Any]]:
    yield event("surveys", subject, day, solved=solved)


STARS = st.sampled_from([None, 1, 2, 3, 4, 5, 5])
THEN = st.sampled_from(["", "DELIVERED", "DELIVERED", "CLAIM_OPENED", "CHARGEBACK", "RETURNED"])
ONE_ORDER = st.tuples(st.integers(0, 100), STARS, THEN, st.integers(1, 20))
ONE_TALK = st.tuples(st.integers(50, 105), st.booleans())


@st.composite
def sellers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of one account: orders and conversations of 105 days, some of the events after day 100."""
    orders = draw(st.lists(ONE_ORDER, min_size=1, max_size=40))
    talks = draw(st.lists(ONE_TALK, max_size=20))
    made = [e for i, (day, *of) in enumerate(orders) for e in order(f"o{i}", DAY + day, *of)]
    return made + [e for i, (day, solved) in enumerate(talks) for e in conversation(f"c{i}", DAY + day, solved)]


def fed(events: Sequence[dict[str, Any]], as_of: int, terms: Terms) -> Account:
    """The account of these events, restated."""
    accounts: dict[AccountId, Account] = {}
    for one in events:
        add(accounts, one, terms)
    (account,) = accounts.values()
    account.restate(as_of)
    return account


def row_of(account: Account, day: int) -> dict[str, Array]:
    """Every metric in the last row of an account that is as of this day."""
    assert account.as_of == day
    rows = account.rows(day)
    assert rows is not None
    return snapshot(snapshot_columns([rows], lambda _: account.terms))


def in_breach(rules: Sequence[Rule], account: Account, day: int) -> set[str]:
    """The rules in breach in the last row of an account that is as of this day."""
    verdicts = judge(rules, row_of(account, day), np.array([KEY[1]], dtype=object))
    return {name for name, of in verdicts.items() if of.breach[0]}


def more(rule: Rule, n: int, days: Sequence[int]) -> list[dict[str, Any]]:
    """So many of what is good for a rule, in turn on these days."""
    made: list[dict[str, Any]] = []
    good = GOOD_FOR[rule.subject].name
    for i, day in enumerate(islice(cycle(days), n)):
        subject = f"new{i}"
        if good == "5-star ratings":
            made.append(event("feedback", subject, day, kind="SUBMITTED", rating=5))
        elif good == "solved conversations":
            made += conversation(subject, day, solved=True)
        else:
            kinds = ("PLACED",) if good == "orders placed" else ("PLACED", "SHIPPED", "DELIVERED")
            made += [event("orders", subject, day, kind=kind) for kind in kinds]
    return made


# --- days that pass ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [terms for terms, _ in TERMS])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(events=EVENTS, first=st.integers(0, 140), ahead=st.integers(0, 120))
def test_the_calendar_run_forward_is_what_the_days_bring_if_nothing_else_happens(
    terms: Terms, events: list[dict[str, Any]], first: int, ahead: int
) -> None:
    events = [one for one in events if one["seller_id"] == "S1"]
    assume(events)
    as_of = max(min(one["event_time"] for one in events) // MS_A_DAY, DAY + first)
    account = fed(events, as_of, terms)
    course(account, as_of)
    assert [row for row in rows_of([account], terms, as_of)][ahead] == fold([events], as_of + ahead, terms)[-1]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(events=sellers(), cs_minimum=st.integers(1, 12))
def test_breaches_begin_and_end_on_the_days_whose_rows_say_so(events: list[dict[str, Any]], cs_minimum: int) -> None:
    terms, as_of = Terms(cs_min_responses=cs_minimum), DAY + 100
    found = breaches(RULES, course(fed(events, as_of, terms), as_of))
    passing = fed(events, as_of, terms)
    for day in range(as_of, as_of + 150):
        passing.restate(day)
        on = {breach.rule for breach in found if breach.begins <= day and (breach.ends is None or day < breach.ends)}
        assert on == in_breach(RULES, passing, day), day
    for breach in found:
        assert (breach.begins > as_of) or breach.rule in in_breach(RULES, fed(events, as_of, terms), as_of)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(events=sellers())
def test_nothing_changes_from_the_day_on_that_is_told(events: list[dict[str, Any]]) -> None:
    terms, as_of = Terms(), DAY + 100
    account = fed(events, as_of, terms)
    from_day = quiet_from(course(account, as_of))
    rows = rows_of([account], terms, as_of)
    for row in rows:
        del row["day"], row["cs_is_current"]
    assert all(row == rows[-1] for row in rows[from_day - as_of :])
    assert from_day == as_of or rows[from_day - as_of - 1] != rows[-1]


# --- events that are fed -------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None, derandomize=True)
@given(events=sellers(), ahead=st.integers(0, 20), cs_minimum=st.integers(1, 12), lag=st.sampled_from([0, 0, 3]))
def test_so_many_events_really_fed_end_the_breach_and_one_less_does_not(
    events: list[dict[str, Any]], ahead: int, cs_minimum: int, lag: int
) -> None:
    terms, as_of = Terms(cs_min_responses=cs_minimum, odr_lag_days=lag), DAY + 100
    on = as_of + ahead
    ahead_of = course(fed(events, as_of, terms), as_of)
    for rule in RULES:
        breach = rule.name in in_breach([rule], fed(events, on, terms), on)
        n, until = fewest(rule, ahead_of, on), counts_until(rule, on, terms)
        assert (n == 0) == (not breach)
        if n is None:
            assert until < as_of
        elif n:
            for days in ([until], range(as_of, until + 1), [as_of]):
                if days == [as_of] and "cs_" in rule.name and until != as_of:
                    continue  # of an earlier Monday the score may stand
                assert rule.name not in in_breach([rule], fed(events + more(rule, n, days), on, terms), on)
                assert rule.name in in_breach([rule], fed(events + more(rule, n - 1, days), on, terms), on)
