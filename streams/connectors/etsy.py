"""Etsy's Open API v3, its answers saved as files: receipts, which are orders, and the reviews of what was in them.

A review names a transaction, and only a receipt tells of which order that is: receipts are read first, and what they
said is remembered. `docs/connectors-etsy.md` says what becomes of each field, and what Etsy does not say. Names,
addresses, e-mail addresses, messages and buyers' ids are dropped.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from json import JSONDecoder
from pathlib import Path
from typing import Any, NamedTuple

from orjson import loads

from schemas.errors import FileDamaged
from schemas.events import RECORD_MAX, Parsed, Refusal, Topic, from_json
from streams.connectors.input import BOM, RECORD_KEPT, Record, chunks
from streams.connectors.polls import Polls
from streams.core.privacy import mask_event

UNPAID = "orders that are not paid"
UNKNOWN = "reviews of transactions of which no receipt was read yet"

_OPENS = re.compile(r'(?:(?=\{\s*"receipt_id")|\[|\{\s*(?:"count"\s*:\s*\d+\s*,\s*)?"results"\s*:\s*\[)')
_CLOSES = re.compile(r'\s*\]\s*(?:(?:,\s*"count"\s*:\s*\d+\s*)?\})?')
_SPACE, _NEXT = re.compile(r"\s*"), re.compile(r"\s*,?\s*")
_DECODER = JSONDecoder()
_EMPTY = re.compile(r'\{\s*(?:"count"\s*:\s*\d+\s*,\s*)?"results"\s*:\s*\[\s*\]')

_Items = list[Parsed | Refusal]


class Shop(NamedTuple):
    """Whose answers they are, which they do not say."""

    seller_id: str
    marketplace_id: str
    source: str


def is_etsy(head: bytes) -> bool:
    """Whether a file that starts so holds such answers, as they came or as a list of what is in them."""
    text = head.removeprefix(BOM).decode(errors="replace").lstrip()
    if not _OPENS.match(text):
        return False
    return '"receipt_id"' in text or ('"transaction_id"' in text and '"rating"' in text) or bool(_EMPTY.match(text))


def read_etsy(path: Path, shop: Shop, *, polls: Polls, left_out: Counter[str]) -> Iterator[Record]:
    """Every receipt's events and every review's. A bad one is one refusal, and none of its events.

    Raises FileDamaged after the last whole one.
    """
    told = _Told(shop, polls, left_out)
    for raw, number in _rows(path):
        for item in told.items_of(raw):
            if isinstance(item, Parsed):
                mask_event(*item)
            yield Record(item, raw if len(raw) <= RECORD_MAX else raw[:RECORD_KEPT], number)


class _Told:
    """What rows say, given what earlier receipts said."""

    def __init__(self, shop: Shop, polls: Polls, left_out: Counter[str]) -> None:
        account = f"{shop.seller_id}|{shop.marketplace_id}"
        self._shop, self._left_out = shop._asdict(), left_out
        self._order_of = _Memory(polls, "etsy-transactions", account)
        self._cancelled_at = _Memory(polls, "etsy-cancelled", account)

    def items_of(self, raw: bytes) -> _Items:
        """The events of a receipt or a review, or one refusal."""
        if len(raw) > RECORD_MAX:
            return [Refusal(f"a record over {RECORD_MAX} bytes", None)]
        topic: Topic | None = None
        try:
            row = loads(raw)  # strict: what is not UTF-8, or half a letter, is refused here
            if not isinstance(row, dict):
                return [Refusal("neither a receipt nor a review", None)]
            topic = "feedback" if "rating" in row else "orders"
            items = self.of_review(row) if topic == "feedback" else self.of_receipt(row)
        except ValueError as bad:
            return [Refusal(str(bad), topic)]
        refused: _Items = [item for item in items if isinstance(item, Refusal)]
        return refused[:1] or items

    def of_receipt(self, receipt: Mapping[str, Any]) -> _Items:
        """PLACED, what was shipped, CANCELLED, and the refunds."""
        order_id, transactions = _id(receipt, "receipt_id"), _list(receipt, "transactions")
        placed = _seconds(receipt, "created_timestamp", "create_timestamp")
        links = {_id(each, "transaction_id") for each in transactions}
        if receipt.get("is_paid") is False:
            self._left_out[UNPAID] += 1
            return []
        skus = sorted({str(each.get("sku") or each.get("listing_id") or "") for each in transactions} - {""})
        told: list[tuple[str, dict[str, Any]]] = [
            ("PLACED", {"event_time": placed, "fulfilment": "SELLER", "skus": skus}),
            *((f"SHIPPED:{which}", {"event_time": at}) for which, at in _shipments(receipt, transactions)),
        ]
        if _word(receipt, "status") in ("canceled", "cancelled"):
            at = _seconds(receipt, "updated_timestamp", "update_timestamp", "created_timestamp", "create_timestamp")
            told.append(("CANCELLED", {"event_time": self._cancelled_at.first(order_id, at)}))
        refunds = [self._refund(order_id, *each) for each in enumerate(_list(receipt, "refunds"), 1)]
        for transaction_id in links:
            self._order_of.first(transaction_id, order_id)
        return [
            *(self._event("orders", order_id, what, kind=what.partition(":")[0], **rest) for what, rest in told),
            *refunds,
        ]

    def _refund(self, order_id: str, number: int, refund: Mapping[str, Any]) -> Parsed | Refusal:
        at, money = _seconds(refund, "created_timestamp"), refund.get("amount")
        money = money if isinstance(money, dict) else {}
        amount, divisor = money.get("amount"), money.get("divisor")
        is_told = type(amount) is int and type(divisor) is int and divisor > 0 and abs(amount) < 1 << 53
        told = {"amount": amount / divisor, "currency": money.get("currency_code")} if is_told else {}  # type: ignore[operator]
        return self._event("feedback", order_id, f"REFUNDED:{at}:{number}", kind="REFUNDED", event_time=at, **told)

    def of_review(self, review: Mapping[str, Any]) -> _Items:
        """SUBMITTED, anew whenever the review was changed."""
        transaction_id = _id(review, "transaction_id")
        at = _seconds(review, "updated_timestamp", "update_timestamp", "created_timestamp", "create_timestamp")
        order_id = self._order_of.get(transaction_id)
        if order_id is None:
            self._left_out[UNKNOWN] += 1
            return []
        told = {"kind": "SUBMITTED", "rating": review.get("rating"), "comment": review.get("review") or None}
        return [self._event("feedback", order_id, f"{transaction_id}:{at}", event_time=at, **told)]

    def _event(self, topic: Topic, order_id: str, what: str, **told: Any) -> Parsed | Refusal:
        named = {"topic": topic, "order_id": order_id, "event_id": f"etsy:{order_id}:{what}"}
        return from_json(named | self._shop | told)


class _Memory:
    """What was said first of each subject, in this poll or an earlier one."""

    def __init__(self, polls: Polls, report: str, account: str) -> None:
        self._known = polls.known(report, account)
        self._learn: Callable[[str, Any], None] = lambda subject, told: polls.learn(report, account, subject, told)
        self.get = self._known.get

    def first(self, subject: str, told: Any) -> Any:
        """What was said of it first; this, if nothing was."""
        if subject not in self._known:
            self._known[subject] = told
            self._learn(subject, told)
        return self._known[subject]


# --- fields --------------------------------------------------------------------------------------------------


def _shipments(receipt: Mapping[str, Any], transactions: list[Mapping[str, Any]]) -> Iterator[tuple[str, int]]:
    """Parcels with when the buyer was told of each; of a receipt without any, when its things were shipped."""
    parcels = [each for each in _list(receipt, "shipments") if each.get("shipment_notification_timestamp") is not None]
    for each in parcels:
        at = _seconds(each, "shipment_notification_timestamp")
        yield str(each.get("receipt_shipping_id") or at)[:40], at
    if not parcels:
        shipped = [each for each in transactions if each.get("shipped_timestamp") is not None]
        for at in sorted({_seconds(each, "shipped_timestamp") for each in shipped})[:1]:
            yield str(at), at


def _id(row: Mapping[str, Any], name: str) -> str:
    """A number that Etsy gave, as text. Raises ValueError."""
    value = row.get(name)
    if type(value) is not int or not 0 < value < 1 << 63:
        raise ValueError(f"{name} is no id")
    return str(value)


def _seconds(row: Mapping[str, Any], *names: str) -> int:
    """Epoch ms of the first of these epoch seconds that is told. Raises ValueError."""
    for name in names:
        if (value := row.get(name)) is not None:
            if type(value) is not int or not 0 < value < 1 << 40:
                raise ValueError(f"{name} is no time")
            return value * 1000
    raise ValueError(f"no {names[0]}")


def _list(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Objects; none where nothing is told. Raises ValueError."""
    value = row.get(name) or []
    if type(value) is not list or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"{name} is no list of objects")
    return value


def _word(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value.lower() if isinstance(value, str) else ""


# --- rows ----------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[bytes, int]]:
    """What is in the answers of a file, one answer behind another: its very bytes, and its number from 1."""
    content, cut = _content(path)
    text, at, number = content.removeprefix(BOM).decode(errors="surrogateescape"), 0, 0
    while (begin := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # it matches nothing, too
        if (opened := _OPENS.match(text, begin)) is None:
            raise cut or FileDamaged(f"{path}: what follows its record {number:,} is no answer of Etsy's")
        at, is_list = opened.end(), opened.end() > begin
        while not (is_list and (closed := _CLOSES.match(text, at))):
            number += 1
            begin = _NEXT.match(text, at).end()  # type: ignore[union-attr]  # likewise
            try:
                _, at = _DECODER.raw_decode(text, begin)
            except (ValueError, RecursionError) as wrong:
                raise cut or FileDamaged(f"{path}: cut short, or damaged at its record {number:,}") from wrong
            yield text[begin:at].encode(errors="surrogateescape"), number
            if not is_list:
                break
        else:
            at = closed.end()
    if cut is not None:
        raise cut


def _content(path: Path) -> tuple[bytes, FileDamaged | None]:
    """All of it (an answer holds at most 100 receipts), as far as it is not damaged."""
    parts: list[bytes] = []
    try:
        parts.extend(chunk for chunk, _ in chunks(path))
    except FileDamaged as damage:
        return b"".join(parts), damage
    return b"".join(parts), None
