"""Alerts of a live worker: what the newest rows change, once each, to the topic, the tables and the outbox."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows
from streams.alerts import AlertBook, as_json, change_of
from streams.casework import CaseChange
from streams.clocks import Clocks, ClockStore, day_of
from streams.core.evidence import Evidence, evidence_since, has_evidence
from streams.core.rules import OtherRule, Rule, columns_of
from streams.digest import Digests, DigestStore, Schedule
from streams.failpoints import reach
from streams.following import FRESH_DAYS, Cause, Written
from streams.intake import Outgoing
from streams.outbox import Outbox
from streams.pipeline import Pipeline
from streams.port import Call
from streams.tally import Tally

TOPIC = "alerts"
NEWS_MS = 48 * 3_600_000  # what happened to a case before that is no news


class AlertStore(ClockStore, Protocol):
    """What alerts need of a store. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write what changed, then the new state of alerts: until that is stored the change is found again."""


class Alerter:
    """Evaluates the rules on every changed row of the as-of day.

    Rows are written before and marked after: a crash in between restates the account, and the change is found again
    with the same id. So each change goes out at least once. Whom to tell of it the outbox finds in the tables.

    Nobody is told of what was found in history, and not as it happened; those changes are muted. That is:
    - in accounts whose events are from more than two days ago, or some were and came while many records waited, by
      more of them: a backfill, or catching up with it;
    - in accounts that no live worker judged before, unless all their events are of the last two days, or some came
      since a replay judged them.
    A breach that only the turn of the day brings is told, however old the account's events are.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        other_rules: Iterable[OtherRule],
        outbox: Outbox,
        schedule: Schedule | None,
        tally: Tally | None = None,
    ) -> None:
        self._rules, self._other_rules, self._outbox = tuple(rules), tuple(other_rules), outbox
        self._schedule, self._tally = schedule, tally or Tally()
        self._book: tuple[Pipeline, AlertBook] | None = None
        self._clocks: Clocks | None = None  # of this tenure

    async def begin(self, pipeline: Pipeline) -> None:
        """A tenure begins: receivers are told of what is still due, and from now on of what changes."""
        await self._outbox.begin(pipeline.tenure)

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
            columns = {*columns_of(self._rules), "last_event_time"}
            rows = await pipeline.call(store.rows, list(versions), day, columns)
        book = self._book_of(pipeline)
        if unknown := book.unknown(versions):
            book.learn(unknown, await pipeline.call(store.alerts, unknown, True))
        news = book.news(day, rows)
        breaches = [one for one in news if one.is_breach and has_evidence(one.rule)]
        terms_of = pipeline.rows.terms_of
        since = min((evidence_since(one.rule, terms_of(one.account[1]), day) for one in breaches), default=day)
        breached = await pipeline.rows.known({one.account for one in breaches}, since * MS_A_DAY)
        changed = book.changes(day, versions, news, {key: Evidence(account) for key, account in breached.items()})
        book.forget(account for account in versions if account not in pipeline.rows.hot)
        if self._clocks is not None:
            self._clocks.stir()
        if changed:
            muted = _muted(written.causes, rows, pipeline.clock())
            told = [alert for alert in changed if alert.state != "pending"]
            changes = [change_of(alert, day, muted=_account(alert) in muted) for alert in told]
            await self._announce(pipeline, store, pipeline.call, changed, changes)

    def clocks(self, pipeline: Pipeline, store: ClockStore, call: Call) -> Clocks:
        """What looks at the clocks of a tenure, with a store of its own and a way to call it."""

        async def announce(changed: Sequence[AlertRow]) -> None:
            await self._announce(pipeline, store, call, changed, [change_of(alert, day_of(alert)) for alert in changed])

        self._clocks = Clocks(self._other_rules, store, pipeline.tenure, call, announce)
        return self._clocks

    async def digest(self, pipeline: Pipeline, store: DigestStore, call: Call) -> None:
        """Send the digests of a tenure's accounts, each in its week, until it ends."""
        if self._schedule is None:
            return

        async def send(digests: Sequence[tuple[AccountId, Mapping[str, Any]]]) -> None:
            await pipeline.send([_record(*one) for one in digests])

        terms_of = pipeline.rows.terms_of
        digests = Digests(self._schedule, store, terms_of, pipeline.tenure, call=call, send=send, outbox=self._outbox)
        await digests.run(pipeline.clock)

    async def _announce(
        self, pipeline: Pipeline, store: ClockStore, call: Call, alerts: Sequence[AlertRow], changes: list[AlertChange]
    ) -> None:
        """To the topic, then to the tables: whoever dies in between says it again. Of a pending one nobody is told."""
        if told := [_record(_account(alert), as_json(alert)) for alert in alerts if alert.state != "pending"]:
            await pipeline.send(told)
        reach("alerts_sent")
        await call(store.add_alerts, alerts, changes)
        reach("alerts_stored")
        self._tally.alerts.update((alert.state, alert.severity) for alert in alerts)
        self._outbox.wake()

    def _book_of(self, pipeline: Pipeline) -> AlertBook:
        """The book of this tenure: another's is forgotten with its accounts."""
        if self._book is None or self._book[0] is not pipeline:
            self._book = pipeline, AlertBook(self._rules)
        return self._book[1]

    async def end(self, timeout_s: float) -> None:
        """The tenure ends: what receivers are being told has so much time."""
        await self._outbox.end(timeout_s)

    async def close(self) -> None:
        """Let go of receivers."""
        await asyncio.shield(self._outbox.close())


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


def _record(account: AccountId, told: Mapping[str, Any]) -> Outgoing:
    return Outgoing(TOPIC, None, "|".join(account).encode(), orjson.dumps(told), [])
