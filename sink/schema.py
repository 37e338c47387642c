"""Applies the DDL: each numbered file of `sink/ddl` once, in order, noted in `schema_versions`."""

import re
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from streams.core.metrics import METRICS

DDL = Path(__file__).parent / "ddl"
_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_versions (
    name String COMMENT 'A file of sink/ddl',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When all of it was applied'
) ENGINE = ReplacingMergeTree ORDER BY name COMMENT 'The DDL that this database has'"""


def migrate(client: Client) -> None:
    """Bring the database to the newest schema. Interrupted or run by two at once, it can be run again."""
    client.command(_VERSIONS)
    applied = {row[0] for row in client.query("SELECT name FROM schema_versions").result_rows}
    for path in sorted(DDL.glob("*.sql")):
        if path.name not in applied:
            for statement in _statements(path):
                client.command(_rendered(client, statement))
            client.insert("schema_versions", [[path.name]], column_names=["name"])


def _statements(path: Path) -> list[str]:
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _rendered(client: Client, statement: str) -> str:
    metrics = ",\n    ".join(f"{m.name} {m.type} COMMENT {_quoted(f'{m.formula} [{m.unit}]')}" for m in METRICS)
    statement = statement.rstrip(";").replace("{metrics}", metrics)
    statement = statement.replace("{metric_names}", ", ".join(metric.name for metric in METRICS))
    statement = re.sub(r"^CREATE (TABLE|VIEW) ", r"CREATE \1 IF NOT EXISTS ", statement)
    return re.sub(r"\{like (\w+)\}", lambda found: _view_columns(client, statement, found[1]), statement)


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
    return "(" + ", ".join(f"`{row[0]}` {row[1]} COMMENT {_quoted(comments[row[0]])}" for row in shown) + ")"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
