"""A line read in one go gives the very event that the two steps behind it give, and leaves all else to them."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from orjson import JSONDecodeError, dumps, loads

from schemas.events import FIELDS, TOPICS, Parsed, Refusal, Topic, from_json
from schemas.lines import from_line
from tests.unit.wire import ANY, EVENTS

EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)


def in_two_steps(line: bytes) -> Parsed | Refusal | None:
    """What the line is to whoever takes a second look; None: no JSON."""
    try:
        return from_json(loads(line))
    except (JSONDecodeError, RecursionError):
        return None


def agrees(line: bytes) -> bool:
    """Whether the line is left alone, or the same to both: as written out, where 1, 1.0 and true differ."""
    found = from_line(line)
    return found is None or repr(found) == repr(in_two_steps(line))


@EVERY_TOPIC
@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_event_is_read_in_one_go(topic: Topic, data: st.DataObject) -> None:
    event = data.draw(ANY[topic])
    for line in (dumps({"topic": topic} | event), json.dumps(event | {"topic": topic}).encode()):
        assert from_line(line) == Parsed(topic, event)
        assert agrees(line)


@EVERY_TOPIC
def test_what_may_be_left_out_has_its_default(topic: Topic) -> None:
    bare = {name: EVENTS[topic][name] for name, _, default in FIELDS[topic] if default not in (None, False, ())}
    first, second = (from_line(dumps({"topic": topic} | bare)) for _ in range(2))
    assert first == in_two_steps(dumps({"topic": topic} | bare))
    assert first is not None
    assert second is not None
    assert topic != "orders" or first.event["skus"] is not second.event["skus"]


ORDER = json.dumps({"topic": "orders"} | EVENTS["orders"]).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"", b" \r", b"[]", b"null", b"5", b'"orders"', b"{", b"\xef\xbb\xbf" + ORDER, ORDER + b"\0", ORDER + ORDER,
        ORDER.replace(b'"S"', b'"\xff"'), ORDER.replace(b'"S"', b'"\\ud800"'), ORDER.replace(b'"S"', b'"\xed\xa0\x80"'),
        ORDER.replace(b"{", b'{"x": "\xff", '), ORDER.replace(b"{", b'{"\xff": 1, '),
        ORDER.replace(b"{", b'{"x": "\\ud800", '), ORDER.replace(b"{", b'{"x": 01, '),
        b'{"topic":' + b"[" * 100_000, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + ORDER.replace(b"{", b","),
    ],
)  # fmt: skip
def test_what_is_no_json_or_no_event_is_left_alone(line: bytes) -> None:
    assert from_line(line) is None


# Each of them stands for a value in an event of every topic, whatever the field.
TOKENS = [
    "null", "true", "false", "0", "-0", "5", "05", "5.0", "-0.0", "4.5", "5e0", "1E3", "1e-400", "1e400", "1.", ".5",
    "+1", "NaN", "Infinity", "-", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "18446744073709551615", "18446744073709551616", "9007199254740993", "1" * 310,
    "1.7976931348623159e308", "0.1", "1704110400000", '"2024-01-01T12:00:00Z"', '"5"', '"true"', '""', '"a"',
    '"\\u0061"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"', '"\\ud83d\\u0061"', '"\\/"', '"\\x"',
    '"\t"', '"\x7f"', '"é😀"', '"orders"', '"feedback"', '"surveys"', '"orde\\u0072s"', "[]", '["a"]', '["a",]', "[1]",
    "[null]", '["a", 1]', "[[]]", "{}", '{"a": 1}', "[" * 1100 + "]" * 1100,
]  # fmt: skip


@EVERY_TOPIC
@pytest.mark.parametrize("token", TOKENS)
def test_any_value_in_any_field_means_the_same_in_one_step_and_in_two(topic: Topic, token: str) -> None:
    values = {name: json.dumps(value) for name, value in ({"topic": topic} | EVENTS[topic]).items()}
    for name in (*values, "unknown"):
        replaced = values | {name: token}
        line = "{" + ",".join(f'"{key}":{value}' for key, value in replaced.items()) + "}"
        assert agrees(line.encode())
        assert agrees(f'{line[:-1]},"{name}":{values.get(name, 1)}}}'.encode())  # twice: the last one counts
        assert agrees(f'{{"{name}":{values.get(name, 1)},{line[1:]}'.encode())


def _names(topic: Topic) -> list[str]:
    return ["topic", *EVENTS[topic], "unknown", "\\u0074opic", "sk\\u0075s", "é"]


@st.composite
def spoiled_lines(draw: st.DrawFn) -> bytes:
    """Lines that are nearly events: values, fields, their order and number and single bytes are not as they should."""
    topic = draw(st.sampled_from(TOPICS))
    event: dict[str, Any] = {"topic": topic} | draw(ANY[topic])
    pairs = [(name, json.dumps(value, ensure_ascii=draw(st.booleans()))) for name, value in event.items()]
    pairs += draw(st.lists(st.tuples(st.sampled_from(_names(topic)), st.sampled_from(TOKENS)), max_size=3))
    pairs = draw(st.permutations(pairs))[draw(st.integers(0, 2)) :]
    space = draw(st.sampled_from(["", " ", "\t\r", "\x0b"]))
    fields = f",{space}".join(f'"{name}"{space}:{value}' for name, value in pairs)
    line = bytearray(f"{{{space}{fields}}}{space}".encode())
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line) - 1))
        line[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(line)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(line=spoiled_lines())
@example(line=ORDER)
def test_a_line_means_the_same_in_one_step_and_in_two(line: bytes) -> None:
    assert agrees(line)
