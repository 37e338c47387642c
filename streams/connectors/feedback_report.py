"""Amazon's seller feedback report: a tab-separated file that sellers download.

A row has no id and no time, and says neither whose it is nor from which marketplace. Its columns have a fixed order
under names in the marketplace's language. Every download repeats old rows: `feedback_polls` knows what is new in one.
Who wrote it (e-mail, role) is dropped.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import RECORD_MAX, Parsed, Refusal, from_json
from streams.connectors.feedback_polls import Account, Changes, Poll, Rating
from streams.connectors.input import BOM, RECORD_KEPT, Record, chunks
from streams.connectors.polls import Polls
from streams.connectors.report_dates import country_of, date_order, day_of
from streams.core.privacy import mask_event

EMPTY = "a report with nothing in it: an empty poll"


class _Row(NamedTuple):
    fields: list[str]
    wrong: str | None
    raw: bytes
    line: int
    is_last: bool  # and nothing says that it ended


class _Layout(NamedTuple):
    """Where a form has its columns, from 0; date, rating and comment come first in all of them."""

    order_id: int
    response: int | None = None
    answers: int | None = None  # the first of three


_LAYOUTS = {6: _Layout(4, response=3), 9: _Layout(6, answers=3), 10: _Layout(7, response=3, answers=4)}
_ANSWERS: dict[str, bool | None] = (
    dict.fromkeys(("", "-"))
    | dict.fromkeys(("yes", "ja", "oui", "sí", "si", "sì", "sim", "tak", "evet", "はい", "是"), True)
    | dict.fromkeys(("no", "nein", "non", "não", "nee", "nej", "nie", "hayır", "いいえ", "否"), False)
)

_STARS = ("1", "2", "3", "4", "5")


def is_feedback_report(head: bytes) -> bool:
    """Whether a file that starts so is one: 6, 9 or 10 columns, and the second one's values are 1 to 5."""
    rows = [line.split(b"\t") for line in head.splitlines()]
    if not rows or len(rows[0]) not in _LAYOUTS:
        return False
    return len(rows) == 1 or any(
        len(row) > 1 and row[1].strip(b' "').decode(errors="replace") in _STARS for row in rows
    )


def dated(path: Path, account: Account) -> Account:
    """The account with how its report writes dates. Raises ConfigurationError if that can be known from nothing."""
    country = country_of(account.marketplace_id)
    order = date_order({row.fields[0] for row in _rows(_content(path)[0], country)}, country)
    if order is None:
        raise ConfigurationError(
            f"{path}: whether its dates put the day or the month first is not known for marketplace"
            f" {account.marketplace_id}: tell Amazon's marketplace id or the country's code"
        )
    return replace(account, date_order=order)


def read_feedback_report(
    path: Path, account: Account, poll: Poll, *, polls: Polls, left_out: Counter[str]
) -> Iterator[Record]:
    """A SUBMITTED for each new rating, a RESPONDED for its response, and what else happened since the last poll.

    Raises FileDamaged after the last whole row, or if more ratings are gone than the poll may say.
    """
    content, damage = _content(path)
    columns, rows = _ratings(content, account)
    if rows:
        refused = any(isinstance(found, Refusal) for _, found in rows)
        is_whole = damage is None and not refused and content.endswith(b"\n")
        yield from _told(path, account, replace(poll, columns=columns, is_whole=is_whole), rows, polls, left_out)
    if damage is not None:
        raise damage
    if not rows:
        left_out[EMPTY] += 1


def _told(
    path: Path, account: Account, poll: Poll, rows: Sequence[tuple[_Row, Rating | Refusal]], polls: Polls,
    left_out: Counter[str],
) -> Iterator[Record]:  # fmt: skip
    changes = Changes(account, poll, [found for _, found in rows if isinstance(found, Rating)], polls)
    for row, found in rows:
        if isinstance(found, Refusal):
            yield Record(found, row.raw, row.line)
            continue
        for event in changes.of(found):
            yield _record(event, row.raw, row.line)
    try:
        for event in changes.vanished(left_out):
            yield _record(event, b"", 0)
    except FileDamaged as doubtful:
        raise FileDamaged(f"{path}: {doubtful}") from None


def _record(event: dict[str, object], raw: bytes, line: int) -> Record:
    item = from_json(event)
    if isinstance(item, Parsed):
        mask_event(*item)
    return Record(item, raw, line)


def _ratings(content: bytes, account: Account) -> tuple[int, list[tuple[_Row, Rating | Refusal]]]:
    """How many columns the report has, and its rows but for the header."""
    columns = 0
    rows: list[tuple[_Row, Rating | Refusal]] = []
    for row in _rows(content, country_of(account.marketplace_id)):
        if not columns:
            columns = len(row.fields)
            if len(row.fields) > 1 and row.fields[1] not in _STARS:
                continue  # the header
        rows.append((row, _rating(row, columns, account.date_order)))
    return columns, rows


def _rating(row: _Row, columns: int, order: str) -> Rating | Refusal:
    layout = _LAYOUTS.get(columns)
    least = columns if row.is_last else (layout.order_id if layout else 0) + 1  # of a row cut short all might be wrong
    if row.wrong or layout is None or not least <= len(row.fields) <= columns:
        return Refusal(row.wrong or f"{len(row.fields)} columns and not {columns}", "feedback")
    day = day_of(row.fields[0], order)
    stars, order_id = row.fields[1], row.fields[layout.order_id]
    if day is None or stars not in _STARS or not order_id:
        wrong = "no order id" if not order_id else "the rating is not 1 to 5" if day else "the date is no day"
        return Refusal(wrong, "feedback")
    answers = [text.lower() for text in row.fields[layout.answers :][:3]] if layout.answers else []
    if any(answer not in _ANSWERS for answer in answers):
        return Refusal("an answer is neither yes nor no nor -", "feedback")
    said = tuple(_ANSWERS[answer] for answer in answers) if layout.answers else None
    response = row.fields[layout.response] if layout.response else None
    return Rating(order_id, day, int(stars), row.fields[2], "" if response == "-" else response, said)


# --- rows ----------------------------------------------------------------------------------------------------


def _content(path: Path) -> tuple[bytes, FileDamaged | None]:
    """All of a report (they are small), to the last whole line if it was cut short."""
    parts: list[bytes] = []
    try:
        for chunk, _ in chunks(path):
            parts.append(chunk)
    except FileDamaged as cut:
        return b"".join(parts).rpartition(b"\n")[0], cut
    return b"".join(parts), None


def _rows(content: bytes, country: str | None) -> Iterator[_Row]:
    """Rows that are not blank, in the charset of most: UTF-8, or else what the marketplace's computers use."""
    lines = content.removeprefix(BOM).split(b"\n")
    charset = _charset(lines, "cp932" if country == "JP" else "cp1252")
    for line, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        is_last = line == len(lines)
        if len(raw) > RECORD_MAX:
            yield _Row([""], f"a row over {RECORD_MAX} bytes", raw[:RECORD_KEPT], line, is_last)
            continue
        try:
            fields = [_unquoted(field.strip()) for field in raw.decode(charset).split("\t")]
            yield _Row(fields, None, raw, line, is_last)
        except UnicodeDecodeError:
            yield _Row([""], f"not {charset}, as the other rows are", raw, line, is_last)


def _charset(lines: Sequence[bytes], other: str) -> str:
    """UTF-8 if most lines that can tell are: one damaged byte must not change every comment."""
    telling = [line for line in lines if not line.isascii()]
    return "utf-8" if 2 * sum(map(_is_utf8, telling)) > len(telling) or not telling else other


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unquoted(field: str) -> str:
    """A field without the quotes that spreadsheets put around it."""
    inner = field[1:-1]
    if field[:1] == field[-1:] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field
