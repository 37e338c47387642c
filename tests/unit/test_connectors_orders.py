"""Amazon's order side: the all-orders report, both reports of returns, and the notifications of changes."""

import gzip
import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import Parsed, check, iso_time
from streams.connectors.files import Record, ReportOptions, find_sources
from streams.connectors.polls import Polls
from tests.amazon import (
    ALL_ORDERS,
    AMERICA,
    FBA_RETURNS,
    GERMANY,
    ITALY,
    JAPAN,
    RETURNS,
    a_return,
    as_json,
    fba_return,
    notification,
    order,
    table,
)
from tests.unit.sources import NOW_MS, events, read, refusals, told

AMAZON = Path(__file__).parents[3] / "shared" / "data" / "amazon"
LATER = "2025-03-20T08:00:00+00:00"


def left_out(folder: Path, content: bytes, **options: Any) -> dict[str, int]:
    path = folder / "left-out.txt"
    path.write_bytes(content)
    (source,) = find_sources([path], ReportOptions(seller="S1", **options))
    assert not list(source.read(lambda _: None))
    return dict(source.left_out)


def orders(*rows: dict[str, str], columns: int = 28, charset: str = "utf-8") -> bytes:
    return table(ALL_ORDERS[columns], rows, charset)


# --- the all-orders report ---------------------------------------------------------------------------------------


def test_an_order_is_placed_with_all_of_its_items_and_shipped_at_its_last_update(tmp_path: Path) -> None:
    (found,) = read(tmp_path, orders(order(sku="B-2"), order(sku="A-1", ship_city="Berlin")))
    placed, shipped = events(found)
    assert placed | {"event_id": ""} == {
        "event_id": "",
        "seller_id": "S1",
        "marketplace_id": GERMANY,
        "event_time": 1_740_823_200_000,
        "source": "amazon-orders",
        "order_id": "302-1234567-1234567",
        "kind": "PLACED",
        "fulfilment": "SELLER",
        "deliver_by": None,
        "skus": ["A-1", "B-2"],
    }
    assert (shipped["kind"], iso_time(shipped["event_time"])) == ("SHIPPED", "2025-03-02T11:30:00Z")
    assert [record.line for record in found] == [2, 2]


@pytest.mark.parametrize("columns", ALL_ORDERS)
def test_columns_are_taken_by_name_in_whatever_order(tmp_path: Path, columns: int) -> None:
    names = list(ALL_ORDERS[columns])
    random.Random(columns).shuffle(names)
    mixed = table(names, [order()])
    quoted = mixed.replace(b"\t", b'"\t"').replace(b"\r\n", b'"\r\n"').removesuffix(b'"').upper()
    (plain,), (found,) = (read(tmp_path, content) for content in (orders(order()), mixed))
    assert events(plain) == events(found)
    assert [kind for _, kind, _ in told(read(tmp_path, b'"' + quoted)[0])] == ["PLACED", "SHIPPED"]


@pytest.mark.parametrize(
    "status, item, expected",
    [
        ("Unshipped", "Unshipped", ["PLACED"]),
        ("PartiallyShipped", "Shipped", ["PLACED"]),
        ("Pending - Waiting for Pick Up", "Unshipped", ["PLACED"]),
        ("Shipping", "Unshipped", ["PLACED"]),
        ("Shipped", "Shipped", ["PLACED", "SHIPPED"]),
        ("Shipped", "", ["PLACED", "SHIPPED"]),
        ("Shipped - Lost in Transit", "Shipped", ["PLACED", "SHIPPED"]),
        ("Shipped - Delivered to Buyer", "Shipped", ["PLACED", "SHIPPED", "DELIVERED"]),
        ("Shipped - Returned to Seller", "Shipped", ["PLACED", "SHIPPED", "RETURNED"]),
        ("Cancelled", "", ["PLACED", "CANCELLED"]),
        ("Canceled", "Cancelled", ["PLACED", "CANCELLED"]),
        ("Shipped", "Cancelled", ["PLACED", "CANCELLED"]),  # its only item
        ("Pending", "Unshipped", []),
    ],
)
def test_a_status_says_what_became_of_the_order(tmp_path: Path, status: str, item: str, expected: list[str]) -> None:
    (found,) = read(tmp_path, orders(order(order_status=status, item_status=item)))
    assert [event["kind"] for event in events(found)] == expected
    assert not refusals(found)


def test_a_cancelled_item_alone_is_no_cancelled_order(tmp_path: Path) -> None:
    (found,) = read(tmp_path, orders(order(sku="A"), order(sku="B", item_status="Cancelled")))
    assert [event["kind"] for event in events(found)] == ["PLACED", "SHIPPED"]


def test_a_later_poll_tells_what_is_new_and_nothing_again(tmp_path: Path) -> None:
    first = orders(
        order(amazon_order_id="1", order_status="Pending"),
        order(amazon_order_id="2", order_status="Unshipped"),
        order(amazon_order_id="3"),
        order(amazon_order_id="4", order_status="Unshipped"),
    )
    second = orders(
        order(amazon_order_id="1", last_updated_date=LATER),
        order(amazon_order_id="2", last_updated_date=LATER),
        order(amazon_order_id="3", last_updated_date=LATER),
        order(amazon_order_id="4", last_updated_date=LATER, order_status="Cancelled"),
    )
    one, two, *again = read(tmp_path, first, second, first, second)
    placed, shipped, later = "2025-03-01T10:00:00Z", "2025-03-02T11:30:00Z", "2025-03-20T08:00:00Z"
    assert told(one) == [
        ("2", "PLACED", placed),
        ("3", "PLACED", placed),
        ("3", "SHIPPED", shipped),
        ("4", "PLACED", placed),
    ]
    assert told(two) == [
        ("1", "PLACED", placed),
        ("1", "SHIPPED", later),
        ("2", "SHIPPED", later),
        ("4", "CANCELLED", later),
    ]
    assert again == [[], []]


def test_polls_in_another_order_end_with_the_earliest_time_of_each_kind(tmp_path: Path) -> None:
    early, late = orders(order()), orders(order(last_updated_date=LATER))
    for way in ((early, late), (late, early), (late, late, early)):
        times = [time for found in read(tmp_path, *way) for _, kind, time in told(found) if kind == "SHIPPED"]
        assert min(times) == "2025-03-02T11:30:00Z"


def test_without_what_earlier_polls_said_ids_are_the_same(tmp_path: Path) -> None:
    one = events(read(tmp_path, orders(order()))[0])
    overlapping = events(read(tmp_path, orders(order(amazon_order_id="9"), order(), columns=32))[0])
    assert one == overlapping[2:]
    assert len({event["event_id"] for event in overlapping}) == 4


def test_another_item_seen_later_is_told(tmp_path: Path) -> None:
    one, two, three = read(tmp_path, orders(order()), orders(order(), order(sku="B-2")), orders(order(sku="B-2")))
    assert [event["skus"] for event in events(one + two) if event["kind"] == "PLACED"] == [["A-1"], ["A-1", "B-2"]]
    assert not three


def test_a_sales_channel_names_the_marketplace_unless_that_is_told(tmp_path: Path) -> None:
    content = orders(
        order(amazon_order_id="1"),
        order(amazon_order_id="2", sales_channel="Amazon.it"),
        order(amazon_order_id="3", sales_channel="Amazon.com"),
        order(amazon_order_id="4", sales_channel="Non-Amazon"),
        order(amazon_order_id="5", sales_channel=""),
        order(amazon_order_id="6", sales_channel="Amazon.example"),
    )

    def homes(**options: Any) -> dict[str, str]:
        return {e["order_id"]: e["marketplace_id"] for e in events(read(tmp_path, content, **options)[0])}

    assert homes() == {"1": GERMANY, "2": ITALY, "3": AMERICA}
    assert homes(marketplace=ITALY) == {"2": ITALY, "5": ITALY}
    assert homes(marketplace="amazon.it") == {"2": "amazon.it", "5": "amazon.it"}
    assert homes(marketplace="bazaar").keys() == {"1", "2", "3", "5", "6"}
    assert [line for line, _ in refusals(read(tmp_path, content)[0])] == [6, 7]
    other = orders(
        order(sales_channel="Amazon.fr"), order(sales_channel="Non-Amazon US"), order(order_status="Pending")
    )
    assert left_out(tmp_path, other, marketplace=GERMANY) == {
        "rows of other marketplaces": 1, "rows of sales outside Amazon": 1, "orders that are pending": 1,
    }  # fmt: skip


def test_bad_rows_are_refused_with_a_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = [
        order(amazon_order_id=""),
        order(purchase_date="yesterday"),
        order(purchase_date="2025-03-01"),
        order(last_updated_date=""),
        order(order_status="Teleported"),
        order(amazon_order_id="9"),
    ]
    content = orders(*rows) + b"302-1\t\t2025\r\n" + b"\t" * 40 + b"x\r\n"
    (found,) = read(tmp_path, content)
    assert {event["order_id"] for event in events(found)} == {"9"}
    assert refusals(found) == [
        (2, "no order id"),
        (3, "purchase-date is not a time"),
        (4, "purchase-date is not a time"),
        (5, "last-updated-date is not a time"),
        (6, "the order's status is none that is known"),
        (8, "3 columns and not 28"),
        (9, "41 columns and not 28"),
    ]


def test_a_row_cut_anywhere_is_right_or_refused(tmp_path: Path) -> None:
    last = ("sku", "url")  # the last column that is needed, and one that is not
    content = table([*(name for name in ALL_ORDERS[32] if name not in last), *last], [order()])
    header, whole = content.index(b"\n") + 1, events(read(tmp_path, content)[0])
    for end in range(header + 1, len(content)):
        (found,) = read(tmp_path, content[:end])
        assert (events(found) == whole) is not bool(refusals(found)), content[header:end]
        assert events(found) in ([], whole)


def test_events_have_the_told_source(tmp_path: Path) -> None:
    for content in (orders(order()), table(FBA_RETURNS, [fba_return()]), as_json(notification())):
        (found,) = read(tmp_path, content, source="stars-only", marketplace=GERMANY)
        assert {event["source"] for event in events(found)} == {"stars-only"}
        assert all(event["event_id"].startswith("stars-only:") for event in events(found))


def test_times_without_a_zone_are_the_told_one_s(tmp_path: Path) -> None:
    content = orders(order(purchase_date="2025-03-01T10:00:00", last_updated_date="2025-03-02T11:30:00+09:00"))
    (found,) = read(tmp_path, content, timezone="Europe/Berlin")
    assert [time for _, _, time in told(found)] == ["2025-03-01T09:00:00Z", "2025-03-02T02:30:00Z"]


@pytest.mark.parametrize(
    "charset, channel, sku", [("cp1252", "Amazon.de", "Größe"), ("shift_jis", "Amazon.co.jp", "青い")]
)
def test_the_charset_is_the_download_s(tmp_path: Path, charset: str, channel: str, sku: str) -> None:
    (found,) = read(tmp_path, orders(order(sku=sku, sales_channel=channel), charset=charset))
    assert events(found)[0]["skus"] == [sku]


def test_a_download_cut_short_keeps_its_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "cut.txt.gz"
    path.write_bytes(gzip.compress(orders(*(order(amazon_order_id=str(i)) for i in range(2_000))), mtime=0)[:-9])
    (source,) = find_sources([path], ReportOptions(seller="S1"))
    found: list[Record] = []
    with pytest.raises(FileDamaged):
        found.extend(source.read(lambda _: None))
    assert 0 < len(found) <= 4_000
    assert not refusals(found)


def test_a_report_asks_for_the_seller_and_is_known_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    path.write_bytes(orders(order()))
    with pytest.raises(ConfigurationError, match="tell --seller"):
        find_sources([path], ReportOptions())
    with pytest.raises(ConfigurationError, match="not amazon-returns"):
        find_sources([path], ReportOptions(format="amazon-returns", seller="S1"))
    assert [source.format for source in find_sources([path], ReportOptions(seller="S1"))] == ["amazon-orders"]


# --- returns -----------------------------------------------------------------------------------------------------


def test_goods_that_amazon_took_back_are_returned_then(tmp_path: Path) -> None:
    content = table(FBA_RETURNS, [fba_return(), fba_return(sku="B-2"), fba_return(return_date="05.06.2025")])
    (found,) = read(tmp_path, content, marketplace=GERMANY)
    assert told(found) == [("7", "RETURNED", "2025-06-05T15:31:40Z")] * 2
    assert len({event["event_id"] for event in events(found)}) == 1  # two units, one order
    assert refusals(found) == [(4, "return-date is not a time")]
    assert b"anna@" not in json.dumps(events(found)).encode()


@pytest.mark.parametrize("columns", RETURNS)
def test_a_return_request_is_a_return_of_its_day_and_perhaps_a_claim(tmp_path: Path, columns: int) -> None:
    rows = [
        a_return(order_id="1"),
        a_return(order_id="2", claim="Y"),
        a_return(order_id="3", status="Denied", claim="Y"),
        a_return(order_id="4", date="5-jun-2025"),
        a_return(order_id="5", date="2025-06-05"),
        a_return(order_id="6", date="31-Jun-2025"),
        a_return(order_id="7", claim="?"),
        a_return(order_id=""),
    ]
    (found,) = read(tmp_path, table(RETURNS[columns], rows), marketplace=GERMANY, timezone="Europe/Berlin")
    day = "2025-06-04T22:00:00Z"
    assert told(found) == [
        ("1", "RETURNED", day), ("2", "RETURNED", day), ("2", "CLAIM_OPENED", day), ("3", "CLAIM_OPENED", day),
        ("4", "RETURNED", day),
    ]  # fmt: skip
    assert [line for line, _ in refusals(found)] == [6, 7, 8, 9]
    denied = table(RETURNS[columns], [a_return(status="Denied")])
    assert left_out(tmp_path, denied, marketplace=GERMANY) == {"return requests that came to nothing": 1}


def test_a_return_belongs_to_the_marketplace_of_its_order(tmp_path: Path) -> None:
    told_before = orders(order(amazon_order_id="1"), order(amazon_order_id="2", sales_channel="Amazon.it"))
    fba = table(FBA_RETURNS, [fba_return(order_id=each) for each in "123"])
    own = table(RETURNS[32], [a_return(order_id=each) for each in "123"])

    def homes(found: list[Record]) -> list[str]:
        return [event["marketplace_id"] for event in events(found)]

    _, *both = read(tmp_path, fba, own, told_before)  # returns are read last, whatever the names
    for found in both:
        assert homes(found) == [GERMANY, ITALY]
        assert [line for line, _ in refusals(found)] == [4]
    polls = Polls(None)
    read(tmp_path, told_before, polls=polls)
    assert homes(read(tmp_path, own, polls=polls, marketplace=ITALY)[0]) == [ITALY, ITALY]  # 1 is another's, 3 unknown
    assert homes(read(tmp_path, own, marketplace=ITALY)[0]) == [ITALY] * 3


# --- whatever comes ----------------------------------------------------------------------------------------------

ANY_TEXT = st.text(max_size=12) | st.sampled_from(
    ("Shipped", "Amazon.de", "2025-03-01T10:00:00Z", "05-Jun-2025", "Y", "")
)
_CONTENTS = st.one_of(
    st.builds(
        lambda rows: (ALL_ORDERS[32], rows), st.lists(st.dictionaries(st.sampled_from(ALL_ORDERS[28]), ANY_TEXT))
    ),
    st.builds(lambda rows: (RETURNS[32], rows), st.lists(st.dictionaries(st.sampled_from(RETURNS[32]), ANY_TEXT))),
    st.builds(lambda rows: (FBA_RETURNS, rows), st.lists(st.dictionaries(st.sampled_from(FBA_RETURNS), ANY_TEXT))),
)
LAX = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAX
@given(content=_CONTENTS, charset=st.sampled_from(("utf-8", "cp932", "utf-16")))
def test_each_row_of_a_report_is_told_left_out_or_refused(
    tmp_path: Path, content: tuple[Sequence[str], list[dict[str, str]]], charset: str
) -> None:
    columns, rows = content
    header = "\t".join(columns).encode()
    body = [b"\t".join(row.get(name, "").encode(charset, "replace") for name in columns) for row in rows]
    accounted_for(tmp_path, b"\n".join((header, *body)), marketplace=JAPAN, timezone="America/Los_Angeles")


def accounted_for(folder: Path, content: bytes, **options: Any) -> None:
    path = folder / "any.txt"
    path.write_bytes(content)
    try:
        (source,) = find_sources([path], ReportOptions(seller="S1", **options))
    except ConfigurationError:
        return
    found = list(source.read(lambda _: None))
    for record in found:
        if isinstance(record.item, Parsed) and check(*record.item, NOW_MS) is None:
            Codec().encode(*record.item)
    if source.format.endswith("returns"):
        rows = [row for row in content.split(b"\n")[1:] if row.strip()]
        assert len({record.line for record in found}) + sum(source.left_out.values()) == len(rows)
    if source.format == "amazon-order-change":
        assert found or source.left_out


# --- what is published -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no published layouts at {AMAZON}")
def test_published_headers_are_known(tmp_path: Path) -> None:
    lines = (AMAZON / "headers.tsv.txt").read_text().splitlines()
    headers = [line for line in lines if "amazon-order-id" in line or line.startswith(("return-date", "Order ID"))]
    assert sorted(len(header.split("\t")) for header in headers) == [13, 28, 29, 32, 32]
    assert {tuple(header.split("\t")) for header in headers} == {*ALL_ORDERS.values(), FBA_RETURNS, RETURNS[32]}
    pairs = [pair for pair in itertools.pairwise(lines) if pair[0] in headers and not pair[1].startswith("#")]
    contents = ["\n".join(pair).encode() for pair in pairs]
    kinds = [told(found) for found in read(tmp_path, *contents, marketplace=ITALY)]
    assert kinds == [
        [("d", "PLACED", "2017-06-17T08:04:21Z"), ("d", "CANCELLED", "2017-06-18T22:07:59Z")],
        [("9", "RETURNED", "2025-06-05T15:31:40Z")],
    ]
