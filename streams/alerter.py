"""Alerts of a live worker: what the newest rows change, once each, to the topic, the tables and the receivers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows
from streams.alerts import AlertBook, as_json, change_of
from streams.casework import CaseChange
from streams.core.evidence import Evidence
from streams.core.rules import Rule, columns_of
from streams.following import Written
from streams.intake import Outgoing
from streams.pipeline import Pipeline
from streams.receivers import Receiver, Receivers

TOPIC = "alerts"
NEWS_MS = 48 * 3_600_000  # what happened to a case before that is no news


class AlertStore(Protocol):
    """What alerts need of a store. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_firing: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write the new state of alerts, then what changed."""


class Alerter:
    """Evaluates the rules on every changed row of the as-of day.

    Rows are written before and marked after: a crash in between restates the account, and the change is found again
    with the same id. So each change goes out at least once.
    """

    def __init__(self, rules: Iterable[Rule], receivers: Callable[[], list[Receiver]]) -> None:
        self._rules = tuple(rules)
        self._make_receivers = receivers
        self._receivers: Receivers | None = None
        self._book: tuple[Pipeline, AlertBook] | None = None

    async def tell(self, pipeline: Pipeline, changes: Sequence[CaseChange]) -> None:
        """Changes of cases go to the topic, as far as they are news: not those of a backfill."""
        since = pipeline.clock() - NEWS_MS
        if news := [change for change in changes if change.step.at > since]:
            await pipeline.send([_record(change.case.order[:2], change.as_json()) for change in news])

    async def judge(self, pipeline: Pipeline, store: AlertStore, written: Written) -> None:
        """Rows were written: send and store what they change about alerts."""
        day, versions = written.as_of, written.versions
        rows = written.latest
        if rows is None:
            rows = await pipeline.call(store.rows, list(versions), day, columns_of(self._rules))
        book = self._book_of(pipeline)
        if unknown := book.unknown(versions):
            book.learn(unknown, await pipeline.call(store.alerts, unknown, True))
        news = book.news(rows.columns, rows.accounts)
        breached = await pipeline.rows.known({one.account for one in news if one.is_breach})
        changed = book.changes(day, versions, news, {key: Evidence(account) for key, account in breached.items()})
        book.forget(account for account in versions if account not in pipeline.rows.hot)
        if not changed:
            return
        await pipeline.send([_record((alert.seller_id, alert.marketplace_id), as_json(alert)) for alert in changed])
        await pipeline.call(store.add_alerts, changed, [change_of(alert, day) for alert in changed])
        for alert in changed:
            self._receivers_in_loop().notify(as_json(alert))

    def _book_of(self, pipeline: Pipeline) -> AlertBook:
        """The book of this tenure: another's is forgotten with its accounts."""
        if self._book is None or self._book[0] is not pipeline:
            self._book = pipeline, AlertBook(self._rules)
        return self._book[1]

    def _receivers_in_loop(self) -> Receivers:
        if self._receivers is None:
            self._receivers = Receivers(self._make_receivers())
        return self._receivers

    async def close(self) -> None:
        """Give the receivers a moment for what is under way."""
        if self._receivers is not None:
            await asyncio.shield(self._receivers.close())


def _record(account: AccountId, told: Mapping[str, Any]) -> Outgoing:
    return Outgoing(TOPIC, None, "|".join(account).encode(), orjson.dumps(told), [])
