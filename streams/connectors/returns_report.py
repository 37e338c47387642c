"""Amazon's reports of returns: what its own fulfilment took back, and what the seller's buyers asked to give back.

Neither says its marketplace: an order that the all-orders report told has that one's. What buyers wrote is dropped.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import EPOCH, Parsed, Refusal
from streams.connectors import order_report
from streams.connectors.input import Record
from streams.connectors.polls import Polls
from streams.connectors.reports import NamedRow, Whose, content_of, has_columns, named_rows, order_event, time_of

COLUMNS = ("order id", "return request date", "return request status", "a-to-z claim")
FBA_COLUMNS = ("return-date", "order-id", "sku", "detailed-disposition", "status")
is_returns_report = partial(has_columns, needed=COLUMNS)
is_fba_returns_report = partial(has_columns, needed=FBA_COLUMNS)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(r"^(\d{1,2})-([A-Za-z]{3})-(\d{4})$", re.ASCII)
_CAME_TO_NOTHING = re.compile("denied|declined|rejected|cancel", re.IGNORECASE)

_Events = list[Parsed | Refusal]


def read_returns_report(path: Path, whose: Whose, *, polls: Polls, left_out: Counter[str]) -> Iterator[Record]:
    """A RETURNED for each request that was not denied, a CLAIM_OPENED for an A-to-Z claim, both at the request's day.

    Rows of other marketplaces' orders, and of requests that came to nothing, are counted in `left_out`. Raises
    FileDamaged after the last whole row.
    """

    def events(row: NamedRow, marketplace_id: str) -> _Events:
        requested_ms = _day_ms(row, "return request date", whose)
        claim = row.fields["a-to-z claim"].upper()
        if claim not in ("Y", "N", "YES", "NO", ""):
            raise ValueError("a-to-z claim is neither Y nor N")
        kinds = [] if _CAME_TO_NOTHING.search(row.fields["return request status"]) else ["RETURNED"]
        kinds += ["CLAIM_OPENED"] if claim.startswith("Y") else []
        if not kinds:
            left_out["return requests that came to nothing"] += 1
        event = partial(order_event, whose, marketplace_id, row.fields["order id"])
        return [event(kind, event_time=requested_ms) for kind in kinds]

    return _records(path, whose, polls, left_out, _Layout(COLUMNS, "order id", events))


def read_fba_returns_report(path: Path, whose: Whose, *, polls: Polls, left_out: Counter[str]) -> Iterator[Record]:
    """A RETURNED for each row, when the goods came back. Left out and raised as above."""

    def events(row: NamedRow, marketplace_id: str) -> _Events:
        returned_ms = time_of(row, "return-date", whose.zone)
        return [order_event(whose, marketplace_id, row.fields["order-id"], "RETURNED", event_time=returned_ms)]

    return _records(path, whose, polls, left_out, _Layout(FBA_COLUMNS, "order-id", events))


class _Layout(NamedTuple):
    """What the two reports do not share."""

    needed: tuple[str, ...]
    order_id: str
    events: Callable[[NamedRow, str], _Events]


def _records(path: Path, whose: Whose, polls: Polls, left_out: Counter[str], layout: _Layout) -> Iterator[Record]:
    content, damage = content_of(path)
    orders = polls.known(order_report.REPORT, whose.seller_id)
    for row in named_rows(content, whose.country, layout.needed):
        events: _Events = []
        try:
            marketplace_id = _marketplace_of(row, layout.order_id, orders, whose)
            if whose.marketplace_id in (None, marketplace_id):
                events = layout.events(row, marketplace_id)
            else:
                left_out["returns of other marketplaces"] += 1
        except ValueError as wrong:
            events = [Refusal(str(wrong), "orders")]
        for event in events:
            yield Record(event, row.raw, row.line)
    if damage is not None:
        raise damage


def _marketplace_of(row: NamedRow, column: str, orders: Mapping[str, Any], whose: Whose) -> str:
    """The marketplace of a row's order, `orders` being those that are known. Raises ValueError."""
    if row.wrong is not None:
        raise ValueError(row.wrong)
    if not row.fields[column]:
        raise ValueError("no order id")
    marketplace_id: str | None = orders.get(row.fields[column], {}).get("marketplace") or whose.marketplace_id
    if marketplace_id is None:
        raise ValueError("no all-orders report told of its order yet: read that before, or tell --marketplace")
    return marketplace_id


def _day_ms(row: NamedRow, column: str, whose: Whose) -> int:
    """Epoch ms of the start of a day like 05-Jun-2025. Raises ValueError."""
    try:
        ((day, month, year),) = _DATE.findall(row.fields[column])
        start = datetime(int(year), _MONTHS.index(month.lower()) + 1, int(day), tzinfo=whose.zone)
        return (start - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise ValueError(f"{column} is not a day like 05-Jun-2025") from None
