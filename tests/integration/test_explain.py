"""`explain` on a real database: what it tells adds up to what the rows say, and late events to what they restated."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.events import MS_A_DAY
from streams.core.metrics import METRICS

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "import sys; from streams.commands.cli import main; sys.exit(main())"]
WHOSE = "--seller", "S1", "--marketplace", "M"
FIRST = 19_600  # 2023-08-31


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def explained(db: str, *words: str) -> Any:
    done = run("explain", *WHOSE, "--db", db, "--format", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def event(day: int, topic: str, event_id: str, **fields: Any) -> dict[str, Any]:
    common = {"seller_id": "S1", "marketplace_id": "M", "source": "test", "event_time": (FIRST + day) * MS_A_DAY + 1000}
    return common | {"topic": topic, "event_id": event_id} | fields


def rated(day: int, order: str, rating: int) -> dict[str, Any]:
    return event(day, "feedback", f"f-{order}", order_id=order, kind="SUBMITTED", rating=rating)


ORDERS = [event(day, "orders", f"p-{day}", order_id=f"o-{day}", kind="PLACED") for day in range(40)]
ORDERS += [event(day + 3, "orders", f"d-{day}", order_id=f"o-{day}", kind="DELIVERED") for day in range(40)]
RATINGS = [rated(6, "o-1", 2), rated(8, "o-2", 5), rated(9, "o-3", 3), rated(10, "o-4", 1)]
ANSWERS = [
    event(day % 14, "surveys", f"s-{day}", conversation_id=f"c-{day}", message_id="m", solved=day % 4 > 0,
          buyer_initiated=True)
    for day in range(45)
]  # fmt: skip
EARLY = [
    *ORDERS,
    *RATINGS,
    *ANSWERS,
    rated(250, "o-7", 4),
    event(251, "orders", "p-251", order_id="o-251", kind="PLACED"),
]
LATE = [
    event(20, "feedback", "r-1", order_id="o-1", kind="REMOVED"),
    event(21, "feedback", "a-4", order_id="o-4", kind="RESPONDED"),
    rated(12, "o-5", 1),
]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A database whose last events came later than all others; and when they did, at the earliest."""
    folder = tmp_path_factory.mktemp("explain")
    path = str(folder / "db")
    for name, events in (("early", EARLY), ("late", LATE)):
        file = folder / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, events)))
        done = run("replay", str(file), "--db", path, "--as-of", "2024-06-30")
        assert done.returncode == 0, done.stderr
        if name == "early":
            tables = ("order_events", "feedback_events", "survey_events")
            each = " UNION ALL ".join(f"SELECT max(first_seen_at) AS seen FROM {table}" for table in tables)
            asked = f"SELECT toString(max(seen) + INTERVAL 1 MILLISECOND) FROM ({each})"
            since = run("sql", asked, "--db", path, "--format", "TSV").stdout.strip().replace(" ", "T")
    return path, since


def test_every_metric_of_a_day_is_explained_as_its_row_has_it(db: tuple[str, str]) -> None:
    days = FIRST, FIRST + 25, FIRST + 304
    names = [metric.name for metric in METRICS]
    code = f"""
import json
from streams.reading.account import open_account
from streams.reading.answers import of_value
from streams.settings import load_settings
with open_account(load_settings(None, {{"clickhouse": {{"url": {db[0]!r}}}}}), "S1", "M") as opened:
    answers = [of_value(opened, name, day) for name in {names!r} for day in {days!r}]
print(json.dumps(answers))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    assert len(answers) == 3 * len(METRICS)
    for answer in answers:
        assert answer["stored"] == answer["value"]
        assert not answer["is_late"]
        for side, total in answer["totals"].items():
            assert total == sum(each["brings"].get(side, 0) for each in answer["contributions"])
    # Without the orders that cannot matter, which is how the command reads the account.
    for name in ("positive_90d", "orders_30d", "order_defect_rate_60d", "buy_box_points_per_order_90d", "cs_score"):
        assert explained(db[0], "--metric", name) == answers[3 * names.index(name) + 2]


def test_a_value_is_told_with_its_orders_events_and_the_day_each_leaves(db: tuple[str, str]) -> None:
    answer = explained(db[0], "--metric", "negative_rate_90d", "--day", "2023-09-25")
    assert answer["working"] == "2 / (1 + 1 + 2)"
    assert answer["value"] == 0.5
    told = {each["order_id"]: each for each in answer["contributions"]}
    assert told.keys() == {"o-2", "o-3", "o-4", "o-5"}
    assert told["o-4"]["brings"] == {"numerator": 1, "denominator": 1}
    assert told["o-4"]["leaves"] == "2023-12-09"
    assert told["o-4"]["events"] == [
        {"event_id": "f-o-4", "time": "2023-09-10T00:00:01.000Z", "what": "SUBMITTED, 1 star"}
    ]
    shown = run("explain", *WHOSE, "--db", db[0], "--metric", "negative_rate_90d", "--day", "2023-09-10").stdout
    assert "= 2 / (1 + 1 + 2)" in shown
    assert "2023-09-20, by an event" in shown  # o-1, removed


def test_a_change_is_told_by_what_entered_and_what_left(db: tuple[str, str]) -> None:
    answer = explained(db[0], "--metric", "negative_90d", "--from", "2023-09-10", "--day", "2023-12-10")
    assert (answer["before"], answer["value"]) == (2, 1)
    told = [(each["order_id"], each["entered"], each["day"], each["by"]) for each in answer["moves"]]
    assert told == [
        ("o-4", False, "2023-12-09", "age"),
        ("o-1", False, "2023-09-20", "event"),
        ("o-5", True, "2023-09-12", "event"),
    ]
    shown = run(
        "explain", *WHOSE, "--db", db[0], "--metric", "negative_90d", "--from", "2023-09-10", "--day", "2023-12-10"
    )
    assert "value: 2 +1 entered -2 left = 1" in shown.stdout
    assert "REMOVED (r-1)" in shown.stdout


def test_late_events_tell_why_a_day_that_is_over_shows_another_number(db: tuple[str, str]) -> None:
    path, since = db
    asked = "--metric", "negative_90d", "--day", "2023-09-25", "--seen-since", since
    answer = explained(path, *asked)
    assert (answer["without"], answer["value"]) == (2, 2)
    assert sorted(each["change"] for each in answer["arrivals"]) == [-1, 0, 1]
    assert {each["event_id"] for each in answer["arrivals"]} == {"r-1", "a-4", "f-o-5"}
    shown = run("explain", *WHOSE, "--db", path, *asked).stdout
    assert "2 without the 3 events that arrived since" in shown
    assert "1 event changed nothing" in shown
    assert "The stored row says" not in shown


def test_lines_are_one_contribution_each(db: tuple[str, str]) -> None:
    done = run("explain", *WHOSE, "--db", db[0], "--metric", "orders_30d", "--day", "2023-09-25", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(lines) == 26
    assert lines[0] == {
        "order_id": "o-25", "counters": "orders_30d", "value": "1", "dated": "2023-09-25", "enters": "2023-09-25",
        "leaves": "2023-10-25", "leaves_by": "age", "event_ids": "p-25", "what": "PLACED",
    }  # fmt: skip


def test_without_a_metric_those_are_told_that_rules_watch(db: tuple[str, str]) -> None:
    shown = run("explain", *WHOSE, "--db", db[0]).stdout
    assert "order_defect_rate_60d" in shown
    assert "cs_running_score" in shown


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("--metric", "negative_90"), 2, 'metric "negative_90" is unknown, did you mean "negative_90d"?'),
        (("--metric", "negative_90d", "--day", "2024-07-01"), 2, "2023-08-31 to 2024-06-30"),
        (("--metric", "negative_90d", "--from", "2023-09-10", "--day", "2023-09-01"), 2, "2023-08-31 to 2023-09-01"),
        (("--from", "2023-09-10"), 2, "say of which --metric"),
        (("--marketplace", "N"), 1, "no event is stored of 'S1' on 'N': 'S1' sells on 'M'"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line(
    db: tuple[str, str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = run("explain", *WHOSE, "--db", db[0], *words)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
