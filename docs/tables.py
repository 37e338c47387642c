"""Every table and view that analysts rely on, with the comments that the engine itself has of them."""

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from docs.index import section
from docs.markdown import Undocumented, put, table, text
from streams.core.metrics import METRIC_BY_NAME

_CREATED = re.compile(r"^CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (\w+)", re.MULTILINE)

_TABLES = """SELECT name, comment, engine = 'View' FROM system.tables
    WHERE database = currentDatabase() AND name NOT LIKE '.inner%'"""
_COLUMNS = """SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase()
    ORDER BY table, position"""


class Column(NamedTuple):
    """A column as DESCRIBE TABLE tells it."""

    name: str
    type: str
    comment: str


class Table(NamedTuple):
    """A table or view."""

    name: str
    comment: str
    is_view: bool
    columns: tuple[Column, ...]


def filled(markdown: str) -> str:
    """The page with the views, and the tables that README has for analysts; beneath them the sink's own by name."""
    public = section("Tables")
    shown = [each for each in schema() if each.is_view or f"`{each.name}`" in public]
    own = [each for each in schema() if each not in shown]
    beneath = table(("table", "what"), ((f"`{each.name}`", text(each.comment)) for each in own))
    parts = [_told(each, shown[:i]) for i, each in enumerate(shown)]
    return put(
        markdown, "\n\n".join((*parts, "## Beneath\n\nThe sink's own; they may change with any version.", beneath))
    )


def _told(what: Table, before: list[Table]) -> str:
    """A section; the same columns are not told twice."""
    head = f"## `{what.name}`\n\n{text(what.comment)}.\n\n"
    for other in before:
        if other.columns == what.columns:
            return f"{head}Its columns are those of [`{other.name}`](#{other.name})."
    return head + table(
        ("column", "type", "what"), ((_name(each), f"`{each.type}`", text(each.comment)) for each in what.columns)
    )


def _name(column: Column) -> str:
    linked = column.name in METRIC_BY_NAME and column.comment.startswith(METRIC_BY_NAME[column.name].formula)
    return f"[`{column.name}`](metrics.md#{column.name})" if linked else f"`{column.name}`"


@cache
def schema() -> tuple[Table, ...]:
    """All tables and views of a new database, in the order of `sink/ddl`. Raises Undocumented if any has no comment.

    Opens an embedded database: in a process that has no other.
    """
    from sink.connect import connect
    from sink.schema import DDL

    with TemporaryDirectory() as folder:
        store = connect(str(Path(folder) / "db"))
        try:
            tables = store.client.query(_TABLES).result_rows
            rows = store.client.query(_COLUMNS).result_rows
        finally:
            store.close()
    columns: dict[str, list[Column]] = {}
    for name, *column in rows:
        columns.setdefault(name, []).append(Column(*column))
    files = "\n".join(path.read_text("utf-8") for path in sorted(DDL.glob("*.sql")))
    order = list(dict.fromkeys(_CREATED.findall(files)))
    found = [Table(name, comment, bool(is_view), tuple(columns[name])) for name, comment, is_view in tables]
    found.sort(key=lambda each: order.index(each.name) if each.name in order else -1)
    check(found)
    return tuple(found)


def check(found: list[Table]) -> None:
    """Raises Undocumented for what has no comment."""
    for each in found:
        for name, comment in [(each.name, each.comment), *((f"{each.name}.{c.name}", c.comment) for c in each.columns)]:
            if not comment:
                raise Undocumented(f"{name} has no COMMENT: say it in sink/ddl")
