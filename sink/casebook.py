"""What a store keeps of cases, and how it finds those that are not what the stored events give.

Tables of events are read without FINAL: of an event that is stored twice, or with other content, the standing one is
chosen among those of the few orders in question, which costs a tenth of it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clickhouse_connect.driver.binding import format_query_value

from schemas.rows import EPOCH_BITS, AccountId, CaseRow, CaseStories, OrderId, Transition
from sink.ledger import Ledger
from sink.query import of_accounts

ORDERS_A_QUERY = 10_000


class CaseBook(Ledger):
    """See `sink.store.Store`, which is this and the events and rows."""

    def stale_orders(self, accounts: Sequence[AccountId], until_ms: int, reading: int) -> list[OrderId]:
        """Orders of these accounts whose case rows are not of this reading and of their events before `until_ms`.

        Of no reading that is 0: all that have case rows, or should.
        """
        if not accounts:
            return []
        these, before = of_accounts(accounts), f"fromUnixTimestamp64Milli({int(until_ms)}, 'UTC')"
        low = self._rows(
            f"""SELECT {_ORDER}, max(has_case) FROM (
                SELECT {_ORDER}, argMin({_IS_LOW} AND event_time < {before}, {_RANK}) AS is_low, false AS has_case
                FROM stored_feedback_events
                PREWHERE order_id IN (SELECT order_id FROM stored_feedback_events WHERE {these} AND {_IS_LOW})
                WHERE {these} GROUP BY {_ORDER}, event_id HAVING is_low
                UNION ALL SELECT {_ORDER}, false, true FROM stored_cases WHERE {these})
            GROUP BY {_ORDER}"""
        )
        known = [(seller, marketplace, order) for seller, marketplace, order, has_case in low if has_case]
        fresh = [(seller, marketplace, order) for seller, marketplace, order, has_case in low if not has_case]
        return fresh + [order for these in _slices(known) for order in self._outdated(these, before, reading)]

    def _outdated(self, these: str, before: str, reading: int) -> Iterator[OrderId]:
        """Of orders that have case rows those whose rows are not of this reading and of their events."""
        stories = " UNION ALL ".join(
            f"""SELECT {_ORDER}, min({_RANK}) AS rank, argMin(event_time, {_RANK}) < {before} AS is_known
                FROM {table} {these} GROUP BY {_ORDER}, event_id"""
            for table in _PARTS
        )
        rows = self._rows(
            f"""SELECT {_ORDER} FROM (
                SELECT {_ORDER}, sum(rank) AS told, 0::UInt64 AS least, 0::UInt64 AS most, false AS is_old
                FROM ({stories}) WHERE is_known GROUP BY {_ORDER}
                UNION ALL SELECT {_ORDER}, 0, min(checksum), max(checksum), max(reading != {reading})
                FROM stored_cases FINAL {these} GROUP BY {_ORDER})
            GROUP BY {_ORDER} HAVING max(is_old) OR sum(least) != sum(told) OR sum(most) != sum(told)"""
        )
        return ((seller, marketplace, order) for seller, marketplace, order in rows)

    def case_stories(self, orders: Sequence[OrderId], until_ms: int) -> CaseStories:
        """What is stored of these orders that happened before `until_ms`, and their case rows, gone ones too."""
        found = CaseStories([], [], [])
        for these in _slices(orders):
            for told, (table, fields) in zip(found[:2], _PARTS.items(), strict=True):
                query = f"SELECT {_ORDER}, {_TIME}, event_id, {_RANK}, {fields} FROM {table} {these}"
                told.extend(row for row in standing(self._rows(query)) if row[3] < until_ms)
            found.cases.extend(self._cases(these))
        return found

    def cases(self, accounts: Sequence[AccountId]) -> list[CaseRow]:
        """The cases of these accounts as their events tell them: `expired` by no clock."""
        return self._cases(f"WHERE {of_accounts(accounts)} AND NOT gone") if accounts else []

    def _cases(self, which: str) -> list[CaseRow]:
        fields = ", ".join(_AS_READ.get(name, name) for name in CaseRow._fields)
        rows = self._rows(f"SELECT {fields} FROM stored_cases FINAL {which}")
        at = CaseRow._fields.index("transitions")
        return [
            CaseRow._make((*row[:at], [Transition._make(step) for step in row[at]], *row[at + 1 :])) for row in rows
        ]

    def add_cases(self, rows: Sequence[CaseRow]) -> None:
        """Write cases, but not of an account that a later epoch has marked: who slept through losing it knows less."""
        by_epoch: dict[int, list[CaseRow]] = {}
        for row in rows:
            by_epoch.setdefault(row.version >> EPOCH_BITS, []).append(row)
        for epoch, of_epoch in by_epoch.items():
            for at in range(0, len(of_epoch), ORDERS_A_QUERY):
                self._add_cases(epoch, of_epoch[at : at + ORDERS_A_QUERY])

    def _add_cases(self, epoch: int, rows: Sequence[CaseRow]) -> None:
        text = format_query_value("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        accounts = of_accounts(sorted({(row.seller_id, row.marketplace_id) for row in rows}))
        self._command(
            f"""INSERT INTO stored_cases ({", ".join(CaseRow._fields)})
            SELECT {", ".join(_AS_WRITTEN.get(name, name) for name in CaseRow._fields)}
            FROM format(JSONCompactEachRow, '{_SHAPE}', {text})
            WHERE (seller_id, marketplace_id) NOT IN (
                SELECT seller_id, marketplace_id FROM account_marks
                WHERE {accounts} AND version >= {(epoch + 1) << EPOCH_BITS})"""
        )

    def drop_cases(self, accounts: Sequence[AccountId]) -> None:
        """Remove all case rows of these accounts: whatever they say, they are made anew."""
        if accounts:
            self._command(f"DELETE FROM stored_cases WHERE {of_accounts(accounts)}")


_ORDER = "seller_id, marketplace_id, order_id"
_TIME = "toUnixTimestamp64Milli(event_time)"
_RANK = "reinterpretAsUInt64(digest)"
_IS_LOW = "kind = 'SUBMITTED' AND ifNull(rating, 9) <= 3"
_PARTS = {
    "stored_order_events": "fulfilment, skus",
    "stored_feedback_events": "kind, rating, comment, agent, root_cause, date_only, "
    "arrived_on_time, item_as_described, customer_service",
}
_INSTANTS = (
    "opened_at", "closed_at", "respond_target_at", "respond_by", "first_action_at", "reviewed_at", "remove_by",
    "follow_up_at", "expires_at",
)  # fmt: skip
_AS_READ = {name: f"toUnixTimestamp64Milli({name})" for name in _INSTANTS} | {
    "transitions": "arrayMap(step -> (step.1, toUnixTimestamp64Milli(step.2), step.3, step.4), transitions)",
}
_AS_WRITTEN = {name: f"fromUnixTimestamp64Milli({name}, 'UTC')" for name in _INSTANTS} | {
    "transitions": "arrayMap(step -> (step.1, fromUnixTimestamp64Milli(step.2, 'UTC'), step.3, step.4), transitions)",
}
_TYPES = {
    "opened_at": "Int64", "remove_by": "Int64", "rating": "UInt8", "comment": "Nullable(String)",
    "skus": "Array(String)", "agent": "Nullable(String)", "removal_grounds": "Array(String)",
    "root_causes": "Array(String)", "transitions": "Array(Tuple(String, Int64, String, Nullable(String)))",
    "checksum": "UInt64", "reading": "UInt64", "version": "UInt64", "gone": "UInt8",
}  # fmt: skip
_SHAPE = ", ".join(
    f"{name} {_TYPES.get(name, 'Nullable(Int64)' if name in _INSTANTS else 'String')}" for name in CaseRow._fields
)


def standing(rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Of events that share an id the one whose content has the smaller digest. A row: order, time, id, digest, ..."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        known = found.setdefault((*row[:3], row[4]), row)
        if row[5] < known[5]:
            found[*row[:3], row[4]] = row
    return found.values()


def _slices(orders: Sequence[OrderId]) -> Iterator[str]:
    """Clauses that choose the rows of these orders, so many at a time.

    Most rows are of others, and the order's id alone tells that sooner than all three.
    """
    shape = "'seller_id String, marketplace_id String, order_id String'"
    for at in range(0, len(orders), ORDERS_A_QUERY):
        text = format_query_value("\n".join(map(json.dumps, orders[at : at + ORDERS_A_QUERY])))
        these = f"FROM format(JSONCompactEachRow, {shape}, {text})"
        yield f"PREWHERE order_id IN (SELECT order_id {these}) WHERE ({_ORDER}) IN (SELECT {_ORDER} {these})"
