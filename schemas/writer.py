"""Writes Avro's binary form of the newest schemas, the same bytes as fastavro's.

Its place in the flow: under the codec, once for every event that is fed. fastavro asks of each value, field by field,
which type it may be, and takes 5 us for an event of an order; here each field has its one writer, and what many events
have in common (accounts, kinds, sources) is looked up as written before: 2 us. Values of any type but the schema's own
are not written at all: fastavro takes some of them and words the errors of the others.
"""

from collections.abc import Callable, Mapping
from operator import call, itemgetter
from struct import Struct
from typing import Any

Write = Callable[[Any], bytes]

UNUSUAL = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What a writer raises where fastavro is to be asked: a value that is absent or of another type, or out of range."""

# Told by name, as a schema says nothing of how often a value comes again: these seldom do.
_SELDOM_AGAIN = frozenset(("event_id", "order_id", "conversation_id", "message_id", "comment"))
_KEPT = 20_000  # texts a field
_KEPT_BYTES = 256  # of one as it is written; a field then takes some 10 MB at the very most

_LONG_MAX = (1 << 63) - 1
_INT_MAX = (1 << 31) - 1
_PAIR = 0x4000  # a varint takes 7 bits a byte; two bytes at a time are looked up
_TWO_OF_MORE = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_PAIR)]
_LAST = [bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(_PAIR)]
_DOUBLE = Struct("<d").pack


def writer_of(schema: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bytes]:
    """A writer of records of two fields or more: strings, numbers, booleans, arrays and nullable ones of those.

    The writer raises one of `UNUSUAL` for a value that it leaves to fastavro; extra fields are ignored.
    """
    values = itemgetter(*(field["name"] for field in schema["fields"]))
    writers = [_writer(field["type"], field["name"] not in _SELDOM_AGAIN) for field in schema["fields"]]

    def write(record: Mapping[str, Any]) -> bytes:
        return b"".join(map(call, writers, values(record)))  # no step of Python's own between two fields

    return write


def _writer(schema: Any, comes_again: bool) -> Write:
    if isinstance(schema, dict):
        is_array = schema["type"] == "array"
        return _array(_writer(schema["items"], comes_again)) if is_array else _writer(schema["type"], comes_again)
    if isinstance(schema, list):
        null, branch = schema
        assert null == "null"
        write = _nullable(_writer(branch, comes_again=False))
        return _Kept(write).__getitem__ if branch == "string" and comes_again else write
    return _Kept(_string).__getitem__ if schema == "string" and comes_again else _PLAIN[schema]


class _Kept(dict[Any, bytes]):
    """Texts as they are written, each by `write` when it is first asked for; the short ones are kept."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, text: str | None) -> bytes:
        written = self._write(text)
        if len(written) <= _KEPT_BYTES:
            if len(self) >= _KEPT:
                self.clear()
            self[text] = written
        return written


def _string(text: str) -> bytes:
    data = text.encode()
    length = len(data)
    return (_LAST[length << 1] if length < _PAIR // 2 else _varint(length << 1)) + data


def _long(value: int) -> bytes:
    zigzag = value << 1 ^ value >> 63
    if 1 << 35 <= zigzag < 1 << 42:  # six bytes, as times from 1970 to 2039 take: no loop
        return _TWO_OF_MORE[zigzag & 0x3FFF] + _TWO_OF_MORE[zigzag >> 14 & 0x3FFF] + _LAST[zigzag >> 28]
    if type(value) is not int or not -_LONG_MAX - 1 <= value <= _LONG_MAX:
        raise TypeError("not a number of 64 bits")
    return _varint(zigzag)


def _int(value: int) -> bytes:
    if type(value) is not int or not -_INT_MAX - 1 <= value <= _INT_MAX:
        raise TypeError("not a number of 32 bits")
    return _varint(value << 1 ^ value >> 31)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; `value` is not negative."""
    written = b""
    while value >= _PAIR:
        written += _TWO_OF_MORE[value & 0x3FFF]
        value >>= 14
    return written + _LAST[value]


def _boolean(value: bool) -> bytes:
    if value is True:
        return b"\1"
    if value is False:
        return b"\0"
    raise TypeError("neither true nor false")


def _double(value: float) -> bytes:
    if type(value) is not float:
        raise TypeError("not a double")
    return _DOUBLE(value)


def _nullable(write: Write) -> Write:
    def write_nullable(value: Any) -> bytes:
        return b"\0" if value is None else b"\2" + write(value)

    return write_nullable


def _array(write: Write) -> Write:
    def write_array(items: list[Any]) -> bytes:
        if type(items) is not list:
            raise TypeError("not a list")
        if len(items) == 1:  # as most are
            return b"\2" + write(items[0]) + b"\0"
        return _varint(len(items) << 1) + b"".join(map(write, items)) + b"\0" if items else b"\0"

    return write_array


_PLAIN: dict[str, Write] = {"string": _string, "long": _long, "int": _int, "boolean": _boolean, "double": _double}
