"""Hand-made events and files for the tests of the connectors, and how those read them."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.codec import SCHEMAS
from schemas.errors import FileDamaged
from schemas.events import Parsed, Refusal, iso_time
from streams.connectors.files import Record, ReportOptions, Source, find_sources
from streams.connectors.polls import Polls

NOW_MS = 1_893_456_000_000  # 2030

ORDER = {
    "topic": "orders",
    "event_id": "o-1",
    "seller_id": "S1",
    "marketplace_id": "M1",
    "event_time": 1_500_000_000_000,
    "source": "test",
    "order_id": "105-5880207-7148202",
    "kind": "PLACED",
}
RATING = {
    **ORDER,
    "topic": "feedback",
    "event_id": "f-1",
    "kind": "SUBMITTED",
    "rating": 1,
    "comment": "call 555-123-4567 or a@b.de about 105-5880207-7148202",
    "buyer_name": "Ana",
    "rater_email": "ana@example.com",
}
MASKED = "call [phone] or [e-mail] about 105-5880207-7148202"
SURVEY = {
    **{name: value for name, value in ORDER.items() if name not in ("order_id", "kind")},
    "topic": "surveys",
    "event_id": "s-1",
    "conversation_id": "c",
    "message_id": "m",
    "solved": True,
    "buyer_initiated": True,
    "comment": "a@b.de",
}
OLIST = {
    "olist_orders_dataset.csv": """\
order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,order_delivered_carrier_date,\
order_delivered_customer_date,order_estimated_delivery_date
o1,c,delivered,2017-10-14 23:30:00,2017-10-15 01:00:00,2017-10-16 10:00:00,2017-10-15 09:00:00,2017-10-14 00:00:00
o2,c,canceled,2018-02-17 23:30:00,2018-02-18 23:30:00,,,2018-03-01 00:00:00
o3,c,unavailable,2018-01-01 00:00:00,,,,2018-01-31 00:00:00
o4,c,delivered,2018-01-01 00:00:00,,,,2018-01-31 00:00:00
o5,c,delivered,yesterday,,,,2018-01-31 00:00:00
""",
    "olist_order_items_dataset.csv": """\
order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value
o1,1,p2,s1,2018-01-01 00:00:00,1,1
o1,2,p1,s1,2018-01-01 00:00:00,1,1
o1,3,p1,s1,2018-01-01 00:00:00,1,1
o1,4,p3,s2,2018-01-01 00:00:00,1,1
o2,1,p1,s1,2018-01-01 00:00:00,1,1
o3,1,p1,s1,2018-01-01 00:00:00,1,1
o5,1,p1,s1,2018-01-01 00:00:00,1,1
o9,1,p1,s1,2018-01-01 00:00:00,1,1
""",
    "olist_order_reviews_dataset.csv": """\
review_id,order_id,review_score,review_comment_title,review_comment_message,review_creation_date,review_answer_timestamp
r1,o1,1,Ruim,"meu tel. 7599207310,
não recebi",2018-01-01 00:00:00,2018-01-02 12:00:00
r1,o2,5,,,2018-01-01 00:00:00,2018-01-02 12:00:00
,o2,4,,,2018-01-01 00:00:00,2018-01-02 12:00:00
,o2,3,,,2018-01-01 00:00:00,2018-01-03 12:00:00
r4,o4,5,,,2018-01-01 00:00:00,2018-01-02 12:00:00
r5,unknown,5,,,2018-01-01 00:00:00,2018-01-02 12:00:00
r6,o1,7,,,2018-01-01 00:00:00,2018-01-02 12:00:00
r7,o1,5
""",
}


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def numbered(count: int) -> bytes:
    return lines(*({**ORDER, "event_id": f"o-{i}", "order_id": f"{i:x}"} for i in range(count)))


def one(path: Path, **options: Any) -> Source:
    (source,) = find_sources([path], ReportOptions(**options))
    return source


def records(path: Path, **options: Any) -> list[Record]:
    return list(one(path, **options).read(lambda _: None))


def until_damage(path: Path) -> tuple[list[Record], str]:
    """What a file gave before it was found damaged, and what was said of it."""
    found: list[Record] = []
    with pytest.raises(FileDamaged) as damage:
        found.extend(one(path).read(lambda _: None))  # extend keeps what came before the exception
    return found, str(damage.value)


def events(found: list[Record]) -> list[dict[str, Any]]:
    return [record.item.event for record in found if isinstance(record.item, Parsed)]


def refusals(found: list[Record]) -> list[tuple[int, str]]:
    return [(record.line, record.item.reason) for record in found if isinstance(record.item, Refusal)]


def schema_of(topic: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{topic}.avsc").read_text())
    return schema


def container(schema: Any, values: list[Any], codec: str = "null", block_bytes: int = 16_000) -> bytes:
    stream = BytesIO()
    fastavro.writer(stream, schema, values, codec=codec, sync_interval=block_bytes)
    return stream.getvalue()


def bare(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "topic"}


def write_olist(folder: Path) -> Path:
    folder.mkdir()
    for name, content in OLIST.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


Told = tuple[str, str, str]  # order, kind, time


def read(folder: Path, *contents: bytes, polls: Polls | None = None, **options: Any) -> list[list[Record]]:
    """What each of these files tells, one after another."""
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.txt"
        path.write_bytes(content)
        paths.append(path)
    told: dict[str, Any] = {"seller": "S1", "polls": polls or Polls(None)} | options
    sources = find_sources(paths, ReportOptions(**told))
    return [list(source.read(lambda _: None)) for source in sources]


def told(found: Sequence[Record]) -> list[Told]:
    return [(event["order_id"][-1], event["kind"], iso_time(event["event_time"])) for event in events(list(found))]
