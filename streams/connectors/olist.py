"""The published Olist data set: orders, their items and their reviews, three CSV files of one folder.

An order may have several sellers, and what happened to it happened to each of them: there is an event for every
seller, of the account (seller_id, olist-br). `docs/connectors.md` says what becomes of each column, and why.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import EPOCH, RECORD_MAX, Parsed, Refusal, Topic, from_json
from streams.connectors.input import BOM, RECORD_KEPT, Progress, Record, decompressed, is_utf8, peek
from streams.core.privacy import mask_event

MARKETPLACE, SOURCE = "olist-br", "olist"
# Times are local and name no zone. An hour that the clocks repeat is taken for its first pass, one that they skip is
# read as if they had not been changed yet: zoneinfo's fold=0, the same on every machine.
ZONE = ZoneInfo("America/Sao_Paulo")

_MOMENTS = {
    "PLACED": "order_purchase_timestamp",
    "SHIPPED": "order_delivered_carrier_date",
    "DELIVERED": "order_delivered_customer_date",
}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "order_items": ("order_id", "product_id", "seller_id"),
    "orders": (
        *("order_id", "order_status", "order_approved_at", "order_estimated_delivery_date"),
        *_MOMENTS.values(),
    ),
    "order_reviews": (
        *("review_id", "order_id", "review_score", "review_comment_title", "review_comment_message"),
        *("review_creation_date", "review_answer_timestamp"),
    ),
}
_ROWS_A_REPORT = 1000

_Items = list[Parsed | Refusal]


def is_olist(folder: Path) -> bool:
    """Whether the folder holds the data set's table of orders."""
    return _table(folder, "orders").is_file()


def check_olist(folder: Path) -> int:
    """The size of the three tables in bytes. Raises ConfigurationError if one is missing or lacks a column."""
    size = 0
    for name, columns in _COLUMNS.items():
        path = _table(folder, name)
        try:
            size += path.stat().st_size
            path.open("rb").close()
        except OSError as wrong:
            raise ConfigurationError(f"{path}: {wrong.strerror}") from wrong
        lines = peek(path, 4096)[0].removeprefix(BOM).decode(errors="replace").splitlines()
        missing = set(columns).difference(*csv.reader(lines[:1]))
        if missing:
            raise ConfigurationError(f"{path}: no column {', '.join(sorted(missing))}")
    return size


def read_olist(folder: Path, progress: Progress, left_out: Counter[str]) -> Iterator[Record]:
    """Every order's events, then every review's. One bad row is one refusal, and none of its events.

    Rows without a seller are counted in `left_out`. Raises FileDamaged at the end if a table was cut short: an order
    whose items were lost then counts as one without.
    """
    events = _Events(left_out)
    damaged: list[str] = []
    done = 0
    tables = (("order_items", events.of_item), ("orders", events.of_order), ("order_reviews", events.of_review))
    for name, items_of in tables:
        at = 0
        try:
            for number, (row, position) in enumerate(_rows(_table(folder, name)), 1):
                yield from _records(name, row, items_of)
                if number % _ROWS_A_REPORT == 0:
                    at = position()
                    progress(done + at)
        except FileDamaged as cut:
            damaged.append(str(cut))
        done += at
    if unknown := len(events.skus.keys() - events.orders):
        left_out["orders of which only items are known"] += unknown
    if damaged:
        raise FileDamaged("; ".join(damaged))


@dataclass
class _Events:
    """What rows say, given the tables before theirs: items, then orders, then reviews."""

    left_out: Counter[str]
    skus: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # order -> seller -> products
    orders: set[str] = field(default_factory=set)

    def of_item(self, row: Mapping[str, str]) -> _Items:
        self.skus.setdefault(row["order_id"], {}).setdefault(row["seller_id"], set()).add(row["product_id"])
        return []

    def of_order(self, row: Mapping[str, str]) -> _Items:
        self.orders.add(row["order_id"])
        if row["order_id"] not in self.skus:
            self.left_out["orders without an item, so without a seller"] += 1
            return []
        moments = {kind: moment for kind, column in _MOMENTS.items() if (moment := _moment(row, column)) is not None}
        if "PLACED" not in moments:
            raise ValueError(f"no {_MOMENTS['PLACED']}")
        if row["order_status"] == "canceled":
            approved = _moment(row, "order_approved_at")
            moments["CANCELLED"] = max(*moments.values(), approved or moments["PLACED"])
        promise = {"fulfilment": "SELLER", "deliver_by": _end_of_day(row, "order_estimated_delivery_date")}
        return [
            from_json(
                _common("orders", row["order_id"], seller, kind, moment)
                | {"kind": kind}
                | ({**promise, "skus": sorted(skus)} if kind == "PLACED" else {})
            )
            for seller, skus in sorted(self.skus[row["order_id"]].items())
            for kind, moment in moments.items()
        ]

    def of_review(self, row: Mapping[str, str]) -> _Items:
        sellers = self.skus.get(row["order_id"], {})
        if row["order_id"] not in self.orders:
            self.left_out["reviews of unknown orders"] += 1
            return []
        if not sellers:
            self.left_out["reviews of orders without an item"] += 1
            return []
        answered = _moment(row, "review_answer_timestamp")
        if answered is None:
            raise ValueError("no review_answer_timestamp")
        if row["review_score"] not in ("1", "2", "3", "4", "5"):
            raise ValueError("review_score is not 1 to 5")
        # A few reviews have no id: then when they were asked for and given tells an order's reviews apart.
        review = row["review_id"] or f"{row['review_creation_date']}/{row['review_answer_timestamp']}"
        words = (row["review_comment_title"].strip(), row["review_comment_message"].strip())
        comment = "\n".join(filter(None, words)) or None
        return [
            from_json(
                _common("feedback", row["order_id"], seller, review, answered)
                | {"kind": "SUBMITTED", "rating": int(row["review_score"]), "comment": comment}
            )
            for seller in sorted(sellers)
        ]


def _common(topic: Topic, order_id: str, seller_id: str, what: str, event_time: int) -> dict[str, object]:
    return {
        "topic": topic,
        "event_id": f"{order_id}:{seller_id}:{what}",
        "seller_id": seller_id,
        "marketplace_id": MARKETPLACE,
        "event_time": event_time,
        "source": SOURCE,
        "order_id": order_id,
    }


def _moment(row: Mapping[str, str], column: str) -> int | None:
    """Epoch ms of a local time, None if it is not told. Raises ValueError."""
    return _ms(_local(row, column)) if row[column] else None


def _end_of_day(row: Mapping[str, str], column: str) -> int | None:
    """The last ms of a local day, None if it is not told. Raises ValueError."""
    if not row[column]:
        return None
    midnight = _local(row, column).replace(hour=0, minute=0, second=0, microsecond=0)
    return _ms(midnight + timedelta(days=1)) - 1


def _local(row: Mapping[str, str], column: str) -> datetime:
    try:
        return datetime.fromisoformat(row[column]).replace(tzinfo=ZONE)
    except ValueError:
        raise ValueError(f"{column} is not a time") from None


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


# --- rows ----------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    fields: Mapping[str, str]  # none if `wrong` says why
    wrong: str | None
    raw: bytes
    line: int  # the first of those it takes


def _records(table: str, row: _Row, items_of: Callable[[Mapping[str, str]], _Items]) -> Iterator[Record]:
    items, wrong = [], row.wrong
    if wrong is None:
        try:
            items = items_of(row.fields)
        except ValueError as bad:
            wrong = str(bad)
    if wrong is not None:
        items = [Refusal(f"{table}: {wrong}", "feedback" if table == "order_reviews" else "orders")]
    for item in items:
        if isinstance(item, Parsed):
            mask_event(*item)
        yield Record(item, row.raw, row.line)


def _rows(path: Path) -> Iterator[tuple[_Row, Callable[[], int]]]:
    """Rows after the header, comments over several lines included, each with what tells the bytes consumed."""
    with decompressed(path) as (content, beneath):
        taken: list[bytes] = []

        def lines() -> Iterator[str]:
            for raw in content:
                taken.append(raw)
                yield raw.decode(errors="surrogateescape")

        rows = csv.reader(lines())
        header = [name.removeprefix("\ufeff") for name in next(rows, [])]
        while True:
            taken.clear()
            line = rows.line_num + 1
            fields: Mapping[str, str] = {}
            wrong = None
            try:
                values = next(rows)
                fields = dict(zip(header, values, strict=True))
            except StopIteration:
                return
            except csv.Error as bad:
                wrong = f"not CSV: {bad}"
            except ValueError:
                wrong = f"not {len(header)} columns"
            raw = b"".join(taken)
            if not is_utf8(raw):
                wrong = "not UTF-8"
            if len(raw) > RECORD_MAX:
                wrong, raw = f"a row over {RECORD_MAX} bytes", raw[:RECORD_KEPT]
            yield _Row(fields, wrong, raw, line), beneath.tell


def _table(folder: Path, name: str) -> Path:
    """The table's path as it is published, or compressed."""
    plain = folder / f"olist_{name}_dataset.csv"
    packed = folder / f"{plain.name}.gz"
    return packed if packed.is_file() and not plain.is_file() else plain
