"""A database of an earlier schema, upgraded in place by later files and a longer catalogue; killed anywhere."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from schemas.errors import ConfigurationError
from sink.connect import connect
from sink.schema import DDL, migrate
from streams.core.metrics import METRICS
from tests.integration.program import assert_same, run, succeed
from tests.integration.served import Served, serving

ORDERS = "event_id, seller_id, marketplace_id, event_time, order_id, kind, channel"
LATER = {
    "900_channels.sql": f"""
-- A column more, a table, and a view that shows the column.
ALTER TABLE stored_order_events ADD COLUMN channel String DEFAULT 'web' COMMENT 'Where it was sold';
CREATE TABLE channels (
    channel String COMMENT 'Its name'
) ENGINE = ReplacingMergeTree ORDER BY channel COMMENT 'Where things are sold';
CREATE VIEW order_events {{like stored_order_events}}
AS SELECT {ORDERS} FROM stored_order_events FINAL
COMMENT 'An earlier thought';
""",
    "901_orders.sql": f"""
CREATE VIEW order_events {{like stored_order_events}}
AS SELECT {ORDERS}, source FROM stored_order_events FINAL
COMMENT 'A later thought';
""",
}
NEW_METRIC = METRICS[-2].name  # that the old database does not have, nor its views
LATEST = "SELECT * EXCEPT (latest) FROM stored_seller_daily WHERE latest"


class Killed(Exception):
    """Instead of what a process does after `kill -9`."""


class Mortal:
    """A client that does so many statements that write, and no more; before the last one something else happens."""

    def __init__(self, client: Client, statements: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        self._client, self._left, self._meanwhile = client, statements, meanwhile

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in ("command", "insert"):
            return call

        def until_killed(*words: Any, **named: Any) -> Any:
            if self._left == 0:
                raise Killed
            if self._left == 1:
                self._meanwhile()
            self._left -= 1
            return call(*words, **named)

        return until_killed


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our DDL and two files more."""
    folder: Path = shutil.copytree(DDL, tmp_path_factory.mktemp("later") / "ddl")
    for name, text in LATER.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A database that a replay has filled, served."""
    folder = tmp_path_factory.mktemp("upgrade")
    succeed(folder, "simulate", "--sellers", "6", "--days", "50", "--events", "3000", "-o", "events.jsonl")
    succeed(folder, "replay", "events.jsonl", "--db", "db")
    with serving(folder / "db") as served:
        yield served


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    """For names that nobody has yet."""
    return count()


@pytest.fixture
def old(server: Served, numbers: Iterator[int]) -> Iterator[Callable[[], Client]]:
    """Makes databases with all that the replay wrote, of a program that knew one metric less."""
    clients: list[Client] = []

    def make() -> Client:
        name = f"old_{next(numbers)}"
        client = connect(f"{server.url}/{name}").client
        clients.append(client)
        for table in stored(client):
            if table != "schema_versions":
                client.command(f"INSERT INTO {table} SELECT * FROM sellerpulse.{table}")
        shown = f"SELECT * EXCEPT ({NEW_METRIC}) FROM stored_seller_daily FINAL"
        for view in ("seller_daily", "seller_current"):
            client.command(f"CREATE OR REPLACE VIEW {view} AS {shown}")
        client.command("DROP VIEW latest_days")
        for table in ("stored_seller_daily", "stored_seller_current"):
            client.command(f"ALTER TABLE {table} DROP COLUMN {NEW_METRIC}")
        client.command(f"CREATE MATERIALIZED VIEW latest_days TO stored_seller_current AS {LATEST}")
        return client

    yield make
    for client in clients:
        client.close()


def stored(client: Client) -> list[str]:
    """The tables that hold something."""
    query = (
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name"
    )
    return [row[0] for row in client.query(query).result_rows]


def columns(client: Client, table: str) -> list[str]:
    return [row[0] for row in client.query(f"DESCRIBE TABLE {table}").result_rows]


def rows(client: Client, table: str, names: list[str]) -> str:
    """All rows of a table."""
    return client.raw_query(f"SELECT {', '.join(names)} FROM {table} FINAL ORDER BY ALL", fmt="TSV").decode(
        "latin-1"
    )  # digests are bytes


def everything(client: Client) -> dict[str, tuple[list[str], str]]:
    """Columns and rows of all tables but the one that an upgrade writes to."""
    tables = {table: columns(client, table) for table in stored(client) if table != "schema_versions"}
    return {table: (names, rows(client, table, names)) for table, names in tables.items()}


def assert_upgraded(client: Client, before: dict[str, tuple[list[str], str]], later: Path) -> None:
    for table, (names, wanted) in before.items():
        assert_same(rows(client, table, names), wanted)
    assert columns(client, "order_events")[-2:] == ["channel", "source"]
    assert columns(client, "channels") == ["channel"]
    for table in ("seller_daily", "seller_current"):
        assert columns(client, table)[3:-1] == [metric.name for metric in METRICS]
    versions = client.query("SELECT name FROM schema_versions FINAL ORDER BY name").result_rows
    assert [row[0] for row in versions] == sorted(path.name for path in later.iterdir())
    every = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    assert not [row[0] for row in every if row[0].startswith(("_tmp", ".tmp"))]


def test_killed_after_any_statement_an_upgrade_is_run_again_and_every_row_is_there(
    old: Callable[[], Client], later: Path
) -> None:
    for statements in count():
        client = old()
        before = everything(client)
        assert len(before["stored_order_events"][1].splitlines()) > 1000
        assert len(before["stored_seller_daily"][1].splitlines()) > 300
        try:
            migrate(cast("Client", Mortal(client, statements)), ddl=later)
            finished = True
        except Killed:
            finished = False
        migrate(client, ddl=later)
        assert_upgraded(client, before, later)
        if finished:
            break
    assert statements >= 8


def test_changes_from_before_there_was_muting_are_muted(server: Served, tmp_path: Path) -> None:
    earlier = shutil.copytree(DDL, tmp_path / "ddl")
    for file in earlier.glob("*.sql"):
        if file.name >= "005":
            file.unlink()
    with server.client() as any_database:
        any_database.command("CREATE DATABASE before_muting")
    with server.client(database="before_muting") as client:
        migrate(client, ddl=earlier)
        client.command("INSERT INTO stored_alert_history (alert_id, state) VALUES ('a', 'firing')")
        migrate(client)
        assert client.query("SELECT alert_id, state, muted FROM alert_history").result_rows == [("a", "firing", 1)]


def test_the_latest_day_has_a_metric_that_is_new_as_soon_as_it_is_computed(old: Callable[[], Client]) -> None:
    client = old()
    migrate(client)
    columns = f"seller_id, marketplace_id, day, {NEW_METRIC}, version, latest"
    for day in (1, 2):
        client.command(
            f"INSERT INTO stored_seller_daily ({columns}) VALUES ('new', 'M', '2100-01-0{day}', {day}, 1, 1)"
        )
    for view in ("seller_current", "seller_daily WHERE day > '2100-01-01'"):
        shown = f"SELECT {NEW_METRIC} FROM (SELECT * FROM {view}) WHERE seller_id = 'new'"
        assert client.query(shown).result_rows == [(2,)]


def test_two_programs_upgrade_at_once(old: Callable[[], Client], later: Path, server: Served) -> None:
    client = old()
    before = everything(client)
    name = client.command("SELECT currentDatabase()")
    with server.client(database=name) as other, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(migrate, each, ddl=later) for each in (client, other)]:
            done.result()
    assert_upgraded(client, before, later)


@pytest.mark.parametrize("statements", [3, 5, 7])
def test_one_that_is_overtaken_and_then_killed_undoes_nothing(
    old: Callable[[], Client], later: Path, server: Served, statements: int
) -> None:
    client = old()
    before = everything(client)
    with server.client(database=client.command("SELECT currentDatabase()")) as other:
        mortal = Mortal(client, statements, meanwhile=lambda: migrate(other, ddl=later))
        with pytest.raises(Killed):
            migrate(cast("Client", mortal), ddl=later)
    assert_upgraded(client, before, later)


def test_an_upgraded_database_is_left_alone(old: Callable[[], Client], later: Path) -> None:
    client = old()
    migrate(client, ddl=later)
    migrate(cast("Client", Mortal(client, 1)), ddl=later)  # asks for the table of versions, and that is all


def test_a_database_of_a_newer_program_is_refused_in_one_line(
    old: Callable[[], Client], later: Path, server: Served, tmp_path: Path
) -> None:
    client = old()
    migrate(client, ddl=later)
    with pytest.raises(ConfigurationError, match="newer"):
        migrate(client)
    url = f"{server.url}/{client.command('SELECT currentDatabase()')}"
    refused = run(tmp_path, "rebuild", "--db", url)
    assert (refused.returncode, refused.stderr) == (
        2, f"sellerpulse: {url} was written by a newer sellerpulse than this one: it has 901_orders.sql\n",
    )  # fmt: skip
