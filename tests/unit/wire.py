"""Events for tests of what crosses the wire: one of each topic, and strategies for all that may be accepted."""

from typing import Any

from hypothesis import strategies as st

from schemas.codec import Accepted
from schemas.events import FEEDBACK_KINDS, ORDER_KINDS, YEAR_2000_MS, YEAR_2201_MS, Refusal, Topic

NOW_MS = 1_704_110_400_000  # 2024-01-01T12:00:00Z
DAY_MS = 86_400_000
KEY = b"S|M"

_COMMON = {"event_id": "e", "seller_id": "S", "marketplace_id": "M", "event_time": NOW_MS, "source": "test"}
EVENTS: dict[Topic, dict[str, Any]] = {
    "orders": _COMMON
    | {"order_id": "o", "kind": "PLACED", "fulfilment": "SELLER", "deliver_by": NOW_MS + 1, "skus": ["a", "b"]},
    "feedback": _COMMON
    | {"order_id": "o", "kind": "SUBMITTED", "rating": 4, "comment": "fine", "agent": None, "amount": None}
    | {"currency": None, "root_cause": None, "date_only": False, "arrived_on_time": True, "item_as_described": False}
    | {"customer_service": None},
    "surveys": _COMMON
    | {"conversation_id": "c", "message_id": "m", "solved": True, "buyer_initiated": True}
    | {"order_id": None, "agent": "Ana", "comment": None},
}

_TEXT = st.text(max_size=20)
_ID = st.text(min_size=1, max_size=256)
_ANY_COMMON = {
    "event_id": _ID,
    "seller_id": _ID,
    "marketplace_id": _ID,
    "event_time": st.integers(YEAR_2000_MS, NOW_MS + DAY_MS),
    "source": _TEXT,
}
_ANSWER = st.none() | st.booleans()
ANY: dict[Topic, st.SearchStrategy[dict[str, Any]]] = {
    "orders": st.fixed_dictionaries(
        _ANY_COMMON
        | {
            "order_id": _ID,
            "kind": st.sampled_from(sorted(ORDER_KINDS)),
            "fulfilment": st.none() | _TEXT,
            "deliver_by": st.none() | st.integers(YEAR_2000_MS, YEAR_2201_MS - 1),
            "skus": st.lists(_TEXT, max_size=80),
        }
    ),
    "feedback": st.fixed_dictionaries(
        _ANY_COMMON
        | {
            "order_id": _ID,
            "kind": st.sampled_from(sorted(FEEDBACK_KINDS)),
            "rating": st.integers(1, 5),
            "comment": st.none() | st.text(),
            "agent": st.none() | _TEXT,
            "amount": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "currency": st.none() | _TEXT,
            "root_cause": st.none() | _TEXT,
            "date_only": st.booleans(),
            "arrived_on_time": _ANSWER,
            "item_as_described": _ANSWER,
            "customer_service": _ANSWER,
        }
    ),
    "surveys": st.fixed_dictionaries(
        _ANY_COMMON
        | {
            "conversation_id": _ID,
            "message_id": _ID,
            "solved": st.booleans(),
            "buyer_initiated": st.just(True),
            "order_id": st.none() | _ID,
            "agent": st.none() | _TEXT,
            "comment": st.none() | st.text(),
        }
    ),
}


def accepted(found: Accepted | Refusal) -> Accepted:
    assert isinstance(found, Accepted), found
    return found


def refused(found: Accepted | Refusal) -> str:
    assert isinstance(found, Refusal), found
    return found.reason
