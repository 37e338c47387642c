"""What is polled and what comes to a watched folder, on a real broker: each thing once in effect, killed or not."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.codec import Codec
from schemas.events import Topic
from tests.integration.program import DLQ, Ground, Place, Program, run, succeed, wait_until
from tests.unit.sources import ORDER
from tests.unit.test_connectors_feedback_polls import edit
from tests.unit.test_connectors_report import AMAZON, AMERICA

CODEC = Codec()
TOPICS = ("feedback", "orders", *DLQ)
WITHIN_S = 90


@pytest.fixture
def place(ground: Ground, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    place = ground.place(request.node.name)
    place.folder = tmp_path
    return place


def sent(place: Place, topic: Topic) -> list[dict[str, Any]]:
    """The events that came to a topic since the test began, by partition."""
    spans = {at: (place.begin[at], end) for at, end in place.ends().items() if at[0] == topic}
    decoded = [CODEC.decode(topic, cast("bytes", record.value())) for record in place.records(spans)]
    return [dict(one.event) for one in decoded]  # type: ignore[union-attr]  # no refusal: it was checked


def letters(place: Place) -> Counter[tuple[str, str, str]]:
    """What each dead letter that came since the test began says, its file and its line."""
    spans = {at: (place.begin[at], end) for at, end in place.ends().items() if at[0] in DLQ}
    found: Counter[tuple[str, str, str]] = Counter()
    for record in place.records(spans):
        headers = cast("dict[str, bytes]", dict(record.headers() or []))
        raw, file = cast("bytes", record.value()).decode(), Path(headers["source_file"].decode()).name
        found[raw, file, headers["source_line"].decode()] += 1
    return found


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no real reports at {AMAZON}")
def test_a_real_report_three_times_then_edited_gives_exactly_what_happened(place: Place) -> None:
    report = place.folder / "feedback.txt"
    content = (AMAZON / "amazon_seller_feedback_2011.tsv").read_text()
    report.write_text(content)
    poll: list[str | Path] = [
        "ingest",
        report,
        "--seller",
        place.group,
        "--marketplace",
        AMERICA,
        "--kafka",
        place.kafka,
        "--polled-at",
    ]
    for day in (1, 2, 3):
        said = succeed(place.folder, *poll, f"2011-08-0{day}")
        assert said.startswith(f"{135 if day == 1 else 0} events accepted, 0 records refused")
    edited, expected = edit(content)
    report.write_text(edited)
    killed = run(place.folder, *poll, "2011-08-04", FAILPOINTS="acknowledged=kill")
    assert killed.returncode == -9
    assert "3 events that an earlier run" in succeed(place.folder, *poll, "2011-08-04")
    assert succeed(place.folder, *poll, "2011-08-05").startswith("0 events accepted")

    events = sent(place, "feedback")
    assert len(events) == 135 + 2 * 3  # those of the killed run a second time
    unique = {(event["order_id"], event["event_id"]): event for event in events}
    assert all(unique[event["order_id"], event["event_id"]] == event for event in events)
    assert len(unique) == 138
    at_ms = int(datetime(2011, 8, 4, tzinfo=UTC).timestamp() * 1000)
    later = {(e["kind"], e["order_id"], e["rating"]) for e in unique.values() if e["event_time"] == at_ms}
    assert later == set(expected)
    with place.worker() as worker:
        wait_until(lambda: not place.left(), WITHIN_S, "a drained topic", worker)
    of = f"FROM feedback_events WHERE seller_id = '{place.group}'"
    assert place.ask(f"SELECT toUInt32(count()) AS n, toUInt32(uniqExact(event_id)) AS u {of}") == [
        {"n": 138, "u": 138}
    ]
    rows = place.ask(f"SELECT kind, order_id, rating {of} AND event_time = toDateTime64('2011-08-04', 3, 'UTC')")
    assert {(row["kind"], row["order_id"], row["rating"]) for row in rows} == set(expected)


def lines_of(seller: str, first: int, count: int) -> str:
    """Events by number, and where the number ends in 9 a line that is refused."""
    return "".join(
        f"no event: {number}\n" if number % 10 == 9
        else json.dumps(ORDER | {"seller_id": seller, "event_id": f"e{number}", "order_id": f"{number}"}) + "\n"
        for number in range(first, first + count)
    )  # fmt: skip


def test_a_watched_folder_killed_in_the_middle_of_a_growing_file_sends_all_of_it(place: Place) -> None:
    folder = place.folder / "incoming"
    folder.mkdir()
    growing = folder / "events.jsonl"
    growing.write_text(lines_of(place.group, 0, 200))
    watch: list[str | Path] = ["ingest", "--watch", folder, "--kafka", place.kafka]

    def ids() -> set[int]:
        return {int(event["order_id"]) for event in sent(place, "orders")}

    def wanted(count: int) -> set[int]:
        return {number for number in range(count) if number % 10 != 9}

    killed = Program(place.folder, *watch, FAILPOINTS="acknowledged=kill@2")  # the first portion is kept
    wait_until(lambda: ids() == wanted(200), WITHIN_S, "what was there at first", killed)
    with growing.open("a") as file:
        rest = lines_of(place.group, 200, 200)
        file.write(rest[:-40])  # the last line is being written
    assert killed.ended(WITHIN_S) == -9
    rotated = growing.rename(folder / "events.jsonl.1")
    with rotated.open("a") as file:
        file.write(rest[-40:])
    growing.write_text(lines_of(place.group, 400, 100))
    (folder / ".hidden.jsonl").write_text(lines_of(place.group, 900, 10))
    (folder / "later.jsonl.part").write_text(lines_of(place.group, 910, 10))
    with Program(place.folder, *watch) as again:
        wait_until(lambda: ids() == wanted(500), WITHIN_S, "everything", again)
        second = run(place.folder, *watch)
        assert second.returncode == 2
        assert "in use by another process" in second.stderr
        assert again.stop() == 0
    found = letters(place)
    before = {(f"no event: {at}", "events.jsonl", f"{at + 1}") for at in range(9, 200, 10)}
    rotated_since = {(f"no event: {at}", "events.jsonl.1", f"{at + 1}") for at in range(209, 400, 10)}
    new = {(f"no event: {at}", "events.jsonl", f"{at - 399}") for at in range(409, 500, 10)}
    assert found.keys() >= before | rotated_since | new
    assert all(found[letter] == 1 for letter in before | rotated_since | new)  # under one name
    assert len(sent(place, "orders")) <= 450 + 180  # the portion of the killed run alone came twice
    assert sorted(path.name for path in folder.iterdir()) == [
        ".hidden.jsonl", "events.jsonl", "events.jsonl.1", "later.jsonl.part",
    ]  # fmt: skip
