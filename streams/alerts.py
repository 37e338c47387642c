"""Alerts: verdicts become rows of `alerts` and `alert_history`, and of those what is told to people.

Place in the flow: after the rows are written and before their marks, so that a crash in between restates the account
and finds the alert again. `AlertBook` serves a live worker, row by row as they change; what a replay does is in
`rewrite`. Knows metric rules alone, leaves the alerts of `OTHER_RULES` as they are, and notifies nobody itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow
from streams.core.clocks import in_words
from streams.core.evidence import Evidence
from streams.core.metrics import METRIC_BY_NAME, Columns
from streams.core.rules import OTHER_RULES, QUIET, SEVERITIES, Rule, Verdicts, alert_id, judge

ORDERS_SHOWN = 100


def change_of(alert: AlertRow, day: int) -> AlertChange:
    """The change, noticed on an as-of day, that brought an alert into its state."""
    return AlertChange(
        alert.alert_id, day, alert.rule, alert.seller_id, alert.marketplace_id, alert.state, alert.value, alert.version
    )


def new_alert(account: AccountId, rule: Rule, since: int, version: int) -> AlertRow:
    """An alert on that first breach day of which nothing else is known yet."""
    return AlertRow(
        alert_id(rule.name, *account, rule.subject, since), rule.name, *account, rule.subject, "firing",
        "", None, 0.0, since * MS_A_DAY, None, [], 0, version,
    )  # fmt: skip


def judged(alert: AlertRow, verdicts: Verdicts, row: int, orders: list[str]) -> AlertRow:
    """The alert in breach as a row shows it, with the orders behind it."""
    return alert._replace(
        severity=SEVERITIES[verdicts.severity[row]],
        value=value_of(verdicts, row),
        threshold=float(verdicts.threshold[row]),
        order_ids=orders[:ORDERS_SHOWN],
        order_count=len(orders),
    )


def resolved(alert: AlertRow, day: int, value: float | None) -> AlertRow:
    """The alert out of breach since a day; severity, threshold and orders stay those of the breach."""
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
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


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
    """The alerts that fire on a worker's accounts, and what the newest rows change about them.

    A cache of the store: `learn` what is stored of an account before its first `news`, `forget` it with the
    account. Each change comes out once; if the worker dies before it is stored, the next owner finds it again.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._known: dict[AccountId, dict[str, AlertRow]] = {}  # by the rule's name

    def unknown(self, accounts: Iterable[AccountId]) -> list[AccountId]:
        """Those whose firing alerts have yet to be learnt."""
        return [account for account in accounts if account not in self._known]

    def learn(self, accounts: Iterable[AccountId], firing: Iterable[AlertRow]) -> None:
        """Of these accounts these alerts fire, and no others."""
        for account in accounts:
            self._known[account] = {}
        for alert in firing:
            if alert.rule not in OTHER_RULES:
                self._known[alert.seller_id, alert.marketplace_id][alert.rule] = alert

    def forget(self, accounts: Iterable[AccountId]) -> None:
        """These accounts are somebody else's, or out of memory."""
        for account in accounts:
            self._known.pop(account, None)

    def news(self, columns: Columns, accounts: Sequence[AccountId]) -> list[News]:
        """Where the rows of the as-of day, one an account, say other than the alerts; known accounts all."""
        marketplaces = np.array([marketplace for _, marketplace in accounts], dtype=object)
        return [
            News(accounts[row], rule, verdicts, row)
            for rule, verdicts in zip(self._rules, judge(self._rules, columns, marketplaces).values(), strict=True)
            for row in self._in_question(verdicts, accounts)
            if int(verdicts.severity[row]) != self._severity(accounts[row], rule)
        ]

    def _in_question(self, verdicts: Verdicts, accounts: Sequence[AccountId]) -> Iterator[int]:
        """The rows that are in breach or whose account has alerts."""
        for row, (account, breach) in enumerate(zip(accounts, verdicts.breach.tolist(), strict=True)):
            if breach or self._known[account]:
                yield row

    def _severity(self, account: AccountId, rule: Rule) -> int:
        known = self._known[account].get(rule.name)
        return SEVERITIES.index(known.severity) if known else QUIET

    def changes(
        self,
        day: int,
        versions: Mapping[AccountId, int],
        news: Iterable[News],
        evidence: Mapping[AccountId, Evidence],
    ) -> list[AlertRow]:
        """Alerts in their new state. `evidence` is of the accounts of those `news` that are of a breach.

        A breach without an alert fires one since that day, an alert whose rule is not in breach (or no more a rule)
        is resolved on that day, one whose severity is another now fires with it; all else is silence.

        `versions` are those of the rows: fencing epoch, then number of accepted events, of each account. An alert's is
        that plus the day: of any two changes that one owner sees, the later has more events or a later day and never
        less of either, so the latest wins, an older epoch's never does, and what is written again is the same row.
        (Other content under a known event_id is no more events: versions are equal then, the last written stands.)
        """
        changed: list[AlertRow] = []
        for account, rule, verdicts, row in news:
            alert = self._known[account].get(rule.name) or new_alert(account, rule, day, 0)
            if verdicts.severity[row] == QUIET:
                alert = resolved(alert, day, value_of(verdicts, row))
            else:
                alert = judged(alert, verdicts, row, evidence[account].orders_behind(rule, day))
            changed.append(self._note(alert, versions[account] + day))
        return changed + self._without_rule(day, versions)

    def _without_rule(self, day: int, versions: Mapping[AccountId, int]) -> list[AlertRow]:
        names = {rule.name for rule in self._rules}
        return [
            self._note(resolved(alert, day, None), version + day)
            for account, version in versions.items()
            for alert in list(self._known[account].values())
            if alert.rule not in names
        ]

    def _note(self, alert: AlertRow, version: int) -> AlertRow:
        alert = alert._replace(version=version)
        known = self._known[alert.seller_id, alert.marketplace_id]
        if alert.state == "firing":
            known[alert.rule] = alert
        else:
            known.pop(alert.rule, None)
        return alert
