"""docs/questions.md: over a small replay each query gives sane rows, is one that analysts may ask, and is quick."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.questions import Question, questions
from sink.gate import FUNCTIONS, Function, Gate
from sink.statement import Terms, parse
from streams.core.metrics import METRICS
from tests.integration.program import succeed
from tests.integration.served import Served, serving

REFUSED = {"topic": "orders", "event_id": "x", "seller_id": "S", "marketplace_id": "M", "kind": "NO SUCH KIND"}
SHARES = (
    "share",
    "share_in_breach",
    "negative_rate",
    "defect_rate",
    "ended_well",
    "within_3_h",
    "within_24_h",
    "never",
)
MAY_BE_EMPTY = {"4"}  # nobody may have become worse
QUESTIONS = questions()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A marketplace year of twenty sellers with some trouble, some records refused."""
    folder = tmp_path_factory.mktemp("questions")
    succeed(folder, "simulate", "--sellers", "20", "--events", "20000", "--seed", "5", "-o", "events.jsonl")
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(REFUSED) + "\n")
    succeed(folder, "replay", "events.jsonl", "--db", "db", within_s=300)
    with serving(folder / "db") as served:
        yield served


def ask(served: Served, query: str) -> dict[str, Any]:
    """The answer in ClickHouse's own JSON, with what it took."""
    status, _, body = served.ask(body=f"{query} FORMAT JSON".encode(), database="sellerpulse")
    assert status == 200, body.decode()[:500]
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.fixture(scope="module")
def account(served: Served) -> tuple[str, str]:
    """The one with most orders behind its alerts."""
    worst = "SELECT seller_id, marketplace_id FROM alerts WHERE state = 'firing' ORDER BY order_count DESC LIMIT 1"
    (row,) = ask(served, worst)["data"]
    return row["seller_id"], row["marketplace_id"]


@pytest.fixture(scope="module")
def gate(served: Served) -> Gate:
    """What looks at the statements of analysts."""
    return Gate("sellerpulse", (Function(**row) for row in ask(served, FUNCTIONS)["data"]), {})


def test_there_are_twenty_each_with_a_word_on_its_answer() -> None:
    assert [question.number for question in QUESTIONS] == [str(n) for n in range(1, 21)]
    document = (Path(__file__).parents[2] / "docs" / "questions.md").read_text()
    for question in QUESTIONS:
        said = document.partition(f"{question.query}\n```\n")[2].partition("#")[0].strip()
        assert len(said) > 10, question.number
        assert f"| {question.number}. {question.words} |" in document


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"{question.number}. {question.words}")
def test_a_question_is_answered(
    served: Served, gate: Gate, account: tuple[str, str], question: Question, record_property: Any
) -> None:
    query = question.query.replace("'SELLER'", f"'{account[0]}'").replace("'MARKETPLACE'", f"'{account[1]}'")
    gate.admit(parse(query.encode(), b""), Terms())
    answer = ask(served, query)
    rows, took = answer["data"], answer["statistics"]
    said = f"{took['elapsed'] * 1000:.0f} ms, {took['rows_read']:,} rows read, {len(rows)} rows"
    record_property("took", said)
    print(f"{question.number}. {question.words} {said}")
    assert rows or question.number in MAY_BE_EMPTY
    assert took["elapsed"] < 10  # seconds, on a machine that is busy with other tests
    for row in rows:
        assert None not in (row.get(key, "") for key in ("seller_id", "marketplace_id", "rule", "topic", "month"))
        assert all(0 <= row[key] <= 1 for key in SHARES if row.get(key) is not None), row


def test_of_a_year_there_is_a_row_for_each_day(served: Served, account: tuple[str, str]) -> None:
    (year,) = (question.query for question in QUESTIONS if question.number == "3")
    rows = ask(served, year.replace("'SELLER'", f"'{account[0]}'").replace("'MARKETPLACE'", f"'{account[1]}'"))["data"]
    days = [row["day"] for row in rows]
    assert len(days) > 300
    assert days == sorted(set(days))
    assert len(rows[0]) == 3 + len(METRICS) + 1
