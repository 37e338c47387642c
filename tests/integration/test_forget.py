"""`sellerpulse forget` as people run it: the order is gone and its numbers are not, also when its events come again."""

import json
from pathlib import Path
from typing import Any

import pytest

from sink.connect import connect
from tests.integration.program import DAILY, REST, assert_same, run, succeed

SELLER, MARKETPLACE = "AMQSXQX1GXNW4G", "MKT-DE"  # who is simulated, and has alerts that name orders
ORDER, THREE_STARS, TALK = "777-SECRET-0000001", "777-SECRET-0000002", "talk-SECRET-3"
COMMENT = "Arrived three weeks late, and SECRET-ly broken"
KILLED_AT = ("noted=kill", "added=kill", "dropped=kill@2", "renamed=kill", "replaced=kill")


def story() -> list[dict[str, object]]:
    """Events of two orders; of one instant those whose order decides, and of a conversation that names one of them."""
    account: dict[str, object] = {"seller_id": SELLER, "marketplace_id": MARKETPLACE, "source": "by-hand"}

    def event(topic: str, number: str, at: str, order: str | None = ORDER, **more: object) -> dict[str, object]:
        told = {"topic": topic, "event_id": f"{order or TALK}:{number}", "event_time": f"2025-06-{at}:00Z"}
        return account | told | {"order_id": order} | more

    talk: dict[str, Any] = {"conversation_id": TALK, "buyer_initiated": True}
    return [
        *(event("orders", f"{n}{order[-1]}", f"{day}T10:00", order, kind=kind, skus=["SKU-1"])
          for order in (ORDER, THREE_STARS)
          for n, (day, kind) in enumerate([("01", "PLACED"), ("02", "SHIPPED"), ("06", "DELIVERED")])),
        event("feedback", "c", "29T10:00", kind="REMOVED"),  # of these three the last counts: a rating stands
        event("feedback", "b", "29T10:00", kind="SUBMITTED", rating=5),
        event("feedback", "d", "29T10:00", kind="SUBMITTED", rating=1, comment=COMMENT),
        event("feedback", "e", "29T18:00", kind="CONTACTED", agent="kim", comment="SECRET-ly sorry"),
        event("feedback", "f", "20T10:00", THREE_STARS, kind="SUBMITTED", rating=3, comment="SECRET@example.com"),
        event("surveys", "g", "20T10:00", message_id="m-SECRET-1", solved=False, comment="No. SECRET", **talk),
        event("surveys", "h", "22T10:00", None, message_id="m-SECRET-2", solved=True, **talk),
    ]  # fmt: skip


def sql(db: Path, query: str) -> str:
    """The result of a query as JSON lines, without the second that a command takes."""
    store = connect(str(db), create=False)
    try:
        return store.client.raw_query(query, fmt="JSONEachRow").decode()
    finally:
        store.close()


def named(db: Path, word: str) -> list[str]:
    """Tables in which anything at all names it."""
    tables = [row["name"] for row in map(json.loads, sql(db, TABLES).splitlines())]
    each = (
        f"SELECT '{table}' AS t FROM `{table}` WHERE position(toString(tuple(*)), '{word}') > 0" for table in tables
    )
    return sorted({row["t"] for row in map(json.loads, sql(db, " UNION ALL ".join(each)).splitlines())})


TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
CASES = """SELECT order_id, rating, comment, skus, agent, status, root_causes, removal_grounds, first_action_at
    FROM feedback_cases ORDER BY opened_at"""


# Their subjects and orders are ids, and so are they themselves.
ALERTS_BUT_IDS = """SELECT rule, seller_id, state, value, since, resolved_at, order_count, h.day, h.state, h.value
    FROM alerts AS a JOIN alert_history AS h USING (seller_id, marketplace_id, alert_id) ORDER BY ALL"""


# The case of 3 stars is gone, and so is its alert when the rules are evaluated again.
ALERTS = """SELECT a.*, h.* EXCEPT (changed_at) FROM alerts AS a
    JOIN alert_history AS h USING (seller_id, marketplace_id, alert_id)
    WHERE NOT (rule = 'negative_feedback' AND a.value = 3) ORDER BY ALL"""


def files_with(folder: Path, word: bytes) -> list[Path]:
    """Files that hold it as it is; those of columns are compressed, but so short a text seldom changes."""
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def forget(folder: Path, *words: str, at: str = "") -> int:
    """Its exit code; `at` a failpoint it is killed."""
    return run(folder, "forget", "--db", "db", *words, FAILPOINTS=f"forget_{at}" if at else "").returncode


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of simulated events and the story."""
    folder = tmp_path_factory.mktemp("forget")
    simulated = ("--sellers", "6", "--days", "60", "--events", "6000", "--seed", "5")
    succeed(folder, "simulate", *simulated, "-o", "events.jsonl")
    with (folder / "events.jsonl").open("a") as events:
        events.writelines(json.dumps(event) + "\n" for event in story())
    succeed(folder, "replay", "events.jsonl", "--db", "db")
    return folder


def test_killed_anywhere_and_told_again_it_forgets_and_no_number_changes(folder: Path) -> None:
    db = folder / "db"
    daily, alerts = sql(db, DAILY.format(where="")), sql(db, ALERTS_BUT_IDS)
    assert {"stored_feedback_events", "stored_survey_events", "stored_cases", "stored_alerts"} <= set(
        named(db, "SECRET")
    )
    assert files_with(db, b"SECRET")
    before = [json.loads(line) for line in sql(db, CASES).splitlines()]
    assert {(case["order_id"], case["rating"]) for case in before} >= {(ORDER, 1), (THREE_STARS, 3)}
    for at in KILLED_AT:
        assert forget(folder, "--order", ORDER, at=at) == -9
    said = succeed(folder, "forget", "--order", THREE_STARS, "--db", "db")  # and first what was interrupted
    assert said.count(" events by pseudonyms, ") == 2
    assert "every row of seller_daily is as it was" in said
    assert "topics 30 days" in said

    assert named(db, "SECRET") == []
    assert files_with(db, b"SECRET") == []
    assert_same(sql(db, DAILY.format(where="")), daily)
    after = [json.loads(line) for line in sql(db, CASES).splitlines()]
    told = [case for case in before if case["order_id"] not in (ORDER, THREE_STARS)]
    assert [case for case in after if not case["order_id"].startswith("forgotten-")] == told
    (case,) = (case for case in after if case["order_id"].startswith("forgotten-"))
    (was,) = (case for case in before if case["order_id"] == ORDER)
    assert was["root_causes"] != ["unknown"]
    gone = {"order_id": case["order_id"], "comment": None, "root_causes": ["unknown"]}
    assert case == was | gone
    assert_same(sql(db, ALERTS_BUT_IDS), alerts)
    named_by = json.loads(sql(db, f"SELECT count() AS n FROM alerts WHERE has(order_ids, '{case['order_id']}')"))
    assert named_by["n"] > 1
    assert succeed(folder, "verify", "--db", "db").startswith("every row is right: ")


def test_what_comes_again_is_what_is_there(folder: Path) -> None:
    db = folder / "db"
    queries = (REST.format(more=""), DAILY.format(where=""), CASES, ALERTS)
    before = [sql(db, query) for query in queries]
    succeed(folder, "replay", "events.jsonl", "--db", "db")
    for query, wanted in zip(queries, before, strict=True):
        assert_same(sql(db, query), wanted)
    assert named(db, "SECRET") == []


def test_of_what_nothing_is_stored_it_asks_whose_it_is(folder: Path) -> None:
    unknown = run(folder, "forget", "--order", "777-SECRET-0000004", "--db", "db")
    assert (unknown.returncode, unknown.stderr) == (
        1, "sellerpulse: nothing is stored of this order: give --seller and --marketplace, should it come\n",
    )  # fmt: skip
