"""Rows told to people and programs: as a table, as JSON objects, as CSV; times in words; and text made harmless."""

import codecs
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import click

Output = Literal["table", "json", "csv"]
output_option = click.option(
    "--format", "output", type=click.Choice(["table", "json", "csv"]), default="table", help="json: an object a line."
)


def tell(rows: Sequence[Mapping[str, Any]], output: Output) -> None:
    """Write rows that have the same columns to stdout; in a table null is empty."""
    if output == "json":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif rows and output == "csv":
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    elif rows:
        _tell_table([list(rows[0]), *([printable(_text(value)) for value in row.values()] for row in rows)])


def _tell_table(lines: Iterable[Sequence[str]]) -> None:
    cells = list(lines)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(name: str, value: Any) -> str:
    """What a file says: a spreadsheet would work out a comment that begins like a formula, and buyers write those."""
    text = _text(value)
    return f"'{text}" if name == "comment" and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def moment(time_ms: int | None) -> str:
    """An instant for people, to the minute."""
    return "not reported" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def until(time_ms: int, now_ms: int) -> str:
    """How far an instant is, in words.

    >>> until(90 * 60_000, 0), until(0, 3 * 86_400_000), until(59_000, 0)
    ('in 1 h 30 min', '3 d ago', 'now')
    """
    minutes = abs(time_ms - now_ms) // 60_000
    if minutes == 0:
        return "now"
    days, hours = minutes // 1440, minutes // 60 % 24
    parts = [(days, "d"), (hours if days < 7 else 0, "h"), (minutes % 60 if not days else 0, "min")]
    words = " ".join(f"{number} {unit}" for number, unit in parts if number)
    return f"in {words}" if time_ms > now_ms else f"{words} ago"


def printable(text: str) -> str:
    r"""The text without what would steer a terminal.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


# Of control characters their picture, of those without one and of those that turn text around a mark.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= dict.fromkeys((0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)


def harmless(blocks: Iterable[bytes]) -> Iterator[bytes]:
    r"""UTF-8 text of many lines without what would steer a terminal.

    >>> b"".join(harmless([b"\x1b[2J\xc2", b"\x9b31m\n"])).decode()
    '\u241b[2J\ufffd31m\n'
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a letter's bytes may lie in two blocks
    for block in blocks:
        yield decoder.decode(block).translate(_PICTURES).encode()
    yield decoder.decode(b"", final=True).encode()
