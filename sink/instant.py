"""The folder of an embedded database as it is at one instant, copied while another process is at work on it.

Place in the flow: under `backup`. Asks nobody: it needs no help of the process that holds the folder and takes no lock,
so it does not matter whether that one is at work, hangs or has died. The copy is what `kill -9` would have left of the
folder at that instant, which the engine, and everybody who writes through it, is made for. That is so because

- the engine writes a part of a table under another name, renames it into place before it answers the insert, and never
  changes it again; merging makes a new part, and leaves those that it replaces in place for eight minutes;
- parts are named for the inserts whose rows they hold. When two listings of all tables, one right after the other,
  tell of the same inserts, there was none in between, and so an instant of which the second tells all rows;
- the listed parts can be copied at leisure. If one is gone before its turn, the folder is listed anew, and what the
  copy has already is not copied again.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sink.embedded import MARKER

# Partition, first and last block, level, and the mutation it was rewritten by. One not ready yet begins "tmp_".
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_(\d+)(?:_(\d+))?")

Progress = Callable[[int, int], None]


class _Part(NamedTuple):
    """A part of a table, by its name; sorted, it comes before those that it was made from, by merging or mutation."""

    table: str
    partition: str
    first: int
    minus_last: int  # the blocks are those of the inserts
    minus_level: int
    minus_mutation: int
    name: str

    @property
    def place(self) -> str:
        return f"{self.table}/{self.name}"


def copy(folder: Path, target: Path, progress: Progress) -> None:
    """Copy to a new folder what a database's folder holds at one instant after the call; `progress` hears of parts."""
    copied: set[_Part] = set()
    while True:
        parts, files = _at_an_instant(folder)
        for part in sorted(parts - copied):
            progress(len(copied & parts), len(parts))
            if _copy_part(folder / part.place, target / part.place):
                copied.add(part)
        if parts <= copied:
            break
    for part in copied - parts:  # of an instant before
        shutil.rmtree(target / part.place)
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)


def _at_an_instant(folder: Path) -> tuple[set[_Part], dict[str, bytes]]:
    """The parts that hold all rows of one instant; and, of the next, the other files: definitions, all small."""
    while True:
        with suppress(FileNotFoundError):
            tables = [str(table.relative_to(folder)) for table in folder.glob("store/*/*")]
            once, again = ([os.listdir(folder / table) for table in tables] for _ in range(2))  # noqa: PTH208  # quick
            parts = _active(tables, again)
            if _blocks(parts) == _blocks(_active(tables, once)):
                return parts, dict(_files(folder, tables))


def _active(tables: Sequence[str], listed: Sequence[Iterable[str]]) -> set[_Part]:
    """The parts that no other was made from: ranges of blocks lie in one another or apart."""
    every = []
    for table, names in zip(tables, listed, strict=True):
        for found in filter(None, map(_PART.fullmatch, names)):
            first, last, level, mutation = (int(number or 0) for number in found.groups()[1:])
            every.append(_Part(table, found[1], first, -last, -level, -mutation, found[0]))
    active: list[_Part] = []
    for part in sorted(every):
        if not active or part[:2] != active[-1][:2] or part.first > -active[-1].minus_last:
            active.append(part)
    return set(active)


def _blocks(parts: Iterable[_Part]) -> list[tuple[str, str, int, int]]:
    """The inserts whose rows there are, as ranges of blocks: the same whatever was merged.

    Their last one would not do: of two inserts at once the earlier may come into place later.
    """
    ranges: list[tuple[str, str, int, int]] = []
    for part in sorted(parts):
        if ranges and ranges[-1][:2] == part[:2] and ranges[-1][3] + 1 == part.first:
            ranges[-1] = (*ranges[-1][:3], -part.minus_last)
        else:
            ranges.append((part.table, part.partition, part.first, -part.minus_last))
    return ranges


def _files(folder: Path, tables: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Every file that is no part's, by its place in the folder."""
    yield MARKER, (folder / MARKER).read_bytes()
    for place in ("metadata", *tables):
        for entry in os.scandir(folder / place):
            if entry.is_file() and not entry.name.endswith(".tmp"):
                yield f"{place}/{entry.name}", Path(entry.path).read_bytes()


def _copy_part(part: Path, target: Path) -> bool:
    """Copy a part; False, and no copy, if it was removed meanwhile: merging has put its rows elsewhere."""
    with suppress(FileNotFoundError):
        copy_tree(part, target)
        if part.is_dir():  # it loses its name first, its files then
            return True
    shutil.rmtree(target, ignore_errors=True)
    return False


def copy_tree(source: Path, target: Path, copy: Callable[[str, Path], object] = shutil.copy) -> None:
    """Copy a folder's files, and those of folders in it, each by `copy`."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(source):
        if entry.is_dir():
            copy_tree(Path(entry.path), target / entry.name, copy)
        else:
            copy(entry.path, target / entry.name)
