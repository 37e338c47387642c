"""Alerts: as they happen, as a replay rewrites them, and what people are told of one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows
from sink.embedded import open_embedded
from sink.schema import migrate
from sink.store import Store
from streams.alerts import AlertBook, as_json, change_of, that_were
from streams.core.account import Account, snapshot_columns
from streams.core.evidence import Evidence
from streams.core.metrics import Array, Terms, snapshot
from streams.core.rules import Condition, Level, Rule, Scope, alert_id
from streams.rewrite import rewrite
from tests.contract.test_store import put
from tests.fold import add

DAY = 19_000
NEGATIVE = Rule("unhappy", (Condition("negative_30d"),), ">", (Level(0, "info"), Level(1, "critical")))
SCARCE = Rule("scarce", (Condition("positive_30d"),), "<", (Level(1, "warning"),), marketplaces={"DE": (2,)})
RULES = (NEGATIVE, SCARCE)


def rating(order: str, day: float, stars: int, seller: str = "S", marketplace: str = "M") -> dict[str, Any]:
    return {
        "topic": "feedback", "event_id": f"{order}-{day}", "seller_id": seller, "marketplace_id": marketplace,
        "event_time": int(day * MS_A_DAY), "source": "test", "order_id": order, "rating": stars,
        "kind": "SUBMITTED" if stars else "REMOVED", "date_only": False,
    } | dict.fromkeys(
        ("comment", "agent", "amount", "currency", "root_cause", "arrived_on_time", "item_as_described",
         "customer_service")
    )  # fmt: skip


def removed(order: str, day: float, **more: str) -> dict[str, Any]:
    return rating(order, day, 0, **more) | {"rating": None}


def accounts_of(*events: Mapping[str, Any]) -> dict[AccountId, Account]:
    accounts: dict[AccountId, Account] = {}
    for event in events:
        add(accounts, event, Terms())
    return accounts


def rows_of(accounts: Sequence[Account], as_of: int) -> tuple[dict[str, Array], list[int]]:
    """All rows of some accounts, and how many each has."""
    for account in accounts:
        account.restate(as_of)
    blocks = [block for account in accounts if (block := account.rows(account.first_day)) is not None]
    columns = snapshot_columns(blocks, lambda _: Terms())
    return snapshot(columns) | {"day": columns["day"]}, [len(block.last_event_time) for block in blocks]


def newest(account: Account, as_of: int) -> dict[str, Array]:
    return {name: values[-1:] for name, values in rows_of([account], as_of)[0].items()}


# --- as they happen ------------------------------------------------------------------------------------------


def changes_of(book: AlertBook, day: int, version: int, row: dict[str, Array], account: Account) -> list[AlertRow]:
    news = book.news(day, DailyRows([account.id], [1], row))
    return book.changes(day, {account.id: version}, news, {account.id: Evidence(account)})


class Live:
    """A worker's side of one account: events in, changes out."""

    def __init__(self, *rules: Rule, known: Sequence[AlertRow] = ()) -> None:
        self.account = Account(("S", "M"), Terms())
        self.book = AlertBook(rules)
        self.book.learn([("S", "M")], known)

    def changes(self, day: int, *events: Mapping[str, Any], epoch: int = 1) -> list[AlertRow]:
        for event in events:
            add({self.account.id: self.account}, event, Terms())
        version = epoch << 40 | self.account.count
        return changes_of(self.book, day, version, newest(self.account, day), self.account)


def test_an_alert_fires_escalates_and_is_resolved_each_once() -> None:
    live = Live(NEGATIVE)
    assert live.changes(DAY, rating("good", DAY, 5)) == []
    (fired,) = live.changes(DAY, rating("o1", DAY + 0.5, 1))
    assert fired == AlertRow(
        alert_id("unhappy", "S", "M", "negative_30d", DAY), "unhappy", "S", "M", "negative_30d", "firing", "info",
        1.0, 0.0, DAY * MS_A_DAY, None, ["o1"], 1, fired.version,
    )  # fmt: skip
    assert live.changes(DAY, rating("good2", DAY, 5)) == []
    assert live.changes(DAY + 1) == []
    (worse,) = live.changes(DAY + 2, rating("o2", DAY + 2, 2))
    assert worse == fired._replace(
        severity="critical", value=2.0, threshold=1.0, order_ids=["o2", "o1"], order_count=2, version=worse.version
    )
    (better,) = live.changes(DAY + 30)
    assert (better.severity, better.value, better.order_ids, better.state) == ("info", 1.0, ["o2"], "firing")
    (over,) = live.changes(DAY + 32)
    assert over == better._replace(state="resolved", value=0.0, resolved_at=(DAY + 32) * MS_A_DAY, version=over.version)
    assert live.changes(DAY + 33) == []
    assert fired.version < worse.version < better.version < over.version


def test_an_alert_that_comes_and_goes_within_a_day_ends_as_it_was_last() -> None:
    live = Live(NEGATIVE)
    (fired,) = live.changes(DAY, rating("o1", DAY, 1))
    (over,) = live.changes(DAY, removed("o1", DAY + 0.1))
    (again,) = live.changes(DAY, rating("o2", DAY + 0.2, 1))
    assert fired.alert_id == over.alert_id == again.alert_id
    assert (fired.state, over.state, again.state) == ("firing", "resolved", "firing")
    assert again.resolved_at is None
    assert fired.version < over.version < again.version


def test_an_alert_of_another_day_is_another_alert() -> None:
    live = Live(NEGATIVE)
    (first,) = live.changes(DAY, rating("o1", DAY, 1))
    live.changes(DAY + 30)
    (second,) = live.changes(DAY + 31, rating("o2", DAY + 31, 1))
    assert first.alert_id != second.alert_id
    assert second.since == (DAY + 31) * MS_A_DAY


def test_a_new_owner_knows_what_fires_and_outranks_the_old_one() -> None:
    old = Live(NEGATIVE)
    (fired,) = old.changes(DAY, rating("o1", DAY, 1))
    new = Live(NEGATIVE, known=[fired])
    assert new.changes(DAY, rating("o1", DAY, 1), epoch=2) == []
    (over,) = new.changes(DAY, removed("o1", DAY + 0.1), epoch=2)
    (asleep,) = old.changes(DAY + 40)
    assert over.state == asleep.state == "resolved"
    assert over.version > asleep.version


def test_a_breach_is_pending_until_it_has_held_and_nobody_is_told_of_it() -> None:
    patient = replace(NEGATIVE, for_days=2)
    live = Live(patient)
    (pending,) = live.changes(DAY, rating("o1", DAY, 1))
    assert (pending.state, pending.severity, pending.order_ids) == ("pending", "info", ["o1"])
    assert live.changes(DAY + 1) == []
    (fired,) = Live(patient, known=[pending]).changes(DAY + 2, rating("o1", DAY, 1))  # after a restart
    assert fired == pending._replace(state="firing", version=fired.version)
    assert live.changes(DAY + 2) == [fired]
    (over,) = live.changes(DAY + 30)
    assert (over.state, over.alert_id, over.resolved_at) == ("resolved", pending.alert_id, (DAY + 30) * MS_A_DAY)


def test_a_breach_that_ends_before_it_fires_was_no_alert() -> None:
    live = Live(replace(NEGATIVE, for_days=2))
    (pending,) = live.changes(DAY, rating("o1", DAY, 1))
    (gone,) = live.changes(DAY + 1, removed("o1", DAY + 1))
    assert gone == pending._replace(gone=1, version=gone.version)
    assert gone.version > pending.version
    (again,) = live.changes(DAY + 1, rating("o2", DAY + 1.5, 1))
    assert (again.state, again.since) == ("pending", (DAY + 1) * MS_A_DAY)


def test_a_severity_is_kept_until_it_clears() -> None:
    live = Live(replace(NEGATIVE, levels=(Level(1, "info", 0.5), Level(3, "critical", 2))))
    (fired,) = live.changes(DAY, *(rating(f"o{n}", DAY + n / 10, 1) for n in range(4)))
    assert (fired.severity, fired.threshold) == ("critical", 3)
    assert live.changes(DAY + 1, removed("o0", DAY + 1)) == []  # 3: not beyond the threshold, and not clear
    (better,) = live.changes(DAY + 2, removed("o1", DAY + 2))
    assert (better.severity, better.value, better.threshold) == ("info", 2, 1)
    assert live.changes(DAY + 3, removed("o2", DAY + 3)) == []
    (over,) = live.changes(DAY + 4, removed("o3", DAY + 4))
    assert (over.state, over.severity, over.value) == ("resolved", "info", 0)


def test_alerts_of_other_rules_are_left_alone_and_those_of_no_rule_resolved() -> None:
    (fired,) = Live(NEGATIVE).changes(DAY, rating("o1", DAY, 1))
    case = fired._replace(rule="case_overdue", alert_id="case")
    live = Live(SCARCE, known=[fired, case])
    over, scarce = sorted(live.changes(DAY, rating("o1", DAY, 1)), key=lambda alert: alert.state, reverse=True)
    assert (over.alert_id, over.state, over.value) == (fired.alert_id, "resolved", None)
    assert (scarce.rule, scarce.state) == ("scarce", "firing")
    assert live.changes(DAY + 1) == []


def test_accounts_have_to_be_learnt_and_can_be_forgotten() -> None:
    live = Live(NEGATIVE)
    assert live.book.unknown([("S", "M"), ("S2", "M")]) == [("S2", "M")]
    live.book.forget([("S", "M"), ("S2", "M")])
    assert live.book.unknown([("S", "M")]) == [("S", "M")]
    with pytest.raises(KeyError):
        live.changes(DAY, rating("o1", DAY, 1))


def test_at_most_a_hundred_orders_are_told_and_all_counted() -> None:
    live = Live(NEGATIVE)
    (fired,) = live.changes(DAY, *(rating(f"o{i:03}", DAY, 1) for i in range(130)))
    assert (len(fired.order_ids), fired.order_count) == (100, 130)


# --- as a replay rewrites them -------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    client = open_embedded(tmp_path / "db")
    migrate(client)
    store = Store(client)
    yield store
    store.close()


EVENTS = [
    rating("a1", DAY, 1, "A"), rating("a2", DAY + 5, 1, "A"), removed("a2", DAY + 8, seller="A"),
    rating("a3", DAY + 50, 2, "A"),
    rating("b1", DAY + 2, 5, "B", "DE"), rating("b2", DAY + 3, 4, "B", "DE"), rating("b3", DAY + 3, 4, "B"),
    rating("it's \\ odd", DAY + 3, 1, "it's \\ odd"),
]  # fmt: skip
AS_OF = DAY + 60


def stored(store: Store) -> dict[str, list[dict[str, Any]]]:
    return {
        view: store.query_arrow(f"SELECT * FROM {view} ORDER BY ALL").to_pylist()
        for view in ("alerts", "alert_history")
    }


def replayed(store: Store, accounts: Iterable[AccountId], *rules: Rule, version: int) -> dict[str, Any]:
    put(store, *EVENTS)
    if these := list(accounts):
        store.recompute(these, Terms(), first=0, as_of=AS_OF, epoch=1)
    rewrite(store, rules, {}, lambda _: Terms(), these, (AS_OF + 1) * MS_A_DAY - 1, version)
    return stored(store)


def test_a_replay_writes_the_alerts_that_were(store: Store) -> None:
    accounts = accounts_of(*EVENTS)
    found = replayed(store, accounts, *RULES, version=1 << 40)
    alerts = [
        (a["rule"], a["seller_id"], a["marketplace_id"], a["state"], a["severity"], a["value"], a["threshold"],
         a["since"].timestamp() / 86_400 - DAY, a["resolved_at"] and a["resolved_at"].timestamp() / 86_400 - DAY,
         a["order_ids"])
        for a in found["alerts"]
    ]  # fmt: skip
    assert sorted(alerts, key=lambda alert: (alert[0], alert[1], alert[2], alert[7])) == [
        ("scarce", "A", "M", "firing", "warning", 0, 1, 0, None, []),
        ("scarce", "B", "DE", "resolved", "warning", 2, 2, 2, 3, []),
        ("scarce", "B", "DE", "firing", "warning", 1, 2, 32, None, []),
        ("scarce", "B", "M", "firing", "warning", 0, 1, 33, None, []),
        ("scarce", "it's \\ odd", "M", "firing", "warning", 0, 1, 3, None, []),
        ("unhappy", "A", "M", "resolved", "info", 0, 0, 0, 30, ["a1"]),
        ("unhappy", "A", "M", "firing", "info", 1, 0, 50, None, ["a3"]),
        ("unhappy", "it's \\ odd", "M", "resolved", "info", 0, 0, 3, 33, ["it's \\ odd"]),
    ]
    first = alert_id("unhappy", "A", "M", "negative_30d", DAY)
    history = [
        (change["day"].toordinal() - date(1970, 1, 1).toordinal() - DAY, change["state"], change["value"])
        for change in found["alert_history"]
        if change["alert_id"] == first
    ]
    assert history == [(0, "firing", 1), (5, "firing", 2), (8, "firing", 1), (30, "resolved", 0)]


def test_a_replay_repeated_writes_nothing_and_one_by_other_rules_takes_back(store: Store) -> None:
    accounts = accounts_of(*EVENTS)
    first = replayed(store, accounts, *RULES, version=1 << 40)
    assert replayed(store, accounts, *RULES, version=2 << 40) == first
    assert store.query_arrow("SELECT max(version) AS v FROM stored_alert_history")["v"].to_pylist() == [1 << 40]

    fewer = replayed(store, accounts, SCARCE, version=3 << 40)
    assert {alert["rule"] for alert in fewer["alerts"]} == {"scarce"}
    assert {change["rule"] for change in fewer["alert_history"]} == {"scarce"}

    again = replayed(store, accounts, *RULES, version=4 << 40)
    for view, rows in again.items():
        assert [row | {"changed_at": 0} for row in rows] == [row | {"changed_at": 0} for row in first[view]]


PATIENT = (
    NEGATIVE,
    replace(NEGATIVE, name="patient", for_days=2, silences=("scarce",)),
    replace(NEGATIVE, name="stubborn", levels=(Level(1, "info", 0), Level(2, "critical", 1)), for_days=1),
    SCARCE,
    replace(SCARCE, name="long", for_days=40, scope=Scope(marketplaces=("M",))),
)


def day_by_day(rules: Sequence[Rule], *events: Mapping[str, Any]) -> tuple[dict[str, AlertRow], set[AlertChange]]:
    """The alerts, and their changes, of a worker who saw every day of each account; versions 0, without orders."""
    alerts: dict[str, AlertRow] = {}
    changes: set[AlertChange] = set()
    for key, account in accounts_of(*events).items():
        columns, (size,) = rows_of([account], AS_OF)
        for row in range(size):
            book = AlertBook(rules)  # another worker each day: what is open is in the tables
            of_account = (alert for alert in alerts.values() if (alert.seller_id, alert.marketplace_id) == key)
            book.learn([key], [alert for alert in of_account if alert.state != "resolved" and not alert.gone])
            day = int(columns["day"][row])
            now = {name: values[row : row + 1] for name, values in columns.items()}
            for alert in changes_of(book, day, 0, now, account):
                alerts[alert.alert_id] = alert._replace(version=0, order_ids=[], order_count=0)
                if alert.state != "pending":
                    changes.add(change_of(alert, day, muted=True)._replace(version=0))
    return {name: alert for name, alert in alerts.items() if not alert.gone}, changes


def looking_back(rules: Sequence[Rule], *events: Mapping[str, Any]) -> tuple[dict[str, AlertRow], set[AlertChange]]:
    """The same as they were."""
    accounts = accounts_of(*events)
    columns, sizes = rows_of(list(accounts.values()), AS_OF)
    rows = DailyRows(list(accounts), sizes, columns)
    found = list(that_were(rules, rows, lambda keys: {key: Evidence(accounts[key]) for key in keys}))
    alerts = {alert.alert_id: alert._replace(order_ids=[], order_count=0) for alert, _ in found}
    return alerts, {change for _, changes in found for change in changes}


RATINGS = st.builds(
    lambda order, day, stars, seller: (
        rating(order, DAY + day, stars, seller) if stars else removed(order, DAY + day, seller=seller)
    ),
    st.sampled_from("abcd"), st.integers(0, 55), st.integers(0, 5), st.sampled_from("ST"),
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(RATINGS, min_size=1, max_size=14))
def test_looking_back_finds_what_workers_would_have_who_saw_every_day(events: list[dict[str, Any]]) -> None:
    assert looking_back(PATIENT, *events) == day_by_day(PATIENT, *events)


def test_a_replay_writes_what_a_worker_would_have_who_saw_every_day(store: Store) -> None:
    replayed(store, accounts_of(*EVENTS), *PATIENT, version=1)
    alerts, changes = day_by_day(PATIENT, *EVENTS)
    assert {alert.state for alert in alerts.values()} == {"pending", "firing", "resolved"}
    assert sorted(alert._replace(version=0, order_ids=[], order_count=0) for alert in store.alerts()) == sorted(
        alerts.values()
    )
    assert {change._replace(version=0) for change in store.alert_changes(list(accounts_of(*EVENTS)))} == changes


def test_a_replay_over_nothing_is_quiet(store: Store) -> None:
    assert replayed(store, {}, *RULES, version=1) == {"alerts": [], "alert_history": []}


# --- what people are told ------------------------------------------------------------------------------------


def test_an_alert_is_told_in_json_with_a_sentence() -> None:
    since = DAY * MS_A_DAY
    alert = AlertRow(
        "id", "negative_rate", "S\n1", "M", "negative_rate_90d", "firing", "warning", 0.0625, 0.05, since, None,
        ["o1"], 1, 7,
    )  # fmt: skip
    assert as_json(alert) == {
        "alert_id": "id", "rule": "negative_rate", "seller_id": "S\n1", "marketplace_id": "M",
        "subject": "negative_rate_90d", "state": "firing", "severity": "warning", "value": 0.0625, "threshold": 0.05,
        "since": "2022-01-08T00:00:00Z", "resolved_at": None, "order_ids": ["o1"], "order_count": 1,
        "text": "Seller S 1 on M: negative_rate is 6.25 %, threshold 5 %, warning since 2022-01-08; 1 order behind it.",
    }  # fmt: skip
    over = as_json(alert._replace(state="resolved", resolved_at=since + MS_A_DAY, value=None, order_count=0))
    assert over["resolved_at"] == "2022-01-09T00:00:00Z"
    assert over["text"] == (
        "Seller S 1 on M: negative_rate is unknown, threshold 5 %, resolved on 2022-01-09, "
        "was warning since 2022-01-08."
    )
    points = as_json(alert._replace(subject="buy_box_points_90d", value=-1500.0, threshold=0.0, order_count=2))
    assert "negative_rate is -1500, threshold 0, warning since 2022-01-08; 2 orders behind it." in points["text"]
