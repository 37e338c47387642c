"""From a request's body to records: decompressed within a limit, then read as the connectors read files.

Place in the flow: first. Blocks, so it runs on a thread beside the event loop. A body is read whole before anything of
it is sent; whatever keeps it from being read whole is NotTaken.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import islice
from typing import Any, Protocol

from cramjam import DecompressionError, snappy
from fastavro import schemaless_reader, schemaless_writer
from orjson import JSONDecodeError, dumps, loads

from schemas.errors import FileDamaged
from schemas.events import RECORD_MAX, Refusal, from_json
from streams.connectors.avro import MAGIC, read_container
from streams.connectors.input import RECORD_KEPT, Record
from streams.connectors.jsonl import read_lines
from streams.core.privacy import mask_event
from streams.gateway.refusing import NotTaken

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_HEADER: Any = {
    "type": "record", "name": "header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": len(MAGIC)}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}  # fmt: skip
_BLOCK: Any = {
    "type": "record", "name": "block",
    "fields": [
        {"name": "records", "type": "long"},
        {"name": "data", "type": "bytes"},
        {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
    ],
}  # fmt: skip
_CODEC = "avro.codec"


class _Decompressor(Protocol):
    """What zlib's, zstd's, bz2's and lzma's have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_BROKEN = (EOFError, OSError, ValueError, zlib.error, zstd.ZstdError, lzma.LZMAError, DecompressionError)
ENCODINGS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS),
    "zstd": zstd.ZstdDecompressor,
}
_CODECS: dict[str, Callable[[], _Decompressor]] = {
    "deflate": lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    "zstandard": zstd.ZstdDecompressor,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The content of a body, one frame or member after another. Raises NotTaken: 400, or 413 for one over the limit."""
    if encoding == "identity":
        return body
    try:
        return _unpacked(body, ENCODINGS[encoding], limit)
    except _BROKEN:
        raise NotTaken(400, f"the body is no {encoding}, or cut short") from None


def _unpacked(data: bytes, begin: Callable[[], _Decompressor], limit: int) -> bytes:
    """All members. Raises NotTaken for more than the limit, and one of `_BROKEN`."""
    parts, size = [], 0
    while data:
        part, data = _member(data, begin(), limit - size)
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _member(data: bytes, decompressor: _Decompressor, limit: int) -> tuple[bytes, bytes]:
    """The first member, and what follows it."""
    content = decompressor.decompress(data, limit + 1)  # one byte more tells that there is more
    if len(content) > limit:
        raise too_large(limit)
    if not decompressor.eof:
        raise EOFError
    return content, decompressor.unused_data


def too_large(limit: int) -> NotTaken:
    """Of a body."""
    return NotTaken(413, f"the body has more than {limit} bytes, decompressed: send several")


# --- formats -------------------------------------------------------------------------------------------------


def records_of(content: bytes, media_type: str, *, limit: int, events_max: int) -> list[Record]:
    """Every event or refusal, comments masked. Raises NotTaken: 400, 413, or 415 for a codec that we cannot bound."""
    found = list(islice(FORMATS[media_type](content, limit), events_max + 1))
    if len(found) > events_max:
        raise NotTaken(413, f"more than {events_max} events in a request: send several")
    return found


def _json(content: bytes, _: int) -> Iterator[Record]:
    try:
        document = loads(content)
    except (JSONDecodeError, RecursionError):
        raise NotTaken(400, "the body is not JSON") from None
    if not isinstance(document, dict | list):
        raise NotTaken(400, "the body is neither an object nor an array")
    return _items([document] if isinstance(document, dict) else document)


def _items(items: Iterable[Any]) -> Iterator[Record]:
    for number, data in enumerate(items, 1):
        item = from_json(data)
        if not isinstance(item, Refusal):
            mask_event(*item)
        yield Record(item, dumps(data), number)


def _ndjson(content: bytes, _: int) -> Iterator[Record]:
    return read_lines(content.split(b"\n"))


def _avro(content: bytes, limit: int) -> Iterator[Record]:
    try:
        yield from read_container(BytesIO(_plain(content, limit)), "the body")
    except FileDamaged:
        raise NotTaken(400, "the body is not a whole Avro object container of records") from None


def _plain(content: bytes, limit: int) -> bytes:
    """The container with its blocks decompressed, which whoever reads it would do without a limit.

    Raises NotTaken, and FileDamaged for what is none.
    """
    source, plain = BytesIO(content), BytesIO()
    try:
        header: Any = schemaless_reader(source, _HEADER, None)
        codec = header["meta"].pop(_CODEC, b"null").decode()
        schemaless_writer(plain, _HEADER, header)
        while source.tell() < len(content):
            block: Any = schemaless_reader(source, _BLOCK, None)
            block["data"] = _block(block["data"], codec, limit - plain.tell())
            schemaless_writer(plain, _BLOCK, block)
    except NotTaken:
        raise
    except Exception as wrong:  # strangers' bytes make the reader raise anything
        raise FileDamaged("the body") from wrong
    return plain.getvalue()


def _block(data: bytes, codec: str, limit: int) -> bytes:
    if codec == "null":
        return data
    if codec == "snappy":
        if snappy.decompress_raw_len(data[:-4]) > limit:
            raise too_large(limit)
        return bytes(snappy.decompress_raw(data[:-4]))
    if codec not in _CODECS:
        raise NotTaken(415, f"an Avro codec that is none of null, snappy, {', '.join(_CODECS)}")
    return _member(data, _CODECS[codec](), limit)[0]  # fastavro's deflate leaves bytes of a checksum behind


FORMATS: dict[str, Callable[[bytes, int], Iterator[Record]]] = {
    "application/json": _json, "application/x-ndjson": _ndjson, "application/avro": _avro,
}  # fmt: skip
LETTER_BYTES = RECORD_KEPT
VALUE_BYTES = RECORD_MAX - 1024  # of an event as Kafka is given it, whose own limit is on all that goes with it
