"""What rules on cases and sources look at: of every store the same."""

import random
from typing import Any

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow, CaseClocks, CaseRow, Mark, SourceGap, Transition
from sink.store import Store
from streams.alerts import change_of
from streams.backtest import Span, Tally, backtest
from streams.core.clocks import alert_of, of_case
from streams.core.metrics import Terms
from streams.core.rules import OTHER_RULES
from streams.rewrite import rewrite
from tests.contract.test_store import ACCOUNT, DAY, LIVE, order, put

HOUR = 3_600_000
LAST = DAY * MS_A_DAY + 9 * HOUR  # of what a source brings


def busy_days(days: int, *, events: int = 5, source: str = "feed", until: int = DAY) -> list[dict[str, object]]:
    """A source that brought so many events on each of so many days before `until`, and one in its ninth hour."""
    times = [(until - day) * MS_A_DAY + n * HOUR for day in range(1, days + 1) for n in range(events)]
    return [order(f"{source}-{time}", source=source, event_time=time) for time in [*times, until * MS_A_DAY + 9 * HOUR]]


@pytest.mark.parametrize(
    "days, events, hours, silent",
    [
        (14, 5, 48, True),
        (14, 5, 47.999, False),  # not yet for 48 h
        (13, 5, 48.1, False),  # not yet a source that usually brings that much
        (14, 4, 48.1, False),  # nor is this
        (28, 5, 24 * 300, True),
    ],
)
def test_a_source_is_silent_that_usually_brings_something(
    store: Store, days: int, events: int, hours: float, silent: bool
) -> None:
    put(store, *busy_days(days, events=events))
    now = LAST + int(hours * HOUR)
    assert store.source_gaps([ACCOUNT], now) == ([SourceGap(ACCOUNT, "feed", LAST, None)] if silent else [])


def test_days_that_were_busy_long_ago_do_not_count(store: Store) -> None:
    put(store, *busy_days(14, until=DAY - 20))
    put(store, order("later", source="feed", event_time=LAST))  # 14 days of the 28 before would have to be busy
    before = (DAY - 20) * MS_A_DAY + 9 * HOUR
    assert store.source_gaps([ACCOUNT], LAST + 50 * HOUR) == [SourceGap(ACCOUNT, "feed", before, LAST)]


def test_a_silence_ends_with_the_next_event_of_the_same_source(store: Store) -> None:
    put(store, *busy_days(20))
    put(store, order("other", source="another", event_time=LAST + HOUR))
    now = LAST + 80 * HOUR
    assert store.source_gaps([ACCOUNT], now) == [SourceGap(ACCOUNT, "feed", LAST, None)]
    back = LAST + 70 * HOUR
    put(store, order("back", source="feed", event_time=back), order("future", source="feed", event_time=now + 1))
    assert store.source_gaps([ACCOUNT], now) == [SourceGap(ACCOUNT, "feed", LAST, back)]
    assert store.source_gaps([("S", "elsewhere")], now) == []
    assert store.source_gaps([], now) == []


def test_what_comes_twice_counts_once(store: Store) -> None:
    events = busy_days(20, events=4)
    for _ in range(2):
        put(store, *events)
    assert store.source_gaps([ACCOUNT], LAST + 50 * HOUR) == []


def test_whose_source_has_just_fallen_silent_is_found_among_all(store: Store) -> None:
    put(store, *busy_days(20))
    for hours, is_found in ((48, True), (90, True)):
        found: list[AccountId] = store.quiet(1, (0,), LAST + hours * HOUR)
        assert (ACCOUNT in found) == is_found
    assert store.quiet(1, (), LAST + 50 * HOUR) == []


def test_gaps_are_those_of_the_memory_store(store: Store) -> None:
    from tests.memory import MemoryStore

    rng, other = random.Random(5), MemoryStore()
    time, events = DAY * MS_A_DAY, []
    for n in range(3000):
        time += int(rng.expovariate(2 / HOUR)) + (rng.random() < 0.005) * rng.randint(30, 90) * HOUR
        events.append(order(f"e{n}", source=rng.choice(["a", "a", "b"]), event_time=time, seller_id=f"S{n % 2}"))
    accounts = [("S0", "M"), ("S1", "M")]
    for one in (store, other):
        put(one, *events)  # type: ignore[arg-type]  # its twin
    found = other.source_gaps(accounts, time)
    assert len(found) > 5
    assert sorted(store.source_gaps(accounts, time)) == found


# --- cases ---------------------------------------------------------------------------------------------------


def case(order_id: str, **more: Any) -> CaseRow:
    steps = [Transition("open", LAST, "f", None), Transition("acted", LAST + HOUR, "r", "Ana")]
    known = CaseRow(
        "S", "M", order_id, "f", LAST, 1, None, [], None, "acted", None, LAST + 3 * HOUR, LAST + 24 * HOUR, LAST + HOUR,
        None, LAST + 60 * MS_A_DAY, [], LAST + 80 * HOUR, [], LAST + 60 * MS_A_DAY, steps, 1, 1, 1,
    )  # fmt: skip
    return known._replace(**more)


def clocks(row: CaseRow) -> CaseClocks:
    ends = row.expires_at if row.closed_at is None else row.closed_at
    return CaseClocks(
        row.order[:2], row.order_id, "f", row.rating, row.opened_at, ends, row.respond_target_at, row.respond_by,
        row.remove_by, row.first_action_at, row.follow_up_at, [(step.status, step.at) for step in row.transitions],
    )  # fmt: skip


def test_open_cases_are_those_that_are_neither_closed_nor_expired_yet(store: Store) -> None:
    still, pending = case("still"), case("pending", expires_at=None)
    closed = case("closed", closed_at=LAST + 2 * HOUR, expires_at=None, status="removed")
    stars = case("3 stars", respond_by=None, respond_target_at=None, first_action_at=None, follow_up_at=None, rating=3)
    store.add_cases([still, pending, closed, stars, case("none", gone=1), case("other", seller_id="S2")])
    assert sorted(store.case_clocks([ACCOUNT])) == sorted(map(clocks, [still, pending, closed, stars]))
    now = {row.order_id for row in store.open_cases(1, (0,), LAST + 2 * HOUR)}
    assert now == {"still", "pending", "3 stars", "other"}
    before = {row.order_id for row in store.open_cases(1, (0,), LAST + HOUR)}
    assert before == now | {"closed"}
    assert {row.order_id for row in store.open_cases(1, (0,), LAST + 60 * MS_A_DAY)} == {"pending"}
    of_both = [row.order_id for n in (0, 1) for row in store.open_cases(2, (n,), LAST)]
    assert sorted(of_both) == ["3 stars", "closed", "other", "pending", "still"]
    assert store.case_clocks([]) == []


def test_firing_alerts_are_found_by_rule_and_partition(store: Store) -> None:
    late, now = clocks(case("o", first_action_at=None)), LAST + 30 * HOUR
    alerts = [alert_of(OTHER_RULES, spell, now, 1) for spell in of_case(late) if spell.holds(now)]
    over = alerts[0]._replace(alert_id="over", state="resolved", resolved_at=LAST)
    store.add_alerts([*alerts, over], [change_of(alert, DAY) for alert in alerts])
    rules = [alert.rule for alert in alerts]
    assert rules == ["negative_feedback", "case_target", "case_overdue"]
    assert store.firing(["negative_feedback"], 1, (0,)) == [alerts[0]]
    assert len(store.firing(rules, 2, (0,))) + len(store.firing(rules, 2, (1,))) == len(alerts)
    assert store.firing(["source_silent"], 1, (0,)) == []


def test_an_account_is_undigested_until_all_have_its_digest(store: Store) -> None:
    accounts = [("S", "M"), ("S", "N"), ("late", "M"), ("empty", "M")]
    marks = [Mark(key, 1, LIVE, DAY - 9, DAY, n) for n, key in enumerate(accounts[:2])]
    marks += [Mark(accounts[2], 1, LIVE, DAY - 9, DAY - 1, 1), Mark(accounts[3], 1, LIVE, DAY + 1, DAY, 1)]
    store.add_marks(marks)
    assert store.undigested(DAY, 1, (0,)) == {("S", "M"): False, ("S", "N"): False}
    store.add_digests(DAY, {("S", "M"): False, ("S", "N"): True})
    assert store.undigested(DAY, 1, (0,)) == {("S", "M"): True}
    assert store.undigested(DAY - 7, 1, (0,)) == {("S", "M"): False, ("S", "N"): False, ("late", "M"): False}
    store.add_digests(DAY, {("S", "M"): True})
    store.add_digests(DAY, {("S", "M"): False})  # of somebody who slept
    assert store.undigested(DAY, 1, (0,)) == {}
    assert store.undigested(DAY, 1, ()) == {}


# --- a replay ------------------------------------------------------------------------------------------------


def test_a_replay_judges_cases_and_sources_once_as_each_was_at_its_time(store: Store) -> None:
    put(store, *busy_days(20))
    put(store, *(order(f"back-{hours}", source="feed", event_time=LAST + hours * HOUR) for hours in (60, 100, 130)))
    asked = [Transition("open", LAST, "f", None), Transition("removal_requested", LAST + 30 * HOUR, "r", None)]
    late = case("late", first_action_at=LAST + 30 * HOUR, transitions=asked, expires_at=None,
                follow_up_at=LAST + 102 * HOUR, status="removal_requested")  # fmt: skip
    store.add_cases([late, case("other", seller_id="S2")])
    now = (DAY + 6) * MS_A_DAY - 1
    rules = {name: rule for name, rule in OTHER_RULES.items() if name != "case_target"}

    def judged(version: int, **without: object) -> tuple[list[AlertRow], list[AlertChange]]:
        these = {name: rule for name, rule in rules.items() if name not in without}
        rewrite(store, (), these, lambda _: Terms(), [ACCOUNT], now, version << 40)
        return sorted(store.alerts([ACCOUNT])), sorted(store.alert_changes([ACCOUNT]))

    alerts, changes = judged(1)
    assert {(a.rule, a.state, a.since - LAST, a.resolved_at and a.resolved_at - LAST, a.value) for a in alerts} == {
        ("negative_feedback", "firing", 0, None, 1),
        ("case_overdue", "resolved", 24 * HOUR, 30 * HOUR, 30),
        ("case_follow_up", "firing", 102 * HOUR, None, 3),
        ("source_silent", "resolved", 48 * HOUR, 60 * HOUR, 60),
    }
    assert {(c.rule, c.state, c.day - DAY, c.value, c.muted) for c in changes} == {
        ("negative_feedback", "firing", 0, 1, 1),
        ("case_overdue", "firing", 1, 24, 1),
        ("case_overdue", "resolved", 1, 30, 1),
        ("case_follow_up", "firing", 4, 3, 1),
        ("source_silent", "firing", 2, 48, 1),
        ("source_silent", "resolved", 2, 60, 1),
    }
    assert judged(2) == (alerts, changes)  # versions too: nothing was written
    fewer, _ = judged(3, source_silent=None)
    assert {alert.rule for alert in fewer} == {"negative_feedback", "case_overdue", "case_follow_up"}

    (tried,) = backtest(store, (), rules.values(), Span(DAY + 1, DAY + 5), lambda done, total: None)
    assert {(one.alert.rule, round(one.since - LAST / MS_A_DAY, 3), round(one.days, 3)) for one in tried} == {
        ("negative_feedback", 0.625, 5), ("case_overdue", 1, 0.25), ("case_follow_up", 4.25, 1.375),
        ("source_silent", 2, 0.5),
    }  # fmt: skip
    tally = Tally(Span(DAY + 1, DAY + 5), 1)
    tally.add(tried)
    assert (tally.accounts, tally.firing, tally.bars) == (1, 2, [1, 1, 1, 1, 1])
