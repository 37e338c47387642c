"""Alerts of a replay: those that the rules, held against the drained rows day by day, would have raised.

Place in the flow: where a live worker has the `alerter`. Notifies nobody.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Protocol, TypeVar

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows, Loaded
from streams.accounts import restore
from streams.alerts import change_of, that_were
from streams.casework import CaseChange
from streams.clocks import ClockStore, day_of, spells_of
from streams.core.clocks import Spell, alert_of
from streams.core.evidence import Evidence
from streams.core.metrics import Terms
from streams.core.rules import OtherRule, Rule, columns_of
from streams.following import Written
from streams.pipeline import Pipeline
from streams.port import Call

R = TypeVar("R", AlertRow, AlertChange)


class AlertStore(ClockStore, Protocol):
    """What this needs of a store; every write may be repeated. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled`, at least that."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def alert_changes(self, accounts: Sequence[AccountId]) -> list[AlertChange]:
        """Every change of the alerts of these accounts."""


class Historian:
    """Judges all days of accounts whose rows were written: a replay's alerts are a function of the rows."""

    def __init__(self, rules: Iterable[Rule], other_rules: Iterable[OtherRule]) -> None:
        self._rules, self._other_rules = tuple(rules), {rule.name: rule for rule in other_rules}
        self._turn = count()

    async def begin(self, pipeline: Pipeline) -> None:
        """Nobody is to be told of anything."""

    async def judge(self, pipeline: Pipeline, store: AlertStore, written: Written) -> None:
        """Make the stored alerts of these accounts those that their rows give."""
        version = (pipeline.tenure.epoch << 40) + next(self._turn)
        accounts, now = list(written.versions), (written.as_of + 1) * MS_A_DAY - 1
        await pipeline.call(
            rewrite, store, self._rules, self._other_rules, pipeline.rows.terms_of, accounts, now, version
        )

    def clocks(self, pipeline: Pipeline, store: AlertStore, call: Call) -> None:
        """A replay has no clock."""

    async def digest(self, pipeline: Pipeline, store: object, call: Call) -> None:
        """Nor does it send digests."""

    async def end(self, timeout_s: float) -> None:
        """Nothing is under way."""

    async def tell(self, pipeline: Pipeline, changes: Sequence[CaseChange]) -> None:
        """A replay tells nobody."""

    async def close(self) -> None:
        """Nothing is open."""


def rewrite(
    store: AlertStore,
    rules: Sequence[Rule],
    other_rules: Mapping[str, OtherRule],
    terms_of: Callable[[str], Terms],
    accounts: Sequence[AccountId],
    now: int,
    version: int,
) -> None:
    """Make the stored alerts of these accounts those that the rules give on their stored rows, day by day.

    And those that rules on cases and sources give on what is stored of these, up to `now`, epoch ms.

    What is stored already stays untouched, what never was gets a tombstone: run again, it writes nothing. `version`
    must be greater than any used before.
    """
    if not accounts:
        return

    def evidence_of(these: list[AccountId]) -> Mapping[AccountId, Evidence]:
        troubled = restore(these, store.load(these, troubled=True), terms_of)
        return {key: Evidence(account) for key, account in troubled.items()}

    alerts: list[AlertRow] = []
    changes: list[AlertChange] = []
    rows = store.rows(accounts, 0, columns_of(rules))
    by_clock = spells_of(store, other_rules, accounts, now)
    for alert, of_alert in chain(
        that_were(rules, rows, evidence_of, version), _that_fell_due(other_rules, by_clock, now, version)
    ):
        alerts.append(alert)
        changes += of_alert
    before, stored = store.alerts(accounts), store.alert_changes(accounts)
    store.add_alerts(_differing(before, alerts, version), _differing(stored, changes, version))


def _that_fell_due(
    rules: Mapping[str, OtherRule], spells: Iterable[Spell], now: int, version: int
) -> Iterator[tuple[AlertRow, list[AlertChange]]]:
    """Alerts of cases and sources in their last state, each with its changes, all muted."""
    for spell in spells:
        first, last = alert_of(rules, spell, spell.since, version), alert_of(rules, spell, now, version)
        states = (first,) if first.state == last.state else (first, last)
        yield last, [change_of(one, day_of(one), muted=True) for one in states]


def _key(row: AlertRow | AlertChange) -> tuple[str, ...]:
    return (row.alert_id,) if isinstance(row, AlertRow) else (row.alert_id, row.state, str(row.day))


def _differing(before: Iterable[R], now: Iterable[R], version: int) -> list[R]:
    """What to write so that the stored rows are those of now: rows that differ, and tombstones."""
    stored = {_key(row): row._replace(version=version) for row in before}
    wanted = {_key(row): row for row in now}
    fresh = [row for key, row in wanted.items() if stored.get(key) != row]
    return fresh + [row._replace(gone=1) for key, row in stored.items() if key not in wanted]
