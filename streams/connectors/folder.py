"""A folder that files come to: what of it is new since it was last looked at, and how far each file was read.

Its place in the flow: before `files`, which knows what each is. JSON lines are read on from the last whole one as they
grow; anything else is read whole, once it no longer changes, and again when it did. How far it came is learnt like what
reports said, and kept with it. Knows no Kafka; writes nothing, but moves what is done where it is told to.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from schemas.errors import ConfigurationError
from streams.connectors.files import ReportOptions, Source, expand, find_sources
from streams.connectors.input import peek
from streams.connectors.jsonl import read_lines
from streams.connectors.polls import Polls

WATCHED = "watched"  # among the reports of the polls
PORTION = 16 << 20  # bytes; so much of a file of lines is fed before it is kept
SETTLED_S = 60.0  # a file so old is no longer written to, whatever its last line
_PARTIAL = (".tmp", ".part", ".partial", ".crdownload", ".filepart")
_LINES = (".jsonl", ".ndjson", ".json")
_MARK = 4096  # bytes at both ends of what was read, by which a file is known again

Sign = list[int]
Told = dict[str, Any]  # sign; of lines also offset and line, both of what was read, and its mark; damaged


class _Found(NamedTuple):
    path: Path
    sign: Sign  # inode, size and time of last change, of each file of a data set
    age_s: float


@dataclass
class Portion:
    """Something to feed; `learn` is to be called when Kafka has it, with whether it was damaged."""

    source: Source
    learn: Callable[[bool], None]


class Folder:
    """One folder and those below, watched. `warn` is told what is wrong with a file, once.

    With `move_to`, a file that is done is moved there. Raises ConfigurationError.
    """

    def __init__(
        self, path: Path, options: ReportOptions, polls: Polls, *, warn: Callable[[str], object],
        move_to: Path | None = None,
    ) -> None:  # fmt: skip
        if not path.is_dir():
            raise ConfigurationError(f"{path}: not a folder")
        if move_to is not None and move_to.resolve().is_relative_to(path.resolve()):
            raise ConfigurationError(f"{move_to}: within the folder that is watched, {path}")
        self._path, self._options, self._polls, self._warn, self._move_to = path, options, polls, warn, move_to
        self._account = str(path.resolve())
        self._last: dict[str, Sign] = {}  # as it was when last looked at
        self._warned: dict[str, str] = {}
        polls.open()

    def look(self) -> Iterator[Portion]:
        """What is new, file by file; each portion is to be fed and learnt before the next is asked for."""
        found, is_all = self._found()
        known = self._polls.known(WATCHED, self._account)
        self._recognise(found, known)
        for name in known.keys() - found.keys() if is_all else ():
            self._polls.learn(WATCHED, self._account, name, None)
        for name, file in found.items():
            is_settled = self._last.get(name) == file.sign
            self._last[name] = file.sign
            try:
                if known.get(name, {}).get("sign") == file.sign:
                    self._move(name, file, known[name])
                else:
                    yield from self._new(name, file, known.get(name), is_settled=is_settled)
                self._warned.pop(name, None)
            except ConfigurationError as wrong:
                if file.path.exists():
                    self._say(name, str(wrong))
            except OSError as wrong:  # gone, or not for us
                if file.path.exists():
                    self._say(name, f"{file.path}: {wrong.strerror}")

    def _say(self, name: str, wrong: str) -> None:
        if self._warned.get(name) != wrong:
            self._warned[name] = wrong
            self._warn(wrong)

    def _found(self) -> tuple[dict[str, _Found], bool]:
        """By name, what is there, but for what is hidden or has an unfinished one's name; and whether that is all."""
        found: dict[str, _Found] = {}
        try:
            for path in expand(self._path, set()):
                if path.suffix.lower() not in _PARTIAL:
                    with suppress(FileNotFoundError):  # it went while we looked
                        found[str(path.relative_to(self._path))] = _look_at(path)
        except (ConfigurationError, OSError) as wrong:  # a folder below that we may not see
            self._say("", str(wrong))
            return found, False
        return found, True

    def _recognise(self, found: dict[str, _Found], known: dict[str, Told]) -> None:
        """A file under a new name is one that we know, if it begins with what we read: renamed, or copied and cut."""
        # The one that we know is gone or no longer what it was: others need not be opened.
        moved = [told for name, told in known.items() if name not in found or found[name].sign != told["sign"]]
        for name in [name for name in found if name not in known]:
            file = found[name]
            for told in moved:
                is_it = told["sign"][0] == file.sign[0] if "mark" not in told else _continues(file.path, told)
                if is_it:
                    known[name] = told
                    self._polls.learn(WATCHED, self._account, name, told)
                    break

    def _new(self, name: str, file: _Found, told: Told | None, *, is_settled: bool) -> Iterator[Portion]:
        if not file.sign[1]:
            return
        if self._is_lines(file.path):
            yield from self._lines(name, file, told)
        elif is_settled and (file.age_s > SETTLED_S or _is_ended(file.path)):
            (source,) = find_sources([file.path], self._options)
            yield Portion(source, lambda damaged: self._learn(name, {"sign": file.sign, "damaged": damaged}))

    def _is_lines(self, path: Path) -> bool:
        """Whether it is plain JSON lines; known by the name or the first byte, before anything else is there."""
        if path.is_dir() or self._options.format not in (None, "jsonl"):
            return False
        with path.open("rb") as file:
            head = file.read(4)
        is_packed = head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd"
        return not is_packed and (path.suffix.lower() in _LINES or head.lstrip()[:1] == b"{")

    def _lines(self, name: str, file: _Found, told: Told | None) -> Iterator[Portion]:
        if told is None or not _continues(file.path, told):  # new, or another's content: from the beginning
            find_sources([file.path], self._options)
            told = {"offset": 0, "line": 0}
        offset, line = told["offset"], told["line"]
        while content := _whole_lines(file.path, offset):
            lines, first = content.split(b"\n")[:-1], line + 1
            offset, line = offset + len(content), line + len(lines)
            now = {"sign": file.sign, "offset": offset, "line": line, "mark": _mark(file.path, offset)}
            source = Source(file.path, "jsonl", len(content), lambda *_, of=lines, at=first: read_lines(of, at))
            yield Portion(source, lambda _, now=now: self._learn(name, now))  # type: ignore[misc]

    def _learn(self, name: str, told: Told) -> None:
        self._polls.learn(WATCHED, self._account, name, told)

    def _move(self, name: str, file: _Found, told: Told) -> None:
        """What is done goes: read whole, and of lines, which may still grow, old enough."""
        is_done = "offset" not in told or (told["offset"] == file.sign[1] and file.age_s > SETTLED_S)
        if self._move_to is None or not is_done or told.get("damaged"):
            return
        target, number = self._move_to / name, 0
        while target.exists():
            number += 1
            target = self._move_to / f"{name}.{number}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file.path, target)


def _look_at(path: Path) -> _Found:
    stats = [file.stat() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    sign = [number for one in stats for number in (one.st_ino, one.st_size, one.st_mtime_ns)]
    return _Found(path, sign, time.time() - max(one.st_mtime for one in stats))


def _whole_lines(path: Path, offset: int) -> bytes:
    """Lines from here on, a portion at most unless one line is longer; nothing if none has ended."""
    content = b""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(PORTION):
            content += chunk
            if (end := content.rfind(b"\n") + 1) > 0:
                return content[:end]
    return b""


def _continues(path: Path, told: Told) -> bool:
    """Whether a file begins with what was read of one."""
    return "mark" in told and path.is_file() and _mark(path, told["offset"]) == told["mark"]


def _mark(path: Path, offset: int) -> str | None:
    """By what the first `offset` bytes of a file are known again; None if there are not so many."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < offset:
            return None
        ends = _read(file, 0, min(offset, _MARK)) + _read(file, max(0, offset - _MARK), min(offset, _MARK))
    return blake2b(ends, digest_size=16).hexdigest()


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _is_ended(path: Path) -> bool:
    """Whether a text's last line is; what is no plain text has none."""
    if path.is_dir():
        return True
    head, is_intact = peek(path, _MARK)
    with path.open("rb") as file:
        is_plain = is_intact and file.read(len(head)) == head and not head.startswith(b"Obj\x01")
        file.seek(-1, os.SEEK_END)
        return not is_plain or file.read(1) == b"\n"
