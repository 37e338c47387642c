"""What a store keeps besides events and rows: the as-of day, epochs, refused and misplaced records, alerts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from clickhouse_connect.driver.binding import format_query_value

from schemas.rows import AccountId, AlertChange, AlertRow, DeadLetter, Rejected, SelfCheck, Which
from sink.clocks import Clocked, Digested
from sink.forgetting import Forgetting
from sink.inforce import Governed
from sink.notices import Noticeboard
from sink.query import HASH, of_accounts, of_partitions


class Ledger(Noticeboard, Clocked, Digested, Governed, Forgetting):
    """See `sink.store.Store`, which is this and the events and rows."""

    # --- the as-of day and epochs ------------------------------------------------------------------------

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""
        rows = self._rows("SELECT toInt32(max(day)) FROM as_of_days HAVING count() > 0")
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

    # --- refused records ---------------------------------------------------------------------------------

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

    def dead_letters(self, which: Which, *, only_open: bool, newest: int = 0) -> list[DeadLetter]:
        """The chosen ones, the newest first; if only the `newest`, so many of them."""
        state, limit = " AND state = 'open'" if only_open else "", f" LIMIT {int(newest)}" if newest else ""
        rows = self._rows(
            f"SELECT record, {_REFUSED}, state FROM dead_letters WHERE {WHICH}{state} ORDER BY {NEWEST}{limit}",
            asked(which),
        )
        return [DeadLetter(name, Rejected(*refused), state) for name, *refused, state in rows]

    def settle(self, records: Sequence[Rejected], state: Literal["replayed", "dropped"]) -> None:
        """Note what was done with refused records: they are no longer open."""
        columns = dict(zip(_SOURCE, map(list, zip(*(record[:5] for record in records), strict=True)), strict=False))
        self._insert("settled_dead_letters", pa.table(columns | {"state": [state] * len(records)}))

    def add_self_check(self, check: SelfCheck) -> None:
        """Note what came of holding rows against their events; of an epoch the last note stands."""
        columns = {name: [value] for name, value in check._asdict().items()}
        times = ("checked_at", "differed_at")
        self._insert("self_checks", _table(columns, dict.fromkeys(times, pa.timestamp("ms", "UTC"))))

    # --- alerts ------------------------------------------------------------------------------------------

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write what changed, then the new state of alerts: until that is stored the change is found again."""
        if changes:
            columns = dict(zip(AlertChange._fields, map(list, zip(*changes, strict=True)), strict=True))
            self._insert("stored_alert_history", _table(columns, {"day": pa.date32(), "value": pa.float64()}))
        if alerts:
            columns = dict(zip(AlertRow._fields, map(list, zip(*alerts, strict=True)), strict=True))
            types = {"value": pa.float64(), "threshold": pa.float64(), "order_ids": pa.list_(pa.string())}
            types |= {name: pa.timestamp("ms", "UTC") for name in ("since", "resolved_at")}
            self._insert("stored_alerts", _table(columns, types))

    def alerts(
        self,
        accounts: Sequence[AccountId] | None = None,
        only_open: bool = False,
        *,
        ids: Sequence[str] | None = None,
    ) -> list[AlertRow]:
        """Alerts in their latest state, of these accounts or of all, of these ids or of any.

        The open ones are pending or firing.
        """
        if accounts is not None and not accounts:
            return []
        where = ["state != 'resolved'"] if only_open else []
        if accounts is not None:
            where.append(of_accounts(accounts))
        if ids is not None:
            where.append("has({ids:Array(String)}, alert_id)")
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        query = f"SELECT {_ALERTS} FROM stored_alerts FINAL{condition}"
        return [AlertRow(*row) for row in self._rows(query, None if ids is None else {"ids": list(ids)})]

    def firing(self, rules: Iterable[str], partitions: int, owned: Iterable[int]) -> list[AlertRow]:
        """Alerts of these rules on accounts of these partitions that are firing."""
        where = f"rule IN ({', '.join(map(format_query_value, rules))}) AND state = 'firing'"
        query = f"SELECT {_ALERTS} FROM stored_alerts FINAL WHERE {where} AND {of_partitions(partitions, owned, HASH)}"
        return [AlertRow(*row) for row in self._rows(query)]

    def alert_changes(self, accounts: Sequence[AccountId]) -> list[AlertChange]:
        """Every change of the alerts of these accounts."""
        if not accounts:
            return []
        fields = "alert_id, toInt32(day), rule, seller_id, marketplace_id, state, value, version, gone, muted"
        query = f"SELECT {fields} FROM stored_alert_history FINAL WHERE {of_accounts(accounts)}"
        return [AlertChange(*row) for row in self._rows(query)]


# Of `dead_letters`, with what is `asked` for parameters; and an order in which no two are alike.
WHICH = """{topic:String} IN ('', topic) AND positionCaseInsensitiveUTF8(reason, {reason:String}) > 0
    AND toUnixTimestamp64Milli(time) >= {since:Int64} AND toUnixTimestamp64Milli(time) < {until:Int64}
    AND (empty({records:Array(String)}) OR has({records:Array(String)}, record))"""
NEWEST = "time DESC, topic, partition, offset, file, line"
_SOURCE = Rejected._fields[:5]
_REFUSED = (
    "topic, ifNull(partition, -1), ifNull(offset, -1), ifNull(file, ''), ifNull(line, -1), reason, "
    "toUnixTimestamp64Milli(time)"
)
_ALERTS = (
    "alert_id, rule, seller_id, marketplace_id, subject, state, severity, value, threshold, "
    "toUnixTimestamp64Milli(since), toUnixTimestamp64Milli(resolved_at), order_ids, order_count, version, gone"
)


def asked(which: Which) -> dict[str, Any]:
    """The parameters of `WHICH`."""
    return which._asdict() | {"records": list(which.records)}


def _table(columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
