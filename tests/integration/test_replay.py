"""`sellerpulse replay` as people run it: files in, tables out, the same ones whatever befalls the run."""

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import zstandard

from schemas.events import EPOCH, Parsed, from_json
from tests.integration.program import ALERTS, DAILY, REST, Program, Webhook, assert_same, run, sql, succeed, wait_until
from tests.reference import seller_daily
from tests.unit.sources import ORDER, RATING, SURVEY, bare, container, schema_of

EVENTS = "events.jsonl"
SELLERS, DAYS, SIMULATED = 8, 60, 5_000
AT_ONCE = 4  # replays side by side: six of the nine seconds of a small one are waiting
ONE_PARTITION = 150_000  # records of one account: one and a half times what the embedded broker holds
_WRONG: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (ORDER, [{"topic": "coupons"}, {"topic": None}, {"event_id": ""}, {"seller_id": "S" * 257}]),
    (ORDER, [{"order_id": 5}, {"kind": "SOLD"}, {"event_time": 0}, {"event_time": 4.5e12}, {"skus": "a"}]),
    (ORDER, [{"deliver_by": 1}, {"event_time": "9999-12-31T00:00:00"}, {"event_time": "yesterday"}]),
    (RATING, [{"rating": 6}, {"rating": 4.5}, {"rating": "5"}, {"rating": None}, {"arrived_on_time": "true"}]),
    (SURVEY, [{"buyer_initiated": False}, {"solved": None}, {"conversation_id": ""}, {"message_id": 1}]),
]
RUBBISH: list[bytes] = [
    b"no JSON",
    b'{"topic": "orders"',
    b"[1, 2]",
    b"\xff\xfe\x00\x80",
    b'"orders"',
    b"\x00\x00\x00",
    b"{" * 100_000,
    *(json.dumps(event | wrong).encode() for event, wrongs in _WRONG for wrong in wrongs),
]


# --- the same rows, however they come ------------------------------------------------------------------------


Replay = Callable[..., CompletedProcess[str]]  # of files into the database `db` of a folder
Way = Callable[[Path, Replay], Any]  # what is done in a folder with its `events.jsonl`


def _parts(folder: Path, lines: Sequence[bytes]) -> list[Path]:
    """The lines in four files: plain, gzip and zstd in a folder, and containers for the events of the last."""
    mixed = folder / "mixed"
    mixed.mkdir()
    (mixed / "a.jsonl").write_bytes(b"\n".join(lines[3::4]))  # no line break at the end
    (mixed / "b.jsonl.gz").write_bytes(gzip.compress(b"\n".join([*lines[2::4], b""])))
    (mixed / "c.zst").write_bytes(zstandard.compress(b"\r\n".join([*lines[1::4], b""])))
    for topic in ("orders", "feedback", "surveys"):
        found = [parsed.event for line in lines[::4] if (parsed := _parsed(line)) and parsed.topic == topic]
        (mixed / f"{topic}.avro").write_bytes(container(schema_of(topic), found, "deflate"))
    return [mixed]


def _parsed(line: bytes) -> Parsed | None:
    try:
        parsed = from_json(json.loads(line))
    except ValueError:
        return None
    return parsed if isinstance(parsed, Parsed) else None


def _as_sorted(folder: Path, replay: Replay) -> None:
    replay(folder, EVENTS)


def _shuffled(folder: Path, replay: Replay) -> None:
    lines = (folder / EVENTS).read_bytes().splitlines()
    random.Random(1).shuffle(lines)
    (folder / "shuffled.jsonl").write_bytes(b"\n".join(lines))
    replay(folder, "shuffled.jsonl")


def _in_many_files(folder: Path, replay: Replay) -> None:
    replay(folder, *_parts(folder, (folder / EVENTS).read_bytes().splitlines()))


def _twice(folder: Path, replay: Replay) -> None:
    """Every line once; then, into the same database, once more, and backwards, each line twice."""
    replay(folder, EVENTS)
    lines = (folder / EVENTS).read_bytes().splitlines()
    (folder / "again.jsonl").write_bytes(b"\n".join(line for line in reversed(lines) for _ in range(2)))
    replay(folder, "again.jsonl", EVENTS)


def _by_halves(folder: Path, replay: Replay) -> None:
    """The second run brings what is missing everywhere, and restates days and alerts of the first."""
    lines = (folder / EVENTS).read_bytes().splitlines()
    (folder / "every-other.jsonl").write_bytes(b"\n".join(lines[1::2]))
    (folder / "others.jsonl").write_bytes(b"\n".join(lines[::2]))
    replay(folder, "every-other.jsonl")
    replay(folder, "others.jsonl")


def _by_three_workers(folder: Path, replay: Replay) -> None:
    replay(folder, EVENTS, "--workers", "3")


def _killed(folder: Path, replay: Replay) -> None:
    """Killed as soon as events are stored, then when rows are, then when alerts are."""
    for table in ("stored_order_events", "stored_seller_daily", "stored_alerts"):
        parts = folder / "db" / "data" / "sellerpulse" / table
        with Program(folder, "replay", EVENTS, "--db", "db") as program:
            deadline = time.monotonic() + 60
            while not any(parts.glob("all_*")):
                assert program.runs(), program.log()
                assert time.monotonic() < deadline, f"nothing in {table}"
                time.sleep(0.002)
            program.kill()
    replay(folder, EVENTS)


SAME = (_as_sorted, _shuffled, _in_many_files, _twice, _by_halves, _by_three_workers, _killed)


# --- others, run beside them ---------------------------------------------------------------------------------


def _mixed(folder: Path, replay: Replay) -> tuple[str, str, str, set[int]]:
    """Fifty bad lines among a thousand good ones: what was said, stored and refused, and which lines were bad."""
    good, bad = iter(_good(folder / EVENTS)[:1000]), cycle(RUBBISH)
    places = set(range(7, 1050, 21))
    lines = [next(bad) if line in places else next(good) for line in range(1, 1051)]
    (folder / "mixed.jsonl").write_bytes(b"\n".join(lines))
    said = replay(folder, "mixed.jsonl").stdout
    refused = sql(folder / "db", "SELECT file, line, partition, offset, reason FROM rejected_events ORDER BY line")
    return said, sql(folder / "db", REST.format(more="")), refused, places


def _cut_short(folder: Path, replay: Replay) -> tuple[CompletedProcess[str], int, str, str]:
    """Half of a compressed file, how much of it was kept; then all of it."""
    whole = gzip.compress(b"\n".join([*_good(folder / EVENTS)[:600], b""]))
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    done = replay(folder, "cut.jsonl.gz", code=1)
    kept = len(sql(folder / "db", REST.format(more="")).splitlines())
    (folder / "whole.jsonl.gz").write_bytes(whole)
    return done, kept, replay(folder, "whole.jsonl.gz").stdout, sql(folder / "db", DAILY.format(where=""))


def _too_early(folder: Path, replay: Replay) -> tuple[CompletedProcess[str], str]:
    """As of a day before the first event, then as of two days after it."""
    (folder / "good.jsonl").write_text(json.dumps(ORDER))  # of 2017-07-14
    done = replay(folder, "good.jsonl", "--as-of", "2017-07-13", code=2)
    replay(folder, "good.jsonl", "--as-of", "2017-07-16")
    return done, sql(folder / "db", "SELECT day, orders_30d AS n FROM seller_daily ORDER BY day")


def _all_bad(folder: Path, replay: Replay) -> tuple[CompletedProcess[str], str]:
    """Not one good event, then one."""
    (folder / "bad.jsonl").write_bytes(b"\n".join(RUBBISH))
    done = replay(folder, "bad.jsonl", code=1)
    (folder / "good.jsonl").write_text(json.dumps(ORDER))
    replay(folder, "good.jsonl")
    counts = "SELECT (SELECT count() FROM seller_daily) AS days, (SELECT count() FROM rejected_events) AS refused"
    return done, sql(folder / "db", counts)


def _in_use(folder: Path, replay: Replay) -> tuple[CompletedProcess[str], int, int, str]:
    """A folder that is served elsewhere, by that process, and its end; then free."""
    (folder / "good.jsonl").write_text(json.dumps(ORDER))
    with Program(folder, "clickhouse", "--db", "db", "--port", "0") as holder:
        wait_until(lambda: "is served at" in holder.log(), 60, "a served folder", holder)
        done = replay(folder, "good.jsonl", code=2)
        ended = holder.stop()
    return done, holder.process.pid, ended, replay(folder, "good.jsonl").stdout


OTHERS: tuple[Way, ...] = (_mixed, _cut_short, _too_early, _all_bad, _in_use)


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """Somebody who must not be told of anything."""
    with Webhook() as webhook:
        yield webhook


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated events in the order of their times, and rubbish between them."""
    folder = tmp_path_factory.mktemp("events")
    words = ["--sellers", str(SELLERS), "--days", str(DAYS), "--events", str(SIMULATED), "-o", "simulated.jsonl"]
    succeed(folder, "simulate", *words)
    lines = (folder / "simulated.jsonl").read_bytes().splitlines()
    for place, rubbish in enumerate(RUBBISH):
        lines.insert(place * 100, rubbish)
    (folder / EVENTS).write_bytes(b"\n".join([*lines, b""]))
    return folder / EVENTS


def _good(events: Path) -> list[bytes]:
    return [line for line in events.read_bytes().splitlines() if line not in RUBBISH]


@pytest.fixture(scope="module")
def begun(
    events: Path, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[Any]"]]:
    """All ways by name, begun in their order: the tables of `SAME`, whatever those of `OTHERS` return."""

    def replay(folder: Path, *words: str | Path, code: int = 0) -> CompletedProcess[str]:
        done = run(folder, "replay", *words, "--db", "db", RECEIVERS__WEBHOOK__URL=webhook.url)
        assert done.returncode == code, done.stderr
        return done

    def go(way: Way, folder: Path) -> Any:
        (folder / EVENTS).symlink_to(events)
        found = way(folder, replay)
        return found or (sql(folder / "db", DAILY.format(where="")), sql(folder / "db", REST.format(more=ALERTS)))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {way.__name__: pool.submit(go, way, tmp_path_factory.mktemp(way.__name__)) for way in (*SAME, *OTHERS)}
        pool.shutdown(cancel_futures=True)  # what no test has asked for


# --- the tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way.__name__ for way in SAME if way is not _as_sorted])
def test_the_same_events_give_the_same_tables(begun: dict[str, "Future[Any]"], way: str) -> None:
    for found, wanted in zip(begun[way].result(), begun["_as_sorted"].result(), strict=True):
        assert_same(found, wanted)


def test_every_row_is_what_the_slow_reading_of_the_rules_says(begun: dict[str, "Future[Any]"], events: Path) -> None:
    good = [{"topic": parsed.topic, **parsed.event} for line in _good(events) if (parsed := _parsed(line))]
    found = [_as_reference(json.loads(line)) for line in begun["_as_sorted"].result()[0].splitlines()]
    wanted = seller_daily(good)
    assert len(good) == SIMULATED
    assert len(found) == len(wanted)
    for row, other in zip(found, wanted, strict=True):
        assert row == other


def _as_reference(row: dict[str, Any]) -> dict[str, Any]:
    moment = datetime.fromisoformat(row["last_event_time"]).replace(tzinfo=UTC)
    return row | {"last_event_time": round((moment - EPOCH).total_seconds() * 1000)}


def test_alerts_are_found_and_nobody_is_notified(begun: dict[str, "Future[Any]"], webhook: Webhook) -> None:
    alerts = [json.loads(line)["what"] for line in begun["_as_sorted"].result()[1].splitlines()]
    assert {"alert", "change"} < set(alerts)
    for way in begun.values():
        way.result()
    assert webhook.told == []


# --- rubbish -------------------------------------------------------------------------------------------------


def test_fifty_bad_lines_among_a_thousand_good_ones_are_kept_with_file_and_line(
    begun: dict[str, "Future[Any]"],
) -> None:
    said, stored, refused, places = begun["_mixed"].result()
    assert "1,000 events accepted, 50 records refused" in said
    assert len(stored.splitlines()) == 1000
    rows = [json.loads(line) for line in refused.splitlines()]
    assert len(places) == 50
    assert [row["line"] for row in rows] == sorted(places)
    assert {(row["file"], row["partition"], row["offset"]) for row in rows} == {("mixed.jsonl", None, None)}
    assert all(row["reason"] for row in rows)


# --- what cannot be replayed ---------------------------------------------------------------------------------


def _one_line(done: CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("sellerpulse: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("missing.jsonl", None, "missing.jsonl: No such file"),
        ("empty.jsonl", b"", "empty.jsonl: empty"),
        ("blank.jsonl", b"\n \n\n", "blank.jsonl: empty"),
        ("empty.jsonl.gz", gzip.compress(b"", mtime=0), "empty.jsonl.gz: empty"),
        ("photo.jpg", b"\xff\xd8\xff\xe0" + bytes(range(256)), "photo.jpg: unknown format"),
        ("latin.csv", "Verkäufer;Größe\n".encode("latin-1"), "latin.csv: unknown format"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_before_anything_is_written(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.jsonl").write_text(json.dumps(ORDER))
    _one_line(run(tmp_path, "replay", "good.jsonl", name, "--db", "db"), 2, said)
    assert not (tmp_path / "db").exists()


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    _one_line(run(tmp_path, "replay", "folder", "--db", "db"), 2, "folder: a folder with nothing to read in it")
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["--db", "good.jsonl/db"], "good.jsonl/db is not a folder"),
        (["--db", "good.jsonl"], "good.jsonl is not a folder"),
        (["--db", "theirs"], "theirs is neither empty nor a Sellerpulse database"),
        (["--db", "http://127.0.0.1:1/pulse"], "http://127.0.0.1:1/pulse cannot be used: Connection refused"),
        (["--db", "db", "--as-of", "soon"], "soon"),
        (["--db", "db", "--workers", "0"], "--workers"),
        (["--db", "db", "--format", "xml"], "unknown format xml"),
    ],
)
def test_a_place_or_word_that_is_wrong_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "good.jsonl").write_text(json.dumps(ORDER))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.doc").touch()
    done = run(tmp_path, "replay", "good.jsonl", *words)
    _one_line(done, 1 if "http" in words[1] else 2, said)
    assert [entry.name for entry in (tmp_path / "theirs").iterdir()] == ["thesis.doc"]


def test_a_database_in_use_names_who_has_it_and_is_free_when_that_ends(begun: dict[str, "Future[Any]"]) -> None:
    done, holder, ended, said = begun["_in_use"].result()
    _one_line(done, 2, f"is in use by process {holder} ")
    assert ended == 0
    assert "1 events accepted" in said


def test_a_file_cut_short_is_named_its_good_part_kept_and_the_whole_one_mends_it(
    begun: dict[str, "Future[Any]"], events: Path
) -> None:
    done, kept, said, daily = begun["_cut_short"].result()
    _one_line(done, 1, "cut.jsonl.gz", "cut short", "its good part was kept")
    assert 50 < kept < 600
    assert "600 events accepted" in said
    wanted = seller_daily({"topic": p.topic, **p.event} for line in _good(events)[:600] if (p := _parsed(line)))
    assert [_as_reference(json.loads(line)) for line in daily.splitlines()] == wanted


def test_a_day_before_the_first_event_is_one_line_and_a_later_day_mends_it(begun: dict[str, "Future[Any]"]) -> None:
    done, days = begun["_too_early"].result()
    _one_line(done, 2, "2017-07-13 is before the first event, which is of 2017-07-14")
    assert days.splitlines() == [f'{{"day":"2017-07-{day}","n":1}}' for day in (14, 15, 16)]


def test_a_file_without_one_good_event_is_one_line_and_another_file_mends_it(begun: dict[str, "Future[Any]"]) -> None:
    done, counts = begun["_all_bad"].result()
    _one_line(done, 1, "there is no event")
    assert json.loads(counts) == {"days": 1, "refused": len(RUBBISH)}


# --- one partition -------------------------------------------------------------------------------------------


def test_nothing_falls_out_of_a_partition_that_is_fed_more_than_it_holds(tmp_path: Path) -> None:
    event = json.dumps(bare(ORDER) | {"topic": "orders", "event_id": "", "order_id": "o"})
    head, _, tail = event.partition('"event_id": ""')
    with (tmp_path / "one.jsonl").open("w") as out:
        for n in range(ONE_PARTITION):
            out.write(f'{head}"event_id": "{n}"{tail}\n'.replace('"order_id": "o"', f'"order_id": "{n}"'))
    succeed(tmp_path, "replay", "one.jsonl", "--db", "db", within_s=150)
    query = "SELECT uniqExact(order_id) AS orders, any(orders_lifetime) AS row FROM order_events, seller_current"
    assert json.loads(sql(tmp_path / "db", query)) == {"orders": ONE_PARTITION, "row": ONE_PARTITION}
