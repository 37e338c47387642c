"""A dead letter in lines for people: what is told of it, and apart from that what is in it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from schemas.codec import Codec
from schemas.events import EPOCH, TOPICS, Refusal
from schemas.rows import DeadLetter
from streams.commands.telling import printable
from streams.intake import own_headers
from streams.letters import Letter


def described(dead: DeadLetter, letter: Letter | None) -> Iterator[str]:
    """All but what is in the record, in lines."""
    moment = EPOCH + timedelta(milliseconds=dead.record.time)
    told = {"record": dead.name, "state": dead.state, "reason": dead.record.reason}
    told["refused at"] = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if letter is None:
        told["stands in"] = "no topic any more: retention has deleted it"
    else:
        told["stands in"] = f"{letter.topic}/{letter.partition}/{letter.offset}"
        told["headers"] = ", ".join(f"{name} ({_size(value)})" for name, value in _headers(letter)) or "none"
        told |= {"key": _size(letter.key), "value": _size(letter.value)}
    for name, value in told.items():
        yield f"{name:11} {printable(value)}"


def contents(codec: Codec, letter: Letter) -> Iterator[str]:
    """What is in the record, in lines."""
    for name, value in [*_headers(letter), ("key", letter.key)]:
        yield f"{printable(name):11} {'null' if value is None else repr(value)[1:]}"
    value = letter.value or b""
    for at in range(0, len(value), 16):
        row = value[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):47}  {text}"
    read = _read(codec, letter.record.topic, value)
    if read is not None:
        yield json.dumps(read, indent=2)


def _read(codec: Codec, topic: str, value: bytes) -> Any:
    """The event, or whatever JSON it is; None if it is neither."""
    for known in TOPICS:
        if known == topic and not isinstance(decoded := codec.decode(known, value), Refusal):
            return decoded.event
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _headers(letter: Letter) -> list[tuple[str, bytes | None]]:
    """The record's own; a file's line had none."""
    return [] if letter.record.file else own_headers(letter.headers)


def _size(value: bytes | None) -> str:
    return "null" if value is None else f"{len(value):,} bytes"
