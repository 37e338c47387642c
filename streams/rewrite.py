"""Rewrites the alerts of a database: those that the rules, held against the drained rows day by day, would have raised.

Place in the flow: the end of a replay, once all rows are written. Knows metric rules alone, leaves the alerts of
`OTHER_RULES` as they are, notifies nobody.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.rows import AccountId, AlertChange, AlertRow
from sink.statement import quoted
from streams.alerts import change_of, judged, new_alert, resolved, value_of
from streams.core.calendar import Account
from streams.core.evidence import Evidence
from streams.core.rules import OTHER_RULES, Rule, Run, Verdicts, history, judge

ROWS_A_SLICE = 250_000
ACCOUNTS_A_LOAD = 100

Load = Callable[[Sequence[AccountId]], Mapping[AccountId, Account]]
R = TypeVar("R", AlertRow, AlertChange)


class AlertStore(Protocol):
    """What this needs of a store; every write may be repeated. Calls block."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_firing: bool = False) -> list[AlertRow]:
        """Alerts in their latest state."""

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write the new state of alerts, then what changed."""

    def query_arrow(self, query: str) -> pa.Table:
        """The result of a statement."""


class _Rows(NamedTuple):
    """Stored rows, dense and sorted, of `accounts`, `sizes[i]` of each."""

    accounts: list[AccountId]
    sizes: npt.NDArray[Any]
    days: npt.NDArray[Any]
    columns: dict[str, npt.NDArray[Any]]


def rewrite(store: AlertStore, rules: Iterable[Rule], as_of: int, *, load: Load, version: int) -> None:
    """Make the stored alerts those that the rules give on the stored rows, day by day up to the as-of day.

    What is stored already stays untouched, what never was gets a tombstone: run again, it writes nothing. `version`
    must be greater than any used before: that of rows of a new epoch, with no event. `load` gives the accounts that
    have alerts, with all their events, for the orders behind.
    """
    rules = tuple(rules)
    for accounts in _slices(store):
        rows = _rows_of(store, rules, accounts, as_of)
        alerts: list[AlertRow] = []
        changes: list[AlertChange] = []
        for alert, of_alert in _that_were(rules, rows, load, version):
            alerts.append(alert)
            changes += of_alert
        before = [alert for alert in store.alerts(accounts) if alert.rule not in OTHER_RULES]
        store.add_alerts(_differing(before, alerts, version), _differing(_changes(store, accounts), changes, version))


def _slices(store: AlertStore) -> Iterator[list[AccountId]]:
    """All accounts, whole sellers, as many at a time as have about so many rows."""
    table = store.query_arrow(
        "SELECT seller_id, marketplace_id, greatest(toInt32(as_of) - toInt32(first_day) + 1, 0) AS days "
        "FROM account_marks FINAL ORDER BY seller_id, marketplace_id"
    )
    these: list[AccountId] = []
    size = 0
    for seller, marketplace, days in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if size >= ROWS_A_SLICE and seller != these[-1][0]:
            yield these
            these, size = [], 0
        these.append((seller, marketplace))
        size += days
    if these:
        yield these


def _of(accounts: Sequence[AccountId]) -> str:
    """The condition that a row is of these accounts, a slice in order; it prunes by the tables' sorting key."""
    return f"seller_id BETWEEN {quoted(accounts[0][0])} AND {quoted(accounts[-1][0])}"


def _rows_of(store: AlertStore, rules: Iterable[Rule], accounts: Sequence[AccountId], as_of: int) -> _Rows:
    names = sorted(set[str]().union(*(rule.columns() for rule in rules)))
    table = store.query_arrow(
        f"SELECT {', '.join(['seller_id', 'marketplace_id', 'toInt32(day) AS day_number', *names])} "  # noqa: S608  # the catalogue's names
        f"FROM stored_seller_daily FINAL WHERE {_of(accounts)} AND day_number <= {int(as_of)} "
        "ORDER BY seller_id, marketplace_id, day_number"
    )
    ids = [table[name].combine_chunks().dictionary_encode() for name in ("seller_id", "marketplace_id")]
    codes = np.stack([encoded.indices.to_numpy() for encoded in ids])
    starts = np.append(0, np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(axis=0)) + 1)[: table.num_rows]
    sellers, marketplaces = (encoded.take(pa.array(starts)).to_pylist() for encoded in ids)
    return _Rows(
        list(zip(sellers, marketplaces, strict=True)),
        np.diff(starts, append=table.num_rows),
        table["day_number"].to_numpy(),
        {name: table[name].to_numpy() for name in names},
    )


def _that_were(
    rules: Sequence[Rule], rows: _Rows, load: Load, version: int
) -> Iterator[tuple[AlertRow, list[AlertChange]]]:
    """The alerts of some rows in their last state, each with its changes."""
    markets = np.repeat(np.array([marketplace for _, marketplace in rows.accounts], dtype=object), rows.sizes)
    verdicts = judge(rules, rows.columns, markets)
    found: dict[int, list[tuple[Rule, Run]]] = {}
    for rule in rules:
        for run in history(verdicts[rule.name].severity, rows.sizes):
            found.setdefault(run.account, []).append((rule, run))
    with_alerts = sorted(found)
    for at in range(0, len(with_alerts), ACCOUNTS_A_LOAD):
        these = with_alerts[at : at + ACCOUNTS_A_LOAD]
        loaded = load([rows.accounts[i] for i in these])
        for i in these:
            evidence = Evidence(loaded[rows.accounts[i]])
            for rule, run in found[i]:
                orders = evidence.orders_behind(rule, int(rows.days[run.last]))
                alert = new_alert(rows.accounts[i], rule, int(rows.days[run.turns[0]]), version)
                yield _as_it_was(alert, verdicts[rule.name], run, rows, orders)


def _as_it_was(
    alert: AlertRow, verdicts: Verdicts, run: Run, rows: _Rows, orders: list[str]
) -> tuple[AlertRow, list[AlertChange]]:
    """An alert's last state and its changes: the value of the last change, the rest of the last day in breach."""
    fired = [alert._replace(value=value_of(verdicts, row)) for row in run.turns]
    changes = [change_of(one, int(rows.days[row])) for one, row in zip(fired, run.turns, strict=True)]
    alert = judged(alert, verdicts, run.last, orders)._replace(value=fired[-1].value)
    if run.resolved is not None:
        day = int(rows.days[run.resolved])
        alert = resolved(alert, day, value_of(verdicts, run.resolved))
        changes.append(change_of(alert, day))
    return alert, changes


def _changes(store: AlertStore, accounts: Sequence[AccountId]) -> list[AlertChange]:
    """The stored changes of metric rules' alerts."""
    table = store.query_arrow(
        "SELECT alert_id, toInt32(day) AS day, rule, seller_id, marketplace_id, state, value, version, gone "  # noqa: S608  # quoted
        f"FROM stored_alert_history FINAL WHERE {_of(accounts)}"
    )
    changes = (AlertChange(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True))
    return [change for change in changes if change.rule not in OTHER_RULES]


def _key(row: AlertRow | AlertChange) -> tuple[str, ...]:
    return (row.alert_id,) if isinstance(row, AlertRow) else (row.alert_id, row.state, str(row.day))


def _differing(before: Iterable[R], now: Iterable[R], version: int) -> list[R]:
    """What to write so that the stored rows are those of now: rows that differ, and tombstones."""
    stored = {_key(row): row._replace(version=version) for row in before}
    wanted = {_key(row): row for row in now}
    fresh = [row for key, row in wanted.items() if stored.get(key) != row]
    return fresh + [row._replace(gone=1) for key, row in stored.items() if key not in wanted]
