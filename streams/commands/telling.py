"""Rows told to people and programs: as a table, as JSON objects, as CSV; and times in words."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import click

from streams.commands.describing import printable

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


def iso(time_ms: int | None) -> str | None:
    """An instant for programs, ISO-8601."""
    return (
        None
        if time_ms is None
        else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


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
