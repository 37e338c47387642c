"""Bytes that are no record, or that another reader would take for another one: refused, and never an exception."""

import json
from collections.abc import Callable
from io import BytesIO

import fastavro
import pytest
from fastavro.schema import to_parsing_canonical_form
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import SINGLE_OBJECT, Accepted, Codec, Container
from schemas.events import TOPICS, Refusal, Topic
from tests.unit.wire import ANY, EVENTS, KEY, NOW_MS, accepted, refused

CODEC = Codec()
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)


def _huge(topic: Topic) -> bytes:
    """A record whose first string is said to be as long as can be said."""
    return CODEC.encode(topic, EVENTS[topic])[:10] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"


SPOILED: dict[str, Callable[[Topic], bytes | None]] = {
    "nothing": lambda topic: None,
    "no bytes": lambda topic: b"",
    "half a marker": lambda topic: b"\xc3",
    "a marker": lambda topic: b"\xc3\x01",
    "no body": lambda topic: CODEC.encode(topic, EVENTS[topic])[:10],
    "cut": lambda topic: CODEC.encode(topic, EVENTS[topic])[:-1],
    "a byte more": lambda topic: CODEC.encode(topic, EVENTS[topic]) + b"\0",
    "two records": lambda topic: CODEC.encode(topic, EVENTS[topic]) * 2,
    "two bodies": lambda topic: CODEC.encode(topic, EVENTS[topic]) + CODEC.payload(topic, EVENTS[topic]),
    "a huge length": _huge,
    "JSON": lambda topic: json.dumps({"topic": topic} | EVENTS[topic]).encode(),
    "a container": lambda topic: Container(CODEC.newest[topic]).build([]),
    "another topic": lambda topic: CODEC.encode(other := TOPICS[TOPICS.index(topic) - 1], EVENTS[other]),
    "no UTF-8": lambda topic: CODEC.encode(topic, EVENTS[topic] | {"source": "???"}).replace(b"???", b"\xed\xa0\x80"),
}  # fmt: skip


@EVERY_TOPIC
@pytest.mark.parametrize("what", SPOILED)
def test_bytes_that_are_no_record_are_refused(what: str, topic: Topic) -> None:
    found = CODEC.accept(topic, KEY, SPOILED[what](topic), NOW_MS)
    assert refused(found)
    assert found.topic == topic


# What fastavro reads all the same, and ClickHouse does not or as something else.
SURVEY = CODEC.payload("surveys", EVENTS["surveys"] | {"agent": None})  # ends: solved, buyer_initiated, three nulls
ORDER = CODEC.payload("orders", EVENTS["orders"] | {"skus": []})
LENIENT: dict[str, tuple[Topic, bytes]] = {
    "a boolean of 2": ("surveys", SURVEY[:-5] + b"\x02" + SURVEY[-4:]),
    "a boolean of 255": ("surveys", SURVEY[:-5] + b"\xff" + SURVEY[-4:]),
    "a branch from behind": ("surveys", SURVEY[:-1] + b"\x03"),
    "a branch beyond": ("surveys", SURVEY[:-1] + b"\x04"),
    "a number of 11 bytes": ("surveys", b"\x82" + b"\x80" * 9 + b"\0" + SURVEY[1:]),
    "a number of 65 bits": ("surveys", b"\x82" + b"\x80" * 8 + b"\x02" + SURVEY[1:]),
    "a negative length": ("surveys", b"\x01" + SURVEY[1:]),
    "items without end": ("orders", ORDER[:-1] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\0"),
    "minus all items": ("orders", ORDER[:-1] + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0"),
}


@pytest.mark.parametrize("what", LENIENT)
def test_bytes_that_another_reader_would_take_for_something_else_are_refused(what: str) -> None:
    topic, payload = LENIENT[what]
    head = CODEC.encode(topic, EVENTS[topic])[:10]
    assert refused(CODEC.decode(topic, head + payload)).startswith("not decodable")


@pytest.mark.parametrize(
    "written",
    [b"\x02\x02a\x02\x02b\0", b"\x03\x08\x02a\x02b\0", b"\x01\x04\x02a\x01\x04\x02b\0", b"\x84\x00\x02a\x82\x00b\0"],
    ids=["two blocks", "a block with its size", "two of them", "long numbers"],
)
def test_items_may_be_written_in_every_way_that_avro_has(written: bytes) -> None:
    wire = CODEC.encode("orders", EVENTS["orders"] | {"skus": []})[:-1] + written
    assert accepted(CODEC.decode("orders", wire)).event == EVENTS["orders"]


@EVERY_TOPIC
@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_bytes_at_all_give_an_event_or_a_refusal(topic: Topic, data: st.DataObject) -> None:
    heads = st.sampled_from([b"", b"\0", b"\0\0\0\0\1", SINGLE_OBJECT, CODEC.encode(topic, EVENTS[topic])[:10]])
    value = data.draw(st.builds(bytes.__add__, heads, st.binary(max_size=200)))
    found = CODEC.accept(topic, data.draw(st.none() | st.just(KEY) | st.binary(max_size=5)), value, NOW_MS)
    assert isinstance(found, Accepted | Refusal)


@EVERY_TOPIC
@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_record_with_other_bytes_in_it_gives_an_event_or_a_refusal(topic: Topic, data: st.DataObject) -> None:
    """What is accepted is read by fastavro to the same event: the two never disagree on what is stored."""
    payload = bytearray(CODEC.payload(topic, data.draw(ANY[topic])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        cut = data.draw(st.integers(at, min(len(payload), at + 2)))
        payload[at:cut] = data.draw(st.binary(max_size=3))
        if not payload:
            return
    found = CODEC.decode(topic, CODEC.encode(topic, EVENTS[topic])[:10] + bytes(payload))
    if isinstance(found, Accepted):
        stream = BytesIO(found.payload)
        known = fastavro.schemaless_reader(stream, json.loads(to_parsing_canonical_form(CODEC.newest[topic])), None)
        assert repr(known) == repr(found.event)
        assert stream.tell() == len(found.payload)
