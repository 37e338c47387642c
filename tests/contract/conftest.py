"""The stores under contract. `served`, chDB behind `sellerpulse clickhouse`, stands in for a ClickHouse server."""

from collections.abc import Callable, Iterator
from typing import cast

import pytest

from sink.connect import connect
from sink.store import Store
from tests.contract.tables import ClickHouseTables, Opened, Tables
from tests.integration.served import serving
from tests.memory import MemoryStore

Opening = Callable[[], Opened]


@pytest.fixture(scope="package", params=["embedded", "served"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of each kind that is a database."""
    yield from _database(request.param, tmp_path_factory)


@pytest.fixture(scope="package", params=["memory", "embedded", "served"])
def opening(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opening]:
    """Gives an empty store, of each kind."""
    if request.param == "memory":
        yield _in_memory
    else:
        for store in _database(request.param, tmp_path_factory):
            yield lambda: _emptied(store)  # noqa: B023  # there is one


@pytest.fixture
def opened(opening: Opening) -> Opened:
    return opening()


@pytest.fixture
def store(opened: Opened) -> Store:
    return opened.store


@pytest.fixture
def tables(opened: Opened) -> Tables:
    return opened.tables


def _database(kind: str, folders: pytest.TempPathFactory) -> Iterator[Store]:
    folder = folders.mktemp(kind) / "db"
    if kind == "embedded":
        store = connect(str(folder))
        yield store
        store.close()
        return
    with serving(folder) as server:
        store = connect(f"{server.url}/sellerpulse")
        yield store
        store.close()


def _in_memory() -> Opened:
    memory = MemoryStore()
    return Opened(cast("Store", memory), memory)


def _emptied(store: Store) -> Opened:
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for (name,) in store.client.query(tables).result_rows:
        if name != "schema_versions":
            store.client.command(f"TRUNCATE TABLE {name}")
    return Opened(store, ClickHouseTables(store))
