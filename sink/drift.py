"""Whether a database's tables and views are what the files of `sink/ddl` and the catalogue give.

What they give is asked of the engine itself, in a database beside it that is made for that and dropped: engines differ
in how they write a type or a query. How long rows are kept is of the settings, and who may read of the server's
administrator: neither is looked at. Tables that are none of ours are left alone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from sink.schema import DDL, migrate, quoted

_TABLES = "SELECT name, engine, engine_full, as_select, comment, create_table_query FROM system.tables"
_COLUMNS = "SELECT table, name, type, default_kind, default_expression, comment FROM system.columns"
_TTL = re.compile(r" TTL .+?(?= SETTINGS |$)")
_SECURITY = re.compile(r" (?:DEFINER = \S+ )?SQL SECURITY \w+")


class Difference(NamedTuple):
    """Something that is not as it should be, in words, and the statement that mends it; None: no statement should."""

    what: str
    mended_by: str | None


class _Table(NamedTuple):
    engine: str
    engine_full: str
    as_select: str
    comment: str
    create: str
    columns: dict[str, tuple[str, ...]]  # name -> type, default, its comment last

    @property
    def is_view(self) -> bool:
        return self.engine == "View"


def differences(client: Client, ddl: Path = DDL) -> list[Difference]:
    """What of the database is not what these files give, all of which it has. Blocks for a second."""
    found = _described(client)
    with _beside(client):
        migrate(client, ddl=ddl)
        wanted = _described(client)
    return [each for name, table in wanted.items() for each in _compared(name, found.get(name), table)]


def _compared(name: str, found: _Table | None, wanted: _Table) -> Iterator[Difference]:
    kind = "view" if wanted.is_view else "table"
    if found is None:
        yield Difference(f"{kind} {name} is missing", wanted.create)
    elif wanted.is_view:
        if found._replace(create="") != wanted._replace(create=""):
            anew = wanted.create.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1) if found.is_view else None
            yield Difference(f"view {name} is not what the files say", anew)
    elif wanted.engine == "MaterializedView":  # its columns are of no account: it fills a table's
        if (found.as_select, found.comment) != (wanted.as_select, wanted.comment):
            yield Difference(f"materialized view {name} is not what the files say", None)
    else:
        yield from _compared_tables(name, found, wanted)


def _compared_tables(name: str, found: _Table, wanted: _Table) -> Iterator[Difference]:
    if found.engine_full != wanted.engine_full:
        yield Difference(f"table {name} has the engine {found.engine_full}, should have {wanted.engine_full}", None)
    if found.comment != wanted.comment:
        yield Difference(f"table {name}: its comment", f"ALTER TABLE {name} MODIFY COMMENT {quoted(wanted.comment)}")
    for column in found.columns.keys() - wanted.columns.keys():
        yield Difference(f"table {name}: column {column} is too many", None)
    for column, (*shape, comment) in wanted.columns.items():
        if column not in found.columns:
            yield Difference(f"table {name}: column {column} is missing", None)
        elif found.columns[column][:-1] != tuple(shape):
            yield Difference(f"table {name}: column {column} is no {' '.join(filter(None, shape))}", None)
        elif found.columns[column][-1] != comment:
            mend = f"ALTER TABLE {name} COMMENT COLUMN {quote_identifier(column)} {quoted(comment)}"
            yield Difference(f"table {name}: the comment of column {column}", mend)


def _described(client: Client) -> dict[str, _Table]:
    """Every table and view, without the name of the database."""
    here = str(client.command("SELECT currentDatabase()"))
    where = "WHERE database = currentDatabase() ORDER BY 1, 2"
    columns: dict[str, dict[str, tuple[str, ...]]] = {}
    for table, name, *rest in client.query(f"{_COLUMNS} {where}").result_rows:
        columns.setdefault(str(table), {})[str(name)] = tuple(rest)

    def unplaced(text: Any) -> str:
        for name in (f"`{here}`.", f"{here}."):
            text = str(text).replace(name, "")
        return _SECURITY.sub("", _TTL.sub("", text))

    tables = client.query(f"{_TABLES} {where}").result_rows
    return {name: _Table(*map(unplaced, rest), columns.get(name, {})) for name, *rest in tables}  # type: ignore[call-arg,arg-type]


@contextmanager
def _beside(client: Client) -> Iterator[None]:
    """Within the block the client is in a new database."""
    here = str(client.command("SELECT currentDatabase()"))
    beside = f"{here}_as_it_should_be_{uuid4().hex[:8]}"
    client.command(f"CREATE DATABASE {quote_identifier(beside)}")
    client.database = beside
    try:
        yield
    finally:
        client.database = here
        client.command(f"DROP DATABASE {quote_identifier(beside)} SYNC")
