"""Amazon's all-orders report: one tab-separated row for each item of an order, columns by name.

A row says how its order *is*; what *happened* is told once. Times are the report's: an order is PLACED at its purchase
date, and whatever became of it since happened at the last update of the report that said so first. Later reports of the
same order, whose last update is another, say nothing new. `docs/connectors.md` says what becomes of each column.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import Parsed, Refusal
from streams.connectors.input import Record
from streams.connectors.polls import Polls
from streams.connectors.report_dates import country_of, marketplace_of
from streams.connectors.reports import NamedRow, Whose, content_of, has_columns, named_rows, order_event, time_of

REPORT = "amazon-orders"
COLUMNS = (
    *("amazon-order-id", "purchase-date", "last-updated-date", "order-status", "fulfillment-channel"),
    *("sales-channel", "sku", "item-status"),
)
is_order_report = partial(has_columns, needed=COLUMNS)

CONFIRMED: tuple[str, ...] = ()
_SENT_BACK = ("SHIPPED", "RETURNED")
_KINDS: dict[str, tuple[str, ...] | None] = {  # by the status's letters; None: payment is not authorised yet
    "pending": None,
    "pendingavailability": None,
    "pendingwaitingforpickup": CONFIRMED,
    "unshipped": CONFIRMED,
    "shipping": CONFIRMED,
    "partiallyshipped": CONFIRMED,
    "unfulfillable": CONFIRMED,
    "shipped": ("SHIPPED",),
    "invoiceunconfirmed": ("SHIPPED",),
    "shippeddeliveredtobuyer": ("SHIPPED", "DELIVERED"),
    "shippedrejectedbybuyer": _SENT_BACK,
    "shippedreturningtoseller": _SENT_BACK,
    "shippedreturnedtoseller": _SENT_BACK,
    "canceled": ("CANCELLED",),
    "cancelled": ("CANCELLED",),
}
_FULFILMENT = {"amazon": "MARKETPLACE", "afn": "MARKETPLACE", "merchant": "SELLER", "mfn": "SELLER"}


class _Item(NamedTuple):
    """What a row says of its order. `kinds` as `kinds_of` gives them."""

    order_id: str
    marketplace_id: str
    placed_ms: int
    updated_ms: int
    kinds: tuple[str, ...] | None
    is_cancelled: bool
    fulfilment: str | None
    sku: str
    raw: bytes
    line: int


def kinds_of(status: str) -> tuple[str, ...] | None:
    """What happened to an order of that status after it was confirmed; None: it is not yet. Raises ValueError.

    >>> kinds_of("Shipped - Delivered to Buyer"), kinds_of("Unshipped"), kinds_of("Pending")
    (('SHIPPED', 'DELIVERED'), (), None)
    """
    letters = re.sub("[^a-z]", "", status.lower())
    if letters not in _KINDS and letters.startswith("shipped"):  # picked up, out for delivery, lost ...
        return ("SHIPPED",)
    if letters not in _KINDS:
        raise ValueError("the order's status is none that is known")
    return _KINDS[letters]


def fulfilment_of(channel: str) -> str | None:
    """Of a fulfilment channel or type; None for one that nobody knows."""
    return _FULFILMENT.get(channel.lower())


def read_order_report(path: Path, whose: Whose, *, polls: Polls, left_out: Counter[str]) -> Iterator[Record]:
    """What the report says of its orders and `polls` do not know. Raises FileDamaged after the last whole row.

    Rows of other marketplaces, and orders whose payment is not authorised yet, are counted in `left_out`.
    """
    content, damage = content_of(path)
    country = whose.country or ("JP" if b"Amazon.co.jp" in content else None)
    orders: dict[str, list[_Item]] = {}
    for row in named_rows(content, country, COLUMNS):
        try:
            item = _item(row, whose, left_out)
        except ValueError as wrong:
            yield Record(Refusal(str(wrong), "orders"), row.raw, row.line)
            continue
        if item is not None:
            orders.setdefault(item.order_id, []).append(item)
    known = polls.known(REPORT, whose.seller_id)
    for order_id, items in orders.items():
        told = dict(known.get(order_id) or {})
        latest = max(items, key=lambda item: item.updated_ms)
        kinds = ("CANCELLED",) if all(item.is_cancelled for item in items) else latest.kinds
        if kinds is None:
            left_out["orders that are pending"] += 1
            continue
        for event in _news(whose, items, dict.fromkeys(kinds, latest.updated_ms), told):
            yield Record(event, items[0].raw, items[0].line)
        if told != known.get(order_id):
            polls.learn(REPORT, whose.seller_id, order_id, told)
    if damage is not None:
        raise damage


def _item(row: NamedRow, whose: Whose, left_out: Counter[str]) -> _Item | None:
    """None for what is left out. Raises ValueError for what is refused."""
    if row.wrong is not None:
        raise ValueError(row.wrong)
    fields = row.fields
    channel = fields["sales-channel"].lower()
    if channel and not channel.startswith("amazon."):
        left_out["rows of sales outside Amazon"] += 1
        return None
    marketplace_id = whose.marketplace_id or marketplace_of(channel)
    if marketplace_id is None:
        raise ValueError("sales-channel names no marketplace that is known: tell --marketplace")
    if channel and country_of(marketplace_id) not in (None, country_of(channel)):
        left_out["rows of other marketplaces"] += 1
        return None
    if not fields["amazon-order-id"]:
        raise ValueError("no order id")
    return _Item(
        fields["amazon-order-id"],
        marketplace_id,
        time_of(row, "purchase-date", whose.zone),
        time_of(row, "last-updated-date", whose.zone),
        kinds_of(fields["order-status"]),
        kinds_of(fields["item-status"] or fields["order-status"]) == ("CANCELLED",),
        fulfilment_of(fields["fulfillment-channel"]),
        fields["sku"],
        row.raw,
        row.line,
    )


def _news(
    whose: Whose, items: Sequence[_Item], moments: dict[str, int], told: dict[str, Any]
) -> Iterator[Parsed | Refusal]:
    """The events of an order that `told`, what is known of it, lacks; they are then noted there.

    `told` has the marketplace, the products of the PLACED, and of any other kind its earliest time.
    """
    event = partial(order_event, whose, items[0].marketplace_id, items[0].order_id)
    skus = sorted({item.sku for item in items if item.sku} | set(told.get("PLACED", ())))
    if skus != told.get("PLACED"):
        told |= {"marketplace": items[0].marketplace_id, "PLACED": skus}
        placed_ms = min(item.placed_ms for item in items)
        yield event("PLACED", event_time=placed_ms, fulfilment=items[0].fulfilment, skus=skus)
    for kind, at in moments.items():
        if kind not in told or at < told[kind]:
            told[kind] = at
            yield event(kind, event_time=at)
