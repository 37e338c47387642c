"""Digests: once a week, what there is to say of each account, to the topic `alerts` and to receivers.

Place in the flow: beside it, as `clocks` is, on a thread and a connection of its own. A table keeps who was sent
which, so that a kill makes none be lost: one may be sent twice, with the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertRow, CaseClocks, DailyRows, Loaded
from streams.accounts import restore
from streams.core.clocks import MS_AN_HOUR, RECENT_MS
from streams.core.digest import DAYS, MAIN, PARTIAL, Digest, Standing, as_json, leaving, subject, text
from streams.core.metrics import MONDAY, Terms
from streams.marks import Tenure
from streams.outbox import Outbox
from streams.port import Call
from streams.receivers import Message

ACCOUNTS_A_SLICE = 200
LOOK_S = 20.0


class DigestStore(Protocol):
    """What digests need of a store. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled`, at least that."""

    def case_clocks(self, accounts: Sequence[AccountId]) -> list[CaseClocks]:
        """All cases of these accounts, as far as rules go."""

    def alerts(self, accounts: Sequence[AccountId]) -> list[AlertRow]:
        """Alerts in their latest state."""

    def undigested(self, day: int, partitions: int, owned: Iterable[int]) -> dict[AccountId, bool]:
        """Accounts of these partitions whose digest of that day is not all done, and whether it is on its topic."""

    def add_digests(self, day: int, told: Mapping[AccountId, bool]) -> None:
        """The digests of that day are on their topic; whether receivers have them as well."""


def digests_of(
    store: DigestStore, terms_of: Callable[[str], Terms], accounts: Sequence[AccountId], day: int, at: int
) -> list[Digest]:
    """What there is to say of these accounts at an instant of that day, epoch ms, or at its end, as is known by now."""
    rows = store.rows(accounts, day - DAYS, (*MAIN, PARTIAL))
    at_day = dict(zip(_keys(rows), range(len(rows.columns["day"])), strict=True))
    cases = _by_account((case.account, case) for case in store.case_clocks(accounts) if _is_open(case, at))
    alerts = _by_account(
        ((one.seller_id, one.marketplace_id), one) for one in store.alerts(accounts) if _fires(one, at)
    )
    troubled = restore(accounts, store.load(accounts, troubled=True), terms_of)
    found = []
    for key in accounts:
        troubled[key].restate(day)
        then, before = (at_day.get((key, on)) for on in (day, day - DAYS))
        metrics = [Standing(name, _value(rows, name, then), _value(rows, name, before)) for name in MAIN]
        partial = Standing(PARTIAL, _value(rows, PARTIAL, then), _value(rows, PARTIAL, before))
        metrics += [partial] if partial.value else []
        newest = sorted(alerts.get(key, ()), key=lambda one: (-one.since, one.alert_id))
        open_ones = sorted(cases.get(key, ()), key=lambda case: (case.opened_at, case.event_id))
        found.append(Digest(key, day, at, metrics, open_ones, leaving(troubled[key], day), newest))
    return found


def _keys(rows: DailyRows) -> Iterable[tuple[AccountId, int]]:
    owners = np.repeat(np.arange(len(rows.accounts)), rows.sizes).tolist()
    return ((rows.accounts[owner], day) for owner, day in zip(owners, rows.columns["day"].tolist(), strict=True))


def _value(rows: DailyRows, name: str, row: int | None) -> float | None:
    value = np.nan if row is None else float(rows.columns[name][row])
    return None if np.isnan(value) else value


def _by_account(found: Iterable[tuple[AccountId, Any]]) -> dict[AccountId, list[Any]]:
    by_account: dict[AccountId, list[Any]] = {}
    for key, one in found:
        by_account.setdefault(key, []).append(one)
    return by_account


def _is_open(case: CaseClocks, at: int) -> bool:
    return case.opened_at <= at and (case.closed_at is None or case.closed_at > at)


def _fires(alert: AlertRow, at: int) -> bool:
    return alert.state != "pending" and alert.since <= at and (alert.resolved_at is None or alert.resolved_at > at)


def as_message(digest: Digest) -> Message:
    """For receivers."""
    return Message(digest.id, subject(digest), text(digest), as_json(digest))


# --- once a week ---------------------------------------------------------------------------------------------


class Schedule(NamedTuple):
    """On which day of the week, 0 is Monday, and from which hour on, UTC."""

    weekday: int
    hour: int

    def due(self, now: int) -> int | None:
        """The day whose digests are to be sent at `now`, epoch ms; None when the last ones are two days old.

        >>> Schedule(0, 6).due(19_002 * MS_A_DAY + 6 * MS_AN_HOUR)  # a Monday
        19002
        >>> Schedule(0, 6).due(19_002 * MS_A_DAY + 5 * MS_AN_HOUR) is None
        True
        """
        day = now // MS_A_DAY
        day -= (day - MONDAY - self.weekday) % DAYS
        since = now - day * MS_A_DAY - self.hour * MS_AN_HOUR
        return day if 0 <= since < RECENT_MS else None


class Digests:
    """Sends each account of one tenure its digest. `store` and `call` are its own, `send` returns when Kafka has it."""

    def __init__(
        self,
        schedule: Schedule,
        store: DigestStore,
        terms_of: Callable[[str], Terms],
        tenure: Tenure,
        *,
        call: Call,
        send: Callable[[Sequence[tuple[AccountId, Mapping[str, Any]]]], Awaitable[None]],
        outbox: Outbox,
    ) -> None:
        self._schedule, self._store, self._terms_of, self._tenure = schedule, store, terms_of, tenure
        self._call, self._send, self._outbox = call, send, outbox

    async def run(self, clock: Callable[[], int]) -> None:
        """Look now and then; ends with the tenure, when a call is cancelled."""
        while True:
            await self.look(clock())
            await asyncio.sleep(LOOK_S)

    async def look(self, now: int) -> None:
        """Send what is due at `now`, epoch ms, and tell those again whom a receiver did not hear of."""
        if (day := self._schedule.due(now)) is None or not self._tenure.owned:
            return
        waiting = await self._call(self._store.undigested, day, *self._tenure[2:])
        accounts = list(waiting)
        for at in range(0, len(accounts), ACCOUNTS_A_SLICE):
            these = accounts[at : at + ACCOUNTS_A_SLICE]
            digests = await self._call(digests_of, self._store, self._terms_of, these, day, now)
            fresh = [one for one in digests if not waiting[one.account] and not one.is_empty]
            if fresh:
                await self._send([(one.account, as_json(one)) for one in fresh])
            await self._call(self._store.add_digests, day, {one.account: one.is_empty for one in digests})
            await self._tell(day, [one for one in digests if not one.is_empty])

    async def _tell(self, day: int, digests: Sequence[Digest]) -> None:
        told = {
            one.account: True
            for one in digests
            if not self._outbox.takes_posts or await self._outbox.post(one.account, day, as_message(one))
        }
        if told:
            await self._call(self._store.add_digests, day, told)
