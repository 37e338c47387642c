"""Events as they cross every boundary: dicts with the fields of `schemas/*.avsc`, times in epoch milliseconds.

`from_json` reads the JSON form strictly, `check` holds every event against the rules that no type can say. Both
give a reason instead of raising: a bad event is data.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict, cast

Topic = Literal["orders", "feedback", "surveys"]
TOPICS: tuple[Topic, ...] = ("orders", "feedback", "surveys")
UNKNOWN_TOPIC = "unknown"

MS_A_DAY = 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2000_MS = 946_684_800_000
YEAR_2201_MS = 7_289_654_400_000
ID_LENGTH_MAX = 256
RECORD_MAX = 1 << 20  # bytes; Kafka's own default: what is longer is refused

ORDER_KINDS = frozenset(
    ("PLACED", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED", "CLAIM_OPENED", "CLAIM_DENIED", "CHARGEBACK")
)
RATING_KINDS = frozenset(("SUBMITTED", "REMOVED", "STRUCK"))
STAFF_KINDS = frozenset(
    ("RESPONDED", "CONTACTED", "REFUNDED", "REPLACED", "REMOVAL_REQUESTED", "REMOVAL_DENIED", "REVIEWED",
     "FEEDBACK_ASKED", "REVIEW_ASKED")
)  # fmt: skip
FEEDBACK_KINDS = RATING_KINDS | STAFF_KINDS | {"OPTED_OUT"}


class Event(TypedDict):
    """What every event has. `event_time` is epoch ms, UTC."""

    event_id: str
    seller_id: str
    marketplace_id: str
    event_time: int
    source: str


class OrderEvent(Event):
    """Topic `orders`. `deliver_by` is epoch ms or None; any `fulfilment` but MARKETPLACE is the seller's."""

    order_id: str
    kind: str
    fulfilment: str | None
    deliver_by: int | None
    skus: list[str]


class FeedbackEvent(Event):
    """Topic `feedback`: a rating, what became of it, or what the staff did about it."""

    order_id: str
    kind: str
    rating: int | None
    comment: str | None
    agent: str | None
    amount: float | None
    currency: str | None
    root_cause: str | None
    date_only: bool
    arrived_on_time: bool | None
    item_as_described: bool | None
    customer_service: bool | None


class SurveyEvent(Event):
    """Topic `surveys`: one answer to "did this solve your problem?"."""

    conversation_id: str
    message_id: str
    solved: bool
    buyer_initiated: bool
    order_id: str | None
    agent: str | None
    comment: str | None


class Refusal(NamedTuple):
    """A record that is no event, and why. `topic` is None where the record names none."""

    reason: str
    topic: Topic | None


class Parsed(NamedTuple):
    """An event with the topic it belongs on; typed but not yet held against `check`."""

    topic: Topic
    event: dict[str, Any]


def account_key(event: Mapping[str, Any]) -> bytes:
    """The Kafka key of an event's account."""
    return f"{event['seller_id']}|{event['marketplace_id']}".encode()


# --- the JSON form -------------------------------------------------------------------------------------------

REQUIRED = object()


def _string(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("a string")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("true or false")
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("a whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError("a number")
    return float(value)


def _strings(value: Any) -> list[str]:
    if type(value) is not list or any(type(item) is not str for item in value):
        raise TypeError("a list of strings")
    return value


def iso_time(time_ms: int, timespec: str = "auto") -> str:
    """An instant, epoch ms, as ISO-8601 text, UTC."""
    return (EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec=timespec).replace("+00:00", "Z")


def to_ms(value: Any) -> int:
    """Epoch ms of an int, a datetime or an ISO-8601 text (without a zone: UTC). Raises TypeError."""
    if type(value) is int:
        return value
    try:
        moment = datetime.fromisoformat(value) if type(value) is str else value
        if not isinstance(moment, datetime):
            raise TypeError("epoch milliseconds or an ISO-8601 time")
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise TypeError("epoch milliseconds or an ISO-8601 time") from None


Field = tuple[str, Callable[[Any], Any], Any]  # name, reader, default (REQUIRED: none; None: nullable)
_COMMON: tuple[Field, ...] = (
    ("event_id", _string, REQUIRED),
    ("seller_id", _string, REQUIRED),
    ("marketplace_id", _string, REQUIRED),
    ("event_time", to_ms, REQUIRED),
    ("source", _string, REQUIRED),
)
FIELDS: dict[str, tuple[Field, ...]] = {
    "orders": (
        *_COMMON,
        ("order_id", _string, REQUIRED),
        ("kind", _string, REQUIRED),
        ("fulfilment", _string, None),
        ("deliver_by", to_ms, None),
        ("skus", _strings, ()),
    ),
    "feedback": (
        *_COMMON,
        ("order_id", _string, REQUIRED),
        ("kind", _string, REQUIRED),
        ("rating", _integer, None),
        ("comment", _string, None),
        ("agent", _string, None),
        ("amount", _number, None),
        ("currency", _string, None),
        ("root_cause", _string, None),
        ("date_only", _boolean, False),
        ("arrived_on_time", _boolean, None),
        ("item_as_described", _boolean, None),
        ("customer_service", _boolean, None),
    ),
    "surveys": (
        *_COMMON,
        ("conversation_id", _string, REQUIRED),
        ("message_id", _string, REQUIRED),
        ("solved", _boolean, REQUIRED),
        ("buyer_initiated", _boolean, REQUIRED),
        ("order_id", _string, None),
        ("agent", _string, None),
        ("comment", _string, None),
    ),
}


def from_json(data: Any) -> Parsed | Refusal:
    """An event from its JSON object, types strict; times may be epoch ms, ISO-8601 or datetimes.

    >>> from_json({"topic": "coupons"})
    Refusal(reason='unknown topic: coupons', topic=None)
    """
    if type(data) is not dict:
        return Refusal("not a JSON object", None)
    named = data.get("topic")
    fields = FIELDS.get(named) if type(named) is str else None
    if fields is None:
        return Refusal(_unknown("topic", named) if type(named) is str else "no topic", None)
    topic = cast("Topic", named)
    event: dict[str, Any] = {}
    for name, read, default in fields:
        value = data.get(name)
        if value is None and (default is None or name not in data):
            if default is REQUIRED:
                return Refusal(f"missing {name}", topic)
            event[name] = list(default) if default == () else default
            continue
        try:
            event[name] = read(value)
        except TypeError as wrong:
            return Refusal(f"{name} is not {wrong}", topic)
    return Parsed(topic, event)


# --- the rules that every event must pass, however it came ---------------------------------------------------


def check(topic: Topic, event: Mapping[str, Any], now_ms: int) -> str | None:
    """Why SPEC section 3 refuses this well-typed event, or None. `now_ms` is the wall clock."""
    # Runs for every event: one plain test of the good case, and the search for words only after it failed.
    if (
        0 < len(event["event_id"]) <= ID_LENGTH_MAX
        and 0 < len(event["seller_id"]) <= ID_LENGTH_MAX
        and 0 < len(event["marketplace_id"]) <= ID_LENGTH_MAX
        and YEAR_2000_MS <= event["event_time"] <= now_ms + MS_A_DAY
    ):
        return _CHECKS[topic](event)
    if event["event_time"] < YEAR_2000_MS:
        about_time = "event_time is before 2000"
    else:
        about_time = "event_time is more than a day ahead of the clock"
    return _bad_id(event, "event_id", "seller_id", "marketplace_id") or about_time


def _bad_id(event: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if not event[name]:
            return f"empty {name}"
        if len(event[name]) > ID_LENGTH_MAX:
            return f"{name} is over {ID_LENGTH_MAX} characters"
    return None


def _unknown(what: str, name: str) -> str:
    """Reasons go where the record itself must not: of strangers' text they repeat a plain word and nothing else."""
    return f"unknown {what}: {name}" if _PLAIN_WORD.fullmatch(name) else f"unknown {what}"


_PLAIN_WORD = re.compile(r"[A-Z_]{1,40}|[a-z_]{1,40}")


def _check_order(event: Mapping[str, Any]) -> str | None:
    if not 0 < len(event["order_id"]) <= ID_LENGTH_MAX:
        return _bad_id(event, "order_id")
    if event["kind"] not in ORDER_KINDS:
        return _unknown("kind", event["kind"])
    deliver_by = event["deliver_by"]
    if deliver_by is not None and not YEAR_2000_MS <= deliver_by < YEAR_2201_MS:
        return "deliver_by is before 2000 or after 2200"
    return None


def _check_feedback(event: Mapping[str, Any]) -> str | None:
    if not 0 < len(event["order_id"]) <= ID_LENGTH_MAX:
        return _bad_id(event, "order_id")
    if event["kind"] not in FEEDBACK_KINDS:
        return _unknown("kind", event["kind"])
    rating = event["rating"]
    if rating is None:
        if event["kind"] == "SUBMITTED":
            return "SUBMITTED without a rating"
    elif not 1 <= rating <= 5:
        return "rating is not 1 to 5"
    if event["amount"] is not None and not math.isfinite(event["amount"]):
        return "amount is not a finite number"
    return None


def _check_survey(event: Mapping[str, Any]) -> str | None:
    if wrong := _bad_id(event, "conversation_id", "message_id"):
        return wrong
    if event["order_id"] is not None and (wrong := _bad_id(event, "order_id")):
        return wrong
    if event["buyer_initiated"] is not True:
        return "buyer_initiated is not true"
    return None


_CHECKS: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "orders": _check_order,
    "feedback": _check_feedback,
    "surveys": _check_survey,
}
