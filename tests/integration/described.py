"""For schemathesis: bodies where OpenAPI 3.1 has no words for them, and the one thing that no document can say.

That is the clock: events of a time to come are given one that has been.
"""

from datetime import UTC, datetime
from typing import Any

import orjson
import schemathesis
from hypothesis import strategies as st

from schemas.events import TOPICS, to_ms
from tests.integration.gateway import AVRO, NDJSON
from tests.unit.test_gateway import container
from tests.unit.wire import ANY, NOW_MS

_EVENT = st.sampled_from(TOPICS).flatmap(lambda topic: ANY[topic].map(lambda event: {"topic": topic} | event))
_LINES = st.lists(_EVENT.map(orjson.dumps), min_size=1, max_size=5).map(b"\n".join)

schemathesis.openapi.media_type(NDJSON, _LINES)
schemathesis.openapi.media_type(AVRO, ANY["orders"].map(container))


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """The same with no time to come."""
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict) and _is_to_come(event.get("event_time")):
            event["event_time"] = NOW_MS
    return body


def _is_to_come(time: Any) -> bool:
    try:
        return to_ms(time) > datetime.now(UTC).timestamp() * 1000
    except TypeError:
        return False
