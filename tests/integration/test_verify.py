"""`sellerpulse verify` as people run it: rows that somebody changed are named cell by cell, and mended."""

import json
from pathlib import Path

import pytest

from sink.connect import connect
from tests.integration.program import DAILY, assert_same, run, serving, sql, succeed

ODD = "INSERT INTO stored_seller_daily SELECT * REPLACE ({}) FROM (SELECT * FROM stored_seller_daily FINAL WHERE {})"
LAST = "2025-06-30"  # of what is simulated
ACCOUNT = "(seller_id, marketplace_id) = (SELECT seller_id, marketplace_id FROM seller_current ORDER BY 1, 2 LIMIT 1)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of simulated events."""
    folder = tmp_path_factory.mktemp("verify")
    simulated = ("--sellers", "12", "--days", "60", "--events", "5000", "--seed", "5")
    succeed(folder, "simulate", *simulated, "-o", "events.jsonl")
    succeed(folder, "replay", "events.jsonl", "--db", "served")
    return folder


def change(folder: Path, *statements: str) -> None:
    """Make statements, as somebody with the right to write would."""
    with serving(folder) as database:
        store = connect(database.url("sellerpulse"))
        for statement in statements:
            store.client.command(statement)
        store.close()


def test_a_cell_that_somebody_changed_is_named_and_mended(folder: Path) -> None:
    rows = sql(folder / "served", DAILY.format(where=""))
    day = json.loads(rows.splitlines()[0])["day"]
    change(
        folder,
        ODD.format("orders_lifetime + 7 AS orders_lifetime, version + 1 AS version", f"{ACCOUNT} AND day = '{day}'"),
    )

    found = run(folder, "verify", "--db", "served")
    before = json.loads(rows.splitlines()[0])
    seller, market, orders = before["seller_id"], before["marketplace_id"], before["orders_lifetime"]
    named, total = found.stdout.splitlines()
    assert found.returncode == 1
    assert named == f"{seller!r} on {market!r}, {day}: orders_lifetime is {orders + 7}, should be {orders}"
    assert total.startswith("1 cells in 1 rows differ, 0 rows are missing and 0 too many, in 1 accounts; of ")
    status = json.loads(run(folder, "status", "--db", "served", "--format", "json").stdout)
    assert status["database"]["rows_differing"] == 1
    assert any("a check found to be other than their events give: 1" in problem for problem in status["problems"])

    mended = run(folder, "verify", "--repair", "--db", "served")
    assert (mended.returncode, mended.stdout.splitlines()[0]) == (0, named)
    assert_same(sql(folder / "served", DAILY.format(where="")), rows)
    assert succeed(folder, "verify", "--db", "served").startswith("every row is right: ")
    status = json.loads(run(folder, "status", "--db", "served", "--format", "json").stdout)
    assert status["database"]["rows_differing"] == 0
    assert not any("a check found" in problem for problem in status["problems"])
    assert status["database"]["rows_checked"] >= len(rows.splitlines())


def test_rows_that_are_missing_or_too_many_are_told_and_put_right(folder: Path) -> None:
    rows = sql(folder / "served", DAILY.format(where=""))
    first, last = (f"{ACCOUNT} AND day = '{json.loads(rows.splitlines()[0])['day']}'", f"{ACCOUNT} AND day = '{LAST}'")
    change(
        folder,
        ODD.format("1 AS gone, version * 2 AS version", first),  # under an epoch that nobody has taken
        ODD.format("day - 400 AS day", last),
        ODD.format("day - 401 AS day", last),
        ODD.format("1 AS gone, day - 401 AS day, version * 2 AS version", last),  # hidden until that is put right
        ODD.format("day + 400 AS day", last),
        ODD.format("'nobody' AS seller_id", last),
    )
    found = run(folder, "verify", "--db", "served", "--repair")
    assert "row is missing, should be there\n" in found.stdout
    assert "row is there, should be none\n" in found.stdout
    assert "'nobody' on" in found.stdout
    assert "0 cells in 0 rows differ, 1 rows are missing and 3 too many, in 2 accounts; of " in found.stdout
    assert found.returncode == 0, found.stdout
    assert_same(sql(folder / "served", DAILY.format(where="")), rows)


def test_a_sample_tells_its_seed_and_can_be_had_again(folder: Path) -> None:
    change(folder, ODD.format("orders_lifetime + 1 AS orders_lifetime", "true"))
    first = run(folder, "verify", "--db", "served", "--sample", "2")
    seed = first.stdout.splitlines()[0].rpartition(" ")[2]
    again = run(folder, "verify", "--db", "served", "--sample", "2", "--seed", seed)
    assert (first.returncode, again.returncode) == (1, 1)
    assert " in 2 accounts; of " in first.stdout
    assert first.stdout.rpartition("; ")[0] == again.stdout.rpartition("; ")[0]
    succeed(folder, "verify", "--repair", "--db", "served")


def test_before_there_are_rows_it_says_so(tmp_path: Path) -> None:
    failed = run(tmp_path, "verify", "--db", "empty")
    assert (failed.returncode, failed.stderr) == (
        1, "sellerpulse: there are no rows yet: no worker or replay has written any\n",
    )  # fmt: skip
