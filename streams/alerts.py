"""Alerts: verdicts become rows of `alerts` and `alert_history`, and of those what is told to people.

Place in the flow: after the rows are written and before their marks, so that a crash in between restates the account
and finds the alert again. `AlertBook` serves a live worker, row by row as they change; `that_were` reads all days of
an account at once, for what looks back. Knows metric rules alone, leaves the alerts of `OTHER_RULES` as they are, and
notifies nobody itself.

An alert is pending while its breach has yet to hold, then fires, then is resolved. A pending one is a row of `alerts`
and no change: nobody is told, and if the breach ends before it fires the row is gone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from schemas.events import MS_A_DAY, iso_time
from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows
from streams.core.clocks import in_words
from streams.core.evidence import Evidence
from streams.core.metrics import METRIC_BY_NAME, Array
from streams.core.rules import OTHER_RULES, SEVERITIES, Rule, alert_id
from streams.core.verdicts import QUIET, Episode, Past, Verdicts, history, judge

ORDERS_SHOWN = 100


def change_of(alert: AlertRow, day: int, *, muted: bool = False) -> AlertChange:
    """The change, noticed on an as-of day, that brought an alert into its state."""
    return AlertChange(
        alert.alert_id, day, alert.rule, alert.seller_id, alert.marketplace_id, alert.state, alert.value, alert.version,
        muted=int(muted),
    )  # fmt: skip


def new_alert(account: AccountId, rule: Rule, since: int, version: int) -> AlertRow:
    """An alert on that first breach day of which nothing else is known yet."""
    return AlertRow(
        alert_id(rule.name, *account, rule.subject, since), rule.name, *account, rule.subject, "pending",
        "", None, 0.0, since * MS_A_DAY, None, [], 0, version,
    )  # fmt: skip


def judged(alert: AlertRow, verdicts: Verdicts, row: int, orders: list[str]) -> AlertRow:
    """The alert in breach as a row shows it, with the orders behind it."""
    return alert._replace(
        state="firing" if verdicts.fires[row] else "pending",
        severity=SEVERITIES[verdicts.severity[row]],
        value=value_of(verdicts, row),
        threshold=float(verdicts.threshold[row]),
        order_ids=orders[:ORDERS_SHOWN],
        order_count=len(orders),
    )


def over(alert: AlertRow, day: int, value: float | None) -> AlertRow:
    """The alert out of breach since a day: resolved, severity, threshold and orders as in the breach; or gone."""
    if alert.state == "pending":
        return alert._replace(gone=1)
    return alert._replace(state="resolved", value=value, resolved_at=day * MS_A_DAY)


def value_of(verdicts: Verdicts, row: int) -> float | None:
    """The value that a row was judged by, None for null."""
    value = float(verdicts.value[row])
    return None if np.isnan(value) else value


def as_json(alert: AlertRow) -> dict[str, Any]:
    """The alert in its new state, for the topic `alerts` and receivers: times ISO-8601, in `text` one sentence."""
    told = alert._asdict()
    del told["version"], told["gone"]
    return told | {"since": _iso(alert.since), "resolved_at": _iso(alert.resolved_at), "text": _sentence(alert)}


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)


def _sentence(alert: AlertRow) -> str:
    """Printable whatever the ids hold: it ends in logs and chats."""
    metric = METRIC_BY_NAME.get(alert.subject)
    fraction = metric is not None and metric.unit == "fraction"
    value, edge = (
        "unknown" if number is None else f"{100 * number:.4g} %" if fraction else f"{number:.6g}"
        for number in (alert.value, alert.threshold)
    )
    orders = f"; {alert.order_count} order{'s' * (alert.order_count != 1)} behind it" if alert.order_count else ""
    state = f"{alert.severity} since {(_iso(alert.since) or '')[:10]}"
    if alert.resolved_at is not None:
        state = f"resolved on {(_iso(alert.resolved_at) or '')[:10]}, was {state}"
    who = f"Seller {alert.seller_id} on {alert.marketplace_id}"
    text = f"{who}: {alert.rule} is {value}, threshold {edge}, {state}{orders}."
    if alert.rule in OTHER_RULES:
        text = f"{who}: {in_words(alert)}, {alert.rule} is {state}."
    return "".join(letter if letter.isprintable() else " " for letter in text)


# --- as they were --------------------------------------------------------------------------------------------


def that_were(
    rules: Sequence[Rule],
    rows: DailyRows,
    evidence_of: Callable[[list[AccountId]], Mapping[AccountId, Evidence]],
    version: int = 0,
) -> Iterator[tuple[AlertRow, list[AlertChange]]]:
    """The alerts that the rules give on dense rows, day by day, in their last state, each with its changes, all muted.

    `evidence_of` is asked once, about the accounts that have alerts.
    """
    verdicts = judge(rules, rows)
    found: dict[int, list[tuple[Rule, Episode]]] = {}
    for rule in rules:
        for episode in history(verdicts[rule.name], rows.sizes):
            found.setdefault(episode.account, []).append((rule, episode))
    evidence = evidence_of([rows.accounts[i] for i in sorted(found)])
    days = rows.columns["day"].tolist()
    for i in sorted(found):
        account = rows.accounts[i]
        for rule, episode in found[i]:
            orders = evidence[account].orders_behind(rule, days[episode.last])
            alert = new_alert(account, rule, days[episode.since], version)
            yield _as_it_was(alert, verdicts[rule.name], episode, days, orders)


def _as_it_was(
    alert: AlertRow, verdicts: Verdicts, episode: Episode, days: list[int], orders: list[str]
) -> tuple[AlertRow, list[AlertChange]]:
    """An alert's last state and its changes: the value of the last change, the rest of the last day in breach."""
    fired = [(row, alert._replace(state="firing", value=value_of(verdicts, row))) for row in episode.firing]
    changes = [change_of(one, days[row], muted=True) for row, one in fired]
    alert = judged(alert, verdicts, episode.last, orders)._replace(value=value_of(verdicts, int(episode.turns[-1])))
    if episode.resolved is not None:
        day = days[episode.resolved]
        alert = over(alert, day, value_of(verdicts, episode.resolved))
        changes.append(change_of(alert, day, muted=True))
    return alert, changes


# --- as they happen ------------------------------------------------------------------------------------------


class News(NamedTuple):
    """A row that says other of a rule than the alerts do."""

    account: AccountId
    rule: Rule
    verdicts: Verdicts
    row: int

    @property
    def is_breach(self) -> bool:
        """Whether it is in breach of the rule."""
        return bool(self.verdicts.breach[self.row])


class AlertBook:
    """The open alerts, pending and firing, of a worker's accounts, and what the newest rows change about them.

    A cache of the store: `learn` what is stored of an account before its first `news`, `forget` it with the
    account. Each change comes out once; if the worker dies before it is stored, the next owner finds it again.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._known: dict[AccountId, dict[str, AlertRow]] = {}  # by the rule's name

    def unknown(self, accounts: Iterable[AccountId]) -> list[AccountId]:
        """Those whose open alerts have yet to be learnt."""
        return [account for account in accounts if account not in self._known]

    def learn(self, accounts: Iterable[AccountId], known: Iterable[AlertRow]) -> None:
        """Of these accounts these alerts are open, and no others."""
        for account in accounts:
            self._known[account] = {}
        for alert in known:
            if alert.rule not in OTHER_RULES:
                self._known[alert.seller_id, alert.marketplace_id][alert.rule] = alert

    def forget(self, accounts: Iterable[AccountId]) -> None:
        """These accounts are somebody else's, or out of memory."""
        for account in accounts:
            self._known.pop(account, None)

    def news(self, day: int, rows: DailyRows) -> list[News]:
        """Where the rows of the as-of day, one an account, say other than the alerts; known accounts all."""
        past, severity = self._past(day, rows.accounts)
        verdicts = judge(self._rules, rows, past)
        return [
            News(rows.accounts[row], rule, found, row)
            for rule in self._rules
            for found in (verdicts[rule.name],)
            for row in np.flatnonzero(
                (found.severity != severity[rule.name]) | (found.fires != (past[rule.name].fired > QUIET))
            ).tolist()
        ]

    def _past(self, day: int, accounts: Sequence[AccountId]) -> tuple[dict[str, Past], dict[str, Array]]:
        """What the alerts say went before these rows, by rule, and at which severity they are open."""
        n = len(accounts)
        severity = {rule.name: np.full(n, QUIET, dtype=np.int8) for rule in self._rules}
        past = {name: Past(none.copy(), np.zeros(n, dtype=np.int64)) for name, none in severity.items()}
        for row, account in enumerate(accounts):
            for name, alert in self._known[account].items():
                if name in past:
                    severity[name][row] = SEVERITIES.index(alert.severity)
                    if alert.state == "firing":
                        past[name].fired[row] = severity[name][row]
                    else:
                        past[name].held_days[row] = day - alert.since // MS_A_DAY
        return past, severity

    def changes(
        self,
        day: int,
        versions: Mapping[AccountId, int],
        news: Iterable[News],
        evidence: Mapping[AccountId, Evidence],
    ) -> list[AlertRow]:
        """Alerts in their new state. `evidence` is of the accounts of `news` of breaches that have orders behind them.

        A breach without an alert begins one on that day, which fires at once or when it has held; one that fires and
        whose severity is another now fires with it; an alert whose rule is not in breach any more (or no more a rule)
        is resolved on that day, or gone if it never fired; all else is silence.

        `versions` are those of the rows: fencing epoch, then number of accepted events, of each account. An alert's is
        that plus the day: of any two changes that one owner sees, the later has more events or a later day and never
        less of either, so the latest wins, an older epoch's never does, and what is written again is the same row.
        (Other content under a known event_id is no more events: versions are equal then, the last written stands.)
        """
        changed: list[AlertRow] = []
        for account, rule, verdicts, row in news:
            alert = self._known[account].get(rule.name) or new_alert(account, rule, day, 0)
            if verdicts.severity[row] == QUIET:
                alert = over(alert, day, value_of(verdicts, row))
            else:
                orders = evidence[account].orders_behind(rule, day) if account in evidence else []
                alert = judged(alert, verdicts, row, orders)
            changed.append(self._note(alert, versions[account] + day))
        return changed + self._without_rule(day, versions)

    def _without_rule(self, day: int, versions: Mapping[AccountId, int]) -> list[AlertRow]:
        names = {rule.name for rule in self._rules}
        return [
            self._note(over(alert, day, None), version + day)
            for account, version in versions.items()
            for alert in list(self._known[account].values())
            if alert.rule not in names
        ]

    def _note(self, alert: AlertRow, version: int) -> AlertRow:
        alert = alert._replace(version=version)
        known = self._known[alert.seller_id, alert.marketplace_id]
        if alert.state == "resolved" or alert.gone:
            known.pop(alert.rule, None)
        else:
            known[alert.rule] = alert
        return alert
