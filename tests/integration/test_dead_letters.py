"""Dead letters on a real broker: listed, shown, put back as they came, given up; and a worker that refuses too much."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from typing import Any, cast

import pytest
from confluent_kafka import Message, TopicPartition

from schemas.codec import Codec
from schemas.events import MS_A_DAY, Parsed, account_key, from_json
from streams.commands.cli import main
from tests.integration.program import DLQ, FAUST, Ground, Headers, Place, Program, Sent, run, wait_until
from tests.unit.sources import ORDER

CODEC = Codec()
EARLY_S = 12  # so long before its time an event comes; by then all is as the first test wants it
TRACE: Headers = [("reason", b"theirs"), ("trace", b"\x00\xff")]  # headers of a producer, one named like ours
GOOD, BAD = 2000, 5000


def sent(changes: dict[str, Any], value: bytes | None = None, headers: Headers | None = None) -> Sent:
    """An order, or these bytes in its place."""
    parsed = from_json(ORDER)
    assert isinstance(parsed, Parsed)
    event = parsed.event | changes
    return "orders", account_key(event), CODEC.encode("orders", event) if value is None else value, headers or []


# --- the limit -----------------------------------------------------------------------------------------------


# First: the worker of the tests below would read this too.
def test_a_bad_deploy_stops_the_worker_and_loses_nothing(ground: Ground) -> None:
    place = ground.place("deploy")
    said = "records of topic orders were refused"
    with ExitStack() as stack:
        place.produce(sent({"event_id": str(number)}) for number in range(GOOD))
        place.produce(sent({}, b"a bad deploy") for _ in range(BAD))
        # In batches of their own, which must not be committed over the bad one.
        place.produce(sent({"event_id": f"later {number}", "skus": ["x" * 1500]}) for number in range(GOOD))
        worker = stack.enter_context(place.worker())
        assert worker.ended(60) == 1, worker.log()
        last = worker.log().splitlines()[-1]
        assert last.startswith("sellerpulse: ")
        assert said in last
        assert "most for: not decodable; nothing of the last batch" in last
        assert "Traceback" not in worker.log()
        settings = {"KAFKA__BOOTSTRAP": place.kafka, "KAFKA__GROUP": place.group, "CLICKHOUSE__URL": place.db}
        faust = Program(place.folder, "-A", "streams.app", "worker", "-l", "warn", command=FAUST, **settings)
        assert stack.enter_context(faust).ended(60) == 1, faust.log()
        assert said in faust.log()
        assert _letters(place) <= 2 * GOOD * 0.1 / 0.9 + 2 * 99
        assert place.left()

        worker = stack.enter_context(place.worker("--dlq-limit", "1"))
        wait_until(lambda: not place.left(), 60, "drained", worker)
        query = "SELECT (SELECT count() FROM order_events) AS good, (SELECT count() FROM rejected_events) AS bad"
        assert place.ask(query) == [{"good": 2 * GOOD, "bad": BAD}]
        assert worker.stop() == 0, worker.log()


def _letters(place: Place) -> int:
    """How many records went to the dead-letter topics."""
    ends = place.ends()
    return sum(ends[name, 0] - place.begin[name, 0] for name in DLQ)


# --- what is done with dead letters -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Letters:
    """A worker that refused some records: two orders too early, rubbish, and a line of a file."""

    place: Place
    worker: Program
    records: list[Sent]
    names: list[str]  # as `dlq` has them
    due: float  # from then on the orders are good

    def says(self, *words: str) -> str:
        """What `sellerpulse dlq` says, ending well; in this process, which is quicker."""
        kafka = () if words[0] in ("list", "drop") else ("--kafka", self.place.kafka)
        with redirect_stdout(TextIOWrapper(BytesIO(), "utf-8", write_through=True)) as said:
            assert main(["dlq", *words, *kafka, "--db", self.place.db]) == 0
        return said.buffer.getvalue().decode()

    def states(self) -> dict[str, str]:
        """What became of each."""
        rows = map(json.loads, self.says("list", "--format", "json", "--limit", "100").splitlines())
        return {row["record"]: row["state"] for row in rows}

    def drained(self) -> None:
        """Nothing is left to the worker."""
        wait_until(lambda: not self.place.left(), 60, "drained", self.worker)


@pytest.fixture(scope="module")
def letters(ground: Ground) -> Iterator[Letters]:
    place = ground.place("letters")
    due = time.time() + EARLY_S
    early = int(due * 1000) + MS_A_DAY
    records = [sent({"event_id": name, "event_time": early}, headers=TRACE) for name in ("early", "earlier")]
    records.append(sent({}, b"rubbish", TRACE))
    file = place.folder / "bad.jsonl"
    file.write_text(json.dumps({"topic": "orders", "comment": "of a buyer"}) + "\n")
    with place.worker() as worker:
        reports = place.produce(records)
        names = [f"orders/{report.partition()}/{report.offset()}" for report in reports]
        ground.ingest(file)
        found = Letters(place, worker, records, [*names, f"orders/{file}:1"], due)
        query = "SELECT count() AS n FROM rejected_events"
        wait_until(lambda: place.left() == {} and place.ask(query) == [{"n": 4}], 60, "refused", worker)
        yield found
        assert worker.stop() == 0, worker.log()


def _of_orders(place: Place, begin: Mapping[tuple[str, int], int]) -> list[Message]:
    """What has come to the topic since."""
    return place.records({at: (begin[at], end) for at, end in place.ends().items() if at[0] == "orders"})


def test_filters_choose_by_topic_reason_and_time(letters: Letters) -> None:
    early, earlier, rubbish, line = letters.names
    assert letters.states() == dict.fromkeys(letters.names, "open")

    def listed(*words: str) -> set[str]:
        rows = letters.says("list", "--format", "json", *words).splitlines()
        return {json.loads(row)["record"] for row in rows}

    assert listed("--reason", "AHEAD of the clock") == {early, earlier}
    assert listed("--topic", "orders", "--reason", "not decodable") == {rubbish}
    assert listed("--topic", "feedback") == set()
    assert listed("--since", "2020-01-01", "--until", "2100-01-01T12:00:00+01:00") == set(letters.names)
    assert listed("--until", "2020-01-01") == listed("--since", "2100-01-01") == set()
    assert listed("--reason", "missing") == {line}
    assert "open" in letters.says("list")


def test_what_is_in_a_record_is_shown_only_when_asked_for(letters: Letters) -> None:
    early, _, rubbish, line = letters.names
    told = letters.says("show", rubbish)
    assert "not decodable" in told
    assert "reason (6 bytes), trace (2 bytes)" in told
    assert "rubbish" not in told.partition("stands in")[2]
    whole = letters.says("show", "--bytes", rubbish)
    assert "72 75 62 62 69 73 68" in whole
    assert r"\x00\xff" in whole
    assert '"event_id": "early"' in letters.says("show", "--bytes", early)
    assert "of a buyer" not in letters.says("show", line)
    assert "of a buyer" in letters.says("show", "--bytes", line)


def test_replay_puts_back_what_came_once_and_again_changes_nothing(letters: Letters) -> None:
    place, (early, earlier, rubbish, line) = letters.place, letters.names
    # A worker that is killed between sending and committing sends a letter again.
    ends = place.ends()
    copies = place.records({("orders.dlq", 0): (ends["orders.dlq", 0] - 4, ends["orders.dlq", 0])})
    place.produce([(cast("str", c.topic()), c.key(), c.value(), cast("Headers", c.headers())) for c in copies])
    begin = place.ends()
    assert "2 dead letters would be put back: orders 2" in letters.says("replay", "--reason", "ahead", "--dry-run")
    assert letters.states() == dict.fromkeys(letters.names, "open")

    time.sleep(max(letters.due - time.time(), 0))
    assert letters.says("replay", "--reason", "ahead") == "2 dead letters were put back: orders 2\n"
    back = [(r.topic(), r.key(), r.value(), r.headers() or []) for r in _of_orders(place, begin)]
    assert sorted(back, key=str) == sorted(letters.records[:2], key=str)
    letters.drained()
    ids = place.ask("SELECT event_id FROM order_events ORDER BY event_id")
    assert ids == [{"event_id": "earlier"}, {"event_id": "early"}]
    states = {early: "replayed", earlier: "replayed", rubbish: "open", line: "open"}
    assert letters.states() == states

    before = place.ends()
    assert letters.says("replay", "--reason", "ahead") == "No open dead letter is like that.\n"
    assert letters.says("replay", line).endswith("ingest them again\n")
    assert place.ends() == before
    assert letters.states() == states


def test_what_is_still_bad_is_a_new_dead_letter_and_may_be_dropped(letters: Letters) -> None:
    *_, rubbish, line = letters.names
    assert letters.says("replay", rubbish) == "1 dead letters were put back: orders 1\n"
    wait_until(lambda: len(letters.states()) == 5, 60, "refused again", letters.worker)
    assert letters.states()[rubbish] == "replayed"
    (again,) = [name for name, state in letters.states().items() if state == "open" and name != line]
    for words, code, said in (
        (["drop"], 2, "say which"),
        (["drop", "--all"], 1, "nothing was dropped; --yes drops without asking"),
    ):
        done = run(letters.place.folder, "dlq", *words, "--db", letters.place.db)
        assert (done.returncode, said in done.stderr) == (code, True)
    assert letters.states()[again] == "open"
    assert letters.says("drop", again, "--yes") == "1 dead letters were dropped\n"
    assert letters.says("drop", "--all", "--yes") == "1 dead letters were dropped\n"
    assert letters.says("drop", "--all", "--yes") == "No open dead letter is like that.\n"
    assert {letters.states()[name] for name in (again, line)} == {"dropped"}
    assert letters.says("replay") == "No open dead letter is like that.\n"


def test_what_retention_has_deleted_is_told_and_stays_open(letters: Letters) -> None:
    place = letters.place
    begin = place.ends()
    place.produce([sent({}, b"soon gone")])
    wait_until(lambda: "open" in letters.states().values(), 60, "refused", letters.worker)
    letters.drained()
    (name,) = [name for name, state in letters.states().items() if state == "open"]
    for deleted in place.admin.delete_records(
        [TopicPartition("orders.dlq", 0, place.ends()["orders.dlq", 0])]
    ).values():
        deleted.result(30)
    assert "1 are no longer in the dead-letter topics" in letters.says("replay")
    assert "retention has deleted it" in letters.says("show", name, "--bytes")
    assert letters.states()[name] == "open"
    assert len(_of_orders(place, begin)) == 1
