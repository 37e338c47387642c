"""Brings a database to this program's schema: the numbered files of `sink/ddl`, and a column for every metric.

A file is applied once, in order, and then noted in `schema_versions`. A later one may alter tables, and changes a view
by saying it anew. Every statement may be repeated: interrupted between any two, or run by two at once, all of it can be
run again. No stored row is touched.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.errors import ConfigurationError
from streams.core.metrics import METRICS, Metric

DDL = Path(__file__).parent / "ddl"
_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_versions (
    name String COMMENT 'A file of sink/ddl',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When all of it was applied'
) ENGINE = ReplacingMergeTree ORDER BY name COMMENT 'The DDL that this database has'"""
_VIEW = re.compile(r"CREATE (?:OR REPLACE )?VIEW (\w+)")
_REPEATABLE = (
    (re.compile(r"^CREATE (TABLE|MATERIALIZED VIEW) (?!IF )"), r"CREATE \1 IF NOT EXISTS "),
    (re.compile(r"\bADD COLUMN (?!IF )"), "ADD COLUMN IF NOT EXISTS "),
    (re.compile(r"\bDROP (COLUMN|TABLE|VIEW) (?!IF )"), r"DROP \1 IF EXISTS "),
)


def migrate(client: Client, *, place: str = "the database", ddl: Path = DDL) -> None:
    """Bring the database to the schema of these files and of the catalogue.

    Raises ConfigurationError, and changes nothing, if a newer program had it.
    """
    client.command(_VERSIONS)
    applied = [row[0] for row in client.query("SELECT name FROM schema_versions").result_rows]
    refuse_newer(place, applied, ddl)
    files = {path.name: _statements(path) for path in sorted(ddl.glob("*.sql"))}
    latest = {name[1]: statement for file in files.values() for statement in file if (name := _VIEW.match(statement))}
    _add_metrics(client)  # first, since views may be waiting for them
    for file, statements in files.items():
        if file not in applied:
            for statement in statements:
                client.command(_rendered(client, statement, replace=statement in latest.values()))
            client.insert("schema_versions", [[file]], column_names=["name"])
    for view, statement in latest.items():
        if "{metric_names}" in statement and _metrics_missing(client, view):
            client.command(_rendered(client, statement, replace=True))


def applied(client: Client, *, place: str = "the database", ddl: Path = DDL) -> dict[str, datetime | None]:
    """The files, each with when all of it was applied here, in UTC; None: it was not yet.

    Raises ConfigurationError if a newer program had the database.
    """
    rows = client.query("SELECT name, max(applied_at) FROM schema_versions GROUP BY name").result_rows
    known: dict[str, datetime] = dict(rows)  # type: ignore[arg-type]  # rows of two
    refuse_newer(place, known, ddl)
    return {path.name: known.get(path.name) for path in sorted(ddl.glob("*.sql"))}


def metrics_missing(client: Client) -> list[str]:
    """The metrics that have no column yet."""
    return [metric.name for metric in _metrics_missing(client, "stored_seller_daily")]


def refuse_newer(place: str, applied: Iterable[str], ddl: Path = DDL) -> None:
    """Raises ConfigurationError if one of the files that were applied there is none of ours."""
    if unknown := sorted({*applied} - {path.name for path in ddl.glob("*.sql")}):
        raise ConfigurationError(f"{place} was written by a newer sellerpulse than this one: it has {unknown[-1]}")


def _add_metrics(client: Client) -> None:
    """Columns of metrics that are newer than the table. They are right when the rows have been computed anew."""
    for table in ("stored_seller_daily", "stored_seller_current"):
        for metric in _metrics_missing(client, table):
            client.command(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {_column(metric)}")


def _metrics_missing(client: Client, table: str) -> list[Metric]:
    """The metrics that have no column in a table or view; none if that does not exist."""
    query = "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
    columns = {row[0] for row in client.query(query, parameters={"table": table}).result_rows}
    return [metric for metric in METRICS if columns and metric.name not in columns]


def _statements(path: Path) -> list[str]:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _rendered(client: Client, statement: str, *, replace: bool) -> str:
    """The statement as it can be repeated. A view takes its predecessor's place only if no later file says it anew."""
    text = statement.rstrip(";").replace("{metrics}", ",\n    ".join(map(_column, METRICS)))
    text = text.replace("{metric_names}", ", ".join(metric.name for metric in METRICS))
    text = _VIEW.sub(r"CREATE OR REPLACE VIEW \1" if replace else r"CREATE VIEW IF NOT EXISTS \1", text)
    for pattern, repeatable in _REPEATABLE:
        text = pattern.sub(repeatable, text)
    return re.sub(r"\{like (\w+)\}", lambda found: _view_columns(client, text, found[1]), text)


def _column(metric: Metric) -> str:
    return f"{metric.name} {metric.type} COMMENT {quoted(f'{metric.formula} [{metric.unit}]')}"


def _view_columns(client: Client, statement: str, table: str) -> str:
    """The columns of a view's SELECT, each with the comment that its namesake in `table` has."""
    select = statement.partition("\nAS ")[2].rpartition("\nCOMMENT ")[0]
    shown: Any = client.query(f"DESCRIBE TABLE ({select})").result_rows
    comments: dict[str, str] = dict(
        client.query(  # type: ignore[arg-type]  # rows of two
            "SELECT name, comment FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
            parameters={"table": table},
        ).result_rows
    )
    return "(" + ", ".join(f"`{row[0]}` {row[1]} COMMENT {quoted(comments[row[0]])}" for row in shown) + ")"


def quoted(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
