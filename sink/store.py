"""The store: events, rows, marks and the rest in ClickHouse, embedded or on a server, by the same statements.

Every write may be repeated: what is written twice is one row. Calls block; the worker makes them from one thread.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.binding import format_query_value
from clickhouse_connect.driver.client import Client

from schemas.codec import Codec, Container
from schemas.events import TOPICS, Topic
from schemas.rows import AccountId, Cell, DailyRows, Loaded, Mark, Standard, Stored, Wrong
from sink.casebook import CaseBook
from sink.columns import as_read, as_written, repeated, values_of
from sink.compare import compare
from sink.loading import EVENT_TABLES, loading
from sink.query import WRITE_SETTINGS, converted, of_accounts, of_partitions
from sink.recompute import recompute
from streams.core.metrics import METRIC_BY_NAME, METRICS, Array, Terms

ACCOUNTS_A_QUERY = 10_000


class Store(CaseBook):
    """Events in, events out; rows in, or computed here. See `streams.pipeline` for the order of a worker's writes."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        newest = Codec().newest
        self._containers = {topic: Container(schema) for topic, schema in newest.items()}
        self._columns = {t: [field["name"] for field in s["fields"]] + ["digest"] for t, s in newest.items()}

    # --- events ------------------------------------------------------------------------------------------

    def add_events(self, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (payload, digest) pairs of accepted events, as the Avro they came as."""
        block = self._containers[topic].build(records)
        with converted():
            self.client.raw_insert(
                EVENT_TABLES[topic], self._columns[topic], block, settings=WRITE_SETTINGS, fmt="Avro"
            )

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False, since_ms: int | None = None) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled`, without orders that went well.

        With `since_ms` (epoch) only orders with an event, or a promise, at that time or later, and, unless only what is
        `troubled` is asked for, the account's first.
        """
        events: dict[Topic, list[tuple[Any, ...]]] = {topic: [] for topic in TOPICS}
        for these in _slices(accounts):
            for topic in TOPICS:
                events[topic] += self._rows(loading(topic, these, troubled=troubled, since_ms=since_ms))
        return Loaded(events, self.marks(accounts))

    def seen_since(self, account: AccountId, since_ms: int) -> list[tuple[Topic, str, str, int, int]]:
        """The account's events that were stored then or later: topic, subject, event id, rank, when (epoch ms)."""
        found: list[tuple[Topic, str, str, int, int]] = []
        for topic in TOPICS:
            subject = "conversation_id" if topic == "surveys" else "order_id"
            query = f"""SELECT {subject}, event_id, reinterpretAsUInt64(digest),
                    toUnixTimestamp64Milli(min(first_seen_at)) AS seen_ms
                FROM {EVENT_TABLES[topic]} WHERE {of_accounts([account])}
                GROUP BY {subject}, event_id, digest HAVING seen_ms >= {int(since_ms)}"""
            found += [(topic, *row) for row in self._rows(query)]
        return found

    def stored(self, accounts: Sequence[AccountId]) -> dict[AccountId, Stored]:
        """How much is stored of these accounts, as far as anything is."""
        found: dict[AccountId, Stored] = {}
        for these in _slices(accounts):
            for seller, marketplace, *sums in self._rows(_sums(f"FINAL WHERE {these}")):
                found[seller, marketplace] = Stored(*sums)
        return found

    def sizes(
        self, partitions: int = 1, owned: Iterable[int] = (0,), *, among: Sequence[AccountId] | None = None
    ) -> dict[AccountId, tuple[int, int]]:
        """How many events accounts of these partitions have, one that came twice perhaps twice, and the first's day.

        Of those `among` these, if they are given.
        """
        which = _where(partitions, owned) + ("" if among is None else f" AND {of_accounts(among)}")
        rows = self._rows(f"SELECT {_KEY}, events, first_day FROM ({_sums(which)})")
        return {(seller, marketplace): (events, first_day) for seller, marketplace, events, first_day in rows}

    def marks(self, accounts: Sequence[AccountId]) -> dict[AccountId, Mark]:
        """The marks of these accounts, as far as they have one."""
        found: dict[AccountId, Mark] = {}
        for these in _slices(accounts):
            for seller, marketplace, checksum, formula, rules, *rest in self._rows(f"{_MARKS} WHERE {these}"):
                found[seller, marketplace] = Mark((seller, marketplace), checksum, Standard(formula, rules), *rest)
        return found

    # --- rows --------------------------------------------------------------------------------------------

    def add_rows(self, accounts: Sequence[AccountId], sizes: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Write rows of `seller_daily`, `sizes[i]` of `accounts[i]`, with `day`, `version` and every metric."""
        latest = np.zeros(sum(sizes), dtype=np.uint8)
        latest[np.cumsum(sizes, dtype=np.int64) - 1] = 1
        arrays = {
            "seller_id": repeated([seller for seller, _ in accounts], sizes),
            "marketplace_id": repeated([marketplace for _, marketplace in accounts], sizes),
            "day": pa.array(columns["day"].astype(np.int32), pa.date32()),
            "version": pa.array(columns["version"], pa.uint64()),
            "latest": pa.array(latest),
        }
        arrays |= {metric.name: as_written(metric, columns[metric.name]) for metric in METRICS}
        self._insert("stored_seller_daily", pa.table(arrays))

    def recompute(self, accounts: Sequence[AccountId], terms: Terms, *, first: int, as_of: int, epoch: int) -> None:
        """Write the rows of these accounts from day `first` to `as_of` as their stored events give them."""
        names = ", ".join(metric.name for metric in METRICS)
        select = recompute(terms, of_accounts(accounts), first=first, as_of=as_of, epoch=epoch)
        self._command(f"INSERT INTO stored_seller_daily ({_KEY}, day, version, latest, {names}) {select}")

    def differing(self, accounts: Sequence[AccountId], terms: Terms, *, as_of: int) -> dict[AccountId, Wrong]:
        """Of these accounts those with rows other than their stored events give, and what is wrong with them."""
        rows = self._rows(compare(terms, of_accounts(accounts), as_of=as_of))
        return {
            (seller, marketplace): Wrong(differ, missing, surplus, cells, [Cell(*cell) for cell in examples])
            for seller, marketplace, differ, missing, surplus, cells, examples in rows
        }

    def drop_rows(self, versions: Mapping[AccountId, int]) -> None:
        """Of each account remove the rows of that version or a greater one, and those of days after the as-of day."""
        bounds = format_query_value("\n".join(json.dumps([*key, version]) for key, version in versions.items()))
        shape = "'seller_id String, marketplace_id String, bound UInt64'"
        self._command(
            f"""DELETE FROM stored_seller_daily WHERE ({_KEY}, day, version) IN (
                SELECT r.seller_id, r.marketplace_id, r.day, r.version FROM stored_seller_daily AS r
                JOIN format(JSONCompactEachRow, {shape}, {bounds}) AS of
                    ON of.seller_id = r.seller_id AND of.marketplace_id = r.marketplace_id
                WHERE r.version >= of.bound OR r.day > (SELECT max(day) FROM as_of_days))"""
        )
        for these in _slices(list(versions)):
            self._command(f"DELETE FROM stored_seller_current WHERE {these}")
            self._show(these)

    def _show(self, which: str) -> None:
        """Make the latest of these rows those of their accounts, where no later or greater one is."""
        columns = f"{_KEY}, day, {', '.join(metric.name for metric in METRICS)}, computed_at, version"
        self._command(
            f"""INSERT INTO stored_seller_current ({columns}) SELECT {columns} FROM stored_seller_daily FINAL
            WHERE {which} ORDER BY day DESC LIMIT 1 BY {_KEY} SETTINGS optimize_move_to_prewhere_if_final = 1"""
        )

    def strays(self) -> list[AccountId]:
        """Accounts that have rows or cases, and no event."""
        each, rows_or_cases = (
            " UNION ALL ".join(f"SELECT DISTINCT {_KEY} FROM {table}" for table in tables)
            for tables in (EVENT_TABLES.values(), ("stored_seller_daily", "stored_cases"))
        )
        rows = self._rows(f"SELECT DISTINCT {_KEY} FROM ({rows_or_cases}) WHERE ({_KEY}) NOT IN ({each})")
        return [(seller, marketplace) for seller, marketplace in rows]

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on, values as `snapshot` gives them."""
        metrics = [METRIC_BY_NAME[name] for name in columns]
        read = "".join(f", {as_read(metric)}" for metric in metrics)
        table = self.query_arrow(
            f"""SELECT {_KEY}, toInt32(day){read} FROM stored_seller_daily FINAL
            WHERE {of_accounts(accounts)} AND day >= toDate({max(int(first), 0)}) ORDER BY {_KEY}, day
            SETTINGS optimize_move_to_prewhere_if_final = 1"""  # the conditions are on the key alone
        )
        sellers, markets, days, *values = table.columns
        known = {metric.name: values_of(of_metric) for metric, of_metric in zip(metrics, values, strict=True)}
        return DailyRows.of(sellers.to_pylist(), markets.to_pylist(), known | {"day": values_of(days)})

    def add_gone(self, account: AccountId, days: range, version: int) -> None:
        """The account has no rows of these days any more."""
        columns = {"day": pa.array(days, pa.date32()), "gone": pa.array([1] * len(days), pa.uint8())}
        columns |= {"seller_id": [account[0]] * len(days), "marketplace_id": [account[1]] * len(days)}
        columns["version"] = pa.array([version] * len(days), pa.uint64())
        columns["latest"] = pa.array([int(day == days[-1]) for day in days], pa.uint8())
        self._insert("stored_seller_daily", pa.table(columns))

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Write how far accounts' rows are; after the rows, so that a crash in between shows."""
        self._insert(
            "account_marks",
            pa.table(
                {
                    "seller_id": [mark.account[0] for mark in marks],
                    "marketplace_id": [mark.account[1] for mark in marks],
                    "checksum": pa.array([mark.checksum for mark in marks], pa.uint64()),
                    "formula": pa.array([mark.standard.formula for mark in marks], pa.uint64()),
                    "rules": pa.array([mark.standard.rules for mark in marks], pa.uint64()),
                    "first_day": pa.array([mark.first_day for mark in marks], pa.date32()),
                    "as_of": pa.array([mark.as_of for mark in marks], pa.date32()),
                    "version": pa.array([mark.version for mark in marks], pa.uint64()),
                }
            ),
        )

    def accounts(self, partitions: int = 1, owned: Iterable[int] = (0,)) -> dict[AccountId, int | None]:
        """The accounts of these partitions, of so many, that have events.

        Each with its first day that has a row, as far as its mark tells of one.
        """
        each = " UNION ALL ".join(
            f"SELECT DISTINCT {_KEY} FROM {t}{_where(partitions, owned)}" for t in EVENT_TABLES.values()
        )
        rows = self._rows(
            f"""SELECT e.seller_id, e.marketplace_id, m.version > 0 AND m.first_day <= m.as_of, m.first_day
            FROM (SELECT DISTINCT {_KEY} FROM ({each})) AS e
            LEFT JOIN ({_MARKS}) AS m ON m.seller_id = e.seller_id AND m.marketplace_id = e.marketplace_id"""
        )
        return {(seller, market): first_day if has_rows else None for seller, market, has_rows, first_day in rows}

    def behind(
        self,
        as_of: int,
        standard: Standard,
        partitions: int = 1,
        owned: Iterable[int] = (0,),
        *,
        thorough: bool = True,
    ) -> dict[AccountId, int]:
        """The accounts of these partitions, of so many, whose rows lag their events, the settings or the as-of day.

        Each with the day of its first event.

        Only a `thorough` look, which reads every event, finds rows that lag events alone.
        """
        where = _where(partitions, owned)
        standard_differs = f"m.formula != {standard.formula} OR {standard.rules} NOT IN (0, m.rules)"
        lags = f"{standard_differs} OR (m.as_of < {int(as_of)} AND e.first_day <= {int(as_of)})"
        if not thorough:
            return self._compared(where, lags)
        # Without FINAL it takes a tenth of the time, and events that are stored twice are taken for other ones.
        suspects = self._compared(where, f"e.checksum != m.checksum OR {lags}")
        found: dict[AccountId, int] = {}
        for these in _slices(list(suspects)):
            found |= self._compared(f"FINAL WHERE {these}", f"e.checksum != m.checksum OR {lags}")
        return found

    def _compared(self, which: str, lags: str) -> dict[AccountId, int]:
        """Accounts whose sums and marks differ in that, with their first day."""
        query = f"""SELECT e.seller_id, e.marketplace_id, e.first_day FROM ({_sums(which)}) AS e
            LEFT JOIN ({_MARKS}) AS m ON m.seller_id = e.seller_id AND m.marketplace_id = e.marketplace_id
            WHERE {lags}"""
        return {(seller, marketplace): first_day for seller, marketplace, first_day in self._rows(query)}

    def first_day(self) -> int | None:
        """The day of the first event, None if there is none."""
        firsts = " UNION ALL ".join(
            f"SELECT min(event_time) AS t, count() AS n FROM {t} FINAL" for t in EVENT_TABLES.values()
        )
        rows = self._rows(f"SELECT toRelativeDayNum(minIf(t, n > 0)) FROM ({firsts}) HAVING sum(n) > 0")
        return int(rows[0][0]) if rows else None


_KEY = "seller_id, marketplace_id"
_MARKS = (
    f"SELECT {_KEY}, checksum, formula, rules, toInt32(first_day) AS first_day, toInt32(as_of) AS as_of, version "
    "FROM account_marks FINAL"
)


def _slices(accounts: Sequence[AccountId]) -> Iterator[str]:
    """Conditions that hold of these accounts, so many at a time."""
    for at in range(0, len(accounts), ACCOUNTS_A_QUERY):
        yield of_accounts(accounts[at : at + ACCOUNTS_A_QUERY])


def _sums(which: str) -> str:
    """Accounts with the number of their events, the sum of their digests and their first day; `which` ends FROM."""
    each = " UNION ALL ".join(
        f"SELECT {_KEY}, count() AS n, sum(reinterpretAsUInt64(digest)) AS sums, min(event_time) AS first "
        f"FROM {table} {which} GROUP BY {_KEY}"
        for table in EVENT_TABLES.values()
    )
    return f"""SELECT {_KEY}, sum(n) AS events, sum(sums) AS checksum,
        toInt32(toRelativeDayNum(min(first))) AS first_day FROM ({each}) GROUP BY {_KEY}"""


def _where(partitions: int, owned: Iterable[int]) -> str:
    return f" WHERE {of_partitions(partitions, owned)}"
