"""The JSON form of an event, strictly typed, and the rules that every event must pass however it came."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.events import TOPICS, Parsed, Refusal, Topic, account_key, check, from_json, to_ms
from tests.unit.wire import DAY_MS, EVENTS, KEY, NOW_MS, accepted, refused

CODEC = Codec()
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)
LONG = "x" * 257


# --- the rules -----------------------------------------------------------------------------------------------

REFUSED: list[tuple[Topic, dict[str, Any], str]] = [
    *[(topic, {name: ""}, f"empty {name}") for topic in TOPICS for name in ("event_id", "seller_id", "marketplace_id")],
    *[
        (topic, {name: LONG}, f"{name} is over 256 characters")
        for topic in TOPICS
        for name in ("event_id", "seller_id", "marketplace_id")
    ],
    ("orders", {"order_id": ""}, "empty order_id"),
    ("orders", {"order_id": LONG}, "order_id is over 256 characters"),
    ("feedback", {"order_id": ""}, "empty order_id"),
    ("feedback", {"order_id": LONG}, "order_id is over 256 characters"),
    ("surveys", {"conversation_id": ""}, "empty conversation_id"),
    ("surveys", {"conversation_id": LONG}, "conversation_id is over 256 characters"),
    ("surveys", {"message_id": ""}, "empty message_id"),
    ("surveys", {"message_id": LONG}, "message_id is over 256 characters"),
    ("surveys", {"order_id": ""}, "empty order_id"),
    ("surveys", {"order_id": LONG}, "order_id is over 256 characters"),
    ("orders", {"kind": "LOST"}, "unknown kind: LOST"),
    ("orders", {"kind": "placed"}, "unknown kind: placed"),
    ("orders", {"kind": "SUBMITTED"}, "unknown kind: SUBMITTED"),
    ("orders", {"kind": ""}, "unknown kind"),
    ("feedback", {"kind": "PLACED"}, "unknown kind: PLACED"),
    ("feedback", {"kind": LONG}, "unknown kind"),
    ("feedback", {"rating": 0}, "rating is not 1 to 5"),
    ("feedback", {"rating": 6}, "rating is not 1 to 5"),
    ("feedback", {"rating": 300}, "rating is not 1 to 5"),
    ("feedback", {"rating": -1}, "rating is not 1 to 5"),
    ("feedback", {"kind": "REMOVED", "rating": 9}, "rating is not 1 to 5"),
    ("feedback", {"rating": None}, "SUBMITTED without a rating"),
    ("feedback", {"amount": float("nan")}, "amount is not a finite number"),
    ("feedback", {"amount": float("-inf")}, "amount is not a finite number"),
    ("surveys", {"buyer_initiated": False}, "buyer_initiated is not true"),
    *[(topic, {"event_time": 946_684_799_999}, "event_time is before 2000") for topic in TOPICS],
    *[(topic, {"event_time": -(1 << 63)}, "event_time is before 2000") for topic in TOPICS],
    *[
        (topic, {"event_time": NOW_MS + DAY_MS + 1}, "event_time is more than a day ahead of the clock")
        for topic in TOPICS
    ],
    ("orders", {"event_time": (1 << 63) - 1}, "event_time is more than a day ahead of the clock"),
    ("orders", {"deliver_by": 946_684_799_999}, "deliver_by is before 2000 or after 2200"),
    ("orders", {"deliver_by": 7_289_654_400_000}, "deliver_by is before 2000 or after 2200"),
]


@pytest.mark.parametrize("topic, fields, reason", REFUSED)
def test_an_event_against_a_rule_is_refused(topic: Topic, fields: dict[str, Any], reason: str) -> None:
    event = EVENTS[topic] | fields
    assert check(topic, event, NOW_MS) == reason
    assert refused(CODEC.accept(topic, account_key(event), CODEC.encode(topic, event), NOW_MS)) == reason


ALLOWED: list[tuple[Topic, dict[str, Any]]] = [
    *[(topic, {name: "x" * 256}) for topic in TOPICS for name in ("event_id", "seller_id", "marketplace_id")],
    *[(topic, {name: "😀" * 256}) for topic in TOPICS for name in ("event_id", "seller_id", "marketplace_id")],
    *[(topic, {name: " "}) for topic in TOPICS for name in ("event_id", "seller_id", "marketplace_id")],
    *[(topic, {"event_time": 946_684_800_000}) for topic in TOPICS],
    *[(topic, {"event_time": NOW_MS + DAY_MS}) for topic in TOPICS],
    *[(topic, {"source": ""}) for topic in TOPICS],
    ("orders", {"deliver_by": 946_684_800_000}),
    ("orders", {"deliver_by": 7_289_654_399_999}),
    ("orders", {"deliver_by": None, "fulfilment": None, "skus": []}),
    ("orders", {"fulfilment": "BY_PIGEON"}),
    *[("feedback", {"rating": stars}) for stars in (1, 2, 3, 4, 5)],
    ("feedback", {"kind": "REMOVED", "rating": None}),
    ("feedback", {"kind": "RESPONDED", "rating": 5}),
    ("feedback", {"amount": -1e308, "comment": "x" * 100_000}),
    ("surveys", {"order_id": None}),
]


@pytest.mark.parametrize("topic, fields", ALLOWED)
def test_an_event_at_the_edge_of_the_rules_is_accepted(topic: Topic, fields: dict[str, Any]) -> None:
    event = EVENTS[topic] | fields
    assert accepted(CODEC.accept(topic, account_key(event), CODEC.encode(topic, event), NOW_MS)).event == event


@EVERY_TOPIC
@pytest.mark.parametrize(
    "key, reason",
    [
        (None, "no key"), (b"", "no key"), (b"S", "the key is not the account's"),
        (b"S|M2", "the key is not the account's"), (b"S|M ", "the key is not the account's"),
        (b"\xff|M", "the key is not the account's"),
    ],
)  # fmt: skip
def test_a_key_that_is_not_the_accounts_is_refused(topic: Topic, key: bytes | None, reason: str) -> None:
    wire = CODEC.encode(topic, EVENTS[topic])
    assert refused(CODEC.accept(topic, key, wire, NOW_MS)) == reason
    assert accepted(CODEC.accept(topic, KEY, wire, NOW_MS))


# --- JSON ----------------------------------------------------------------------------------------------------


def as_json(topic: Topic, **fields: Any) -> dict[str, Any]:
    return {"topic": topic} | EVENTS[topic] | fields


@EVERY_TOPIC
def test_the_json_form_has_the_fields_of_the_schema(topic: Topic) -> None:
    assert from_json(as_json(topic)) == Parsed(topic, EVENTS[topic])
    assert list(EVENTS[topic]) == [field["name"] for field in CODEC.newest[topic]["fields"]]


@EVERY_TOPIC
def test_a_field_with_a_default_may_be_left_out_and_an_unknown_one_is_ignored(topic: Topic) -> None:
    defaults = {field["name"]: field["default"] for field in CODEC.newest[topic]["fields"] if "default" in field}
    if topic == "surveys":
        defaults = dict.fromkeys(("order_id", "agent", "comment"))
    known = {name: value for name, value in as_json(topic).items() if name not in defaults}
    assert from_json(known | {"colour": "red", "event_type": 1}) == Parsed(topic, EVENTS[topic] | defaults)


@EVERY_TOPIC
def test_a_field_that_must_be_there_is_named(topic: Topic) -> None:
    optional = {field["name"] for field in CODEC.newest[topic]["fields"] if "default" in field}
    for name in EVENTS[topic].keys() - optional:
        missing = {key: value for key, value in as_json(topic).items() if key != name}
        assert from_json(missing) == Refusal(f"missing {name}", topic)
        assert isinstance(from_json(as_json(topic, **{name: None})), Refusal)


def test_defaults_are_shared_by_no_two_events() -> None:
    bare = as_json("orders")
    del bare["skus"]
    first, second = from_json(bare), from_json(bare)
    assert isinstance(first, Parsed)
    assert isinstance(second, Parsed)
    first.event["skus"].append("x")
    assert second.event["skus"] == []


MALFORMED_TIMES: list[Any] = [1.5, 1.7e12, True, "yesterday", "", "1704110400", "2024-13-01", "2024-01-01T25:00", []]
STRICT: list[tuple[Topic, str, Any, str]] = [
    ("orders", "event_id", 5, "event_id is not a string"),
    ("orders", "order_id", None, "order_id is not a string"),
    ("orders", "seller_id", ["S"], "seller_id is not a string"),
    ("orders", "kind", True, "kind is not a string"),
    ("orders", "fulfilment", 1, "fulfilment is not a string"),
    ("orders", "skus", "a", "skus is not a list of strings"),
    ("orders", "skus", [1], "skus is not a list of strings"),
    ("orders", "skus", None, "skus is not a list of strings"),
    ("orders", "skus", {"a": 1}, "skus is not a list of strings"),
    ("feedback", "rating", "5", "rating is not a whole number"),
    ("feedback", "rating", 4.5, "rating is not a whole number"),
    ("feedback", "rating", 5.0, "rating is not a whole number"),
    ("feedback", "rating", True, "rating is not a whole number"),
    ("feedback", "amount", "1", "amount is not a number"),
    ("feedback", "amount", True, "amount is not a number"),
    ("feedback", "date_only", "true", "date_only is not true or false"),
    ("feedback", "date_only", 1, "date_only is not true or false"),
    ("feedback", "date_only", None, "date_only is not true or false"),
    ("feedback", "arrived_on_time", "yes", "arrived_on_time is not true or false"),
    ("feedback", "item_as_described", 0, "item_as_described is not true or false"),
    ("feedback", "comment", 1, "comment is not a string"),
    ("surveys", "solved", "true", "solved is not true or false"),
    ("surveys", "solved", 1, "solved is not true or false"),
    ("surveys", "buyer_initiated", None, "buyer_initiated is not true or false"),
    *[
        ("orders", name, value, f"{name} is not epoch milliseconds or an ISO-8601 time")
        for name in ("event_time", "deliver_by")
        for value in MALFORMED_TIMES
    ],
]


@pytest.mark.parametrize("topic, name, value, reason", STRICT)
def test_types_are_strict(topic: Topic, name: str, value: Any, reason: str) -> None:
    found = from_json(as_json(topic, **{name: value}))
    assert isinstance(found, Refusal)
    assert (found.reason.replace("missing order_id", reason), found.topic) == (reason, topic)


@pytest.mark.parametrize(
    "data, reason",
    [
        (None, "not a JSON object"), ([], "not a JSON object"), ("orders", "not a JSON object"),
        ({}, "no topic"), ({"topic": None}, "no topic"), ({"topic": "coupons"}, "unknown topic: coupons"),
        ({"topic": 1}, "no topic"), ({"topic": ["orders"]}, "no topic"), ({"topic": ""}, "unknown topic"),
        ({"topic": "x" * 100}, "unknown topic"), ({"topic": "Ana Sousa"}, "unknown topic"),
    ],
)  # fmt: skip
def test_what_names_no_topic_is_refused_without_one(data: Any, reason: str) -> None:
    assert from_json(data) == Refusal(reason, None)


@pytest.mark.parametrize(
    "value, ms",
    [
        (NOW_MS, NOW_MS),
        (0, 0),
        (-1, -1),
        ("2024-01-01T12:00:00Z", NOW_MS),
        ("2024-01-01T12:00:00", NOW_MS),  # without a zone: UTC, whatever the host's
        ("2024-01-01 12:00", NOW_MS),
        ("2024-01-01T13:00:00+01:00", NOW_MS),
        ("2023-12-31T22:00:00-14:00", NOW_MS),
        ("2024-01-01", NOW_MS - DAY_MS // 2),
        ("2024-01-01T12:00:00.0019999Z", NOW_MS + 1),  # cut to the millisecond
        ("1969-12-31T23:59:59.9995Z", -1),
        (datetime(2024, 1, 1, 12), NOW_MS),  # noqa: DTZ001  # naive on purpose
        (datetime(2024, 1, 1, 12, tzinfo=UTC), NOW_MS),
        (datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=-5))), NOW_MS + 5 * 3_600_000),
    ],
)
def test_times_become_epoch_milliseconds(value: Any, ms: int) -> None:
    assert to_ms(value) == ms
    found = from_json(as_json("orders", event_time=value, deliver_by=value))
    assert isinstance(found, Parsed)
    assert (found.event["event_time"], found.event["deliver_by"]) == (ms, ms)
