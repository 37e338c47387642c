"""Amazon's ORDER_CHANGE notifications: an order's state as JSON, each time that it changes.

Read leniently, whatever is around them: the published example breaks its schema. A notification tells when an order was
placed, and what its status says of it as of the change. Ids come from the notification's, so repeats are the same.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from schemas.events import RECORD_MAX, Parsed, Refusal, from_json, iso_time, to_ms
from streams.connectors.input import BOM, RECORD_KEPT, Record
from streams.connectors.order_report import fulfilment_of, kinds_of
from streams.connectors.reports import content_of

_NAME = "orderchangenotification"
_ENVELOPES = ("messages", "records", "body", "message", "detail")  # of a queue, a topic and an event bus
_DEEPEST = 6  # envelopes in one another
_BETWEEN = re.compile(r"[\s,\[\]\x1e]*")
_NEXT = re.compile(r"\n[,\[]?(?=\{)")
_SAID_BY_EASY_SHIP = {
    "delivered": ("DELIVERED",),
    "rejectedbybuyer": ("RETURNED",),
    "returningtoseller": ("RETURNED",),
    "returnedtoseller": ("RETURNED",),
}


def is_order_change(head: bytes) -> bool:
    """Whether a file that starts so holds such notifications: JSON that names them, and no events of ours."""
    start = head.removeprefix(BOM).lstrip()
    return start[:1] in (b"{", b"[") and _NAME.encode() in head.lower() and b'"topic"' not in start.split(b"\n", 1)[0]


def read_order_change(path: Path, source: str, left_out: Counter[str]) -> Iterator[Record]:
    """Every notification's events. Raises FileDamaged after the last whole one.

    Notifications of orders whose payment is not authorised yet, and of other kinds, are counted in `left_out`.
    """
    content, damage = content_of(path)
    for value, raw, line in _documents(content):
        for found in _notifications(value, 0):
            for item in [found] if isinstance(found, Refusal) else _items(found, source, left_out):
                yield Record(item, raw, line)
    if damage is not None:
        raise damage


# --- notifications in whatever is around them ------------------------------------------------------------------


def _documents(content: bytes) -> Iterator[tuple[Any, bytes, int]]:
    """JSON values one after another, with lines, commas and brackets between them: value or refusal, bytes, line.

    What is no JSON is one refusal up to the next line that begins an object.
    """
    text = content.removeprefix(BOM).decode(errors="surrogateescape")
    decoder = json.JSONDecoder()
    at, line, counted = 0, 1, 0
    while (at := _BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # it matches nothing, too
        line, counted = line + text.count("\n", counted, at), at
        value: Any
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            after = _NEXT.search(text, at)
            value, end = Refusal("not JSON, or nested too deep", "orders"), after.start() if after else len(text)
        raw = text[at:end].encode(errors="surrogateescape")
        yield _usable(value, raw), raw[:RECORD_KEPT] if len(raw) > RECORD_MAX else raw, line
        at = end


def _usable(value: Any, raw: bytes) -> Any:
    """The value with its names in lower case, or a refusal."""
    if len(raw) > RECORD_MAX:
        return Refusal(f"over {RECORD_MAX} bytes", "orders")
    try:
        return _lowered(value)
    except UnicodeError:
        return Refusal("not UTF-8", "orders")
    except RecursionError:
        return Refusal("nested too deep", "orders")


def _lowered(value: Any) -> Any:
    """A JSON value with its names in lower case. Raises UnicodeError for a text that is none, and RecursionError."""
    if type(value) is dict:
        return {_lowered(name).lower(): _lowered(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_lowered(inner) for inner in value]
    if type(value) is str:
        value.encode()
    return value


def _notifications(value: Any, depth: int) -> Iterator[dict[str, Any] | Refusal]:
    """Those in a value: it itself, or what the messages of a queue have in them, as text or not."""
    if isinstance(value, Refusal):
        yield value
    elif isinstance(value, str) and depth < _DEEPEST:
        for inner, _, _ in _documents(value.encode()):
            yield from _notifications(inner, depth + 1)
    elif isinstance(value, list) and depth < _DEEPEST:
        for inner in value:
            yield from _notifications(inner, depth + 1)
    elif isinstance(value, dict) and isinstance(value.get("payload"), dict) and _NAME in value["payload"]:
        yield value
    elif isinstance(value, dict) and (envelope := next((name for name in _ENVELOPES if name in value), None)):
        yield from _notifications(value[envelope], depth + 1)
    else:
        yield Refusal("no ORDER_CHANGE notification", "orders")


# --- what one says ---------------------------------------------------------------------------------------------


def _items(notification: dict[str, Any], source: str, left_out: Counter[str]) -> list[Parsed | Refusal]:
    """Its events, or why it is refused."""
    change = notification["payload"][_NAME]
    summary = _inner(change, "summary")
    try:
        kinds = kinds_of(_text(summary, "orderstatus"))
        changed_ms = _changed_ms(notification, change)
    except ValueError as wrong:
        return [Refusal(str(wrong), "orders")]
    if kinds is None:
        left_out["notifications of orders that are pending"] += 1
        return []
    easy_ship = _SAID_BY_EASY_SHIP.get(_text(summary, "easyshipshipmentstatus").lower(), ())
    moments = dict.fromkeys((*kinds, *easy_ship), changed_ms)
    common = {
        "topic": "orders",
        "seller_id": change.get("sellerid"),
        "marketplace_id": summary.get("marketplaceid"),
        "source": source,
        "order_id": change.get("amazonorderid"),
        "fulfilment": fulfilment_of(_text(summary, "fulfillmenttype")),
        "deliver_by": summary.get("latestdeliverydate"),
    }
    # Of promises that came with the same PLACED the last one told stands: their ids follow the time of the change.
    told = f"{source}:{iso_time(changed_ms, 'milliseconds')}:{_id(notification)}"
    events = [
        from_json(common | {"event_id": f"{told}:{kind}", "kind": kind, "event_time": at})
        for kind, at in moments.items()
    ]
    if summary.get("purchasedate") is not None:
        placed = {"event_id": f"{told}:PLACED", "kind": "PLACED", "event_time": summary["purchasedate"]}
        events.insert(0, from_json(common | placed | {"skus": _skus(summary)}))
    if not events:
        left_out["notifications that tell neither a purchase nor a change"] += 1
    return events


def _changed_ms(notification: dict[str, Any], change: Any) -> int:
    """When the order changed, or else when that was published. Raises ValueError."""
    times = (
        _inner(change, "orderchangetrigger").get("timeoforderchange"),
        notification.get("eventtime"),
        _inner(notification, "notificationmetadata").get("publishtime"),
    )
    told = next((time for time in times if time is not None), None)
    if told is None:
        raise ValueError("no time of the change")
    try:
        changed_ms = to_ms(told)
        iso_time(changed_ms)
    except (TypeError, OverflowError):
        raise ValueError("the time of the change is none") from None
    return changed_ms


def _id(notification: dict[str, Any]) -> str:
    """What names a notification for ever: the marketplace's id, or a digest of all that it says."""
    told = _text(_inner(notification, "notificationmetadata"), "notificationid")
    return told or sha256(json.dumps(notification, sort_keys=True).encode()).hexdigest()[:32]


def _skus(summary: dict[str, Any]) -> list[str]:
    items = summary.get("orderitems")
    found = {_text(item, "sellersku") for item in (items if isinstance(items, list) else []) if isinstance(item, dict)}
    return sorted(found - {""})


def _inner(value: Any, name: str) -> dict[str, Any]:
    """An object in an object, empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: dict[str, Any], name: str) -> str:
    """A text in an object, empty where there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""
