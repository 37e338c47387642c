"""Rules on cases and sources: each by a table, and what of it is news."""

from typing import Any

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AlertRow, CaseClocks, SourceGap
from streams.core.clocks import Spell, alert_of, changes, in_words, of_case, of_source
from streams.core.rules import OTHER_RULES, OtherRule, Scope, alert_id

ACCOUNT = ("S", "M")
HOUR = 3_600_000
OPENED = 19_000 * MS_A_DAY + 9 * HOUR


def case(**more: Any) -> CaseClocks:
    """A rating of 1 star that nobody has answered; times in hours since it was submitted."""
    told = {
        name: value if value is None else OPENED + int(value * HOUR) for name, value in more.items() if name != "steps"
    }
    steps = [("open", OPENED), *((status, OPENED + int(at * HOUR)) for status, at in more.get("steps", ()))]
    rest: dict[str, Any] = {
        "closed_at": OPENED + 60 * MS_A_DAY, "respond_target_at": OPENED + 3 * HOUR, "respond_by": OPENED + 24 * HOUR,
        "remove_by": OPENED + 60 * MS_A_DAY, "first_action_at": None,
        "follow_up_at": None,
    }  # fmt: skip
    return CaseClocks(ACCOUNT, "o1", "f1", 1, OPENED, steps=steps, **rest | told)


def spells(of: CaseClocks, rule: str) -> list[Spell]:
    return [spell for spell in of_case(of) if spell.rule == rule]


def hours(of: CaseClocks, rule: str) -> list[tuple[float, float | None]]:
    """From when until when a rule holds, in hours since the case was opened."""
    return [
        ((spell.since - OPENED) / HOUR, None if spell.until is None else (spell.until - OPENED) / HOUR)
        for spell in spells(of, rule)
    ]


# --- the rules -----------------------------------------------------------------------------------------------

DAYS_60, LAST_WEEK = 60 * 24.0, 53 * 24.0
DENIED = {"steps": [("removal_requested", 30), ("removal_denied", 100)], "first_action_at": 30}


@pytest.mark.parametrize(
    "rule, of, expected",
    [
        ("negative_feedback", {}, [(0, DAYS_60)]),
        ("negative_feedback", {"closed_at": 5}, [(0, 5)]),
        ("negative_feedback", {"closed_at": None, **DENIED}, [(0, None)]),
        ("negative_feedback", {"closed_at": 0}, []),  # taken back in the same instant
        ("case_target", {}, [(3, DAYS_60)]),
        ("case_target", {"first_action_at": 3}, []),  # just in time
        ("case_target", {"first_action_at": 3.5}, [(3, 3.5)]),
        ("case_target", {"respond_target_at": None}, []),  # 3 stars: nobody waits
        ("case_overdue", {}, [(24, DAYS_60)]),
        ("case_overdue", {"first_action_at": 24}, []),  # just in time
        ("case_overdue", {"first_action_at": 30}, [(24, 30)]),
        ("case_overdue", {"closed_at": 23}, []),  # the buyer was quicker
        ("case_overdue", {"first_action_at": 50, "closed_at": 40}, [(24, 40)]),
        ("case_overdue", {"respond_by": None}, []),
        ("case_closing", {}, [(LAST_WEEK, DAYS_60)]),
        ("case_closing", {"closed_at": LAST_WEEK}, []),
        ("case_closing", {"closed_at": LAST_WEEK + 1}, [(LAST_WEEK, LAST_WEEK + 1)]),
        ("case_closing", {"closed_at": DAYS_60 + 9}, [(LAST_WEEK, DAYS_60)]),  # it could be asked for until then
        ("case_closing", {"closed_at": None, "steps": [("removal_requested", LAST_WEEK - 1)]}, []),  # pending
        ("case_closing", {"steps": [("removal_requested", LAST_WEEK + 8)]}, [(LAST_WEEK, LAST_WEEK + 8)]),
        (
            "case_closing",
            {"steps": [("removal_requested", LAST_WEEK - 1), ("removal_denied", LAST_WEEK + 2)]},
            [(LAST_WEEK + 2, DAYS_60)],
        ),
        ("case_closing", DENIED, [(LAST_WEEK, DAYS_60)]),
        ("case_follow_up", {}, []),
        ("case_follow_up", {"closed_at": None, "steps": [("removal_requested", 30)]}, [(30 + 72, None)]),
        ("case_follow_up", DENIED | {"closed_at": 200}, []),  # answered within three days
        ("case_follow_up", {"steps": [("removal_requested", 30), ("removal_denied", 102)]}, []),  # just in time
        ("case_follow_up", {"steps": [("removal_requested", 30), ("removal_denied", 103)]}, [(102, 103)]),
        ("case_follow_up", {"closed_at": 110, "steps": [("removal_requested", 30), ("struck", 110)]}, [(102, 110)]),
        ("case_follow_up", {"steps": [("removal_requested", 30), ("removal_requested", 100), ("struck", 180)]},
         [(172, 180)]),  # asked again
        ("case_follow_up", {"closed_at": None, "steps": [("removal_requested", 30)], "follow_up_at": 120 + 72},
         [(102, 120), (192, None)]),  # asked again when it was due
        ("case_follow_up", {"closed_at": None, "steps": [("removal_requested", 30), ("acted", 50)]}, [(102, None)]),
        ("case_closing", {"closed_at": None, "steps": [("removal_requested", 30), ("acted", 50)]}, []),
    ],
)  # fmt: skip
def test_a_case_is_due_as_the_table_says(
    rule: str, of: dict[str, Any], expected: list[tuple[float, float | None]]
) -> None:
    assert hours(case(**of), rule) == expected


@pytest.mark.parametrize(
    "ended, expected",
    [(None, (48, None)), (48, None), (48.001, (48, 48.001)), (24, None), (200, (48, 200))],
)
def test_a_source_is_silent_after_48_hours(ended: float | None, expected: tuple[float, float | None] | None) -> None:
    after = None if ended is None else OPENED + int(ended * HOUR)
    found = [
        ((spell.since - OPENED) / HOUR, None if spell.until is None else (spell.until - OPENED) / HOUR)
        for spell in of_source(SourceGap(ACCOUNT, "feed", OPENED, after))
    ]
    assert found == ([] if expected is None else [expected])


FIRST_DUE = {
    "negative_feedback": 0, "case_target": 3, "case_overdue": 24, "case_closing": LAST_WEEK, "case_follow_up": 102,
    "source_silent": 48,
}  # fmt: skip


def all_spells(until: float | None = None) -> list[Spell]:
    """One of each rule, over so many hours after the case was opened, or after the source's last event."""
    of = case(closed_at=until)
    asked = case(closed_at=until, steps=[("removal_requested", 30)])
    gap = SourceGap(ACCOUNT, "feed", OPENED, None if until is None else OPENED + int(until * HOUR))
    return [*of_case(of), *spells(asked, "case_follow_up"), *of_source(gap)]


def news(
    rule: str, at: float, *, until: float | None = None, firing: dict[str, AlertRow] | None = None
) -> list[AlertRow]:
    return changes({rule: OTHER_RULES[rule]}, firing or {}, all_spells(until), OPENED + int(at * HOUR), 7)


def test_there_is_a_spell_of_every_rule() -> None:
    assert FIRST_DUE.keys() == OTHER_RULES.keys() == {spell.rule for spell in all_spells()}


@pytest.mark.parametrize("rule, due", FIRST_DUE.items())
def test_a_rule_fires_when_it_falls_due_and_is_resolved_when_it_is_over(rule: str, due: float) -> None:
    assert news(rule, due - 0.001) == []  # just before
    (fired,) = news(rule, due)
    assert (fired.rule, fired.state, fired.severity) == (rule, "firing", OTHER_RULES[rule].severity)
    assert fired.since == OPENED + due * HOUR
    assert fired.resolved_at is None
    assert fired.order_ids == ([] if rule == "source_silent" else ["o1"])
    assert fired.subject == ("feed" if rule == "source_silent" else "f1")
    assert news(rule, due + 1, firing={fired.alert_id: fired}) == []  # once
    assert news(rule, due + 60, firing={fired.alert_id: fired}) == []  # and it goes on
    (over,) = news(rule, due + 3, until=due + 2, firing={fired.alert_id: fired})
    assert (over.state, over.alert_id, over.resolved_at) == ("resolved", fired.alert_id, OPENED + (due + 2) * HOUR)
    assert news(rule, due + 3, until=due + 2) == []


@pytest.mark.parametrize("rule, due", FIRST_DUE.items())
def test_what_fell_due_more_than_48_hours_ago_is_no_news(rule: str, due: float) -> None:
    assert [alert.state for alert in news(rule, due + 47.99)] == ["firing"]
    assert news(rule, due + 48) == []


def test_an_alert_whose_case_or_rule_is_gone_is_over() -> None:
    (fired,) = news("case_overdue", 25)
    known = {fired.alert_id: fired}
    now = OPENED + 26 * HOUR
    gone = fired._replace(state="resolved", value=None, resolved_at=now, version=8)
    assert changes({"case_overdue": OTHER_RULES["case_overdue"]}, known, [], now, 8) == [gone]
    assert changes({}, known, all_spells(), now, 8) == [gone]
    assert in_words(gone) == "order o1: it is not so after all"


def test_a_rule_is_about_the_accounts_of_its_scope_with_its_own_severity() -> None:
    now, mine = OPENED + 25 * HOUR, OtherRule("case_overdue", "critical", Scope(sellers=("S*",)))
    assert [alert.severity for alert in changes({"case_overdue": mine}, {}, all_spells(), now, 1)] == ["critical"]
    others = OtherRule("case_overdue", "critical", Scope(marketplaces=("elsewhere",)))
    assert changes({"case_overdue": others}, {}, all_spells(), now, 1) == []


def test_a_case_falls_due_again_under_another_id_on_another_day() -> None:
    twice = case(closed_at=None, steps=[("removal_requested", 0), ("removal_denied", 100), ("removal_requested", 120)])
    first, second = spells(twice, "case_follow_up")
    assert first.alert_id != second.alert_id
    assert first.alert_id == alert_id("case_follow_up", *ACCOUNT, "o1 f1", first.since // MS_A_DAY)


def test_ids_of_feedback_are_those_of_one_order_alone() -> None:
    one, other = case(), case()._replace(order_id="o2")
    assert {spell.alert_id for spell in of_case(one)}.isdisjoint(spell.alert_id for spell in of_case(other))


@pytest.mark.parametrize(
    "rule, at, until, value, threshold, words",
    [
        ("negative_feedback", 0, None, 1, 3, "order o1 was rated with 1 of 5 stars and waits for somebody"),
        ("case_overdue", 24, None, 24, 24, "order o1: no action for 24.0 h after the rating, 24 h were the limit"),
        ("case_overdue", 31, 30, 30, 24, "order o1: no action for 30.0 h after the rating, 24 h were the limit"),
        ("case_target", 4, 3.5, 3.5, 3, "order o1: no action for 3.5 h after the rating, 3 h is the target"),
        ("case_closing", LAST_WEEK, None, 7, 7, "order o1: 7.0 days are left to have the rating removed"),
        ("case_follow_up", 150, 126, 4, 3, "order o1: 4.0 days without an answer to the request for removal"),
        ("source_silent", 48, None, 48, 48, "source feed has brought nothing for 48 h"),
        ("source_silent", 99, 72, 72, 48, "source feed has brought nothing for 72 h"),
    ],
)
def test_an_alert_says_how_late_it_is(
    rule: str, at: float, until: float | None, value: float, threshold: float, words: str
) -> None:
    (spell,) = [spell for spell in all_spells(until) if spell.rule == rule]
    alert = alert_of(OTHER_RULES, spell, OPENED + int(at * HOUR), 1)
    assert (alert.value, alert.threshold) == (value, threshold)
    assert in_words(alert) == words
