"""An explanation adds up: whatever happened, on every day, to the cell of every metric and to every change of it."""

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from streams.core.calendar import Account
from streams.core.explain import Explained, arrivals, changes, explain
from streams.core.metrics import FOREVER, METRICS, Terms
from tests.fold import add
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
    from streams.core.metrics import iso

    return iso(value) if name == "cs_week" and value is not None else value


def worked_out(found: Explained) -> float:
    """The formula with its numbers, as a reader would work it out."""
    text = found.working.replace(",", "").replace(" x ", " * ").partition(" half up")[0].partition(" of the last")[0]
    return float(eval(text))  # noqa: S307


@pytest.mark.parametrize("terms, settings_of_reference", TERMS)
@settings(max_examples=25, deadline=None, derandomize=True)
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
                adds_up(found, expected, terms)


def adds_up(found: Explained, expected: Any, terms: Terms) -> None:
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
        assert totals["denominator"] == 0
    else:
        exact = re.search(r"^(\d+) x ", found.formula)
        times = int(exact[1]) if exact else 1
        share = times * totals["numerator"] / totals["denominator"]
        assert expected == pytest.approx(share, abs=0.05001 if "half up" in found.formula else 1e-12)
        assert worked_out(found) == pytest.approx(share)
