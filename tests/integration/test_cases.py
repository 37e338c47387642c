"""Cases as the staff meet them: a worker on a real broker opens one, what they do is an event, and the case follows."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from schemas.codec import Codec
from streams.commands.cli import main
from tests.integration.program import (
    PARTITIONS,
    Ground,
    Place,
    Program,
    Sent,
    assert_same,
    run,
    sql,
    succeed,
    wait_until,
)

CODEC = Codec()
HOUR = 3_600_000
SELLER, MARKET = "A1|ü", "MKT-DE"
KEY = f"{SELLER}|{MARKET}".encode()
CASES = "SELECT * FROM feedback_cases ORDER BY ALL"
HISTORY = "SELECT * FROM case_history ORDER BY ALL"


def sent(topic: Any, event_id: str, kind: str, hours_ago: float, **fields: Any) -> Sent:
    """An event of order o-1."""
    known: dict[str, Any] = {
        "seller_id": SELLER,
        "marketplace_id": MARKET,
        "order_id": "o-1",
        "event_id": event_id,
        "kind": kind,
    }
    known |= {"source": "test", "event_time": int(time.time() * 1000 - hours_ago * HOUR)}
    nothing = dict.fromkeys(("fulfilment", "deliver_by")) | {"skus": ["sku-7"]}
    if topic == "feedback":
        names = ("rating", "comment", "agent", "amount", "currency", "root_cause")
        answers = ("arrived_on_time", "item_as_described", "customer_service")
        nothing = dict.fromkeys((*names, *answers)) | {"date_only": False}
    return topic, KEY, CODEC.encode(topic, known | nothing | fields), []


class Desk:
    """Somebody at `sellerpulse cases`, in this process, which is quicker."""

    def __init__(self, place: Place, worker: Program) -> None:
        self.place, self.worker = place, worker

    def says(self, *words: str, code: int = 0) -> str:
        """What it says, and with which exit code."""
        kafka = ("--kafka", self.place.kafka) if words[0] == "act" else ()
        with (
            redirect_stdout(TextIOWrapper(BytesIO(), "utf-8", write_through=True)) as out,
            redirect_stderr(StringIO()) as err,
        ):
            assert main(["cases", *words, *kafka, "--db", self.place.db]) == code
        return out.buffer.getvalue().decode() + err.getvalue()

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """The open cases."""
        return [json.loads(line) for line in self.says("list", "--format", "json", *words).splitlines()]

    def wait_for(self, status: str) -> None:
        """Until the case has that status."""
        query = "SELECT status FROM feedback_cases WHERE feedback_event_id = 'f-1'"
        wait_until(lambda: self.place.ask(query) == [{"status": status}], 60, status, self.worker)

    def told(self) -> list[Mapping[str, Any]]:
        """What came to the topic `alerts` about cases."""
        ends = self.place.ends()
        records = self.place.records({at: (self.place.begin[at], end) for at, end in ends.items() if at[0] == "alerts"})
        assert {record.key() for record in records} <= {KEY}
        return [told for record in records if (told := json.loads(record.value() or b"")).get("type") == "case"]


@pytest.fixture(scope="module")
def desk(ground: Ground) -> Iterator[Desk]:
    place = ground.place("cases")
    place.produce(
        [
            sent("orders", "o1", "PLACED", 200, fulfilment="SELLER"),
            sent("orders", "o2", "SHIPPED", 190),
            sent("orders", "o3", "DELIVERED", 100),
            sent("feedback", "f-0", "SUBMITTED", 300, order_id="o-0", rating=1, agent="Ana"),  # no news
            sent("feedback", "f-1", "SUBMITTED", 2.5, rating=1, comment="Call me: [phone]"),
        ]
    )
    with place.worker() as worker:
        found = Desk(place, worker)
        wait_until(lambda: not place.left(), 60, "drained", worker)
        found.wait_for("open")
        yield found
        assert worker.stop() == 0, worker.log()


def test_what_the_staff_do_is_an_event_and_the_case_follows(desk: Desk) -> None:
    first, second = desk.listed()
    assert (first["feedback_event_id"], first["next"]) == ("f-0", "answer publicly, late")  # overdue
    assert (second["feedback_event_id"], second["next"]) == ("f-1", "ask for removal")
    assert second["due_in_words"].startswith("in 21 h")
    assert second["removal_grounds"] == ["personal_data"]
    shown = desk.says("show", "f-1")
    assert "Order o-1, placed 20" in shown
    assert "it holds personal data" in shown
    assert "answer publicly  (cases act f-1 RESPONDED)" in shown

    said = desk.says("act", "f-1", "responded", "--agent", "Ana", "--comment", "Wrote to them, +49 89 1234567")
    event_id = said.strip().rpartition(" ")[2]
    desk.wait_for("acted")
    rows = desk.place.ask(f"SELECT agent, kind, comment, source FROM feedback_events WHERE event_id = '{event_id}'")
    assert rows == [{"agent": "Ana", "kind": "RESPONDED", "comment": "Wrote to them, [phone]", "source": "staff"}]
    (case,) = desk.listed("--status", "acted", "--order", "o-1")
    assert (case["agent"], case["first_action_at"] is not None) == ("Ana", True)
    ends = desk.place.ends()
    home = (murmur2(KEY) & 0x7FFFFFFF) % PARTITIONS
    assert {
        at: end - desk.place.begin[at]
        for at, end in ends.items()
        if at[0] == "feedback" and end != desk.place.begin[at]
    } == {("feedback", home): 3}
    told = desk.told()
    assert [(one["feedback_event_id"], one["status"], one["agent"]) for one in told] == [
        ("f-1", "open", None), ("f-1", "acted", "Ana"),
    ]  # fmt: skip
    assert len({one["change_id"] for one in told}) == 2


def test_a_refund_above_the_agents_limit_is_refused(desk: Desk) -> None:
    refund = ("act", "f-0", "REFUNDED", "--agent", "Ana", "--currency", "EUR", "--amount")
    assert "an agent may give back 10 for unknown: ask a supervisor" in desk.says(*refund, "10.01", code=1)
    desk.says(*refund, "7.5")
    query = "SELECT count() AS n FROM feedback_events WHERE kind = 'REFUNDED'"
    wait_until(lambda: desk.place.ask(query) == [{"n": 1}], 60, "refunded", desk.worker)
    assert "of which 7.5 is given" in desk.says(*refund, "3", code=1)
    assert "of which 7.5 is given" in desk.says(*refund, "3", "--currency", "eur", code=1)


def test_wrong_words_are_told(desk: Desk) -> None:
    assert "there is no case nobody like that" in desk.says("show", "nobody", code=1)
    assert "REFUNDED needs --amount and --currency" in desk.says("act", "f-1", "REFUNDED", "--agent", "A", code=2)
    assert "--root-cause goes with REVIEWED" in desk.says(
        "act", "f-1", "CONTACTED", "--agent", "A", "--root-cause", "late", code=2
    )
    assert "--root-cause is one of late, not_as_described, " in desk.says(
        "act", "f-1", "REVIEWED", "--agent", "A", "--root-cause", "packing", code=2
    )
    refund = ("act", "f-1", "REFUNDED", "--amount", "1")
    assert "'--agent': says nothing" in desk.says(*refund, "--agent", " ", "--currency", "EUR", code=2)
    assert "is no code of three letters" in desk.says(*refund, "--agent", "A", "--currency", "", code=2)
    assert desk.says("list", "--seller", "nobody", "--all") == "There is no case like that.\n"


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with simulated events, as they happened and shuffled, and a database of the former."""
    folder = tmp_path_factory.mktemp("cases")
    simulated = ("simulate", "--sellers", "15", "--days", "120", "--events", "12000", "--seed", "9")
    succeed(folder, *simulated, "-o", "events.jsonl")
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    half = len(lines) // 2
    (folder / "other.jsonl").write_text("".join(lines[half::-1] + lines[half:] + lines[::3]))
    succeed(folder, "replay", "events.jsonl", "--db", "db")
    return folder


def test_a_replay_gives_the_same_cases_in_whatever_order_events_come(year: Path) -> None:
    succeed(year, "replay", "other.jsonl", "--db", "other", "--workers", "2")
    for query in (CASES, HISTORY):
        assert_same(sql(year / "other", query), sql(year / "db", query))
    statuses = {json.loads(line)["status"] for line in sql(year / "db", CASES).splitlines()}
    assert statuses >= {"open", "acted", "removed", "expired"}


def test_cases_that_somebody_changed_are_named_and_mended_and_old_databases_get_theirs(year: Path) -> None:
    from sink.connect import connect

    before = sql(year / "db", CASES)
    one = json.loads(before.splitlines()[0])
    store = connect(str(year / "db"))
    store.client.command(
        "INSERT INTO stored_cases SELECT * REPLACE ('nobody' AS agent, version + 1 AS version) "
        f"FROM stored_cases FINAL WHERE order_id = '{one['order_id']}' "
        f"AND feedback_event_id = '{one['feedback_event_id']}'"
    )
    store.close()
    found = run(year, "verify", "--db", "db")
    assert found.returncode == 1
    assert f"agent of case {one['feedback_event_id']} of order {one['order_id']} is nobody, should be " in found.stdout
    assert run(year, "verify", "--db", "db", "--repair").returncode == 0
    assert_same(sql(year / "db", CASES), before)

    store = connect(str(year / "db"))  # as of a program that knew of no cases
    for statement in (
        "DROP VIEW feedback_cases", "DROP VIEW case_history", "DROP TABLE stored_cases",
        "DELETE FROM schema_versions WHERE name = '005_cases.sql'",
        "ALTER TABLE account_marks UPDATE formula = 7 WHERE true",
    ):  # fmt: skip
        store.client.command(statement, settings={"mutations_sync": 1})
    store.close()
    succeed(year, "rebuild", "--db", "db")
    assert_same(sql(year / "db", CASES), before)
