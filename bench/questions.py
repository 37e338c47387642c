"""Subject: the queries of docs/questions.md over 100,000 accounts, each the best of several runs after a first one.

`python -m bench.questions DB` measures them on a database that is there, and prints the table that the document has.
"""

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.measured import Measured, Run, Step
from bench.wire import year_of
from bench.workload import Workload
from sink.embedded import Folder

DOCUMENT = Path(__file__).parents[1] / "docs" / "questions.md"
ACCOUNTS, RUNS = 100_000, 15
STANDING, YEAR = "2", "3"  # the numbers of the questions that are to be fast
# Alerts are workers' business, and these rows come of `rebuild`: what one rule would have raised today.
ALERTS = """INSERT INTO stored_alerts (alert_id, rule, seller_id, marketplace_id, subject, state, severity, value,
    threshold, since, order_ids, version)
SELECT hex(sipHash64(seller_id, marketplace_id)), 'order_defect_rate', seller_id, marketplace_id,
    'order_defect_rate_60d', 'firing', 'critical', order_defect_rate_60d, 0.01, day, orders, 1
FROM seller_current JOIN (SELECT seller_id, marketplace_id, groupUniqArray(3)(order_id) AS orders FROM order_events
    GROUP BY seller_id, marketplace_id) AS o USING (seller_id, marketplace_id)
WHERE order_defect_rate_60d >= 0.01"""
CHANGES = """INSERT INTO stored_alert_history (alert_id, day, rule, seller_id, marketplace_id, state, value, version)
SELECT alert_id, toDate32(since) - version % 14, rule, seller_id, marketplace_id, state, value, 1 FROM stored_alerts"""

ACCOUNT = """SELECT seller_id, marketplace_id FROM seller_daily
WHERE (seller_id, marketplace_id) IN (SELECT seller_id, marketplace_id FROM alerts WHERE state = 'firing')
GROUP BY seller_id, marketplace_id ORDER BY count() DESC LIMIT 1"""  # in trouble, and for long among us


class Question(NamedTuple):
    """A question of the document: its number, its words, its query."""

    number: str
    words: str
    query: str


class Answered(NamedTuple):
    """How long it took, how many rows came of it, and how many were read of tables."""

    question: Question
    seconds: float
    rows: int
    rows_read: int


def questions() -> list[Question]:
    """All of the document."""
    found = re.findall(r"^### (\d+)\. (.+?)\n\n```sql\n(.+?)\n```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return [Question(*one) for one in found]


def answered(folder: Path, runs: int = RUNS) -> Iterator[Answered]:
    """Every question asked of an embedded database."""
    with Folder(folder) as held:
        connection = held.connect()
        seller, marketplace = connection.query(ACCOUNT, "TSV").bytes().decode().split()
        for question in questions():
            query = question.query.replace("'SELLER'", f"'{seller}'").replace("'MARKETPLACE'", f"'{marketplace}'")
            yield _answered(connection, question, query, runs)
        connection.close()


def _answered(connection: Any, question: Question, query: str, runs: int) -> Answered:
    rows = int(connection.query(f"SELECT count() FROM ({query})", "TSV").bytes())
    took = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        result = connection.query(query, "Native")
        took.append(time.perf_counter() - started)
    return Answered(question, min(took[1:]), rows, result.storage_rows_read())


def asked(work: Workload, folder: Path, step: Step) -> Run:
    """Ten events an account in a year, and all of their rows."""
    year = year_of(ACCOUNTS, 10 * ACCOUNTS, even=True)
    db = work.databases.copy(year, year.last_day, folder / "db")
    with Folder(db) as held, held.client() as client:
        client.command(ALERTS)
        client.command(CHANGES)
    step("asking")
    for one in answered(db):
        yield Measured(
            f"question {one.question.number}", one.seconds, "s", seconds=one.seconds,
            notes={"rows": one.rows, "rows read": one.rows_read},
        )  # fmt: skip


def main(db: str) -> None:
    """Print the document's table."""
    print("| question | ms | rows | rows read |\n|---|---|---|---|")
    for (number, words, _), seconds, rows, rows_read in answered(Path(db)):
        print(f"| {number}. {words} | {seconds * 1000:,.0f} | {rows:,} | {rows_read:,} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
