"""The store: events, rows, marks and the rest in ClickHouse, embedded or on a server, by the same statements.

Every write may be repeated: what is written twice is one row. Calls block; the worker makes them from one thread.
Driver exceptions become `Unavailable` (try again) or `SinkRejected` (our bug) here and nowhere else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from clickhouse_connect.driver.binding import format_query_value
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError
from urllib3.exceptions import HTTPError

from schemas.codec import Codec, Container
from schemas.errors import SinkRejected, Unavailable
from schemas.events import TOPICS, Topic
from schemas.rows import AccountId, AlertChange, AlertRow, Loaded, Mark, Rejected, Standard
from streams.core.metrics import METRICS

Array = npt.NDArray[Any]

EVENT_TABLES: dict[Topic, str] = {
    "orders": "stored_order_events",
    "feedback": "stored_feedback_events",
    "surveys": "stored_survey_events",
}
# async_insert is on by default in this version, and batches are ours; 64-bit numbers are numbers in JSON.
WRITE_SETTINGS = {"async_insert": 0, "max_query_size": 64 << 20}
ACCOUNTS_A_QUERY = 1000
# Code of an exception that says nothing about our statement: timeouts, memory, too many parts, network, disk full, or
# that the statement was stopped.
_PASSING = frozenset((3, 159, 173, 201, 202, 209, 210, 236, 241, 242, 243, 252, 279, 319, 394, 425, 439, 999))


class Store:
    """Events in, events out; rows in. See `streams.pipeline` for the order in which a worker writes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        newest = Codec().newest
        self._containers = {topic: Container(schema) for topic, schema in newest.items()}
        self._columns = {t: [field["name"] for field in s["fields"]] + ["digest"] for t, s in newest.items()}

    # --- events ------------------------------------------------------------------------------------------

    def add_events(self, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (payload, digest) pairs of accepted events, as the Avro they came as."""
        block = self._containers[topic].build(records)
        with _converted():
            self.client.raw_insert(
                EVENT_TABLES[topic], self._columns[topic], block, settings=WRITE_SETTINGS, fmt="Avro"
            )

    def load(self, accounts: Sequence[AccountId]) -> Loaded:
        """All that is stored of these accounts."""
        events: dict[Topic, list[tuple[Any, ...]]] = {topic: [] for topic in TOPICS}
        marks: dict[AccountId, Mark] = {}
        for at in range(0, len(accounts), ACCOUNTS_A_QUERY):
            where = f" WHERE ({_KEY}) IN ({_in_list(accounts[at : at + ACCOUNTS_A_QUERY])})"
            for topic in TOPICS:
                events[topic] += self._rows(f"SELECT {_LOADED[topic]} FROM {EVENT_TABLES[topic]} FINAL{where}")
            for row in self._rows(_MARKS + where):
                seller, marketplace, checksum, formula, rules, *rest = row
                marks[seller, marketplace] = Mark((seller, marketplace), checksum, Standard(formula, rules), *rest)
        return Loaded(events, marks)

    # --- rows --------------------------------------------------------------------------------------------

    def add_rows(self, accounts: Sequence[AccountId], sizes: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Write rows of `seller_daily`, `sizes[i]` of `accounts[i]`, with `day`, `version` and every metric."""
        arrays = {
            "seller_id": _repeated([seller for seller, _ in accounts], sizes),
            "marketplace_id": _repeated([marketplace for _, marketplace in accounts], sizes),
            "day": pa.array(columns["day"].astype(np.int32), pa.date32()),
            "version": pa.array(columns["version"], pa.uint64()),
        }
        arrays |= {metric.name: _arrow(metric.type, columns[metric.name]) for metric in METRICS}
        self._insert("stored_seller_daily", pa.table(arrays))

    def add_gone(self, mark: Mark, first: int) -> None:
        """The account has no rows any more from day `first` until the mark's first day."""
        days = list(range(first, mark.first_day))
        columns = {"day": pa.array(days, pa.date32()), "gone": pa.array([1] * len(days), pa.uint8())}
        columns |= {"seller_id": [mark.account[0]] * len(days), "marketplace_id": [mark.account[1]] * len(days)}
        columns["version"] = pa.array([mark.version] * len(days), pa.uint64())
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

    def accounts(self, partitions: int = 1, owned: Iterable[int] = (0,)) -> list[AccountId]:
        """The accounts of these partitions, of so many, that have events."""
        each = " UNION ALL ".join(
            f"SELECT DISTINCT {_KEY} FROM {t}{_where(partitions, owned)}" for t in EVENT_TABLES.values()
        )
        return [(seller, marketplace) for seller, marketplace in self._rows(f"SELECT DISTINCT {_KEY} FROM ({each})")]

    def behind(
        self,
        as_of: int,
        standard: Standard,
        partitions: int = 1,
        owned: Iterable[int] = (0,),
        *,
        thorough: bool = True,
    ) -> list[AccountId]:
        """The accounts of these partitions, of so many, whose rows lag their events, the settings or the as-of day.

        Only a `thorough` look, which reads every event, finds rows that lag events alone.
        """
        checksum, final = ("sum(reinterpretAsUInt64(digest))", "FINAL") if thorough else ("toUInt64(0)", "")
        where = _where(partitions, owned)
        stored = " UNION ALL ".join(
            f"SELECT {_KEY}, {checksum} AS sums, min(event_time) AS first FROM {table} {final}{where} GROUP BY {_KEY}"
            for table in EVENT_TABLES.values()
        )
        lags = "e.checksum != m.checksum" if thorough else "false"
        return self._rows(
            f"""SELECT e.seller_id, e.marketplace_id FROM (
                SELECT {_KEY}, sum(sums) AS checksum, toRelativeDayNum(min(first)) AS first_day
                FROM ({stored}) GROUP BY {_KEY}
            ) AS e LEFT JOIN ({_MARKS}) AS m ON m.seller_id = e.seller_id AND m.marketplace_id = e.marketplace_id
            WHERE {lags} OR m.formula != {standard.formula}
                OR ({standard.rules} NOT IN (0, m.rules)) OR (m.as_of < {int(as_of)} AND e.first_day <= {int(as_of)})"""
        )

    # --- the as-of day and epochs ------------------------------------------------------------------------

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""
        rows = self._rows("SELECT toInt32(max(day)) FROM as_of_days HAVING count() > 0")
        return int(rows[0][0]) if rows else None

    def first_day(self) -> int | None:
        """The day of the first event, None if there is none."""
        firsts = " UNION ALL ".join(
            f"SELECT min(event_time) AS t, count() AS n FROM {t} FINAL" for t in EVENT_TABLES.values()
        )
        rows = self._rows(f"SELECT toRelativeDayNum(minIf(t, n > 0)) FROM ({firsts}) HAVING sum(n) > 0")
        return int(rows[0][0]) if rows else None

    def move_as_of(self, day: int) -> int:
        """Move the as-of day forward, never back; what it is then."""
        current = self.as_of()
        if current is not None and current >= day:
            return current
        self._insert("as_of_days", pa.table({"day": pa.array([day], pa.date32())}))
        return day

    def next_epoch(self) -> int:
        """A fencing epoch greater than any taken before."""
        epoch = int(self._rows("SELECT max(epoch) + 1 FROM epochs")[0][0])
        self._insert("epochs", pa.table({"epoch": pa.array([epoch], pa.uint32())}))
        return epoch

    # --- refused records and alerts ----------------------------------------------------------------------

    def add_rejected(self, rejected: Sequence[Rejected]) -> None:
        """Write refused records; each is one row however often it comes."""
        if not rejected:
            return
        columns = dict(zip(Rejected._fields, map(list, zip(*rejected, strict=True)), strict=True))
        table = {name: pa.array(values) for name, values in columns.items()}
        table["time"] = pa.array(columns["time"], pa.timestamp("ms", "UTC"))
        self._insert("stored_rejected_events", pa.table(table))

    def add_misplaced(self, offsets: Mapping[tuple[str, int], int], counts: Mapping[tuple[str, int], int]) -> None:
        """Note how many records of a batch, which ended there, were found outside their account's partition."""
        columns = {"topic": [topic for topic, _ in counts], "partition": [partition for _, partition in counts]}
        columns |= {"last_offset": [offsets[at] for at in counts], "records": list(counts.values())}
        self._insert("misplaced_records", pa.table(columns))

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write the new state of alerts, then what changed."""
        if alerts:
            columns = dict(zip(AlertRow._fields, map(list, zip(*alerts, strict=True)), strict=True))
            types = {"value": pa.float64(), "threshold": pa.float64(), "order_ids": pa.list_(pa.string())}
            types |= {name: pa.timestamp("ms", "UTC") for name in ("since", "resolved_at")}
            self._insert("stored_alerts", _table(columns, types))
        if changes:
            columns = dict(zip(AlertChange._fields, map(list, zip(*changes, strict=True)), strict=True))
            self._insert("stored_alert_history", _table(columns, {"day": pa.date32(), "value": pa.float64()}))

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_firing: bool = False) -> list[AlertRow]:
        """Alerts in their latest state, of these accounts or of all."""
        if accounts is not None and not accounts:
            return []
        where = ["state = 'firing'"] if only_firing else []
        if accounts is not None:
            where.append(f"(seller_id, marketplace_id) IN ({_in_list(accounts)})")
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        return [AlertRow(*row) for row in self._rows(f"SELECT {_ALERTS} FROM stored_alerts FINAL{condition}")]

    def alert_changes(self, accounts: Sequence[AccountId]) -> list[AlertChange]:
        """Every change of the alerts of these accounts."""
        if not accounts:
            return []
        fields = "alert_id, toInt32(day), rule, seller_id, marketplace_id, state, value, version, gone"
        where = f"WHERE (seller_id, marketplace_id) IN ({_in_list(accounts)})"
        return [AlertChange(*row) for row in self._rows(f"SELECT {fields} FROM stored_alert_history FINAL {where}")]

    # --- below -------------------------------------------------------------------------------------------

    def query_arrow(self, query: str) -> pa.Table:
        """The result of a statement as an Arrow table."""
        with _converted():
            return self.client.query_arrow(query, use_strings=True)

    def close(self) -> None:
        """Let go of the connection; an embedded database is free for the next process."""
        self.client.close()

    def _rows(self, query: str) -> list[Any]:
        with _converted():
            return list(self.client.query(query, settings={"max_query_size": 64 << 20}).result_rows)

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            with _converted():
                self.client.insert_arrow(table, rows, settings=WRITE_SETTINGS)


_KEY = "seller_id, marketplace_id"
_FACT = "toUnixTimestamp64Milli(event_time), event_id, reinterpretAsUInt64(digest)"
_LOADED: dict[Topic, str] = {
    "orders": f"{_KEY}, order_id, {_FACT}, kind, fulfilment, toUnixTimestamp64Milli(deliver_by)",
    "feedback": f"{_KEY}, order_id, {_FACT}, kind, rating, arrived_on_time, item_as_described, customer_service",
    "surveys": f"{_KEY}, conversation_id, {_FACT}, solved, order_id",
}
_MARKS = (
    f"SELECT {_KEY}, checksum, formula, rules, toInt32(first_day) AS first_day, toInt32(as_of) AS as_of, version "
    "FROM account_marks FINAL"
)
_ALERTS = (
    "alert_id, rule, seller_id, marketplace_id, subject, state, severity, value, threshold, "
    "toUnixTimestamp64Milli(since), toUnixTimestamp64Milli(resolved_at), order_ids, order_count, version, gone"
)


_SCOPE = re.compile(r" in scope |: (?:In scope|While) ", re.IGNORECASE)  # from there on the engine quotes the statement


@contextmanager
def _converted() -> Iterator[None]:
    """The driver's exceptions as ours, without the statement: it may hold what no log should."""
    try:
        yield
    except DatabaseError as failed:
        text = str(failed)
        code = getattr(failed, "code", None) or _code_in(text)
        if not code and isinstance(failed, OperationalError):  # the network's
            raise Unavailable("ClickHouse does not answer") from failed
        what = _SCOPE.split(text.splitlines()[0])[0][:300]
        raise (Unavailable if code in _PASSING else SinkRejected)(f"ClickHouse: {what}") from failed
    except (ClickHouseError, HTTPError, OSError) as failed:
        raise Unavailable(f"ClickHouse: {type(failed).__name__}") from failed


def _code_in(text: str) -> int:
    _, _, after = text.partition("Code: ")
    digits = after.split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _where(partitions: int, owned: Iterable[int]) -> str:
    return f" WHERE account_hash % {int(partitions)} IN ({', '.join(str(int(p)) for p in owned)})"


def _in_list(accounts: Sequence[AccountId]) -> str:
    return ", ".join(f"({format_query_value(seller)}, {format_query_value(market)})" for seller, market in accounts)


def _repeated(values: Sequence[str], sizes: Sequence[int]) -> pa.DictionaryArray:
    """Each value so many times, as a dictionary: an account's rows repeat its id, accounts their marketplace."""
    each = pa.array(values, pa.string()).dictionary_encode()
    indices = np.repeat(each.indices.to_numpy(), sizes)
    return pa.DictionaryArray.from_arrays(indices, each.dictionary)


def _arrow(clickhouse_type: str, values: Array) -> pa.Array:
    if clickhouse_type == "Nullable(Float64)":
        return pa.array(values, pa.float64(), from_pandas=True)
    if clickhouse_type == "Nullable(Date)":
        return pa.array(values.astype(np.int32), pa.date32(), mask=values < 0)
    if clickhouse_type.startswith("DateTime64"):
        return pa.array(values, pa.timestamp("ms", "UTC"))
    if "String" in clickhouse_type:
        return pa.array(values, pa.string())
    return pa.array(values.astype({"UInt32": np.uint32, "UInt8": np.uint8, "Int64": np.int64}[clickhouse_type]))


def _table(columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
