"""An explanation adds up: whatever happened, on every day, to the cell of every metric and to every change of it."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from streams.core.account import Account
from streams.core.changes import arrivals, changes
from streams.core.explain import Explained, explain
from streams.core.metrics import METRICS, Terms, iso
from streams.core.stories import FACT_OF_TOPIC
from tests.fold import add, fold
from tests.reference import ReferenceSettings, account_rows
from tests.unit.test_guarantee import EVENTS, TERMS, without_id_reuse

COLUMNS = [metric.name for metric in METRICS]
PROSE = "cs_week", "cs_is_current", "cs_band", "last_event_time"  # formulas in words alone, beside mere counts


def accounts_of(events: list[dict[str, Any]], terms: Terms, as_of: int) -> list[tuple[Account, list[dict[str, Any]]]]:
    """Each account, restated, with its events; those that have a row."""
    accounts: dict[AccountId, Account] = {}
    for event in events:
        add(accounts, event, terms)
    for account in accounts.values():
        account.restate(as_of)
    return [
        (account, [event for event in events if event["seller_id"] == account.id[0]])
        for account in accounts.values()
        if account.first_day <= as_of
    ]


def as_stored(name: str, value: Any) -> Any:
    return iso(value) if name == "cs_week" and value is not None else value


def worked_out(found: Explained) -> float:
    """The formula with its numbers, as a reader would work it out."""
    text = found.working.replace(",", "").replace(" x ", " * ").partition(" half up")[0].partition(" of the last")[0]
    return float(eval(text))  # noqa: S307


@pytest.mark.parametrize("terms, settings_of_reference", TERMS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(events=EVENTS, chance=st.randoms(use_true_random=False))
def test_what_is_explained_adds_up_to_the_cell_of_every_metric_on_every_day(
    terms: Terms, settings_of_reference: ReferenceSettings, events: list[dict[str, Any]], chance: Any
) -> None:
    events = without_id_reuse(events)
    as_of = max(event["event_time"] for event in events) // MS_A_DAY + 30
    for account, of_account in accounts_of(events, terms, as_of):
        rows = account_rows(of_account, as_of, settings_of_reference)
        for at in sorted(chance.sample(range(len(rows)), min(len(rows), 12))):
            day = account.first_day + at
            for name in COLUMNS:
                found = explain(account, name, day)
                expected = rows[at][name]
                assert as_stored(name, found.value) == (
                    pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected
                ), (name, day)
                adds_up(found, expected, rows[at])


def adds_up(found: Explained, expected: Any, row: dict[str, Any]) -> None:
    name, totals = found.metric.name, found.totals
    for each in found.contributions:
        assert each.enters <= found.day < each.leaves
        assert each.events
        assert all(event.time_ms // MS_A_DAY <= found.day for event in each.events)
    if name == "last_event_time":
        assert [event.time_ms for event in found.contributions[0].events] == [expected]
    elif name in PROSE:
        pass
    elif "numerator" not in totals:
        assert totals == {"value": expected}
    elif expected is None:
        assert totals["denominator"] == 0 or (found.metric.needs_all_ratings and row["partial_ratings"])
    else:
        exact = re.search(r"^(\d+) x ", found.formula)
        times = int(exact[1]) if exact else 1
        share = times * totals["numerator"] / totals["denominator"]
        assert expected == pytest.approx(share, abs=0.05001 if "half up" in found.formula else 1e-12)
        assert worked_out(found) == pytest.approx(share)


@pytest.mark.parametrize("terms, _", TERMS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(events=EVENTS, chance=st.randoms(use_true_random=False))
def test_what_entered_and_left_adds_up_to_the_change_between_any_two_days(
    terms: Terms, _: ReferenceSettings, events: list[dict[str, Any]], chance: Any
) -> None:
    events = without_id_reuse(events)
    as_of = max(event["event_time"] for event in events) // MS_A_DAY + 30
    for account, _of_account in accounts_of(events, terms, as_of):
        days = sorted(chance.randint(account.first_day, as_of) for _ in range(3))
        for name in COLUMNS:
            told = {day: explain(account, name, day) for day in days}
            for before, after in pairwise(days):
                moves = changes(account, name, before, after)
                for side, total in told[after].totals.items():
                    assert told[before].totals[side] + sum(move.brings.get(side, 0) for move in moves) == total
                for move in moves:
                    assert before < move.day <= after or name in ("cs_score", "cs_week", "cs_is_current", "cs_band")
                    assert {event.time_ms // MS_A_DAY for event in move.events} <= {move.day} or name.startswith("cs_")


@settings(max_examples=20, deadline=None, derandomize=True)
@given(events=EVENTS, chance=st.randoms(use_true_random=False))
def test_late_events_account_for_the_difference_between_the_rows_without_and_with_them(
    events: list[dict[str, Any]], chance: Any
) -> None:
    terms = Terms(cs_min_responses=2)
    events = without_id_reuse(events)
    as_of = max(event["event_time"] for event in events) // MS_A_DAY + 30
    for account, of_account in accounts_of(events, terms, as_of):
        late = {index for index in range(len(of_account)) if chance.random() < 0.4}
        seen = {}
        for index in late:
            event = of_account[index]
            fact_type = FACT_OF_TOPIC[event["topic"]]
            subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
            rank = account.stories[fact_type][subject][event["event_id"]].rank
            seen[fact_type, subject, event["event_id"], rank] = chance.randint(0, 5)
        day = chance.randint(account.first_day, as_of)
        early = [event for index, event in enumerate(of_account) if index not in late]
        before = {row["day"]: row for row in fold([early], as_of, terms)}
        after = {row["day"]: row for row in fold([of_account], as_of, terms)}
        for name in COLUMNS:
            found = arrivals(account, name, day, seen)
            assert len(found) == len(late)
            assert [each.seen_ms for each in found] == sorted(each.seen_ms for each in found)
            assert all(a.after == b.before for a, b in pairwise(found))
            if found:
                assert as_stored(name, found[0].before) == before.get(iso(day), {}).get(name)
                assert as_stored(name, found[-1].after) == after[iso(day)][name]
