"""Records that strangers and broken programs send: every class of malformation by its name, the same ones every time.

Some only look wrong, and are right: that is for the codec to tell.
"""

import json
import math
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from random import Random
from typing import Any, NamedTuple

import fastavro

from schemas.codec import Codec
from schemas.events import TOPICS, Topic, account_key
from tests.unit.wire import EVENTS

SIZE = 10_000
LARGE_BYTES, LARGE_KEY_BYTES = 5 << 20, 1 << 20
CODEC = Codec()

Headers = list[tuple[str, str | bytes | None]]


class Fuzzed(NamedTuple):
    """A record, and what is the matter with it."""

    kind: str
    topic: Topic
    key: bytes | None
    value: bytes | None
    headers: Headers


class _Draw:
    """A sound record of a topic, to be spoiled."""

    def __init__(self, random: Random, topic: Topic) -> None:
        self.random, self.topic = random, topic
        ids = ("event_id", "order_id", "conversation_id")
        self.event = dict(EVENTS[topic])
        self.event |= {name: f"{random.getrandbits(64):x}" for name in ids if self.event.get(name)}
        self.event["seller_id"] = f"S{random.randrange(20)}"

    @property
    def key(self) -> bytes:
        return account_key(self.event)

    @property
    def value(self) -> bytes:
        return CODEC.encode(self.topic, self.event)

    @property
    def head(self) -> bytes:
        return self.value[:10]

    def with_field(self, data: bytes, *names: str) -> bytes:
        """The value with other bytes for one of these fields, the first that the topic has."""
        fields = {field["name"]: field["type"] for field in CODEC.newest[self.topic]["fields"]}
        at = next(name for name in names if name in fields)
        return self.head + b"".join(data if n == at else _written(fields[n], self.event[n]) for n in fields)


def _written(schema: Any, value: Any) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, value)
    return stream.getvalue()


def _long(value: int) -> bytes:
    return _written("long", value)


def _text(data: bytes) -> bytes:
    return _long(len(data)) + data


# --- values ----------------------------------------------------------------------------------------------------


def _truncated(of: _Draw) -> bytes:
    return of.value[: of.random.randrange(len(of.value))]


def _bit_flipped(of: _Draw) -> bytes:
    data = bytearray(of.value)
    for _ in range(of.random.choice((1, 1, 2, 8))):
        data[of.random.randrange(len(data))] ^= 1 << of.random.randrange(8)
    return bytes(data)


def _wrong_schema(of: _Draw) -> bytes:
    mark = of.random.randbytes(8)
    return of.random.choice((b"\xc3\x01" + mark, b"\x00" + mark[:4], b"\xc3\x01" + mark[:3])) + of.value[10:]


def _of_another_topic(of: _Draw) -> bytes:
    other = of.random.choice([topic for topic in TOPICS if topic != of.topic])
    return CODEC.encode(other, EVENTS[other])


def _huge_length(of: _Draw) -> bytes:
    length = of.random.choice((1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1, -1, -(1 << 63)))
    name = of.random.choice(("event_id", "seller_id", "source"))
    return of.with_field(_long(length) + b"x", name)


def _huge_count(of: _Draw) -> bytes:
    count = of.random.choice((1 << 20, 1 << 40, (1 << 63) - 1, -1, -(1 << 40), -(1 << 63)))
    return of.with_field(_long(count) + _long(1 << 40) + b"\x02x\x00", "skus", "comment")


def _overflow(of: _Draw) -> bytes:
    number = of.random.choice(
        (_long((1 << 63) - 1), _long(-(1 << 63)), b"\xff" * 9 + b"\x7f", b"\xff" * 30, b"\x80" * 9 + b"\0")
    )
    return of.with_field(number, of.random.choice(("event_time", "event_time", "event_id")))


def _deep(of: _Draw) -> bytes:
    depth = of.random.choice((1_000, 100_000))
    nested = of.random.choice((b"\x02", b"[", b'{"a":', b"\x01"))
    return of.random.choice((of.head, b"")) + nested * depth


def _nul(of: _Draw) -> bytes:
    text = of.random.choice((b"\0", b"a\0b", b"\0" * 100))
    return of.random.choice((bytes(of.random.randrange(2, 400)), of.with_field(_text(text), "event_id")))


def _surrogates(of: _Draw) -> bytes:
    text = of.random.choice(
        (b"\xed\xa0\x80", b"\xed\xb0\x80\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xff", "😀".encode())
    )
    return of.with_field(_text(text), of.random.choice(("event_id", "seller_id", "source")))


def _not_a_number(of: _Draw) -> bytes:
    number = of.random.choice((math.nan, math.inf, -math.inf, 5e-324, -0.0))
    return of.with_field(b"\x02" + struct.pack("<d", number), "amount", "order_id")


def _odd_branch(of: _Draw) -> bytes:
    branch = of.random.choice((b"\x04", b"\x01", b"\x03", b"\x7f", b"\xff\x01"))
    return of.with_field(branch, "fulfilment", "rating", "agent")


def _odd_id(of: _Draw) -> bytes:
    text = of.random.choice(("", "x" * 256, "x" * 257, "é" * 256, "😀" * 257, "' OR 1=1 --", "\t\n\r\\'"))
    return of.with_field(_text(text.encode()), of.random.choice(("event_id", "marketplace_id")))


def _odd_word(of: _Draw) -> bytes:
    word = of.random.choice((b"", b"SOLD", b"placed", b"PLACED ", b"x" * 10_000))
    return of.with_field(_text(word), "kind", "message_id")


def _more_behind(of: _Draw) -> bytes:
    return of.value + of.random.choice((b"\0", of.value, of.random.randbytes(100)))


def _no_avro(of: _Draw) -> bytes | None:
    event = {"topic": of.topic, **of.event}
    return of.random.choice(
        (None, b"", of.random.randbytes(of.random.randrange(300)), json.dumps(event).encode(), b"\xc3\x01", b"\0")
    )


_VALUES: dict[str, Callable[[_Draw], bytes | None]] = {
    "sound": lambda of: of.value,
    "truncated": _truncated,
    "bit-flipped": _bit_flipped,
    "wrong schema": _wrong_schema,
    "of another topic": _of_another_topic,
    "huge length": _huge_length,
    "huge count": _huge_count,
    "number too large": _overflow,
    "deep nesting": _deep,
    "NUL": _nul,
    "surrogates": _surrogates,
    "not a number": _not_a_number,
    "odd branch": _odd_branch,
    "odd id": _odd_id,
    "odd word": _odd_word,
    "more behind the end": _more_behind,
    "no Avro at all": _no_avro,
}

# --- keys and headers --------------------------------------------------------------------------------------------


_KEYS: dict[str, Callable[[_Draw], bytes | None]] = {
    "no key": lambda of: None,
    "empty key": lambda of: b"",
    "another's key": lambda of: b"S|elsewhere",
    "key of no text": lambda of: b"\xff\0\xed\xa0\x80",
}
_HEADERS: dict[str, Headers] = {
    "our own headers": [("reason", b"none of yours"), ("source_offset", b"-1"), ("source_partition", b"9" * 40)],
    "odd headers": [("", b""), ("x\0", b"\xff\0"), ("x\0", None), ("é" * 300, b"x" * 10_000)],
}

# --- large ones: a few of each -----------------------------------------------------------------------------------


def _commented(of: _Draw, comment: bytes) -> bytes:
    return of.with_field(b"\x02" + _text(comment), "comment")


_LARGE: dict[str, tuple[Topic, Callable[[_Draw, int], bytes]]] = {
    "large text": ("feedback", lambda of, size: _commented(of, b"a1@b.cd 555-12 " * (size // 15))),
    "large text of one word": ("feedback", lambda of, size: _commented(of, b"a" * size)),
    "large text of digits": ("surveys", lambda of, size: _commented(of, b"1 " * (size // 2))),
    "large text of wide letters": ("surveys", lambda of, size: _commented(of, b"x" * (size - 4) + "😀".encode())),
    "large id": ("surveys", lambda of, size: of.with_field(_text(b"x" * size), "seller_id")),
    "many items": (
        "orders",
        lambda of, size: of.with_field(_long(size // 3) + b"\x04ab" * (size // 3) + b"\0", "skus"),
    ),
    "many blocks": ("orders", lambda of, size: of.with_field(b"\x02\x00" * (size // 2) + b"\0", "skus")),
    "large and nothing": ("orders", lambda of, size: of.head + bytes(size)),
    "large and random": ("feedback", lambda of, size: of.head + of.random.randbytes(size)),
}


def large(size: int = LARGE_BYTES, seed: int = 1) -> Iterator[Fuzzed]:
    """Records of so many bytes and some more."""
    random = Random(seed)
    for kind, (topic, make) in _LARGE.items():
        of = _Draw(random, topic)
        yield Fuzzed(kind, topic, of.key, make(of, size), [])


def large_keys(seed: int = 1) -> Iterator[Fuzzed]:
    """Keys of 1 MB, also beside a value of 5 MB."""
    random = Random(seed)
    for topic in TOPICS:
        of = _Draw(random, topic)
        yield Fuzzed("large key", topic, b"k" * LARGE_KEY_BYTES, of.value, [])
        yield Fuzzed(
            "large key of a large record", topic, of.key * (LARGE_KEY_BYTES // len(of.key)), bytes(LARGE_BYTES), []
        )


def corpus(size: int = SIZE, seed: int = 1) -> Iterator[Fuzzed]:
    """So many records, of all classes in turn; the large ones last."""
    random = Random(seed)
    rest = [*large(), *large_keys()]
    makers = [*_VALUES, *_KEYS, *_HEADERS]
    for number in range(size - len(rest)):
        kind, topic = makers[number % len(makers)], TOPICS[number // len(makers) % len(TOPICS)]
        of = _Draw(random, topic)
        value = _VALUES[kind](of) if kind in _VALUES else of.value
        key = _KEYS[kind](of) if kind in _KEYS else of.key
        yield Fuzzed(kind, topic, key, value, _HEADERS.get(kind, []))
    yield from rest
