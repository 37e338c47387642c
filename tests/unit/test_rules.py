"""Rules: each default one by a table, silencing, marketplaces, the alerts that were, and the orders behind."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, DailyRows
from streams.core.account import Account
from streams.core.evidence import BEHIND, Evidence, orders_behind
from streams.core.metrics import COUNTER_INDEX, COUNTERS, Array, Terms, snapshot
from streams.core.rules import (
    DEFAULT_RULES,
    NUMERIC,
    SEVERITIES,
    Comparison,
    Condition,
    Level,
    Rule,
    Scope,
    alert_id,
)
from streams.core.stories import FeedbackFact, OrderFact
from streams.core.verdicts import QUIET, Past, history, judge
from tests.fold import add
from tests.unit.test_guarantee import FEEDBACK, ORDERS

MONDAY = 19_002
RULES = {rule.name: rule for rule in DEFAULT_RULES}
REST = {
    "day": MONDAY, "last_event_time": 0, "cs_week_responses": 0, "cs_week_conversations": 0, "cs_week_solved": 0,
    "cs_shown_week": -1, "cs_shown_conversations": 0, "cs_shown_solved": 0,
    "points_problem_free": 100, "points_negative": -500, "cs_red_below": 6.0, "cs_yellow_below": 8.0,
}  # fmt: skip


def rows_of(columns: Mapping[str, Any], *marketplaces: str) -> DailyRows:
    """A row for each of these marketplaces."""
    return DailyRows([("S", marketplace) for marketplace in marketplaces], [1] * len(marketplaces), dict(columns))


def columns_of(*rows: Mapping[str, float]) -> dict[str, Array]:
    """Rows by the catalogue, of the counters that each row gives; the others are 0."""
    names = [counter.name for counter in COUNTERS]
    return snapshot({name: np.array([row.get(name, REST.get(name, 0)) for row in rows]) for name in [*names, *REST]})


def severity(rule: str, **counters: float) -> str | None:
    verdicts = judge([RULES[rule]], rows_of(columns_of(counters), "M"))[rule]
    found = int(verdicts.severity[0])
    assert bool(verdicts.breach[0]) == (found != QUIET)
    return None if found == QUIET else SEVERITIES[found]


def score(solved: int, of: int, *, week: int = MONDAY) -> dict[str, float]:
    return {"cs_shown_week": week, "cs_shown_conversations": of, "cs_shown_solved": solved}


# --- the default rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule, counters, expected",
    [
        ("negative_rate", {"negative_90d": 2, "positive_90d": 18}, "warning"),
        ("negative_rate", {"negative_90d": 1, "positive_90d": 18, "neutral_90d": 1}, None),  # exactly 5%
        ("negative_rate", {"negative_90d": 1, "positive_90d": 18}, None),  # above, but 19 ratings
        ("negative_rate", {"positive_90d": 20}, None),
        ("positive_rate", {"neutral_90d": 2, "positive_90d": 37}, "warning"),
        ("positive_rate", {"neutral_90d": 1, "positive_90d": 19}, None),  # exactly 95%
        ("positive_rate", {"neutral_90d": 10, "positive_90d": 9}, None),
        ("positive_rate", {"positive_90d": 20}, None),
        ("average_stars", {"stars_90d": 89, "positive_90d": 20}, "warning"),
        ("average_stars", {"stars_90d": 90, "positive_90d": 20}, None),  # exactly 4.5
        ("average_stars", {"stars_90d": 19, "negative_90d": 19}, None),
        ("average_stars", {"stars_90d": 100, "positive_90d": 20}, None),
        ("order_defect_rate", {"odr_orders_60d": 200, "odr_defects_60d": 2}, "critical"),  # exactly 1%
        ("order_defect_rate", {"odr_orders_60d": 201, "odr_defects_60d": 2}, None),
        ("order_defect_rate", {"odr_orders_60d": 29, "odr_defects_60d": 5}, None),
        ("order_defect_rate", {"odr_orders_60d": 30, "odr_defects_60d": 1}, None),
        ("order_defect_rate", {"odr_orders_seller_60d": 30, "odr_defects_seller_60d": 2,
                               "odr_orders_60d": 3000, "odr_defects_60d": 2}, "critical"),  # the seller's alone
        ("order_defect_rate", {"odr_orders_seller_60d": 29, "odr_defects_seller_60d": 29,
                               "odr_orders_60d": 3000, "odr_defects_60d": 29}, None),
        ("order_defect_rate", {"odr_orders_60d": 1000}, None),
        ("order_defect_rate_near", {"odr_orders_60d": 200, "odr_defects_60d": 1}, "warning"),  # exactly 0.5%
        ("order_defect_rate_near", {"odr_orders_60d": 201, "odr_defects_60d": 1}, None),
        ("order_defect_rate_near", {"odr_orders_60d": 199, "odr_defects_60d": 199}, None),
        ("order_defect_rate_near", {"odr_orders_seller_60d": 200, "odr_defects_seller_60d": 1}, "warning"),
        ("order_defect_rate_near", {"odr_orders_60d": 1000}, None),
        ("cs_score", score(79, 100), "info"),
        ("cs_score", score(80, 100), None),  # exactly 8.0
        ("cs_score", score(159, 200), None),  # 7.95 is shown as 8.0
        ("cs_score", score(59, 100), "warning"),
        ("cs_score", score(60, 100), "info"),  # exactly 6.0
        ("cs_score", score(59, 100, week=MONDAY - 7), None),  # an old week on show
        ("cs_score", {}, None),
        ("cs_running_score", {"cs_running_conversations": 10, "cs_running_solved": 5}, "warning"),
        ("cs_running_score", {"cs_running_conversations": 10, "cs_running_solved": 6}, None),
        ("cs_running_score", {"cs_running_conversations": 9, "cs_running_solved": 0}, None),
        ("cs_running_score", {"cs_running_conversations": 10, "cs_running_solved": 10}, None),
        ("buy_box_points", {"received_orders_90d": 100, "problem_free_orders_90d": 93}, "warning"),
        ("buy_box_points", {"received_orders_90d": 100, "problem_free_orders_90d": 99, "negative_90d": 1}, None),  # 94
        ("buy_box_points", {"received_orders_90d": 49}, None),
        ("buy_box_points", {"received_orders_90d": 50, "problem_free_orders_90d": 50}, None),
        ("buy_box_points_negative", {"received_orders_90d": 20, "problem_free_orders_90d": 4, "negative_90d": 1},
         "critical"),
        ("buy_box_points_negative", {"received_orders_90d": 20, "problem_free_orders_90d": 5, "negative_90d": 1}, None),
        ("buy_box_points_negative", {"received_orders_90d": 19, "negative_90d": 1}, None),
        ("buy_box_points_negative", {"received_orders_90d": 20, "problem_free_orders_90d": 20}, None),
        ("feedback_coverage", {"orders_90d": 501, "positive_90d": 5}, "info"),
        ("feedback_coverage", {"orders_90d": 500, "positive_90d": 5}, None),  # exactly 1 in a hundred
        ("feedback_coverage", {"orders_90d": 499}, None),
        ("feedback_coverage", {"orders_90d": 500, "positive_90d": 50}, None),
    ],
)  # fmt: skip
def test_default_rule_fires_as_the_table_says(rule: str, counters: dict[str, float], expected: str | None) -> None:
    assert severity(rule, **counters) == expected


def test_the_table_has_every_default_rule() -> None:
    assert list(RULES) == [
        "negative_rate", "positive_rate", "average_stars", "order_defect_rate", "order_defect_rate_near", "cs_score",
        "cs_running_score", "buy_box_points", "buy_box_points_negative", "feedback_coverage",
    ]  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(20, 10_000_000).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_thresholds_are_exact_whatever_the_fraction(drawn: tuple[int, int]) -> None:
    part, whole = drawn
    rest = whole - part
    assert (severity("negative_rate", negative_90d=part, positive_90d=rest) is not None) == (20 * part > whole)
    assert (severity("positive_rate", neutral_90d=rest, positive_90d=part) is not None) == (20 * part < 19 * whole)
    defects = severity("order_defect_rate", odr_orders_60d=whole, odr_defects_60d=part)
    assert (defects is not None) == (100 * part >= whole and part >= 2 and whole >= 30)


# --- judgement -----------------------------------------------------------------------------------------------


def rule_on(metric: str, comparison: Comparison, *levels: Level, name: str = "mine", **more: Any) -> Rule:
    return Rule(name, (Condition(metric),), comparison, levels, **more)


def test_negative_rate_silences_the_next_two_in_its_own_row() -> None:
    bad = {"negative_90d": 10, "positive_90d": 10, "stars_90d": 60}
    lukewarm = {"neutral_90d": 20, "stars_90d": 60}
    verdicts = judge(DEFAULT_RULES, rows_of(columns_of(bad, lukewarm), "M", "M"))
    assert verdicts["negative_rate"].breach.tolist() == [True, False]
    assert verdicts["positive_rate"].breach.tolist() == [False, True]
    assert verdicts["average_stars"].breach.tolist() == [False, True]


def test_a_silenced_rule_still_silences() -> None:
    warning = Level(0, "warning")
    rules = [
        rule_on("negative_90d", ">", warning, name="a", silences=("b",)),
        rule_on("negative_90d", ">", warning, name="b", silences=("c", "unknown")),
        rule_on("negative_90d", ">", warning, name="c"),
    ]
    verdicts = judge(rules, rows_of({"negative_90d": np.array([1])}, "M"))
    assert [name for name, verdict in verdicts.items() if verdict.breach[0]] == ["a"]


def test_null_is_never_a_breach() -> None:
    columns = {name: np.array([np.nan]) for name in NUMERIC}
    for comparison in ("<", "<=", ">", ">="):
        for metric in NUMERIC:
            rule = rule_on(metric, comparison, Level(0, "info"))
            assert not judge([rule], rows_of(columns, "M"))["mine"].breach[0]


def test_marketplaces_have_thresholds_of_their_own() -> None:
    rule = rule_on(
        "cs_score", "<", Level(8, "info"), Level(6, "warning"), marketplaces={"DE": (7.0, 5.0), "FR": (9.0, 8.5)}
    )
    verdicts = judge([rule], rows_of({"cs_score": np.array([7.5, 7.5, 4.0, 7.5])}, "UK", "DE", "DE", "FR"))["mine"]
    assert verdicts.severity.tolist() == [0, QUIET, 1, 1]
    assert verdicts.threshold.tolist() == [8.0, 7.0, 5.0, 8.5]


def test_of_several_conditions_the_worst_is_told() -> None:
    conditions = (Condition("cs_score"), Condition("cs_running_score"))
    rule = Rule("mine", conditions, "<", (Level(8, "info"), Level(6, "warning")))
    columns = {
        "cs_score": np.array([7.0, 7.0, 9.0, np.nan, np.nan]),
        "cs_running_score": np.array([6.5, 5.0, 9.5, 5.0, 9.0]),
    }
    verdicts = judge([rule], rows_of(columns, *"MMMMM"))["mine"]
    assert verdicts.severity.tolist() == [0, 1, QUIET, 1, QUIET]
    assert verdicts.value.tolist() == [7.0, 5.0, 9.0, 5.0, 9.0]
    assert verdicts.threshold.tolist() == [8.0, 6.0, 8.0, 6.0, 8.0]


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (Level(6, "warning"), Level(8, "info")),
        (Level(6, "info"), Level(8, "warning")),
        (Level(8, "info"), Level(6, "info")),
    ],
)
def test_levels_go_from_mild_to_severe(levels: tuple[Level, ...]) -> None:
    with pytest.raises(ValueError, match="needs"):
        rule_on("cs_score", "<", *levels)


def test_no_rows_have_no_verdicts() -> None:
    columns = {name: np.array([]) for name in NUMERIC}
    verdicts = judge(DEFAULT_RULES, rows_of(columns))
    assert all(len(verdict.breach) == 0 for verdict in verdicts.values())
    assert history(verdicts["cs_score"], []) == []


# --- what has to hold, and what is kept until it clears ------------------------------------------------------


def on_days(rule: Rule, *values: float, sample: Sequence[int] = (), past: Past | None = None) -> str:
    """Day by day what the rule says of one account: `.` quiet, small pending, large firing, by severity."""
    columns = {"cs_score": np.array(values), "orders_90d": np.array(sample or [9] * len(values))}
    rows = DailyRows([("S", "M")], [len(values)], columns)
    found = judge([rule], rows, {"mine": past} if past else None)["mine"]
    letters = [".iwc"[rank + 1] for rank in found.severity.tolist()]
    return "".join(letter.upper() if fires else letter for letter, fires in zip(letters, found.fires, strict=True))


def held(days: int, fired: int = QUIET) -> Past:
    return Past(np.array([fired], dtype=np.int8), np.array([days]))


def score_rule(*levels: Level, for_days: int = 0, minimum: int = 0) -> Rule:
    return Rule("mine", (Condition("cs_score", {"orders_90d": minimum}),), "<", levels, for_days=for_days)


@pytest.mark.parametrize(
    "rule, values, expected",
    [
        (score_rule(Level(6, "info")), (7, 5, 6, 5), ".I.I"),
        (score_rule(Level(6, "info"), for_days=2), (5, 5, 5, 5, 6, 5, 5, 7), "iiII.ii."),
        (score_rule(Level(6, "info"), for_days=1), (7, 5, 6, 5, 5), ".i.iI"),
        (score_rule(Level(6, "info", 7)), (6.5, 5, 6, 6.9, 7, 6.5, 5), ".III..I"),
        # What is pending has to stay beyond the threshold, what fires only on the wrong side of clear.
        (score_rule(Level(6, "info", 7), for_days=1), (5, 6.5, 5, 5, 6.5, 7), "i.iII."),
        (score_rule(Level(8, "info"), Level(6, "warning")), (7, 5, 7, 8), "IWI."),
        (score_rule(Level(8, "info", 8.5), Level(6, "warning", 7)), (8.2, 7.5, 5, 6.5, 7, 8.2, 8.5), ".IWWII."),
        (score_rule(Level(8, "info", 8.5), Level(6, "warning")), (5, 6.5, 8.2, 5, 9), "WIIW."),
        (score_rule(Level(8, "info"), Level(6, "warning"), for_days=1), (7, 5, 7, 9, 5, 5), "iWI.wW"),
        (score_rule(Level(6, "info", 7)), (5, np.nan, 6.5, 5, 6.5), "I..II"),
    ],
)  # fmt: skip
def test_a_breach_holds_then_fires_and_ends_when_it_clears(rule: Rule, values: Sequence[float], expected: str) -> None:
    assert on_days(rule, *values) == expected


def test_too_small_a_sample_keeps_no_alert() -> None:
    rule = score_rule(Level(6, "info", 7), minimum=5)
    assert on_days(rule, 5, 6.5, 6.5, 6.5, sample=[5, 5, 4, 5]) == "II.."


def test_what_went_before_goes_on() -> None:
    rule = score_rule(Level(8, "info", 8.5), Level(6, "warning", 7), for_days=3)
    assert on_days(rule, 5, 5, past=held(2)) == "wW"
    assert on_days(rule, 9, 5, 5, 5, 5, past=held(2)) == ".wwwW"
    assert on_days(rule, 8.2, 6.5, 5, 6.5, past=held(0, fired=0)) == "IIWW"
    assert on_days(rule, 6.5, 8.2, 8.5, 8.2, past=held(0, fired=1)) == "WI.."


def test_a_rule_is_about_the_accounts_of_its_scope() -> None:
    rule = rule_on("cs_score", "<", Level(6, "info"), scope=Scope(("a*", "b"), ("M?",)))
    accounts = [("abc", "M1"), ("b", "M1"), ("bc", "M1"), ("a", "M")]
    rows = DailyRows(accounts, [1, 2, 1, 1], {"cs_score": np.full(5, 5)})
    assert judge([rule], rows)["mine"].breach.tolist() == [True, True, True, False, False]


def test_a_rule_silences_as_long_as_its_alert_fires() -> None:
    rules = [
        rule_on("negative_90d", ">", Level(5, "info", 2), name="mine", silences=("other",)),
        rule_on("negative_90d", ">", Level(1, "info"), name="other"),
    ]
    rows = DailyRows([("S", "M")], [6], {"negative_90d": np.array([3, 6, 4, 2, 3, 0])})
    verdicts = judge(list(reversed(rules)), rows)
    assert verdicts["mine"].breach.tolist() == [False, True, True, False, False, False]
    assert verdicts["other"].breach.tolist() == [True, False, False, True, True, False]


# --- the alerts that were ------------------------------------------------------------------------------------


def naive_history(
    accounts: list[list[tuple[int, int]]], ranks: Sequence[int], for_days: int
) -> list[tuple[int, int, list[int], int, int | None]]:
    """Day by day, of (severity reached, severity kept): account, first row, rows where it fires anew, last, resolved.

    A pending one that is still open has no row where it fires.
    """
    found: list[tuple[int, int, list[int], int, int | None]] = []
    row = 0
    for account, days in enumerate(accounts):
        state, severity, since, fired, last = "quiet", QUIET, 0, list[int](), 0
        for reached, kept in days:
            before = severity
            if state == "firing":
                severity = max(reached, min(severity, max((rank for rank in ranks if rank <= kept), default=QUIET)))
            else:
                severity = reached
            if severity == QUIET:
                if state == "firing":
                    found.append((account, since, fired, last, row))
                state, fired = "quiet", []
            else:
                if state == "quiet":
                    state, since = "pending", row
                if state == "pending" and row - since >= for_days:
                    state, before = "firing", QUIET
                if state == "firing" and severity != before:
                    fired.append(row)
                last = row
            row += 1
        if state != "quiet":
            found.append((account, since, fired, last, None))
    return found


LEVELS = (Level(8, "info", 9), Level(6, "warning", 7), Level(4, "critical"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(3, 10), min_size=1, max_size=12), max_size=6),
    st.integers(0, 3),
    st.sampled_from([LEVELS, LEVELS[:1], tuple(level._replace(clear=None) for level in LEVELS)]),
)
def test_history_is_what_a_day_by_day_reading_finds(
    accounts: list[list[int]], for_days: int, levels: tuple[Level, ...]
) -> None:
    rule = score_rule(*levels, for_days=for_days)
    sizes = [len(days) for days in accounts]
    values = np.array([value for days in accounts for value in days], dtype=np.float64)
    rows = DailyRows([(f"{i}", "M") for i in range(len(sizes))], sizes, {"cs_score": values, "orders_90d": values})
    found = [
        (one.account, one.since, one.firing, one.last, one.resolved)
        for one in history(judge([rule], rows)["mine"], sizes)
    ]

    def ranked(value: int) -> tuple[int, int]:
        reached = max((n for n, level in enumerate(levels) if value < level.threshold), default=QUIET)
        kept = max((n for n, level in enumerate(levels) if value < (level.clear or level.threshold)), default=QUIET)
        return reached, kept

    expected = naive_history([[ranked(value) for value in days] for days in accounts], rule.ranks, for_days)
    assert found == expected


def test_alert_ids_are_stable_and_tell_apart() -> None:
    assert alert_id("negative_rate", "S1", "M", "negative_rate_90d", 19_000) == "2d8ebe532672dc22"
    assert alert_id("r", "a|b", "c", "m", 1) != alert_id("r", "a", "b|c", "m", 1)
    assert alert_id("r", "a", "b", "m", 1) != alert_id("r", "a", "b", "m", 2)


# --- the orders behind ---------------------------------------------------------------------------------------

DAY = 19_000  # a Saturday


def event(topic: str, subject: str, day: float, **fields: Any) -> dict[str, Any]:
    common = {
        "topic": topic, "event_id": f"{topic}-{subject}-{day}-{fields.get('kind')}", "seller_id": "S",
        "marketplace_id": "M", "event_time": int(day * MS_A_DAY), "source": "test",
    }  # fmt: skip
    rest: dict[str, dict[str, Any]] = {
        "orders": {"order_id": subject, "fulfilment": None, "deliver_by": None, "skus": []},
        "feedback": {"order_id": subject, "date_only": False}
        | dict.fromkeys(
            ("rating", "comment", "agent", "amount", "currency", "root_cause", "arrived_on_time", "item_as_described",
             "customer_service")
        ),
        "surveys": {"conversation_id": subject, "message_id": "m", "buyer_initiated": True, "order_id": None}
        | dict.fromkeys(("agent", "comment")),
    }  # fmt: skip
    return common | rest[topic] | fields


def account_of(*events: dict[str, Any], terms: Terms | None = None) -> Account:
    accounts: dict[AccountId, Account] = {}
    for one in events:
        add(accounts, one, terms or Terms())
    return accounts["S", "M"]


def rating(order: str, day: float, stars: int, **fields: Any) -> dict[str, Any]:
    return event("feedback", order, day, kind="SUBMITTED", rating=stars, **fields)


def test_orders_behind_ratings_are_newest_first_and_only_while_they_stand() -> None:
    account = account_of(
        rating("one", DAY, 1), rating("two", DAY + 3, 2), rating("three", DAY + 1, 3), rating("five", DAY, 5),
        event("feedback", "two", DAY + 5, kind="REMOVED"),
    )  # fmt: skip
    negative, average = RULES["negative_rate"], RULES["average_stars"]
    assert orders_behind(account, negative, DAY + 4) == ["two", "one"]
    assert orders_behind(account, negative, DAY + 5) == ["one"]
    assert orders_behind(account, average, DAY + 4) == ["two", "three", "one"]
    assert orders_behind(account, average, DAY + 89) == ["three", "one"]
    assert orders_behind(account, average, DAY + 90) == ["three"]
    assert orders_behind(account, rule_on("negative_rate_30d", ">", Level(0, "info")), DAY + 30) == []


def test_orders_behind_defects_are_dated_by_the_order_and_the_lag() -> None:
    account = account_of(
        event("orders", "claimed", DAY, kind="PLACED"), event("orders", "claimed", DAY + 9, kind="CLAIM_OPENED"),
        event("orders", "theirs", DAY, kind="PLACED", fulfilment="MARKETPLACE"),
        event("orders", "theirs", DAY + 1, kind="CHARGEBACK"),
        event("orders", "good", DAY, kind="PLACED"),
        terms=Terms(odr_lag_days=10),
    )  # fmt: skip
    rule = RULES["order_defect_rate"]
    assert orders_behind(account, rule, DAY + 9) == []
    assert orders_behind(account, rule, DAY + 10) == ["claimed", "theirs"]
    assert orders_behind(account, rule, DAY + 70) == []
    mine = rule_on("odr_defects_seller_60d", ">", Level(0, "info"))
    assert orders_behind(account, mine, DAY + 10) == ["claimed"]
    assert orders_behind(account, rule_on("odr_chargebacks_60d", ">", Level(0, "info")), DAY + 10) == ["theirs"]


def test_orders_behind_points_are_received_and_not_problem_free() -> None:
    account = account_of(
        event("orders", "fine", DAY, kind="DELIVERED"),
        event("orders", "late", DAY + 2, kind="DELIVERED", deliver_by=DAY * MS_A_DAY),
        event("orders", "back", DAY + 1, kind="DELIVERED"), event("orders", "back", DAY + 4, kind="RETURNED"),
        rating("disliked", DAY + 3, 1),
    )  # fmt: skip
    rule = RULES["buy_box_points"]
    assert orders_behind(account, rule, DAY + 3) == ["disliked", "late"]
    assert orders_behind(account, rule, DAY + 4) == ["disliked", "late", "back"]


def test_orders_behind_the_survey_score_are_those_of_unsolved_conversations() -> None:
    account = account_of(
        event("surveys", "c1", DAY, solved=False, order_id="asked"),
        event("surveys", "c2", DAY, solved=False),  # names no order
        event("surveys", "c3", DAY, solved=False, order_id="helped"),
        event("surveys", "c3", DAY + 1, solved=True),
        event("surveys", "c4", DAY + 1, solved=False, order_id="first"),
        event("surveys", "c4", DAY + 3, solved=False, order_id="then"),
    )
    evidence = Evidence(account)
    running, weekly = RULES["cs_running_score"], RULES["cs_score"]
    assert evidence.orders_behind(running, DAY) == ["asked", "helped"]
    assert evidence.orders_behind(running, DAY + 2) == ["first", "asked"]
    assert evidence.orders_behind(running, DAY + 3) == ["then", "asked"]
    assert evidence.orders_behind(weekly, DAY + 1) == []  # the Monday before all of it
    assert evidence.orders_behind(weekly, DAY + 8) == ["first", "asked"]  # Monday, DAY + 2, saw up to the day before
    assert evidence.orders_behind(running, DAY + 28) == ["then"]


def test_unanswered_questions_have_orders_behind_them() -> None:
    account = account_of(rating("yes", DAY, 5, arrived_on_time=True), rating("no", DAY, 4, arrived_on_time=False))
    assert orders_behind(account, rule_on("arrived_on_time_rate_90d", "<", Level(1, "info")), DAY) == ["no"]


def test_coverage_has_no_orders_behind() -> None:
    assert orders_behind(account_of(rating("one", DAY, 1)), RULES["feedback_coverage"], DAY) == []


def naive_orders_behind(account: Account, metric: str, day: int) -> set[str]:
    """By every span of every story, one after the other."""
    found = set()
    for behind in BEHIND[metric]:
        counter = COUNTERS[COUNTER_INDEX[behind.counter]]
        first = day - counter.days(account.terms) + 1
        for order in {*account.stories[OrderFact], *account.stories[FeedbackFact]}:
            holding = [span for span in account.says(False, order) if span.start <= day < span.end]
            dated = [span.dated for span in holding if span.fact == counter.fact]
            excepted = any(span.fact == behind.but_not for span in holding)
            if dated and first <= dated[0] <= day and not excepted:
                found.add(order)
    return found


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(ORDERS | FEEDBACK, min_size=1, max_size=12), st.integers(DAY, DAY + 200))
def test_orders_behind_are_what_every_story_says(events: list[dict[str, Any]], day: int) -> None:
    accounts: dict[AccountId, Account] = {}
    for one in events:
        add(accounts, one, Terms())
    for account in accounts.values():
        evidence = Evidence(account)
        for metric in BEHIND:
            if not metric.startswith("cs_"):
                rule = rule_on(metric, ">", Level(0, "info"))
                assert set(evidence.orders_behind(rule, day)) == naive_orders_behind(account, metric, day)


def test_what_is_behind_metrics_is_in_the_catalogue() -> None:
    assert BEHIND.keys() <= set(NUMERIC)
    assert {behind.counter for each in BEHIND.values() for behind in each} <= COUNTER_INDEX.keys()
