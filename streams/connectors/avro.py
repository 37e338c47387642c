"""Avro container files, whatever schema they were written with, as long as its record is named after a topic.

Values go the same strict way as JSON. Logical types are taken off the schema before reading and times converted
here: a time that no datetime can hold is then one event refused and not the end of the file.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from fastavro import block_reader, parse_schema, schemaless_reader

from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import RECORD_MAX, Parsed, Refusal, from_json
from schemas.finite import least_bytes
from streams.connectors.input import RECORD_KEPT, Progress, Record, decompressed
from streams.core.privacy import mask_event

MAGIC = b"Obj\x01"
BLOCK_MAX = 16 << 20  # bytes; writers make blocks of some KB
_CUT = "cut short or damaged in the middle of its Avro header or a block"
_UNITS_A_MS = {
    f"{local}timestamp-{unit}": units
    for local in ("", "local-")
    for unit, units in (("micros", 1_000), ("nanos", 1_000_000))
}


class _Bounded:
    """A file of which nobody reads more at once than `BLOCK_MAX`, whatever the lengths in it say.

    The reader asks for as many bytes as a length says, and Python makes room for them before it reads.
    """

    def __init__(self, content: BinaryIO) -> None:
        self._content = content
        self.tell = content.tell

    def read(self, size: int) -> bytes:
        """As a file's. Raises ValueError for too much."""
        if not 0 <= size <= BLOCK_MAX:
            raise ValueError(f"a length of {size} bytes")
        return self._content.read(size)


class _Block(NamedTuple):
    records: int
    data: BytesIO


class _Writer(NamedTuple):
    """A writer's schema without logical types; `name` is None where the schema is a union and each value says."""

    schema: Any
    name: str | None
    finer: Mapping[str, Mapping[str, int]]  # record -> field -> units a millisecond


def check_avro(path: Path) -> None:
    """Raises ConfigurationError for a file whose Avro header or codec nobody can read.

    A header that is merely cut short is left to `read_avro`, which calls it damaged.
    """
    with suppress(FileDamaged), decompressed(path) as (content, _):
        try:
            _writer(block_reader(cast("BinaryIO", _Bounded(content))))
        except Exception as wrong:  # strangers' headers make the reader raise anything
            if content.read(1):
                raise ConfigurationError(f"{path}: not a readable Avro container: {wrong}") from wrong


def read_avro(path: Path, progress: Progress) -> Iterator[Record]:
    """Every record's event or refusal, and a refusal for the rest of a block whose records cannot be told apart.

    Raises FileDamaged after the last whole block, or at the end if there was such a rest.
    """
    with decompressed(path) as (content, beneath):
        yield from read_container(content, str(path), lambda: progress(beneath.tell()))


def read_container(content: BinaryIO, name: str, block_done: Callable[[], object] = lambda: None) -> Iterator[Record]:
    """The same of an open container, which errors call `name`; `block_done` is told after each block."""
    number = 0
    damaged = 0
    for writer, block in _blocks(content, name):
        end = number + max(0, block.records)
        data = block.data.getvalue()
        at = 0
        while number < end:
            item = _item(writer, block.data)
            after = block.data.tell()
            if item is None or after == at:  # a record of no bytes could be repeated without end
                break
            number += 1
            if after - at > RECORD_MAX:
                item = Refusal(f"a record over {RECORD_MAX} bytes", None)
            yield Record(item, data[at : after if after - at <= RECORD_MAX else at + RECORD_KEPT], number)
            at = after
        if number < end or at < len(data):
            damaged += 1
            rest = Refusal(f"not decodable: the rest of an Avro block, {end - number} records", None)
            yield Record(rest, data[at : at + RECORD_KEPT], number + 1)
            number = end
        block_done()
    if damaged:
        raise FileDamaged(f"{name}: {damaged} Avro blocks are damaged inside")


def _blocks(content: BinaryIO, name: str) -> Iterator[tuple[_Writer, _Block]]:
    try:
        blocks = block_reader(cast("BinaryIO", _Bounded(content)))
        writer = _writer(blocks)
        end = content.tell()
        for block in cast("Iterator[Any]", blocks):  # the type of a block leaves out its bytes
            end = block.offset + block.size
            yield writer, _Block(block.num_records, block.bytes_)
        if content.tell() == end:
            return
    except Exception as wrong:  # strangers' bytes make the reader raise anything
        raise FileDamaged(f"{name}: {_CUT}") from wrong
    raise FileDamaged(f"{name}: {_CUT}")


def _item(writer: _Writer, data: BytesIO) -> Parsed | Refusal | None:
    """The next record, read to its end; None where its end cannot be known."""
    start = data.tell()
    try:
        value = _read(writer, data, "strict")
    except UnicodeDecodeError:
        data.seek(start)
        try:
            _read(writer, data, "replace")
        except Exception:  # noqa: BLE001  # whatever strangers' bytes make the reader raise
            return None
        return Refusal("not UTF-8", None)
    except Exception:  # noqa: BLE001  # likewise
        return None
    name, fields = (writer.name, value) if writer.name is not None else value
    for field, units in writer.finer[name].items():
        if type(fields[field]) is int:
            fields[field] //= units
    fields["topic"] = _last(name)
    item = from_json(fields)
    if isinstance(item, Parsed):
        mask_event(*item)
    return item


def _read(writer: _Writer, data: BytesIO, unicode_errors: str) -> Any:
    is_union = writer.name is None
    return schemaless_reader(
        data, writer.schema, None, return_record_name=is_union, handle_unicode_errors=unicode_errors
    )


def _writer(container: Any) -> _Writer:
    """What a container says of its records. Raises whatever a bad schema makes fastavro raise, and ValueError."""
    schema = json.loads(container.metadata["avro.schema"])
    records = schema if isinstance(schema, list) else [schema]
    if any(type(record) is not dict or record.get("type") != "record" for record in records):
        raise ValueError("its schema is no record")
    parsed: Any = parse_schema(_physical(schema))
    least_bytes(parsed)
    names = [record["name"] for record in (parsed if isinstance(parsed, list) else [parsed])]
    finer = {
        name: {field["name"]: units for field in record["fields"] if (units := _units(field["type"]))}
        for name, record in zip(names, records, strict=True)
    }
    return _Writer(parsed, None if isinstance(schema, list) else names[0], finer)


def _units(kind: Any) -> int | None:
    """Units a millisecond of a field's type, or of the first in its union that has them; None: none finer."""
    for option in kind if isinstance(kind, list) else [kind]:
        if isinstance(option, dict) and (units := _UNITS_A_MS.get(option.get("logicalType", ""))):
            return units
    return None


def _physical(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _physical(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_physical(option) for option in schema]
    return schema


def _last(name: str) -> str:
    return name.rpartition(".")[2]
