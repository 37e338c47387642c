"""Alerts of a live worker: what the newest rows change, once each, to the topic, the tables and the receivers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import orjson

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows
from streams.alerts import AlertBook, as_json, change_of
from streams.core.evidence import Evidence
from streams.core.rules import Rule, columns_of
from streams.following import FRESH_DAYS, Cause, Written
from streams.intake import Outgoing
from streams.pipeline import Pipeline
from streams.receivers import Receiver, Receivers

TOPIC = "alerts"


class AlertStore(Protocol):
    """What alerts need of a store. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write the new state of alerts, then what changed."""


class Alerter:
    """Evaluates the rules on every changed row of the as-of day.

    Rows are written before and marked after: a crash in between restates the account, and the change is found again
    with the same id. So each change goes out at least once.

    Nobody is told of what was found in history, and not as it happened; those changes are muted. That is:
    - in accounts whose events are from more than two days ago, or some were and came while many records waited, by
      more of them: a backfill, or catching up with it;
    - in accounts that no live worker judged before, unless all their events are of the last two days, or some came
      since a replay judged them.
    A breach that only the turn of the day brings is told, however old the account's events are.
    """

    def __init__(self, rules: Iterable[Rule], receivers: Callable[[], list[Receiver]]) -> None:
        self._rules = tuple(rules)
        self._make_receivers = receivers
        self._receivers: Receivers | None = None
        self._book: tuple[Pipeline, AlertBook] | None = None

    async def judge(self, pipeline: Pipeline, store: AlertStore, written: Written) -> None:
        """Rows were written: send and store what they change about alerts."""
        day, versions = written.as_of, written.versions
        rows = written.latest
        if rows is None:
            columns = {*columns_of(self._rules), "last_event_time"}
            rows = await pipeline.call(store.rows, list(versions), day, columns)
        book = self._book_of(pipeline)
        if unknown := book.unknown(versions):
            book.learn(unknown, await pipeline.call(store.alerts, unknown, True))
        news = book.news(day, rows)
        breached = await pipeline.rows.known({one.account for one in news if one.is_breach})
        changed = book.changes(day, versions, news, {key: Evidence(account) for key, account in breached.items()})
        book.forget(account for account in versions if account not in pipeline.rows.hot)
        if not changed:
            return
        told = [alert for alert in changed if alert.state != "pending"]
        muted = _muted(written.causes, rows, pipeline.clock())
        if told:
            await pipeline.send([_record(alert) for alert in told])
        changes = [change_of(alert, day, muted=_account(alert) in muted) for alert in told]
        await pipeline.call(store.add_alerts, changed, changes)
        for alert in told:
            if _account(alert) not in muted:
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


def _muted(causes: Mapping[AccountId, Cause], rows: DailyRows, now_ms: int) -> set[AccountId]:
    """The accounts of whose changes nobody is told."""
    newest = dict(zip(rows.accounts, rows.columns["last_event_time"].tolist(), strict=True))
    return {
        key
        for key, cause in causes.items()
        if cause == "history" or (cause == "events" and newest.get(key, now_ms) < now_ms - FRESH_DAYS * MS_A_DAY)
    }


def _account(alert: AlertRow) -> AccountId:
    return alert.seller_id, alert.marketplace_id


def _record(alert: AlertRow) -> Outgoing:
    key = f"{alert.seller_id}|{alert.marketplace_id}".encode()
    return Outgoing(TOPIC, None, key, orjson.dumps(as_json(alert)), [])
