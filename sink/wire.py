"""What HTTP does to bytes on their way: content encodings, chunks and forms.

Place in the flow: `front` reads a request's body and writes an answer's blocks through it. Knows no SQL.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from email.message import Message
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import parse_qsl

import zstandard

try:
    import lz4.frame as lz4  # type: ignore[import-untyped]  # comes with clickhouse-connect on most Pythons
except ImportError:
    lz4 = None

_CHUNK_LINE = 1024
_FIELD = re.compile(rb'form-data;.*?\bname="([^"]*)"', re.IGNORECASE | re.DOTALL)


class Source(Protocol):
    """A connection's reading side."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class TooLarge(Exception):
    """A body of more bytes than allowed, as sent or as decoded."""


class Damaged(Exception):
    """A body that is not what its headers say."""


def read_body(source: Source, headers: Message, limit: int) -> bytes:
    """The whole decoded body; blocks until it is there. Raises TooLarge, Damaged or, cut short, ConnectionError."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        body = b"".join(_chunks(source, limit))
    else:
        body = _read(source, announced(headers, limit))
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    return body if encoding == "identity" else _decoded(body, encoding, limit)


def announced(headers: Message, limit: int) -> int:
    """The length that the headers announce, 0 if none. Raises TooLarge or Damaged."""
    text = headers.get("Content-Length", "0").strip()
    if not (text.isascii() and text.isdigit()):
        raise Damaged("Content-Length is no number")
    if int(text[:20]) > limit:
        raise TooLarge
    return int(text)


def _read(source: Source, length: int) -> bytes:
    data = source.read(length)
    if len(data) < length:
        raise ConnectionError("the client went away in the middle of a body")
    return data


def _chunks(source: Source, limit: int) -> Iterator[bytes]:
    left = limit
    while True:
        line = source.readline(_CHUNK_LINE)
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            raise Damaged("a chunk has no size") from None
        if size == 0:
            while source.readline(_CHUNK_LINE).strip():
                pass  # trailers
            return
        left -= size
        if size < 0 or left < 0:
            raise TooLarge
        yield _read(source, size)
        source.readline(_CHUNK_LINE)


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """Decode what may be several frames one after the other, never beyond the limit by more than a byte."""
    try:
        if encoding == "gzip":
            data = gzip.GzipFile(fileobj=BytesIO(body)).read(limit + 1)
        elif encoding == "deflate":
            data = zlib.decompressobj().decompress(body, limit + 1)
        elif encoding == "zstd":
            frames = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
            data = frames.read(limit + 1)
        elif encoding == "lz4" and lz4:
            data = lz4.LZ4FrameFile(BytesIO(body)).read(limit + 1)
        else:
            raise Damaged(f"content encoding {encoding} is not known")
    except (OSError, EOFError, RuntimeError, zlib.error, zstandard.ZstdError) as error:
        raise Damaged(f"the body does not decode as {encoding}: {error}") from error
    if len(data) > limit:
        raise TooLarge
    return data


def pick_encoding(accepted: str) -> str | None:
    """The cheapest encoding for an answer among those accepted, or None."""
    offered = {part.partition(";")[0].strip().lower() for part in accepted.split(",") if ";q=0" not in part}
    known = ("lz4", "zstd", "gzip", "deflate") if lz4 else ("zstd", "gzip", "deflate")
    return next((encoding for encoding in known if encoding in offered), None)


class Encoder:
    """Encodes an answer block by block, fast rather than small; each block can be read as it arrives."""

    def __init__(self, encoding: str | None) -> None:
        self._head = b""
        self._flush: tuple[int, ...] = ()
        self._made: Any = None
        if encoding == "lz4":
            self._made = lz4.LZ4FrameCompressor(auto_flush=True)
            self._head = self._made.begin()
        elif encoding == "zstd":
            self._made = zstandard.ZstdCompressor(level=1).compressobj()
            self._flush = (zstandard.COMPRESSOBJ_FLUSH_BLOCK,)
        elif encoding is not None:
            self._made = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
            self._flush = (zlib.Z_SYNC_FLUSH,)

    def block(self, data: bytes) -> bytes:
        """The next bytes to send."""
        if self._made is None:
            return data
        parts = [self._head, self._made.compress(data)]
        if self._flush:
            parts.append(self._made.flush(*self._flush))
        self._head = b""
        return b"".join(parts)

    def end(self) -> bytes:
        """The last bytes to send."""
        return self._head + bytes(self._made.flush()) if self._made else b""


def form_fields(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a multipart form. Raises Damaged for one that is none, or carries a file."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise Damaged("a form without a boundary")
    fields: dict[str, str] = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = _FIELD.search(head)
        if name is None or b"filename=" in head:
            raise Damaged("a form's part must be a field with a name; files are not taken")
        fields |= [_field(name[1], value.removesuffix(b"\r\n"))]
    return fields


def url_fields(query: str) -> dict[str, str]:
    """The fields of a URL's query, given as Latin-1; in "query", bytes that are no UTF-8 survive as surrogates."""
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    return dict(_field(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)


def _field(name: bytes, value: bytes) -> tuple[str, str]:
    try:
        return name.decode(), value.decode("utf-8", "surrogateescape" if name == b"query" else "strict")
    except UnicodeDecodeError:
        raise Damaged("a field is not UTF-8") from None
