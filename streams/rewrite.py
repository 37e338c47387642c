"""Alerts of a replay: those that the rules, held against the drained rows day by day, would have raised.

Place in the flow: where a live worker has the `alerter`. Knows metric rules alone, leaves the alerts of `OTHER_RULES`
as they are, notifies nobody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Protocol, TypeVar

from schemas.rows import AccountId, AlertChange, AlertRow, DailyRows, Loaded
from streams.accounts import restore
from streams.alerts import that_were
from streams.core.evidence import Evidence
from streams.core.metrics import Terms
from streams.core.rules import OTHER_RULES, Rule, columns_of
from streams.following import Written
from streams.pipeline import Pipeline

R = TypeVar("R", AlertRow, AlertChange)


class AlertStore(Protocol):
    """What this needs of a store; every write may be repeated. Calls block."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled`, at least that."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def alert_changes(self, accounts: Sequence[AccountId]) -> list[AlertChange]:
        """Every change of the alerts of these accounts."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write the new state of alerts, then what changed."""


class Historian:
    """Judges all days of accounts whose rows were written: a replay's alerts are a function of the rows."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._turn = count()

    async def judge(self, pipeline: Pipeline, store: AlertStore, written: Written) -> None:
        """Make the stored alerts of these accounts those that their rows give."""
        version = (pipeline.tenure.epoch << 40) + next(self._turn)
        await pipeline.call(rewrite, store, self._rules, pipeline.rows.terms_of, list(written.versions), version)

    async def close(self) -> None:
        """Nothing is under way."""


def rewrite(
    store: AlertStore,
    rules: Sequence[Rule],
    terms_of: Callable[[str], Terms],
    accounts: Sequence[AccountId],
    version: int,
) -> None:
    """Make the stored alerts of these accounts those that the rules give on their stored rows, day by day.

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
    for alert, of_alert in that_were(rules, store.rows(accounts, 0, columns_of(rules)), evidence_of, version):
        alerts.append(alert)
        changes += of_alert
    before = [alert for alert in store.alerts(accounts) if alert.rule not in OTHER_RULES]
    stored = [change for change in store.alert_changes(accounts) if change.rule not in OTHER_RULES]
    store.add_alerts(_differing(before, alerts, version), _differing(stored, changes, version))


def _key(row: AlertRow | AlertChange) -> tuple[str, ...]:
    return (row.alert_id,) if isinstance(row, AlertRow) else (row.alert_id, row.state, str(row.day))


def _differing(before: Iterable[R], now: Iterable[R], version: int) -> list[R]:
    """What to write so that the stored rows are those of now: rows that differ, and tombstones."""
    stored = {_key(row): row._replace(version=version) for row in before}
    wanted = {_key(row): row for row in now}
    fresh = [row for key, row in wanted.items() if stored.get(key) != row]
    return fresh + [row._replace(gone=1) for key, row in stored.items() if key not in wanted]
