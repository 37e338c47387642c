"""What is written for an event is what fastavro writes, byte for byte, and what it refuses is refused in its words."""

from io import BytesIO
from itertools import product
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.events import TOPICS, Topic
from schemas.writer import UNUSUAL, writer_of
from tests.unit.wire import ANY, EVENTS

CODEC = Codec()
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)
WRITERS = {topic: writer_of(schema) for topic, schema in CODEC.newest.items()}


def _physical(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _physical(value) for name, value in schema.items() if name != "logicalType"}
    return [_physical(part) for part in schema] if isinstance(schema, list) else schema


PARSED = {topic: parse_schema(_physical(schema)) for topic, schema in CODEC.newest.items()}


def of_fastavro(topic: Topic, event: dict[str, Any]) -> bytes | tuple[type[Exception], str]:
    """The bytes that fastavro writes, or its error."""
    stream = BytesIO()
    try:
        schemaless_writer(stream, PARSED[topic], event)
    except Exception as wrong:  # noqa: BLE001  # whatever it is must be the same
        return type(wrong), str(wrong)
    return stream.getvalue()


def of_codec(topic: Topic, event: dict[str, Any]) -> bytes | tuple[type[Exception], str]:
    try:
        return CODEC.payload(topic, event)
    except Exception as wrong:  # noqa: BLE001  # likewise
        return type(wrong), str(wrong)


@EVERY_TOPIC
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_event_is_written_as_fastavro_writes_it(topic: Topic, data: st.DataObject) -> None:
    event = data.draw(ANY[topic])
    assert WRITERS[topic](event) == of_fastavro(topic, event)
    assert WRITERS[topic](event) == WRITERS[topic](dict(reversed(event.items())) | {"colour": 1})


AROUND = [0, *(1 << bits for bits in range(65)), 10**400]
WHOLE = sorted({sign * (number + by) for number in AROUND for sign in (1, -1) for by in (-1, 0, 1)})
ANYTHING: list[Any] = [
    None, True, False, 0.0, -0.0, 1.0, 1.5, 1e308, float("inf"), float("nan"), "", "a", "é😀\0", "\ud800", b"a",
    b"\xff", [], ["a"], ["a", "b"], ["\ud800"], ["a", 1], [b"a"], [None], [["a"]], ("a",), {"a": 1}, {}, object(),
    EVENTS, *("x" * length for length in (63, 64, 255, 256, 257, 8191, 8192, 1 << 20)), ["s"] * 63, ["s"] * 64,
    ["s"] * 9000,
]  # fmt: skip


@EVERY_TOPIC
def test_any_value_in_any_field_gives_what_fastavro_gives(topic: Topic) -> None:
    for name, value in product(EVENTS[topic], [*ANYTHING, *WHOLE]):
        event = EVENTS[topic] | {name: value}
        assert of_codec(topic, event) == of_fastavro(topic, event), (name, repr(value)[:40])


@EVERY_TOPIC
def test_a_field_that_is_absent_is_what_it_is_to_fastavro(topic: Topic) -> None:
    for name in EVENTS[topic]:
        event = {other: value for other, value in EVENTS[topic].items() if other != name}
        with pytest.raises(UNUSUAL):
            WRITERS[topic](event)
        assert of_codec(topic, event) == of_fastavro(topic, event)


def test_more_texts_than_are_kept_are_written_right() -> None:
    write = WRITERS["orders"]
    for _ in range(2):
        for number in range(0, 25_000, 7):
            event = EVENTS["orders"] | {"source": f"s-{number}", "skus": [str(number + i) for i in range(7)]}
            written = write(event)
            assert f"s-{number}".encode() in written
            assert number % 1000 or written == of_fastavro("orders", event)
