"""Backups of an embedded database, taken while another process is at work on it, and databases made of them.

Place in the flow: beside it. How a copy comes to be that of one instant is `instant`'s business; what a backup says of
itself, and that the engine has looked at it before it gets its name, is done here.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec.json
from msgspec import MsgspecError, Struct
from msgspec.json import decode, encode

from schemas.errors import ConfigurationError, SellerpulseError
from sink.embedded import MARKER, Folder
from sink.instant import Progress, copy, copy_tree
from sink.loading import EVENT_TABLES
from sink.schema import refuse_newer

MANIFEST = "backup.json"
DATA = "database"  # the folder in a backup that is the database's
PARTIAL = ".partial"  # added to the name of what is not whole yet


class Contents(Struct, frozen=True):
    """What a database holds: the files of its DDL, the as-of day, and each table's rows, what is stored twice once."""

    schema: list[str]
    as_of: date | None
    rows: dict[str, int]

    def summary(self) -> str:
        """In words."""
        events = sum(self.rows.get(table, 0) for table in EVENT_TABLES.values())
        return f"{events:,} events, rows {f'up to {self.as_of}' if self.as_of else 'of no day yet'}"


class Manifest(Struct, frozen=True):
    """What a backup says of itself. All that was durable when it `began` is in it."""

    program: str
    began: datetime
    databases: dict[str, Contents]

    def moment(self) -> str:
        """When it began, in words."""
        return f"{self.began:%Y-%m-%d %H:%M:%S} UTC"


def back_up(folder: Path, target: Path, program: str, progress: Progress) -> Manifest:
    """Copy the database in this folder, whoever holds it, to a new folder `target`; `progress` hears of parts.

    Raises ConfigurationError for a wrong place, SellerpulseError if the database is damaged or the copy fails.
    """
    if not (folder / MARKER).is_file():
        raise ConfigurationError(f"{folder} {'is no Sellerpulse database' if folder.exists() else 'does not exist'}")
    if target.exists():
        raise ConfigurationError(f"{target} exists: a backup takes a new name")
    with _in_the_making(target, mode=0o700) as partial:
        began = datetime.now(UTC)
        copy(folder, partial / DATA, progress)
        # The engine writes to what it opens: it is given a copy of the copy, of the same files where that can be.
        copy_tree(partial / DATA, partial / "opened", _link)
        manifest = Manifest(program, began, _contents(partial / "opened"))
        shutil.rmtree(partial / "opened")
        (partial / MANIFEST).write_bytes(msgspec.json.format(encode(manifest), indent=2))
    return manifest


def restore(source: Path, folder: Path) -> Manifest:
    """Make the database of a backup, in a folder that is new or empty, and see that it holds what the backup says.

    Raises ConfigurationError for a wrong place or a newer program's backup, SellerpulseError if it is damaged.
    """
    manifest = _manifest(source)
    for contents in manifest.databases.values():
        refuse_newer(str(source), contents.schema)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is not empty: give the name of a new folder")
    with _in_the_making(folder) as partial:
        copy_tree(source / DATA, partial, shutil.copy)
        if _contents(partial) != manifest.databases:
            raise SellerpulseError(f"{source} is damaged: it does not hold the rows that {MANIFEST} tells of")
    return manifest


def _manifest(source: Path) -> Manifest:
    if not (source / MANIFEST).is_file():
        raise ConfigurationError(f"{source} is no backup: it has no {MANIFEST}")
    try:
        return decode((source / MANIFEST).read_bytes(), type=Manifest)
    except (MsgspecError, UnicodeDecodeError) as wrong:
        raise ConfigurationError(f"{source} is no backup of ours: {MANIFEST}: {wrong}") from wrong


@contextmanager
def _in_the_making(target: Path, mode: int = 0o777) -> Iterator[Path]:
    """A folder that gets its name when all of it is on the disk. Nothing stays of one that fails, unless by kill -9."""
    partial = target.with_name(target.name + PARTIAL)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode)
    except FileExistsError:
        raise ConfigurationError(f"{partial} is in the way: unless a run is at work on it, remove it") from None
    except OSError as failed:
        raise ConfigurationError(f"{partial} cannot be made: {failed.strerror}") from failed
    try:
        yield partial
        os.sync()  # a power cut after the renaming must find the files
        partial.rename(target)
    except OSError as failed:
        shutil.rmtree(partial, ignore_errors=True)
        raise SellerpulseError(f"{failed.filename or target}: {failed.strerror}") from failed
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copy(source, target)


# --- the engine's word -----------------------------------------------------------------------------------------


def _contents(folder: Path) -> dict[str, Contents]:
    """What each database of a folder holds. Raises SellerpulseError if a part is not as it was written."""
    from chdb import ChdbError

    with Folder(folder) as opened:
        connection = opened.connect()

        def ask(query: str) -> list[list[Any]]:
            answer: bytes = connection.query(query, "JSONCompactEachRow").bytes() or b""
            return [json.loads(line) for line in answer.splitlines()]

        try:
            checked = [part for *part, fine, _ in ask("CHECK ALL TABLES") if not fine]
            if damaged := [*ask("SELECT database, table, name FROM system.detached_parts"), *checked]:
                raise SellerpulseError(f"{len(damaged)} parts are damaged, the first is {'.'.join(damaged[0])}")
            tables: dict[str, dict[str, str]] = {}
            for database, table, engine in ask(_TABLES):
                tables.setdefault(database, {})[table] = engine
            return {database: _contents_of(database, engines, ask) for database, engines in tables.items()}
        except (RuntimeError, ChdbError) as failed:
            raise SellerpulseError(f"the engine cannot read the copy: {str(failed).partition(chr(10))[0]}") from failed
        finally:
            connection.close()


_TABLES = """SELECT database, name, engine FROM system.tables
    WHERE engine LIKE '%MergeTree' AND database != 'system' ORDER BY database, name"""


def _contents_of(database: str, engines: dict[str, str], ask: Callable[[str], list[list[Any]]]) -> Contents:
    """Rows are counted as they are once all parts are merged, which goes on whenever a database is open."""

    def read(what: str, table: str) -> list[list[Any]]:
        return ask(f"SELECT {what} FROM `{database}`.`{table}`") if table in engines else []

    rows = {
        table: int(ask(f"SELECT count() FROM `{database}`.`{table}`{'' if engine == 'MergeTree' else ' FINAL'}")[0][0])
        for table, engine in engines.items()
    }
    days = [day for (day,) in read("max(day)", "as_of_days")] if rows.get("as_of_days") else []
    return Contents(
        schema=sorted({name for (name,) in read("name", "schema_versions")}),
        as_of=date.fromisoformat(days[0]) if days else None,
        rows=rows,
    )
