"""What all of Amazon's tab-separated reports share: rows from bytes in any of their charsets, columns by name, times.

A row is held against its header here; what its columns mean is each report's own business.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import FileDamaged
from schemas.events import EPOCH, RECORD_MAX, Parsed, Refusal, from_json
from streams.connectors.input import BOM, RECORD_KEPT, chunks, is_utf8
from streams.connectors.report_dates import country_of


@dataclass(frozen=True)
class Whose:
    """What a report of orders does not say: the seller, mostly the marketplace, the zone of times that name none.

    `marketplace_id` is None where rows or what is known of their orders have to say it. `source` is that of the events.
    """

    seller_id: str
    marketplace_id: str | None
    zone: ZoneInfo
    source: str

    @property
    def country(self) -> str | None:
        """The marketplace's, which tells the charset."""
        return country_of(self.marketplace_id) if self.marketplace_id else None


class Row(NamedTuple):
    """A row's fields, none of them if `wrong` says why."""

    fields: list[str]
    wrong: str | None
    raw: bytes
    line: int  # 1-based
    is_last: bool  # and nothing says that it ended


class NamedRow(NamedTuple):
    """A row by the names of its header, in lower case; without fields if `wrong` says why."""

    fields: Mapping[str, str]
    wrong: str | None
    raw: bytes
    line: int


def content_of(path: Path) -> tuple[bytes, FileDamaged | None]:
    """All of a report (they are small), to the last whole line if it was cut short."""
    parts: list[bytes] = []
    try:
        for chunk, _ in chunks(path):
            parts.append(chunk)
    except FileDamaged as cut:
        return b"".join(parts).rpartition(b"\n")[0], cut
    return b"".join(parts), None


def rows_of(content: bytes, country: str | None) -> Iterator[Row]:
    """Rows that are not blank, in the charset of most: UTF-8, or else what the marketplace's computers use."""
    lines = content.removeprefix(BOM).split(b"\n")
    charset = _charset(lines, "cp932" if country == "JP" else "cp1252")
    for line, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        is_last = line == len(lines)
        if len(raw) > RECORD_MAX:
            yield Row([""], f"a row over {RECORD_MAX} bytes", raw[:RECORD_KEPT], line, is_last)
            continue
        try:
            fields = [_unquoted(field.strip()) for field in raw.decode(charset).split("\t")]
            yield Row(fields, None, raw, line, is_last)
        except UnicodeDecodeError:
            yield Row([""], f"not {charset}, as the other rows are", raw, line, is_last)


def has_columns(head: bytes, needed: Collection[str]) -> bool:
    """Whether a file that starts so has a header with all of these names, in whatever order and case."""
    first = head.removeprefix(BOM).lstrip().split(b"\n", 1)[0].decode("latin-1")
    return set(needed) <= set(_names(first.split("\t")))


def named_rows(content: bytes, country: str | None, needed: Collection[str]) -> Iterator[NamedRow]:
    """The rows after the header, by its names.

    Empty columns at the end may be missing, as spreadsheets leave them out, but not the last that is `needed`, nor what
    stands behind it: a row may be cut anywhere.
    """
    header: list[str] = []
    least = 0
    for row in rows_of(content, country):
        if not header:
            header = _names(row.fields)
            least = min(len(header), max((header.index(name) for name in needed if name in header), default=0) + 2)
            continue
        wrong = row.wrong
        if wrong is None and not (len(header) if row.is_last else least) <= len(row.fields) <= len(header):
            wrong = f"{len(row.fields)} columns and not {len(header)}"
        fields = {} if wrong else dict.fromkeys(header, "") | dict(zip(header, row.fields, strict=False))
        yield NamedRow(fields, wrong, row.raw, row.line)


def time_of(row: NamedRow, column: str, zone: ZoneInfo) -> int:
    """Epoch ms of a column's time with a time of day, in `zone` if it names none. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(row.fields[column])
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        time_ms = (aware - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        time_ms = None
    if time_ms is None or ":" not in row.fields[column]:
        raise ValueError(f"{column} is not a time")
    return time_ms


def order_event(whose: Whose, marketplace_id: str, order_id: str, kind: str, **told: Any) -> Parsed | Refusal:
    """An event on topic `orders`, its id made of what it says: said again it is the same, said otherwise another."""
    event = from_json(
        {"topic": "orders", "event_id": "", "seller_id": whose.seller_id, "marketplace_id": marketplace_id}
        | {"source": whose.source, "order_id": order_id, "kind": kind, **told}
    )
    if isinstance(event, Parsed):
        said = "\n".join(str(value) for value in event.event.values())
        digest = sha256(said.encode(errors="surrogatepass")).hexdigest()[:12]
        event.event["event_id"] = f"{whose.source}:{kind}:{digest}"
    return event


def _names(fields: list[str]) -> list[str]:
    return [_unquoted(name.strip()).lower() for name in fields]


def _charset(lines: Sequence[bytes], other: str) -> str:
    """UTF-8 if most lines that can tell are: one damaged byte must not change every comment."""
    telling = [line for line in lines if not line.isascii()]
    return "utf-8" if 2 * sum(map(is_utf8, telling)) > len(telling) or not telling else other


def _unquoted(field: str) -> str:
    """A field without the quotes that spreadsheets put around it."""
    inner = field[1:-1]
    if field[:1] == field[-1:] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field
