"""Clocks: what fell due or is over about cases and sources, with no event needed.

Place in the flow: beside it. A worker looks every minute, on a thread and a connection of its own; what is known of
an alert is in the tables, so that a worker that was killed, or another, goes on where one left off. What a replay
does is in `rewrite`. What is due when is `core.clocks`' business.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Protocol

from schemas.events import MS_A_DAY
from schemas.rows import EPOCH_BITS, AccountId, AlertChange, AlertRow, CaseClocks, SourceGap
from streams.core.clocks import Spell, changes, in_force, of_case, of_source
from streams.core.rules import OTHER_RULES, OtherRule
from streams.marks import Tenure
from streams.port import Call

LOOK_S = 60.0  # how often clocks are looked at; sooner where rows were written
CASES_SHARE = 50  # that takes at most one part in so many of the time
SOURCES_SHARE = 100  # and so do looks at sources, which read the times of all events
ACCOUNTS_A_LOOK = 10_000
SOURCE_RULE = "source_silent"
NEVER_MS = 1 << 62


class ClockStore(Protocol):
    """What clocks need of a store. Calls block."""

    def open_cases(self, partitions: int, owned: Iterable[int], now: int) -> list[CaseClocks]:
        """Cases of accounts of these partitions that are open at `now`, epoch ms."""

    def case_clocks(self, accounts: Sequence[AccountId]) -> list[CaseClocks]:
        """All cases of these accounts, as far as rules go."""

    def quiet(self, partitions: int, owned: Iterable[int], now: int) -> list[AccountId]:
        """Accounts of these partitions with a source that has just fallen silent, or nearly so."""

    def source_gaps(self, accounts: Sequence[AccountId], now: int) -> list[SourceGap]:
        """Each time that a source of these accounts was silent."""

    def firing(self, rules: Iterable[str], partitions: int, owned: Iterable[int]) -> list[AlertRow]:
        """Alerts of these rules on accounts of these partitions that are firing."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write what changed, then the new state of alerts: until that is stored the change is found again."""


Key = tuple[str, str, str, str]  # of a case: account, order, event
Announce = Callable[[Sequence[AlertRow]], Awaitable[None]]


class Clocks:
    """Looks at the cases and sources of one tenure's accounts, and announces what is news.

    `store` is its own, and so is `call`, which runs its blocking calls. `announce` sends changes, then stores them:
    whoever dies in between says the same again, with the same id.
    """

    def __init__(
        self, rules: Iterable[OtherRule], store: ClockStore, tenure: Tenure, call: Call, announce: Announce
    ) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._store, self._tenure = store, tenure
        self._call, self._announce = call, announce
        self._firing: dict[str, AlertRow] | None = None  # by id; a cache of the store
        self._seen: dict[Key, tuple[int, int]] = {}  # of cases: what their row was, until when that says nothing new
        self._versions = count()
        self._time = asyncio.get_running_loop().time
        self._stirred = True
        self._may_look = self._may_look_at_sources = 0.0
        self._must_look = self._time() + LOOK_S

    def stir(self) -> None:
        """Rows were written: something may be due."""
        self._stirred = True

    async def look(self, now: int, *, is_behind: bool = False) -> None:
        """Find out what is due at `now`, epoch ms, and announce it, if it is time to look.

        While the worker is behind that is once in `LOOK_S` and no sooner: its rows come first.
        """
        began = self._time()
        is_early = began < (self._may_look if self._stirred and not is_behind else self._must_look)
        if is_early or not self._tenure.owned:
            return
        self._stirred = False
        if self._firing is None:
            stored = await self._call(self._store.firing, list(OTHER_RULES), *self._tenure[2:])
            self._firing = {alert.alert_id: alert for alert in stored}
        changed = await self._call(self._cases, now)
        self._may_look = self._time() + max(1.0, (CASES_SHARE - 1) * (self._time() - began))
        if self._time() >= self._may_look_at_sources:
            began = self._time()
            changed += await self._call(self._sources, now)
            self._may_look_at_sources = self._time() + max(LOOK_S, (SOURCES_SHARE - 1) * (self._time() - began))
        self._must_look = self._time() + LOOK_S
        if changed:
            await self._announce(changed)
        for alert in changed:
            if alert.state == "firing":
                self._firing[alert.alert_id] = alert
            else:
                self._firing.pop(alert.alert_id, None)

    def _cases(self, now: int) -> list[AlertRow]:
        """Only of cases whose row is another than at the last look, or of which an instant has come since."""
        cases = {_key(case): case for case in self._store.open_cases(*self._tenure[2:], now)}
        known: dict[Key, list[AlertRow]] = {}
        for alert in (self._firing or {}).values():
            if alert.rule != SOURCE_RULE:
                key = alert.seller_id, alert.marketplace_id, alert.order_ids[0], alert.subject
                known.setdefault(key, []).append(alert)
        ended = known.keys() - cases.keys()  # or never were
        for these in _slices(sorted({key[:2] for key in ended})):
            cases |= {key: case for case in self._store.case_clocks(these) if (key := _key(case)) in ended}
        seen, spells = {}, []
        for key, case in cases.items():
            content, (before, until) = hash(case._replace(steps=tuple(case.steps))), self._seen.get(key, (0, 0))
            if before != content or until <= now:
                of_this = [*of_case(case)]
                spells += of_this
                seen[key] = content, _next_instant(of_this, now)
        firing = {alert.alert_id: alert for key in ended | seen.keys() for alert in known.get(key, ())}
        changed = self._changes(firing, spells, now)
        self._seen = {key: self._seen[key] for key in cases.keys() - seen.keys()} | seen
        return changed

    def _sources(self, now: int) -> list[AlertRow]:
        known = {key: alert for key, alert in (self._firing or {}).items() if alert.rule == SOURCE_RULE}
        accounts = {(alert.seller_id, alert.marketplace_id) for alert in known.values()}
        if SOURCE_RULE in self._rules:
            accounts |= set(self._store.quiet(*self._tenure[2:], now))
        gaps = [gap for these in _slices(sorted(accounts)) for gap in self._store.source_gaps(these, now)]
        return self._changes(known, [spell for gap in gaps for spell in of_source(gap)], now)

    def _changes(self, known: dict[str, AlertRow], spells: list[Spell], now: int) -> list[AlertRow]:
        version = self._tenure.epoch << EPOCH_BITS | next(self._versions)
        return changes(self._rules, known, spells, now, version)


def spells_of(
    store: ClockStore, rules: Mapping[str, OtherRule], accounts: Sequence[AccountId], now: int
) -> list[Spell]:
    """All that rules on cases and sources, by name, have said of these accounts up to `now`."""
    spells = [spell for case in store.case_clocks(accounts) for spell in of_case(case)]
    if SOURCE_RULE in rules:
        spells += [spell for gap in store.source_gaps(accounts, now) for spell in of_source(gap)]
    return list(in_force(rules, spells, now).values())


def _key(case: CaseClocks) -> Key:
    return *case.account, case.order_id, case.event_id


def _next_instant(spells: Iterable[Spell], now: int) -> int:
    """When one of them begins or ends next."""
    instants = (at for spell in spells for at in (spell.since, spell.until) if at is not None and at > now)
    return min(instants, default=NEVER_MS)


def _slices(accounts: Sequence[AccountId]) -> Iterable[Sequence[AccountId]]:
    return (accounts[at : at + ACCOUNTS_A_LOOK] for at in range(0, len(accounts), ACCOUNTS_A_LOOK))


def day_of(alert: AlertRow) -> int:
    """The day of an alert's last change."""
    return (alert.since if alert.resolved_at is None else alert.resolved_at) // MS_A_DAY
