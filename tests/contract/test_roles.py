"""deploy/clickhouse/roles.sql, held against the views that there are: parsed, for the engine in reach has no users."""

import re
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sink.store import Store
from tests.contract.test_tables import asked

FILE = Path(__file__).parents[2] / "deploy" / "clickhouse" / "roles.sql"
TEXT = FILE.read_text()
PLAIN = "\n".join(line for line in TEXT.splitlines() if not line.startswith("--"))
TEMPLATES = "\n".join(line.removeprefix("--").strip() for line in TEXT.splitlines() if line.startswith("--"))
READ_AS_IT_IS = {"digests"}


def parsed(store: Store, statement: str) -> str:
    return str(store.client.query("SELECT formatQuery({text:String})", {"text": statement}).result_rows[0][0])


def statements(text: str) -> list[str]:
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def test_every_statement_is_one_to_the_engines_own_parser(database: Store) -> None:
    assert len(statements(PLAIN)) > 40
    for statement in statements(PLAIN):
        assert parsed(database, statement)
    templates = re.findall(r"^((?:CREATE (?:ROLE|ROW POLICY|USER)|GRANT) [^;]+);", TEMPLATES, re.MULTILINE)
    assert len(templates) > 8
    for statement in templates:
        assert parsed(database, statement)
    with pytest.raises(DatabaseError, match="Syntax error"):
        parsed(database, "GRANT SELECT ON seller_daily analyst")


def test_analysts_may_read_every_view_and_nothing_behind_it(database: Store) -> None:
    views = {
        name
        for (name,) in asked(
            database, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
        )
    }
    granted = re.findall(r"^GRANT (.+?) ON (\S+) TO analyst$", PLAIN.replace(";", ""), re.MULTILINE)
    assert {right for right, _ in granted} == {"SELECT"}
    assert {name for _, name in granted} == views | READ_AS_IT_IS
    by_others_rights = re.findall(
        r"^ALTER TABLE (\w+) MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;", PLAIN, re.MULTILINE
    )
    assert set(by_others_rights) == views


def test_policies_are_shown_for_every_view_that_has_accounts(database: Store) -> None:
    having = (
        "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'seller_id' AND table IN ({})"
    )
    names = ", ".join(f"'{name}'" for name in re.findall(r"^GRANT SELECT ON (\w+) TO analyst;", PLAIN, re.MULTILINE))
    with_accounts = {name for (name,) in asked(database, having.format(names))}
    told = TEMPLATES[TEMPLATES.index("Views with accounts: ") :].partition("CREATE ROW POLICY")[0]
    shown_otherwise = {"alert_silences", "metric_definitions"}  # globs; nobody's
    assert with_accounts - shown_otherwise <= set(re.findall(r"\w+", told))
