"""Amazon's ORDER_CHANGE notifications, in whatever is around them, and beside the all-orders report."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Parsed, check, iso_time
from streams.connectors.files import Record, ReportOptions, find_sources
from streams.core.stories import OrderFact, Span, fact_of, order_says
from tests.amazon import GERMANY, as_json, notification, order
from tests.unit.sources import NOW_MS, events, read, refusals
from tests.unit.test_connectors_orders import AMAZON, ANY_TEXT, LATER, LAX, accounted_for, orders


def test_a_notification_tells_the_purchase_and_the_state(tmp_path: Path) -> None:
    placed, shipped = events(read(tmp_path, as_json(notification("Shipped")))[0])
    assert placed == {
        "event_id": "amazon-order-change:2025-03-02T11:30:00.000Z:n-1:PLACED",
        "seller_id": "S1",
        "marketplace_id": GERMANY,
        "event_time": 1_740_823_200_000,
        "source": "amazon-order-change",
        "order_id": "302-1234567-1234567",
        "kind": "PLACED",
        "fulfilment": "SELLER",
        "deliver_by": 1_741_561_199_000,
        "skus": ["A-1", "B-2"],
    }
    assert (shipped["kind"], iso_time(shipped["event_time"])) == ("SHIPPED", "2025-03-02T11:30:00Z")
    assert shipped["deliver_by"] == placed["deliver_by"]


@pytest.mark.parametrize(
    "what, expected",
    [
        (notification("Unshipped"), ["PLACED"]),
        (notification("InvoiceUnconfirmed"), ["PLACED", "SHIPPED"]),
        (notification("Canceled"), ["PLACED", "CANCELLED"]),
        (notification("Shipped", EasyShipShipmentStatus="Delivered"), ["PLACED", "SHIPPED", "DELIVERED"]),
        (notification("Unshipped", EasyShipShipmentStatus="Delivered"), ["PLACED", "DELIVERED"]),
        (notification("Shipped", EasyShipShipmentStatus="RejectedByBuyer"), ["PLACED", "SHIPPED", "RETURNED"]),
        (notification("Shipped", EasyShipShipmentStatus=None), ["PLACED", "SHIPPED"]),
        (notification("Shipped", PurchaseDate=None), ["SHIPPED"]),
        (notification("Shipped", PurchaseDate=...), ["SHIPPED"]),
        (notification("Shipped", LatestDeliveryDate=..., OrderItems=None), ["PLACED", "SHIPPED"]),
        (notification("Shipped", changed=None), ["PLACED", "SHIPPED"]),
        (notification("Unshipped", PurchaseDate=None), []),
        (notification("Pending"), []),
        (notification("PendingAvailability"), []),
    ],
)
def test_a_state_says_what_happened(tmp_path: Path, what: dict[str, Any], expected: list[str]) -> None:
    (found,) = read(tmp_path, as_json(what))
    assert [event["kind"] for event in events(found)] == expected
    assert not refusals(found)


def test_envelopes_do_not_matter(tmp_path: Path) -> None:
    one, two = notification("Shipped", id="n-1"), notification("Shipped", id="n-2")
    inner = json.dumps(one)
    plain = events(read(tmp_path, as_json(one))[0])
    assert [event["kind"] for event in plain] == ["PLACED", "SHIPPED"]
    wrapped = [
        as_json(one, indent=1),
        as_json([one]),
        b"\xef\xbb\xbf" + as_json(one),
        as_json({"Message": inner}),
        as_json({"body": inner}),
        as_json({"Messages": [{"MessageId": "1", "Body": inner}]}, indent=4),
        as_json({"Records": [{"body": json.dumps({"Type": "Notification", "Message": inner})}]}),
        as_json({"detail-type": "ORDER_CHANGE", "detail": one}),
        re.sub(rb'"(\w)(\w+)":', lambda name: b'"' + name[1].lower() + name[2] + b'":', as_json(one)),
    ]
    for content in wrapped:
        assert events(read(tmp_path, content)[0]) == plain
    for both in (as_json(one) + b"\n" + as_json(two) + b"\n", as_json([one, two], indent=2)):
        assert len({event["event_id"] for event in events(read(tmp_path, both)[0])}) == 4


def test_a_repeat_is_the_same_and_a_promise_told_later_stands(tmp_path: Path) -> None:
    anonymous = notification("Unshipped")
    del anonymous["NotificationMetadata"]
    for what in (anonymous, notification("Unshipped")):
        one, again = (events(found) for found in read(tmp_path, as_json(what), as_json(what, indent=2)))
        assert one == again
    later = notification(id="a", changed="2025-03-03T00:00:00Z", LatestDeliveryDate="2025-03-12T00:00:00Z")
    both = read(tmp_path, as_json(later), as_json(notification()))
    story = sorted(events([*both[0], *both[1]]), key=_in_story_order)
    assert iso_time([event["deliver_by"] for event in story if event["deliver_by"]][-1]) == "2025-03-12T00:00:00Z"


def _in_story_order(event: dict[str, Any]) -> tuple[int, str]:
    return event["event_time"], event["event_id"]


def test_bad_notifications_are_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = as_json(notification())
    bad = [
        good[:-30],
        as_json({"NotificationType": "REPORT_PROCESSING_FINISHED", "Payload": {}}),
        as_json(notification("Teleported")),
        as_json(notification(changed="yesterday")),
        as_json(notification(MarketplaceId=...)),
        as_json(notification(PurchaseDate="yesterday")),
        as_json(notification()).replace(b"S1", rb"\ud800"),
        b'{"OrderChangeNotification": ' + b"[" * 20_000,
        b'{"x": "\xff"}',
        b"null",
    ]
    (found,) = read(tmp_path, b"\n".join((good, *bad, good)), format="amazon-order-change")
    assert [line for line, _ in refusals(found)] == list(range(2, 12))
    assert [record.line for record in found if isinstance(record.item, Parsed)] == [1, 12]


def test_events_of_ours_that_speak_of_a_notification_are_none(tmp_path: Path) -> None:
    line = as_json({"topic": "feedback", "comment": "OrderChangeNotification"})
    path = tmp_path / "events.json"
    path.write_bytes(line)
    assert [source.format for source in find_sources([path], ReportOptions())] == ["jsonl"]


# --- the report and the notification of one order ----------------------------------------------------------------


@pytest.mark.parametrize(
    "status, easy_ship, report_status",
    [("Shipped", None, "Shipped"), ("Canceled", None, "Cancelled"), ("Unshipped", None, "Unshipped"),
     ("Shipped", "Delivered", "Shipped - Delivered to Buyer"),
     ("Shipped", "ReturnedToSeller", "Shipped - Returned to Seller")],
)  # fmt: skip
def test_the_report_after_the_notification_changes_no_day(
    tmp_path: Path, status: str, easy_ship: str | None, report_status: str
) -> None:
    notified, reported = read(
        tmp_path,
        as_json(notification(status, EasyShipShipmentStatus=easy_ship)),
        orders(order(order_status=report_status, item_status="", last_updated_date=LATER)),
    )

    def spans(found: list[Record]) -> set[Span]:
        facts = [fact_of("orders", event, b"")[1] for event in events(found)]
        return set(order_says([fact for fact in facts if isinstance(fact, OrderFact)], [], 14))

    assert spans(notified)
    assert spans(notified + reported) == spans(notified)


# --- whatever comes ----------------------------------------------------------------------------------------------

_NAMES = (
    *("Payload", "OrderChangeNotification", "Summary", "OrderChangeTrigger", "OrderItems"),
    *("TimeOfOrderChange", "PurchaseDate", "NotificationMetadata"),
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@LAX
@given(
    value=_JSON,
    path=st.lists(st.sampled_from(_NAMES), min_size=1, max_size=4),
    cut=st.integers(0, 900), garbage=st.binary(max_size=20),
)  # fmt: skip
def test_each_notification_is_told_left_out_or_refused(
    tmp_path: Path, value: Any, path: list[str], cut: int, garbage: bytes
) -> None:
    changed = notification("Shipped")
    _put(changed, path, value)
    content = as_json(changed)
    accounted_for(tmp_path, content, format="amazon-order-change")
    accounted_for(tmp_path, content[:cut] + garbage + content[cut:], format="amazon-order-change")


def _put(where: Any, names: Sequence[str], value: Any) -> None:
    """Puts a value in the place that the names lead to, wherever they lead."""
    for name in ("Payload", "OrderChangeNotification"):
        if name not in names and isinstance(where, dict) and name in where:
            where = where[name]
    for name in names[:-1]:
        where = where[name] if isinstance(where, dict) and name in where else where
    if isinstance(where, dict):
        where[names[-1]] = value


# --- what is published -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no published notifications at {AMAZON}")
@pytest.mark.parametrize("name", ["OrderChangeNotification.examples.json", "OrderChangeNotification.json"])
def test_the_published_example_is_read(tmp_path: Path, name: str) -> None:
    content = json.loads((AMAZON / name).read_text())
    content = content if isinstance(content, list) else content["examples"]
    (found,) = read(tmp_path, as_json(content, indent=1))
    assert [event["kind"] for event in events(found)] == ["PLACED", "DELIVERED"]
    assert all(check("orders", event, NOW_MS) is None for event in events(found))
