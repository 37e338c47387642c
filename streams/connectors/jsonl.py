"""JSON Lines: one event a line, as SPEC section 3 says. One bad line never stops the rest."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from orjson import JSONDecodeError, loads

from schemas.errors import FileDamaged
from schemas.events import RECORD_MAX, Parsed, Refusal, from_json
from schemas.lines import from_line
from streams.connectors.input import BOM, RECORD_KEPT, Progress, Record, chunks
from streams.core.privacy import mask_event

_record: Callable[[tuple[Parsed, bytes, int]], Record] = partial(tuple.__new__, Record)  # in half the time


def read_jsonl(path: Path, progress: Progress) -> Iterator[Record]:
    """Every line's event or refusal; blank lines are none. Raises FileDamaged after the last whole line."""
    number = 1
    for lines, position in _lines(path):
        yield from read_lines(lines, number)
        number += len(lines)
        progress(position)


def read_lines(lines: Iterable[bytes], first: int = 1) -> Iterator[Record]:
    """The event or refusal of each of these lines, the first of which has this number in its file."""
    for number, raw in enumerate(lines, first):  # plain: this loop bounds how fast a file is fed
        if len(raw) > RECORD_MAX:
            yield Record(Refusal(f"a line over {RECORD_MAX} bytes", None), raw[:RECORD_KEPT], number)
            continue
        item = from_line(raw)
        if item is None:
            if (record := _second_look(raw, number)) is not None:
                yield record
            continue
        if item[0] != "orders":
            mask_event(*item)
        yield _record((item, raw, number))


def _second_look(raw: bytes, number: int) -> Record | None:
    """What becomes of a line that is no usual event: nothing if it is blank."""
    if number == 1 and raw.startswith(BOM):
        raw = raw.removeprefix(BOM)
    if not raw.strip():
        return None
    try:
        raw.decode()
        item = from_json(loads(raw))
    except UnicodeDecodeError:
        return Record(Refusal("not UTF-8", None), raw, number)
    except JSONDecodeError as wrong:
        return Record(Refusal(f"not JSON: {wrong.msg}", None), raw, number)
    except RecursionError:
        return Record(Refusal("nested too deep", None), raw, number)
    if not isinstance(item, Refusal):
        mask_event(*item)
    return Record(item, raw, number)


def _lines(path: Path) -> Iterator[tuple[list[bytes], int]]:
    """Lines in batches, with the bytes of the file consumed. Of a line too long, RECORD_MAX + 1 bytes come."""
    rest = b""
    position = 0
    try:
        for chunk, position in chunks(path):
            lines = chunk.split(b"\n")
            lines[0] = rest + lines[0]
            rest = lines.pop()[: RECORD_MAX + 1]
            yield lines, position
    except FileDamaged:
        if _is_whole(rest):
            yield [rest], position
        raise
    if rest:
        yield [rest], position


def _is_whole(line: bytes) -> bool:
    """Whether a line that is the last before the damage lost nothing to it."""
    try:
        return isinstance(loads(line), dict)
    except JSONDecodeError:
        return False
