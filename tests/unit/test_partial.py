"""A source declared partial: how it is declared, which rules it silences, and who says why a number is null."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.rows import DailyRows
from streams.commands.explaining import show
from streams.commands.forecasting import as_tables
from streams.core.account import snapshot_columns
from streams.core.explain import explain, partly
from streams.core.metrics import METRIC_BY_NAME, METRICS, Terms, snapshot
from streams.core.parts import reach
from streams.core.rules import DEFAULT_RULES
from streams.core.verdicts import history, judge
from streams.inforce import definitions
from streams.reading.account import Opened
from streams.reading.answers import of_all, of_change, of_value, wanted_since
from streams.reading.forecast import forecast, lines_of
from streams.settings import Settings, load_settings
from tests.memory import MemoryStore
from tests.unit.test_outlook import DAY, KEY, event, fed

PARTIAL = Terms(partial_sources=frozenset({"report"}))
WORDS = "ratings from report are partial, the first is of 2022-01-30"  # day 19 022
SHARES = ("negative_rate", "positive_rate", "average_stars")


def history_of(terms: Terms) -> Any:
    """30 orders a day apart, a third rated badly; on day 22 one of the ratings is from the report."""
    events = []
    for n in range(30):
        events.append(event("orders", f"o{n}", DAY + n, kind="PLACED"))
        source = "report" if n == 22 else "test"
        events.append(
            event("feedback", f"o{n}", DAY + n, kind="SUBMITTED", rating=5 if n % 3 else 1, source=source, agent=None)
        )
    return fed(events, DAY + 29, terms)


# --- declared ------------------------------------------------------------------------------------------------


def test_a_source_is_declared_in_the_file_or_the_environment_and_keeps_its_case(tmp_path: Path) -> None:
    file = tmp_path / "sellerpulse.toml"
    file.write_text(
        '[sources."Report DE"]\npartial = true\n[sources.other]\n[metrics.marketplaces.M]\nodr_lag_days = 3'
    )
    settings = load_settings(file, environ={"SELLERPULSE_SOURCES__Seller__PARTIAL": "true"})
    assert settings.terms_of("M") == Terms(odr_lag_days=3, partial_sources=frozenset({"Report DE", "Seller"}))
    assert settings.terms_of("N") == Terms(partial_sources=frozenset({"Report DE", "Seller"}))
    assert Settings().terms_of("M") == Terms()


def test_rows_follow_when_a_declaration_changes_and_not_for_one_that_says_nothing() -> None:
    def formula(**sources: bool) -> int:
        told = {name: {"partial": partial} for name, partial in sources.items()}
        return Settings.model_validate({"sources": told}).standard(judged=False).formula

    assert formula() == formula(a=False)
    assert len({formula(), formula(a=True), formula(b=True), formula(a=True, b=True)}) == 4
    assert formula(a=True, b=True) == formula(b=True, a=True)


def test_the_definitions_in_force_name_the_sources() -> None:
    settings = Settings.model_validate({"sources": {"a": {"partial": True}, "b": {"partial": True}, "c": {}}})
    told = {found.name: found.formula for found in definitions(settings)}
    assert told["feedback_per_100_orders_90d"].endswith(" / orders_90d; null once a rating is from a or b")
    assert {name for name, formula in told.items() if "null once" in formula} == {
        metric.name for metric in METRICS if metric.needs_all_ratings
    }
    assert not [found for found in definitions(Settings()) if "null once" in found.formula]


# --- silent --------------------------------------------------------------------------------------------------


def test_rules_about_shares_fall_silent_and_what_fires_resolves_on_the_day_of_the_first_rating() -> None:
    for terms, resolved in ((Terms(), None), (PARTIAL, 22)):
        account = history_of(terms)
        rows = account.rows(account.first_day)
        assert rows is not None
        columns = snapshot(snapshot_columns([rows], lambda _: PARTIAL))
        found = judge(DEFAULT_RULES, DailyRows([KEY], [30], columns))
        (episode,) = history(found["negative_rate"], [30])
        assert (episode.firing, episode.resolved) == ([19], resolved)  # from 20 ratings on
        assert not found["positive_rate"].breach.any()  # silenced, then null: it does not take over
        assert not found["average_stars"].breach.any()
        assert np.isnan(columns["negative_rate_90d"][22:]).all() == (resolved == 22)
        assert found["order_defect_rate"].breach[-1]  # needs bad ratings alone


# --- told ----------------------------------------------------------------------------------------------------


def opened_of(terms: Terms) -> Opened:
    return Opened(history_of(terms), DAY + 29, MemoryStore())  # type: ignore[arg-type]  # reads rows alone


def test_explain_says_which_source_and_since_when(capsys: pytest.CaptureFixture[str]) -> None:
    opened = opened_of(PARTIAL)
    answer = of_value(opened, "negative_rate_90d", DAY + 29)
    assert (answer["value"], answer["note"]) == (None, f"null: {WORDS}")
    assert (answer["working"], answer["totals"]) == ("10 / (20 + 0 + 10)", {"numerator": 10, "denominator": 30})
    show(answer, "table", False)
    assert f"  null: {WORDS}\n" in capsys.readouterr().out
    assert of_value(opened, "negative_rate_90d", DAY + 21)["note"] is None
    assert of_value(opened, "negative_90d", DAY + 29)["note"] is None
    assert of_value(opened_of(Terms()), "negative_rate_90d", DAY + 29)["note"] is None
    show(of_change(opened, "negative_rate_90d", DAY + 21, DAY + 29), "table", False)
    assert f"  null: {WORDS}\n" in capsys.readouterr().out
    metrics = of_all(opened, ["cs_score", "average_stars_30d"], DAY + 29)["metrics"]
    notes = {each["metric"]: each["note"] for each in metrics}
    assert notes == {"cs_score": None, "average_stars_30d": f"null: {WORDS}"}


def test_explain_tells_the_ratings_of_partial_sources() -> None:
    account = history_of(PARTIAL)
    (told,) = explain(account, "partial_ratings", DAY + 29).contributions
    assert (told.subject, told.brings, [found.event_id for found in told.events]) == (
        "o22", {"value": 1}, [f"SUBMITTED{DAY + 22}"],
    )  # fmt: skip
    assert partly(account, DAY + 21) is None
    assert partly(history_of(Terms()), DAY + 29) is None


def test_all_orders_matter_to_what_the_first_rating_of_a_partial_source_makes_null() -> None:
    share = METRIC_BY_NAME["negative_rate_90d"]
    assert reach([share], Terms()) == 90 + 14
    assert reach([share], PARTIAL) is None
    assert reach([METRIC_BY_NAME["negative_90d"]], PARTIAL) == 90 + 14
    assert wanted_since(["partial_ratings"], Terms(), DAY) is None


def test_outlook_tells_no_breach_and_no_remedy_by_shares_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    for terms, told_of in ((Terms(), {"negative_rate", "positive_rate", "average_stars"}), (PARTIAL, set())):
        told = forecast(history_of(terms), DEFAULT_RULES, DAY + 29, open_cases=[], days=5, by=DAY + 36, without=None)
        assert {remedy.rule for remedy in told.remedies} & set(SHARES) == told_of
        assert bool({breach.rule for breach in told.breaches} & set(SHARES)) == bool(told_of)
        (kind, account), *_ = lines_of(told, None)
        assert (kind, account["partial_sources"]) == ("account", ["report"] if terms == PARTIAL else [])
        as_tables(told, None)
        assert (f"Shares, averages and coverage are null: {WORDS}." in capsys.readouterr().out) == (terms == PARTIAL)
