"""Amazon's seller feedback report: a tab-separated file that sellers download.

A row has no id and no time, and says neither whose it is nor from which marketplace. Its columns have a fixed order
under names in the marketplace's language. Every download repeats old rows, so a rating's id comes from what names it:
order, day and stars. Who wrote it (e-mail, role) is dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import ConfigurationError
from schemas.events import EPOCH, Parsed, Refusal, from_json
from streams.connectors.input import Record
from streams.connectors.report_dates import country_of, date_order, day_of
from streams.connectors.reports import Row, content_of, rows_of
from streams.core.privacy import mask_event

SOURCE = "feedback-report"


class _Layout(NamedTuple):
    """Where a form has its columns, from 0; date, rating and comment come first in all of them."""

    order_id: int
    response: int | None = None
    answers: int | None = None  # the first of three


_LAYOUTS = {6: _Layout(4, response=3), 9: _Layout(6, answers=3), 10: _Layout(7, response=3, answers=4)}
_QUESTIONS = ("arrived_on_time", "item_as_described", "customer_service")
_ANSWERS: dict[str, bool | None] = (
    dict.fromkeys(("", "-"))
    | dict.fromkeys(("yes", "ja", "oui", "sí", "si", "sì", "sim", "tak", "evet", "はい", "是"), True)
    | dict.fromkeys(("no", "nein", "non", "não", "nee", "nej", "nie", "hayır", "いいえ", "否"), False)
)

_STARS = ("1", "2", "3", "4", "5")


@dataclass(frozen=True)
class Account:
    """What a report does not say: whose it is, where its days begin and in which order it writes dates."""

    seller_id: str
    marketplace_id: str
    zone: ZoneInfo
    date_order: str


def is_feedback_report(head: bytes) -> bool:
    """Whether a file that starts so is one: 6, 9 or 10 columns, and the second one's values are 1 to 5."""
    rows = [line.split(b"\t") for line in head.splitlines()]
    if not rows or len(rows[0]) not in _LAYOUTS:
        return False
    return len(rows) == 1 or any(
        len(row) > 1 and row[1].strip(b' "').decode(errors="replace") in _STARS for row in rows
    )


def account_of(path: Path, seller_id: str, marketplace_id: str, zone: ZoneInfo) -> Account:
    """Whose the report is, and how it writes dates. Raises ConfigurationError if that can be known from nothing."""
    country = country_of(marketplace_id)
    order = date_order({row.fields[0] for row in rows_of(content_of(path)[0], country)}, country)
    if order is None:
        raise ConfigurationError(
            f"{path}: whether its dates put the day or the month first is not known for marketplace {marketplace_id}:"
            " tell Amazon's marketplace id or the country's code"
        )
    return Account(seller_id, marketplace_id, zone, order)


def read_feedback_report(path: Path, account: Account) -> Iterator[Record]:
    """A SUBMITTED for each row, a RESPONDED where it has a response. Raises FileDamaged after the last whole row."""
    content, damage = content_of(path)
    columns = 0
    for row in rows_of(content, country_of(account.marketplace_id)):
        if not columns:
            columns = len(row.fields)
            if len(row.fields) > 1 and row.fields[1] not in _STARS:
                continue  # the header
        for item in _items(row, columns, account):
            if isinstance(item, Parsed):
                mask_event(*item)
            yield Record(item, row.raw, row.line)
    if damage is not None:
        raise damage


def _items(row: Row, columns: int, account: Account) -> list[Parsed | Refusal]:
    layout = _LAYOUTS.get(columns)
    if row.wrong or layout is None or not layout.order_id < len(row.fields) <= columns:
        return [Refusal(row.wrong or f"{len(row.fields)} columns and not {columns}", "feedback")]
    day = day_of(row.fields[0], account.date_order)
    stars, order_id = row.fields[1], row.fields[layout.order_id]
    if day is None or stars not in _STARS or not order_id:
        wrong = "no order id" if not order_id else "the rating is not 1 to 5" if day else "the date is no day"
        return [Refusal(wrong, "feedback")]
    answers = [text.lower() for text in row.fields[layout.answers :][:3]] if layout.answers else []
    if any(answer not in _ANSWERS for answer in answers):
        return [Refusal("an answer is neither yes nor no nor -", "feedback")]
    event_id = f"{SOURCE}:{order_id}:{day}:{stars}"
    common = {
        "topic": "feedback",
        "event_id": event_id,
        "seller_id": account.seller_id,
        "marketplace_id": account.marketplace_id,
        "event_time": (datetime.combine(day, time(), account.zone) - EPOCH) // timedelta(milliseconds=1),
        "source": SOURCE,
        "order_id": order_id,
        "date_only": True,
    }
    submitted = {"kind": "SUBMITTED", "rating": int(stars), "comment": row.fields[2] or None}
    items = [from_json(common | submitted | {q: _ANSWERS[a] for q, a in zip(_QUESTIONS, answers, strict=False)})]
    response = row.fields[layout.response] if layout.response else ""
    if response not in ("", "-"):
        responded = {"kind": "RESPONDED", "event_id": f"{event_id}:RESPONDED", "comment": response}
        items.append(from_json(common | responded))
    return items
