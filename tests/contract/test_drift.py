"""What `sellerpulse schema` finds and mends: files that are pending, and what was changed behind their back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sink.connect import connect
from sink.schema import DDL, migrate
from streams.commands.cli import cli


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `sellerpulse schema` on an embedded database of this version."""
    monkeypatch.chdir(tmp_path)
    connect("db").close()

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["schema", *words, "--db", "db"], standalone_mode=False)

    return run


def changed(*statements: str) -> None:
    store = connect("db")
    for statement in statements:
        store.client.command(statement)
    store.close()


def test_a_database_of_this_version_is_as_the_files_give_it(schema: Callable[..., Result]) -> None:
    done = schema("status")
    assert done.return_value == 0
    assert done.output.endswith("everything is as the files give it\n")
    assert "pending" not in done.output
    told = json.loads(schema("status", "--format", "json").output)
    assert list(told["files"]) == sorted(path.name for path in DDL.glob("*.sql"))
    assert told["drift"] == told["metrics_missing"] == []
    again = schema("upgrade")
    assert (again.return_value, again.output) == (0, "everything was as the files give it\n")


def test_what_changed_behind_our_back_is_told_and_mended_but_for_columns(schema: Callable[..., Result]) -> None:
    changed(
        "CREATE OR REPLACE VIEW alerts AS SELECT alert_id FROM stored_alerts",
        "DROP VIEW freshness",
        "ALTER TABLE stored_alerts COMMENT COLUMN rule 'Not the rule'",
        "ALTER TABLE digests MODIFY COMMENT 'No digests'",
        "ALTER TABLE stored_rejected_events MODIFY TTL toDateTime(time) + INTERVAL 90 DAY",  # of the settings
        "CREATE TABLE somebody_elses (n UInt8) ENGINE = MergeTree ORDER BY n",
        "ALTER TABLE receivers ADD COLUMN surplus UInt8",
        "ALTER TABLE consumer_lags MODIFY COLUMN lag UInt32",
    )
    mended = {
        "view alerts is not what the files say", "view freshness is missing",
        "table stored_alerts: the comment of column rule", "table digests: its comment",
    }  # fmt: skip
    left = {"table receivers: column surplus is too many", "table consumer_lags: column lag is no UInt64"}
    done = schema("status", "--format", "json")
    assert done.return_value == 1
    assert set(json.loads(done.output)["drift"]) == mended | left
    done = schema("upgrade")
    assert done.return_value == 1
    wanted = [f"mended {what}" for what in mended] + [f"LEFT {what}" for what in left]
    assert sorted(done.output.splitlines()) == sorted(wanted)
    assert set(json.loads(schema("status", "--format", "json").output)["drift"]) == left


def test_an_earlier_version_is_pending_and_upgraded(schema: Callable[..., Result], tmp_path: Path) -> None:
    later = shutil.copytree(DDL, tmp_path / "ddl")
    (later / "900_later.sql").write_text(
        "CREATE TABLE later (n UInt8 COMMENT 'A number') ENGINE = MergeTree ORDER BY n COMMENT 'Of a later version';\n"
    )
    store = connect("db")
    migrate(store.client, ddl=later)
    store.client.command("DROP TABLE later")
    store.client.command("DELETE FROM schema_versions WHERE name IN ('900_later.sql', '009_analysts.sql')")
    store.client.command("DROP VIEW latest_days")
    store.client.command("ALTER TABLE stored_seller_daily DROP COLUMN cs_running_score")
    store.close()
    told = json.loads(schema("status", "--format", "json").output)
    assert [name for name, at in told["files"].items() if at is None] == ["009_analysts.sql"]
    assert told["metrics_missing"] == ["cs_running_score"]
    done = schema("upgrade")
    assert done.return_value == 0
    assert done.output.splitlines()[:2] == ["applied 009_analysts.sql", "applied a column for cs_running_score"]
    assert schema("status").return_value == 0
