"""Where every connector begins: a file's bytes, decompressed, and what a connector hands on.

Whatever goes wrong with a file once it is being read is `FileDamaged`, raised after the last good byte was handed on.
"""

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from schemas.errors import FileDamaged
from schemas.events import Parsed, Refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BYTES_A_READ = 1 << 20
RECORD_KEPT = 1 << 16  # of the bytes of a record that is longer than any event, for the dead-letter topic
BOM = b"\xef\xbb\xbf"

Progress = Callable[[int], None]
"""Told how many bytes of the input were consumed so far, compressed ones where they are compressed."""


def is_utf8(raw: bytes) -> bool:
    """Whether these bytes are text in UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


class Record(NamedTuple):
    """One event or refusal of an input file, comments masked; not yet held against `schemas.events.check`."""

    item: Parsed | Refusal
    raw: bytes  # the original bytes, for the dead-letter topic
    line: int  # 1-based: the line at which it starts, or the record's number in an Avro container


@contextmanager
def decompressed(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file's content and the file beneath, whose position is the progress. gzip and zstd are told by content.

    Raises FileDamaged for whatever the operating system or a decompressor says while the context is open.
    """
    try:
        with path.open("rb") as beneath:
            magic = beneath.peek(4)[:4]
            if magic[:2] == b"\x1f\x8b":
                yield cast("BinaryIO", gzip.GzipFile(fileobj=beneath)), beneath
            elif magic == b"\x28\xb5\x2f\xfd":
                yield cast("BinaryIO", zstd.ZstdFile(beneath)), beneath
            else:
                yield beneath, beneath
    except EOFError as cut:
        raise FileDamaged(f"{path}: cut short in the middle of its compression") from cut
    except (OSError, zlib.error, zstd.ZstdError) as wrong:
        raise FileDamaged(f"{path}: {getattr(wrong, 'strerror', None) or wrong}") from wrong


def chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    """The content in pieces of at most BYTES_A_READ, each with the bytes of the file consumed until then."""
    with decompressed(path) as (content, beneath):
        while chunk := content.read1(BYTES_A_READ):  # type: ignore[attr-defined]  # all three have it, the type has not
            yield chunk, beneath.tell()


def peek(path: Path, size: int) -> tuple[bytes, bool]:
    """The first `size` bytes of the content, fewer where it ends, and whether it is not damaged before."""
    head = b""
    try:
        for chunk, _ in chunks(path):
            head += chunk
            if len(head) >= size:
                break
    except FileDamaged:
        return head, False
    return head[:size], True
