"""What a store's tables show, read in one way from the store in memory and from ClickHouse."""

from typing import Any, NamedTuple, Protocol

from schemas.codec import Codec
from schemas.events import Topic
from schemas.rows import CaseRow, SelfCheck
from sink.store import Store
from streams.core.metrics import METRICS

Row = dict[str, Any]

_VIEWS: dict[Topic, tuple[str, str]] = {
    "orders": ("order_events", "order_id"),
    "feedback": ("feedback_events", "order_id"),
    "surveys": ("survey_events", "conversation_id"),
}
_AS_SHOWN = {"DateTime64(3, 'UTC')": "toUnixTimestamp64Milli({0})", "Nullable(Date)": "toString({0})"}


class Tables(Protocol):
    """The readers of `tests.memory.MemoryStore`."""

    @property
    def self_checks(self) -> dict[int, SelfCheck]: ...

    def events(self, topic: Topic) -> list[Row]: ...

    def seller_daily(self) -> list[Row]: ...

    def feedback_cases(self) -> list[Row]: ...

    def case_history(self) -> list[Row]: ...

    def rejected_events(self) -> list[Row]: ...

    def misplaced(self) -> dict[tuple[str, int, int], int]: ...


class Opened(NamedTuple):
    """A store, and its tables as others read them."""

    store: Store
    tables: Tables


class ClickHouseTables:
    """The same, from the views that analysts read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def events(self, topic: Topic) -> list[Row]:
        view, subject = _VIEWS[topic]
        fields = [field["name"] for field in Codec().newest[topic]["fields"]]
        times = {"event_time", "deliver_by"}
        shown = [f"toUnixTimestamp64Milli({name})" if name in times else name for name in fields]
        order = f"seller_id, marketplace_id, {subject}, event_id"
        return self._rows(fields, f"SELECT {', '.join(shown)} FROM {view} ORDER BY {order}")

    def seller_daily(self) -> list[Row]:
        names = ["seller_id", "marketplace_id", "day", *(metric.name for metric in METRICS)]
        shown = ["seller_id", "marketplace_id", "toString(day)"]
        shown += [_AS_SHOWN.get(metric.type, "{0}").format(metric.name) for metric in METRICS]
        assert self.not_current() == []
        return self._rows(
            names, f"SELECT {', '.join(shown)} FROM seller_daily AS d ORDER BY seller_id, marketplace_id, d.day"
        )

    def not_current(self) -> list[Any]:
        """Where `seller_current` is not the latest day of each account in `seller_daily`: what is in one alone."""
        latest = "SELECT * FROM seller_daily ORDER BY day DESC LIMIT 1 BY seller_id, marketplace_id"
        return list(
            self._store.client.query(
                f"""SELECT seller_id, marketplace_id, day, count(), groupArray(row) FROM (
                    SELECT seller_id, marketplace_id, day, toString(tuple(*)) AS row FROM ({latest})
                    UNION ALL SELECT seller_id, marketplace_id, day, toString(tuple(*)) FROM seller_current
                ) GROUP BY seller_id, marketplace_id, day HAVING count() != 2 OR uniqExact(row) != 1 ORDER BY 1, 2"""
            ).result_rows
        )

    def feedback_cases(self) -> list[Row]:
        names = [*CaseRow._fields[: CaseRow._fields.index("expires_at")]]
        shown = [f"toUnixTimestamp64Milli({name})" if name.endswith(("_at", "_by")) else name for name in names]
        order = "seller_id, marketplace_id, order_id, feedback_event_id"
        return self._rows(names, f"SELECT {', '.join(shown)} FROM feedback_cases ORDER BY {order}")

    def case_history(self) -> list[Row]:
        names = ["seller_id", "marketplace_id", "order_id", "feedback_event_id", "status", "at", "event_id", "agent"]
        shown = [f"toUnixTimestamp64Milli({name})" if name == "at" else name for name in names]
        order = "seller_id, marketplace_id, order_id, feedback_event_id, h.at, status"
        return self._rows(names, f"SELECT {', '.join(shown)} FROM case_history AS h ORDER BY {order}")

    def rejected_events(self) -> list[Row]:
        names = ["topic", "partition", "offset", "file", "line", "reason", "time"]
        shown = ", ".join(names[:-1]) + ", toUnixTimestamp64Milli(time)"
        rows = self._rows(names, f"SELECT {shown} FROM rejected_events")
        nothing = {"partition": -1, "offset": -1, "file": "", "line": -1}
        return sorted(rows, key=lambda row: [nothing.get(n) if row[n] is None else row[n] for n in names[:5]])

    def misplaced(self) -> dict[tuple[str, int, int], int]:
        rows = self._rows(
            ["t", "p", "o", "n"], "SELECT topic, partition, last_offset, records FROM misplaced_records FINAL"
        )
        return {(row["t"], row["p"], row["o"]): row["n"] for row in rows}

    @property
    def self_checks(self) -> dict[int, SelfCheck]:
        names = [*SelfCheck._fields]
        shown = [f"toUnixTimestamp64Milli({name})" if name.endswith("_at") else name for name in names]
        rows = self._rows(names, f"SELECT {', '.join(shown)} FROM self_checks FINAL")
        return {row["epoch"]: SelfCheck(**row) for row in rows}

    def _rows(self, names: list[str], query: str) -> list[Row]:
        return [dict(zip(names, row, strict=True)) for row in self._store.client.query(query).result_rows]
