"""Backups taken while others write, and what is restored of them; the backup's process and the holder's are killed.

`verify` is what says that a restored database is right.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from schemas.events import TOPICS
from sink.instant import copy
from tests.integration.broker import Broker
from tests.integration.program import (
    DAILY,
    EVERY,
    IDS,
    PARTITIONS,
    REST,
    Database,
    Ground,
    Identity,
    Program,
    assert_same,
    identity,
    run,
    serving,
    sql,
    stored,
    succeed,
    wait_until,
)
from tests.integration.served import OPENED
from tests.integration.served import run as run_python
from tests.integration.served import serving as serving_anything

SIMULATED = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events, and a database and a backup of a replay of the first of them."""
    folder = tmp_path_factory.mktemp("backup")
    succeed(folder, "simulate", "--sellers", "10", "--days", "60", "--events", str(SIMULATED), "-o", "events.jsonl")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    (folder / "first.jsonl").write_text("".join(lines[: SIMULATED // 10]))
    succeed(folder, "replay", "first.jsonl", "--db", "first")
    said = succeed(folder, "backup", "--db", "first", "taken")
    assert "sellerpulse: 6,000 events, rows up to 20" in said
    return folder


def assert_right(folder: Path, db: str | Path) -> None:
    assert "every row is right" in succeed(folder, "verify", "--db", db)


# --- while workers write through a served folder ---------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """A served folder after a replay into it, and the backups taken meanwhile, with what was stored as each began."""

    folder: Path
    database: Database
    db: str
    taken: dict[Path, set[Identity]]


@pytest.fixture(scope="module")
def load(folder: Path) -> Iterator[Load]:
    """Two workers write as fast as they can; backups by folder and by address, one after the other."""
    place, taken = folder / "load", dict[Path, set[Identity]]()
    shutil.copytree(folder / "first", place / "served", symlinks=True)
    with serving(place) as database, database.client() as client:
        db = database.url("sellerpulse")
        with Program(folder, "replay", "events.jsonl", "--db", db, "--workers", "2") as replay:

            def durable() -> set[Identity]:
                return set(client.query(IDS).result_rows)  # type: ignore[arg-type]  # they are tuples

            before = durable()
            wait_until(lambda: len(durable()) > len(before), 60, "events", replay)
            while replay.runs() and len(taken) < 2:
                target, known = place / f"taken-{len(taken)}", durable()
                succeed(folder, "backup", "--db", db if taken else place / "served", target)
                taken[target] = known
            assert replay.ended(60) == 0, replay.log()
        yield Load(place, database, db, taken)


def test_a_backup_under_load_has_every_event_that_was_stored_when_it_began(folder: Path, load: Load) -> None:
    assert len(next(iter(load.taken.values()))) < SIMULATED, "all was stored before the first backup"
    whole = stored(load.db)
    assert len(whole) == SIMULATED
    for target, durable in load.taken.items():
        db = target.with_suffix(".restored")
        assert "is as it was at" in succeed(folder, "restore", target, "--db", db)
        assert durable <= stored(db) <= whole
        succeed(folder, "rebuild", "--db", db)
        assert_right(folder, db)


def test_a_restored_database_that_gets_all_events_again_is_as_if_nothing_had_been(folder: Path, load: Load) -> None:
    db = load.folder / "again"
    succeed(folder, "restore", next(iter(load.taken)), "--db", db)
    succeed(folder, "replay", "events.jsonl", "--db", db)
    assert_same(sql(db, DAILY.format(where="")), sql(load.db, DAILY.format(where="")))
    assert_same(sql(db, REST.format(more="")), sql(load.db, REST.format(more="")))


def test_the_source_goes_on_unharmed(folder: Path, load: Load) -> None:
    assert_right(folder, load.db)
    assert not list((load.folder / "served").rglob("broken*"))


def test_a_holder_killed_in_the_middle_of_a_backup_does_not_matter_to_it(folder: Path, load: Load) -> None:
    durable, target = stored(load.db), load.folder / "holder-killed"
    with Program(folder, "backup", "--db", load.folder / "served", target) as backup:
        wait_until(target.with_name("holder-killed.partial").exists, 30, "a backup that has begun", backup)
        load.database.kill()
        assert backup.ended(60) == 0, backup.log()
    succeed(folder, "restore", target, "--db", load.folder / "after")
    assert stored(load.folder / "after") == durable
    load.database.start()
    assert stored(load.db) == durable


def test_a_part_that_is_merged_away_meanwhile_is_found_where_its_rows_are_then(tmp_path: Path) -> None:
    db, target = tmp_path / "db", tmp_path / "copy"
    soon = "old_parts_lifetime = 1, cleanup_delay_period = 1, cleanup_delay_period_random_add = 0"
    with serving_anything(db) as server, server.client(database="sellerpulse") as client:
        client.command(f"CREATE TABLE rows (id UInt64) ENGINE = MergeTree ORDER BY id SETTINGS {soon}")
        for batch in range(3):
            client.command(f"INSERT INTO rows SELECT {batch} + number FROM numbers(10)")
        listed = list(db.glob("store/*/*/all_*"))
        assert len(listed) == 3

        def merge(done: int, _parts: int) -> None:
            if done == 0:
                client.command("OPTIMIZE TABLE rows FINAL")
                wait_until(lambda: not any(part.exists() for part in listed), 60, "parts that are gone")

        copy(db, target, merge)
    (part,) = target.glob("store/*/*/all_*")
    assert part.name.startswith("all_1_3_")
    assert run_python(OPENED, str(target), "SELECT count() FROM rows").stdout == "30\n"


# --- while a worker holds the folder ---------------------------------------------------------------------------


def test_a_worker_goes_on_from_a_backup_taken_of_the_folder_that_another_held(folder: Path, kafka: Broker) -> None:
    place = folder / "live"
    place.mkdir()
    succeed(place, "topics", "create", "--kafka", kafka.bootstrap, KAFKA__PARTITIONS=str(PARTITIONS))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    with serving(place) as unused:
        group = Ground(place, kafka.bootstrap, admin, unused).place("backup")

    def worker(db: Path) -> Program:
        words = ("worker", "--kafka", kafka.bootstrap, "--db", db)
        return Program(place, *words, KAFKA__GROUP=group.group)

    with worker(place / "db") as held, Program(folder, "ingest", "events.jsonl", "--kafka", kafka.bootstrap) as ingest:
        wait_until(group.progress, 60, "something done", held)
        committed = group.committed()
        succeed(place, "backup", "--db", "db", "taken")
        assert held.runs(), held.log()
        held.kill()
        assert ingest.ended(60) == 0, ingest.log()

    succeed(place, "restore", "taken", "--db", "restored")
    spans = {at: (group.begin[at], committed[at]) for at in EVERY if at[0] in TOPICS}
    durable = {identity(record) for record in group.records(spans)}
    assert 0 < len(durable) < SIMULATED, "taken too late to tell"
    assert durable <= stored(place / "restored")

    wait_until(lambda: not group.owned(), 60, "a group without its worker")
    group.rewind()
    with worker(place / "restored") as again:
        wait_until(lambda: not group.left(), 90, "all of it read again", again)
        assert again.stop(30) == 0, again.log()
    assert len(stored(place / "restored")) == SIMULATED
    succeed(place, "rebuild", "--db", "restored")
    assert_right(place, "restored")


# --- backups that are not whole, places that are wrong ---------------------------------------------------------


def test_a_backup_that_is_killed_leaves_nothing_that_can_be_restored(folder: Path) -> None:
    target, partial = folder / "killed", folder / "killed.partial"
    with Program(folder, "backup", "--db", "first", target) as backup:
        wait_until(partial.exists, 30, "a backup that has begun", backup)
        backup.kill()
    assert not target.exists()
    for source in (target, partial):
        refused = run(folder, "restore", source, "--db", "never")
        assert refused.returncode == 2
        assert "is no backup" in refused.stderr
    refused = run(folder, "backup", "--db", "first", target)
    assert (refused.returncode, refused.stderr) == (
        2, f"sellerpulse: {partial} is in the way: unless a run is at work on it, remove it\n",
    )  # fmt: skip
    shutil.rmtree(partial)
    succeed(folder, "backup", "--db", "first", target)


def test_a_restore_that_is_killed_leaves_no_database_and_can_be_run_again(folder: Path) -> None:
    db, partial = folder / "anew", folder / "anew.partial"
    with Program(folder, "restore", "taken", "--db", db) as restore:
        wait_until(partial.exists, 30, "a restore that has begun", restore)
        restore.kill()
    assert not db.exists()
    assert run(folder, "restore", "taken", "--db", db).returncode == 2
    shutil.rmtree(partial)
    db.mkdir()  # empty
    succeed(folder, "restore", "taken", "--db", db)
    assert stored(db) == stored(folder / "first")
    assert_right(folder, db)


@pytest.mark.parametrize("damage", ["flipped", "short", "file", "part", "definition"])
def test_a_damaged_backup_is_not_restored(folder: Path, tmp_path: Path, damage: str) -> None:
    source = shutil.copytree(folder / "taken", tmp_path / "taken")
    data = max(source.glob("database/store/*/*/*/*.bin"), key=lambda file: file.stat().st_size)
    if damage == "flipped":
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "short":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "file":
        data.unlink()
    elif damage == "part":
        shutil.rmtree(data.parent)
    else:
        next(source.glob("database/store/*/*/stored_alerts.sql")).unlink()
    failed = run(tmp_path, "restore", source, "--db", "db")
    assert failed.returncode == 1, failed.stderr
    assert "damaged" in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_backup_of_a_newer_program_is_refused(folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(folder / "taken", tmp_path / "taken")
    manifest = json.loads((source / "backup.json").read_text())
    assert manifest["databases"]["sellerpulse"]["rows"]["stored_order_events"] > 1000
    manifest["databases"]["sellerpulse"]["schema"].append("999_to_come.sql")
    (source / "backup.json").write_text(json.dumps(manifest))
    refused = run(tmp_path, "restore", source, "--db", "db")
    assert (refused.returncode, refused.stderr) == (
        2, f"sellerpulse: {source} was written by a newer sellerpulse than this one: it has 999_to_come.sql\n",
    )  # fmt: skip


def test_a_place_that_is_wrong_is_named_in_one_line(folder: Path) -> None:
    server = "http://clickhouse:8123/pulse"
    wrong = {
        ("backup", "--db", "nowhere", "never"): f"{folder / 'nowhere'} does not exist",
        ("backup", "--db", "load", "never"): f"{folder / 'load'} is no Sellerpulse database",
        ("backup", "--db", "first", "taken"): f"{folder / 'taken'} exists: a backup takes a new name",
        ("backup", "--db", server, "never"): f"{server} is no folder of this machine: a server has its own BACKUP",
        ("restore", "taken", "--db", server): "restore makes a folder: give --db DIR; a server has its own RESTORE",
        ("restore", "first", "--db", "never"): f"{folder / 'first'} is no backup: it has no backup.json",
        ("restore", "taken", "--db", "first"): f"{folder / 'first'} is not empty: give the name of a new folder",
    }
    for words, said in wrong.items():
        refused = run(folder, *words)
        assert (refused.returncode, refused.stderr) == (2, f"sellerpulse: {said}\n")
    assert not list(folder.glob("never*"))
