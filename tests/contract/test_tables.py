"""What analysts rely on, of every database: names, columns, types, comments; and whose fault an error is."""

from pathlib import Path
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.errors import SinkRejected, Unavailable
from sink.connect import connect
from sink.schema import migrate
from sink.store import Store
from streams.core.metrics import METRICS
from tests.integration.served import serving


def asked(store: Store, query: str) -> list[Any]:
    return list(store.client.query(query).result_rows)


def columns(store: Store, table: str) -> dict[str, str]:
    where = f"database = currentDatabase() AND table = '{table}'"
    return dict(asked(store, f"SELECT name, type FROM system.columns WHERE {where} ORDER BY position"))


def test_every_table_and_column_says_what_it_is(database: Store) -> None:
    tables = asked(database, "SELECT name, comment FROM system.tables WHERE database = currentDatabase()")
    fields = asked(database, "SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()")
    assert len(tables) > 40
    assert {"negative_monthly", "case_credits", "outreach_candidates", "metric_definitions", "freshness"} <= set(
        dict(tables)
    )
    assert {row[0] for row in fields} == {row[0] for row in tables}
    assert [row for row in tables + fields if not row[-1].strip()] == []


def test_seller_daily_has_the_columns_and_types_of_the_catalogue(database: Store) -> None:
    expected = {"seller_id": "LowCardinality(String)", "marketplace_id": "LowCardinality(String)", "day": "Date"}
    expected |= {metric.name: metric.type for metric in METRICS} | {"computed_at": "DateTime64(3, 'UTC')"}
    for view in ("seller_daily", "seller_current"):
        assert list(columns(database, view).items()) == list(expected.items())


def test_types_are_those_of_the_contract(database: Store) -> None:
    for name, type_ in columns(database, "seller_daily").items():
        if name.endswith("_points_90d"):
            assert type_ == "Int64"
        elif "rate" in name or "per_" in name or "average" in name or name.endswith("score"):
            assert type_ == "Nullable(Float64)"
        elif name in ("day", "cs_week"):
            assert type_ in ("Date", "Nullable(Date)")
        elif name in ("last_event_time", "computed_at"):
            assert type_ == "DateTime64(3, 'UTC')"
        elif name not in ("seller_id", "marketplace_id", "cs_band"):
            assert type_.startswith("UInt")


@pytest.mark.parametrize("topic, view", [("orders", "order"), ("feedback", "feedback"), ("surveys", "survey")])
def test_event_tables_have_the_fields_of_their_topic(database: Store, topic: Any, view: str) -> None:
    fields = [field["name"] for field in Codec().newest[topic]["fields"]]
    assert list(columns(database, f"{view}_events")) == [*fields, "first_seen_at"]


def test_the_ddl_is_applied_once(database: Store) -> None:
    before = asked(database, "SELECT name, applied_at FROM schema_versions FINAL ORDER BY name")
    migrate(database.client)
    assert asked(database, "SELECT name, applied_at FROM schema_versions ORDER BY name") == before
    assert [name for name, _ in before] == sorted(path.name for path in Path("sink/ddl").glob("*.sql"))


def test_a_statement_that_is_refused_is_our_bug_and_not_shown(database: Store) -> None:
    with pytest.raises(SinkRejected) as raised:
        database.query_arrow("SELECT no_such_column FROM seller_daily WHERE seller_id = 'secret'")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server:
        store = connect(f"{server.url}/sellerpulse")
        server.process.kill()
        server.process.wait()
        with pytest.raises(Unavailable):
            store.move_as_of(1)
        with pytest.raises(Unavailable):
            store.add_events("orders", [])
        store.close()
