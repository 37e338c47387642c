"""Etsy's receipts and reviews: what becomes of them, polled again, changed, linked, damaged, and of any rubbish."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import Parsed, check
from streams.connectors.etsy import UNKNOWN, UNPAID
from streams.connectors.files import Record, ReportOptions, find_sources
from streams.connectors.polls import Polls
from tests.unit.sources import NOW_MS

SHOP = ReportOptions(seller="shop")
DAY_S = 86_400
PLACED = 1_748_779_200  # 2025-06-01T12:00Z

RECEIPT: dict[str, Any] = {
    "receipt_id": 1001,
    "status": "Completed",
    "is_paid": True,
    "name": "Ana Buyer",
    "buyer_email": "ana@example.com",
    "first_line": "1 Main Street",
    "message_from_buyer": "ring twice",
    "created_timestamp": PLACED,
    "updated_timestamp": PLACED + 9 * DAY_S,
    "shipments": [{"receipt_shipping_id": 7, "shipment_notification_timestamp": PLACED + DAY_S, "tracking_code": "T"}],
    "transactions": [
        {"transaction_id": 51, "sku": "MUG", "listing_id": 9},
        {"transaction_id": 52, "sku": "", "listing_id": 8},
        {"transaction_id": 53, "sku": "MUG", "listing_id": 9},
    ],
    "refunds": [],
}
REVIEW: dict[str, Any] = {
    "shop_id": 3,
    "transaction_id": 52,
    "buyer_user_id": 424242,
    "rating": 2,
    "review": "broken, mail ana@example.com",
    "created_timestamp": PLACED + 5 * DAY_S,
    "updated_timestamp": PLACED + 5 * DAY_S,
}


def answer(*rows: Any) -> str:
    return json.dumps({"count": len(rows), "results": rows})


def read(
    folder: Path, *texts: str, polls: Polls | None = None, name: str = "answer"
) -> tuple[list[Record], dict[str, int]]:
    """The records of these files, in their order, and what was left out of them."""
    paths = [folder / f"{name}-{n}.json" for n in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    sources = find_sources(paths, ReportOptions(seller="shop", polls=polls or Polls(None)))
    records = [record for source in sources for record in source.read(lambda done: None)]
    return records, dict(sum((source.left_out for source in sources), start=type(sources[0].left_out)()))


def events(records: list[Record]) -> list[dict[str, Any]]:
    for record in records:
        assert isinstance(record.item, Parsed), record.item
        assert check(record.item.topic, record.item.event, NOW_MS) is None
    return [dict(record.item.event) | {"topic": record.item.topic} for record in records]  # type: ignore[union-attr]


def kinds(records: list[Record]) -> list[tuple[str, str, int]]:
    """Order, kind and day, from the first of the receipt on."""
    return [(e["order_id"], e["kind"], (e["event_time"] // 1000 - PLACED) // DAY_S) for e in events(records)]


def test_a_receipt_becomes_an_order_and_a_review_its_rating(tmp_path: Path) -> None:
    placed, shipped, rated = events(read(tmp_path, answer(RECEIPT), answer(REVIEW))[0])
    common = {"seller_id": "shop", "marketplace_id": "etsy", "source": "etsy", "order_id": "1001"}
    assert placed == common | {
        "topic": "orders",
        "event_id": "etsy:1001:PLACED",
        "event_time": int(datetime(2025, 6, 1, 12, tzinfo=UTC).timestamp() * 1000),
        "kind": "PLACED",
        "fulfilment": "SELLER",
        "deliver_by": None,
        "skus": ["8", "MUG"],
    }
    assert (shipped["kind"], shipped["event_id"]) == ("SHIPPED", "etsy:1001:SHIPPED:7")
    assert shipped["event_time"] == (PLACED + DAY_S) * 1000
    assert (rated["kind"], rated["rating"], rated["comment"]) == ("SUBMITTED", 2, "broken, mail [e-mail]")
    assert rated["event_id"] == f"etsy:1001:52:{(PLACED + 5 * DAY_S) * 1000}"
    assert common.items() <= rated.items()
    said = json.dumps([placed, shipped, rated])
    assert not [secret for secret in ("Ana", "example.com", "Main", "ring", "424242") if secret in said]


def test_a_cancellation_has_the_time_at_which_it_was_told_of_first(tmp_path: Path) -> None:
    gone = RECEIPT | {"status": "Canceled", "shipments": []}
    polls = Polls(None)
    first, _ = read(tmp_path, answer(gone), polls=polls)
    assert kinds(first) == [("1001", "PLACED", 0), ("1001", "CANCELLED", 9)]
    again, _ = read(tmp_path, answer(gone | {"updated_timestamp": PLACED + 30 * DAY_S}), polls=polls)
    assert events(again) == events(first)


def test_refunds_are_told_with_their_money(tmp_path: Path) -> None:
    money = {"amount": 1250, "divisor": 100, "currency_code": "EUR"}
    refunds = [{"created_timestamp": PLACED + 2 * DAY_S, "amount": money}, {"created_timestamp": PLACED + 3 * DAY_S}]
    found = events(read(tmp_path, answer(RECEIPT | {"refunds": refunds}))[0])
    assert [(e["kind"], e["amount"], e["currency"]) for e in found if e["topic"] == "feedback"] == [
        ("REFUNDED", 12.5, "EUR"),
        ("REFUNDED", None, None),
    ]


@pytest.mark.parametrize(
    "told, days",
    [
        ({"shipments": []}, []),
        ({"shipments": None, "transactions": [{"transaction_id": 1, "shipped_timestamp": PLACED + 3 * DAY_S},
                                              {"transaction_id": 2, "shipped_timestamp": PLACED + 2 * DAY_S}]}, [2]),
        ({"shipments": [{"shipment_notification_timestamp": PLACED + n * DAY_S} for n in (4, 6)]}, [4, 6]),
        ({"shipments": [{"shipment_notification_timestamp": None}]}, []),
    ],
)  # fmt: skip
def test_what_was_shipped_is_told_parcel_by_parcel(tmp_path: Path, told: dict[str, Any], days: list[int]) -> None:
    found = kinds(read(tmp_path, answer(RECEIPT | told))[0])
    assert [day for _, kind, day in found if kind == "SHIPPED"] == days


def test_what_is_not_paid_and_reviews_of_unknown_orders_are_left_out(tmp_path: Path) -> None:
    records, left_out = read(tmp_path, answer(RECEIPT | {"is_paid": False}), answer(REVIEW))
    assert [record.item for record in records] == []
    assert left_out == {UNPAID: 1, UNKNOWN: 1}


def test_polled_again_is_the_same_and_a_changed_review_a_rating_of_its_own(tmp_path: Path) -> None:
    polls = Polls(None)
    first, _ = read(tmp_path, answer(RECEIPT), answer(REVIEW), polls=polls)
    again, _ = read(tmp_path, answer(RECEIPT), answer(REVIEW), polls=polls)
    assert events(again) == events(first)
    changed = REVIEW | {"rating": 5, "updated_timestamp": PLACED + 8 * DAY_S}
    (later,) = events(read(tmp_path, answer(changed), polls=polls)[0])  # without its receipt: that was polled before
    assert (later["order_id"], later["rating"]) == ("1001", 5)
    assert later["event_id"] not in {event["event_id"] for event in events(first)}


def test_what_receipts_said_outlives_the_process_once_it_is_kept(tmp_path: Path) -> None:
    with Polls(tmp_path / "state.db") as polls:
        read(tmp_path, answer(RECEIPT), polls=polls)
        polls.keep()
    with Polls(tmp_path / "state.db") as polls:
        (rated,) = events(read(tmp_path, answer(REVIEW), polls=polls)[0])
    assert rated["order_id"] == "1001"


@pytest.mark.parametrize(
    "text, count",
    [
        (answer(RECEIPT), 2),
        (json.dumps(RECEIPT), 2),
        (json.dumps([RECEIPT, RECEIPT | {"receipt_id": 1002}], indent=2), 4),
        (json.dumps({"results": [RECEIPT], "count": 1}, indent=1), 2),
        (answer(RECEIPT) + "\n" + answer(RECEIPT | {"receipt_id": 1002}) + "\n", 4),
        (answer(), 0),
        ("\ufeff" + answer(RECEIPT), 2),
    ],
)
def test_answers_come_in_files_as_they_were_saved(tmp_path: Path, text: str, count: int) -> None:
    assert len(events(read(tmp_path, text)[0])) == count


def test_a_row_is_refused_with_its_very_bytes_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad: list[Any] = [
        RECEIPT | {"receipt_id": "7"},
        RECEIPT | {"created_timestamp": None},
        RECEIPT | {"transactions": [{"transaction_id": 0}]},
        RECEIPT | {"transactions": 4},
        REVIEW | {"rating": 4.5},
        REVIEW | {"rating": None},
        7,
    ]
    good, *records = read(tmp_path, answer(RECEIPT), answer(*bad, RECEIPT | {"receipt_id": 1002, "shipments": []}))[0][
        1:
    ]
    assert isinstance(good.item, Parsed)
    assert [(type(record.item).__name__, record.line) for record in records] == [
        *(("Refusal", n) for n in range(1, 6)),
        ("Parsed", 6),
        ("Refusal", 7),
        ("Parsed", 8),
    ]
    assert [json.loads(record.raw) for record in records[:5]] == bad[:5]


def test_what_is_cut_short_gives_its_good_part(tmp_path: Path) -> None:
    text = answer(RECEIPT, RECEIPT | {"receipt_id": 1002})
    for name, content in (("a.json", text[:-30].encode()), ("b.json.gz", gzip.compress(text.encode(), 0)[:-300])):
        (tmp_path / name).write_bytes(content)
        (source,) = find_sources([tmp_path / name], SHOP)
        found: list[Record] = []
        with pytest.raises(FileDamaged, match=name):
            found.extend(source.read(lambda done: None))
        assert [record.line for record in found] == [1, 1]


def test_a_file_that_is_no_answer_is_no_business_of_this_connector(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"topic": "orders", "receipt_id": 4}')
    assert find_sources([path], SHOP)[0].format == "jsonl"
    path.write_text('[{"order": 4}]')
    with pytest.raises(ConfigurationError, match="unknown format"):
        find_sources([path], SHOP)
    path.write_text(answer(RECEIPT))
    with pytest.raises(ConfigurationError, match="tell --seller"):
        find_sources([path], ReportOptions())


NAMES = st.sampled_from(
    [*RECEIPT, *REVIEW, "amount", "divisor", "shipped_timestamp", "shipment_notification_timestamp"]
)
RUBBISH = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 70) | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
CODEC = Codec()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from((RECEIPT, REVIEW)), st.dictionaries(NAMES, RUBBISH, max_size=2)), max_size=4
    ),
    cut=st.integers(0, 200),
)
def test_every_row_is_accepted_left_out_or_refused(
    rows: list[tuple[Any, Any]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.json"
    text = answer(RECEIPT, *(row | wrong for row, wrong in rows))
    path.write_text(text[: len(text) - cut])
    try:
        (source,) = find_sources([path], ReportOptions(format="etsy", seller="shop"))
    except ConfigurationError:  # not even the beginning is there
        return
    records: list[Record] = []
    try:
        records.extend(source.read(lambda done: None))
    except FileDamaged:
        assert cut
    else:
        numbers = {record.line for record in records}
        assert len(numbers) + source.left_out.total() == len(rows) + 1
    for record in records:
        if isinstance(record.item, Parsed) and check(record.item.topic, record.item.event, NOW_MS) is None:
            CODEC.encode(record.item.topic, record.item.event)
