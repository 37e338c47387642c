"""Reads Avro's binary form of the newest schemas, and nothing else that a lenient reader would let pass.

Its place in the flow: under the codec, which stores what it accepts as the bytes that came. ClickHouse reads those
bytes again and takes no boolean but 0 and 1, no branch of a union but its own and no number of more than 64 bits: one
record with any of these fails a batch for good, or is read as something else. (fastavro takes them all; on records of
many nullable fields it is also half as fast as the plain Python below.)
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, TypeVar

T = TypeVar("T")
Read = Callable[[bytes, int], tuple[Any, int]]  # data and a position to the value and the position after it

_DOUBLE = Struct("<d").unpack_from


class NotAvroError(ValueError):
    """The bytes are not what the schema says. IndexError, UnicodeDecodeError and struct.error say so as well."""


def reader_of(schema: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
    """A reader of whole records of a schema made of strings, numbers, booleans, arrays and nullable ones of those."""
    fields = [(field["name"], built(field["type"], _PLAIN, _nullable, _array)) for field in schema["fields"]]

    def read(data: bytes) -> dict[str, Any]:
        at = 0
        record = {}
        for name, read_field in fields:
            record[name], at = read_field(data, at)
        if at != len(data):  # a string that is cut short ends behind the data
            raise NotAvroError("bytes after the record's end" if at < len(data) else "cut short")
        return record

    return read


def built(schema: Any, plain: Mapping[str, T], nullable: Callable[[T], T], array: Callable[[T], T]) -> T:
    """What reads a schema, made of what reads its parts: `plain` by type, nullable ones and arrays of such."""
    if isinstance(schema, list):
        null, branch = schema
        assert null == "null"
        return nullable(built(branch, plain, nullable, array))
    if isinstance(schema, dict):
        is_array = schema["type"] == "array"
        inner = built(schema["items" if is_array else "type"], plain, nullable, array)
        return array(inner) if is_array else inner
    return plain[schema]


def _long(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise NotAvroError("a number of more than 64 bits")
    if value >> 64:
        raise NotAvroError("a number of more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def _string(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]
    if length < 0x80:
        at += 1
        length = -1 if length & 1 else length >> 1
    else:
        length, at = _long(data, at)
    if length < 0:
        raise NotAvroError("a negative length")
    end = at + length
    return data[at:end].decode(), end


def _boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise NotAvroError("a boolean that is neither 0 nor 1")
    return byte == 1, at + 1


def _double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE(data, at)[0], at + 8


def _nullable(read: Read) -> Read:
    def read_nullable(data: bytes, at: int) -> tuple[Any, int]:
        branch = data[at]
        if branch == 0:
            return None, at + 1
        if branch == 2:
            return read(data, at + 1)
        raise NotAvroError("no such branch of a union")

    return read_nullable


def _array(read: Read) -> Read:
    def read_array(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        while True:
            count, at = _long(data, at)
            if count == 0:
                return items, at
            if count < 0:  # a block that tells its size as well, for those who skip it
                count = -count
                _, at = _long(data, at)
            if count > len(data):
                raise NotAvroError("cut short")
            for _ in range(count):
                item, at = read(data, at)
                items.append(item)

    return read_array


_PLAIN: dict[str, Read] = {"string": _string, "long": _long, "int": _long, "boolean": _boolean, "double": _double}
