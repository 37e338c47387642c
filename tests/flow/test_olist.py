"""The real Olist tables through the connector, held against SQL over the same files: another engine, calendar and CSV.

Every trap that the data's README names is counted on both sides.
"""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.events import Parsed, check
from streams.connectors.files import Record, ReportOptions, find_sources

OLIST = Path(__file__).parents[3] / "shared" / "data" / "olist"
pytestmark = pytest.mark.skipif(not OLIST.is_dir(), reason=f"no Olist data at {OLIST}")

NOW_MS = 1_893_456_000_000  # 2030
HOUR_MS = 3_600_000

# A table's times are São Paulo's. A row of `sold` is an order of a seller: what the connector takes for one order.
SQL = """
WITH
    items AS (SELECT * FROM file('{folder}/olist_order_items_dataset.csv.gz', CSVWithNames)),
    orders AS (SELECT * FROM file('{folder}/olist_orders_dataset.csv.gz', CSVWithNames, '
        order_id String, customer_id String, order_status String, order_purchase_timestamp {time},
        order_approved_at Nullable({time}), order_delivered_carrier_date Nullable({time}),
        order_delivered_customer_date Nullable({time}), order_estimated_delivery_date {time}')),
    reviews AS (SELECT * FROM file('{folder}/olist_order_reviews_dataset.csv.gz', CSVWithNames, '
        review_id String, order_id String, review_score UInt8, review_comment_title String,
        review_comment_message String, review_creation_date {time}, review_answer_timestamp {time}')),
    sold AS (SELECT DISTINCT order_id, seller_id FROM items),
    rated AS (SELECT * FROM reviews INNER JOIN sold USING (order_id))
"""
QUERIES = {
    "orders by month": """
        SELECT formatDateTime(order_purchase_timestamp, '%Y-%m', 'UTC') AS month, count()
        FROM orders INNER JOIN sold USING (order_id) GROUP BY month""",
    "stars by month": """
        SELECT formatDateTime(review_answer_timestamp, '%Y-%m', 'UTC') AS month, count(), sum(review_score)
        FROM rated GROUP BY month""",
    "kinds": """
        SELECT count(), count(order_delivered_carrier_date), count(order_delivered_customer_date),
            countIf(order_status = 'canceled')
        FROM orders INNER JOIN sold USING (order_id)""",
    "promise in hours": """
        SELECT sum(intDiv(toUnixTimestamp(addDays(order_estimated_delivery_date, 1)), 3600)) FROM orders
        INNER JOIN sold USING (order_id)""",
    "orders of several sellers": """
        SELECT count() FROM (SELECT order_id FROM sold GROUP BY order_id HAVING count() > 1)""",
    "orders with several reviews": """
        SELECT count() FROM (SELECT order_id FROM reviews GROUP BY order_id HAVING count() > 1)""",
    "reviews of several orders": """
        SELECT count() FROM (SELECT review_id FROM reviews WHERE review_id != '' GROUP BY review_id
        HAVING uniqExact(order_id) > 1)""",
    "orders reviewed but never reported delivered": """
        SELECT uniqExact(order_id) FROM reviews INNER JOIN orders USING (order_id)
        WHERE order_delivered_customer_date IS NULL""",
    "reviews without an id": "SELECT countIf(review_id = '') FROM rated",
    "answers": """
        SELECT sum(toUnixTimestamp(review_answer_timestamp)),
            ceil(max(dateDiff('second', review_creation_date, review_answer_timestamp)) / 86400)
        FROM rated""",
    "delivered before shipped": """
        SELECT count() FROM orders WHERE order_delivered_customer_date < order_delivered_carrier_date""",
    "comments": "SELECT countIf(match(review_comment_title || review_comment_message, '\\\\S')) FROM rated",
    "skus": "SELECT uniqExact(order_id, seller_id, product_id) FROM items",
}
PROGRAM = """
import chdb, json, sys
rows = lambda sql: json.loads(str(chdb.query(sql, "JSONCompact")))["data"]
print(json.dumps({name: rows(sql) for name, sql in json.load(sys.stdin).items()}))
"""


@pytest.fixture(scope="module")
def told() -> Mapping[str, list[list[Any]]]:
    """What SQL says, in a process of its own: two databases in one do not go together."""
    head = SQL.format(folder=OLIST, time="DateTime(''America/Sao_Paulo'')")
    asked = json.dumps({name: f"{head} {query} ORDER BY 1" for name, query in QUERIES.items()})
    ran = subprocess.run([sys.executable, "-c", PROGRAM], input=asked, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, list[list[Any]]] = json.loads(ran.stdout)
    return {name: [[_number(cell) for cell in row] for row in rows] for name, rows in answer.items()}


def _number(cell: Any) -> Any:
    return int(cell) if isinstance(cell, str) and cell.isdigit() else cell  # 64-bit numbers come quoted


@pytest.fixture(scope="module")
def records() -> list[Record]:
    (source,) = find_sources([OLIST], ReportOptions())
    found = list(source.read(lambda _: None))
    assert source.left_out == {}  # this part of the data set has a seller for every order
    return found


@pytest.fixture(scope="module")
def events(records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """Events by kind."""
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        assert isinstance(record.item, Parsed)
        by_kind[record.item.event["kind"]].append(record.item.event)
    return by_kind


Events = dict[str, list[dict[str, Any]]]
Told = Mapping[str, list[list[Any]]]


def month(event: Mapping[str, Any]) -> str:
    return f"{datetime.fromtimestamp(event['event_time'] / 1000, UTC):%Y-%m}"


def test_monthly_orders_agree_with_sql(events: Events, told: Told) -> None:
    counts = Counter(map(month, events["PLACED"]))
    assert [[m, n] for m, n in sorted(counts.items())] == told["orders by month"]
    assert sum(counts.values()) > 33_896  # an order of two sellers is one of each


def test_monthly_mean_stars_agree_with_sql(events: Events, told: Told) -> None:
    stars: dict[str, list[int]] = defaultdict(list)
    for event in events["SUBMITTED"]:
        stars[month(event)].append(event["rating"])
    assert [[m, len(s), sum(s)] for m, s in sorted(stars.items())] == told["stars by month"]


def test_every_moment_that_is_told_is_an_event(events: Events, told: Told) -> None:
    counts = [len(events[kind]) for kind in ("PLACED", "SHIPPED", "DELIVERED", "CANCELLED")]
    assert [counts] == told["kinds"]
    assert len({(e["order_id"], e["seller_id"]) for e in events["PLACED"]}) == counts[0]


def test_promises_end_with_their_local_day(events: Events, told: Told) -> None:
    assert sum((event["deliver_by"] + 1) // HOUR_MS for event in events["PLACED"]) == told["promise in hours"][0][0]
    assert {event["deliver_by"] % HOUR_MS for event in events["PLACED"]} == {HOUR_MS - 1}


def test_orders_of_several_sellers_count_for_each(events: Events, told: Told) -> None:
    sellers: dict[str, set[str]] = defaultdict(set)
    for event in events["PLACED"]:
        sellers[event["order_id"]].add(event["seller_id"])
    assert [[sum(len(s) > 1 for s in sellers.values())]] == told["orders of several sellers"] == [[410]]
    rated = Counter((event["order_id"], event["seller_id"]) for event in events["SUBMITTED"])
    assert all(len({rated[order, seller] for seller in sellers[order]}) == 1 for order in sellers)
    assert sum(len(event["skus"]) for event in events["PLACED"]) == told["skus"][0][0]


def test_every_review_of_an_order_is_a_rating_of_its_own(events: Events, told: Told) -> None:
    answers: dict[str, set[str]] = defaultdict(set)
    orders: dict[str, set[str]] = defaultdict(set)
    for event in events["SUBMITTED"]:
        review = event["event_id"].removeprefix(f"{event['order_id']}:{event['seller_id']}:")
        answers[event["order_id"]].add(review)
        orders[review].add(event["order_id"])
    assert [[sum(len(reviews) > 1 for reviews in answers.values())]] == told["orders with several reviews"] == [[185]]
    nameless = [event for event in events["SUBMITTED"] if "/" in event["event_id"]]
    assert [[len(nameless)]] == told["reviews without an id"]
    shared = sum(len(found) > 1 for review, found in orders.items() if "/" not in review)
    assert [[shared]] == told["reviews of several orders"] == [[85]]


def test_reviews_count_from_their_answer_however_late(events: Events, told: Told) -> None:
    ((total, longest_days),) = told["answers"]
    assert sum(event["event_time"] for event in events["SUBMITTED"]) == total * 1000
    assert longest_days == 519


def test_what_comes_in_an_odd_order_is_told_as_it_came(events: Events, told: Told) -> None:
    delivered = {event["order_id"]: event["event_time"] for event in events["DELIVERED"]}
    shipped = {event["order_id"]: event["event_time"] for event in events["SHIPPED"]}
    undelivered = {event["order_id"] for event in events["SUBMITTED"]} - delivered.keys()
    assert [[len(undelivered)]] == told["orders reviewed but never reported delivered"] == [[2187]]
    early = sum(delivered.get(order, moment) < moment for order, moment in shipped.items())
    assert [[early]] == told["delivered before shipped"] == [[9]]


def test_comments_over_several_lines_are_whole_and_masked(events: Events, told: Told) -> None:
    comments = [event["comment"] for event in events["SUBMITTED"] if event["comment"] is not None]
    assert [[len(comments)]] == told["comments"]
    assert any("\n" in comment for comment in comments)
    assert sum("[phone]" in comment for comment in comments) == 7
    assert sum("[e-mail]" in comment for comment in comments) == 1
    assert not any("@hotmail" in comment for comment in comments)


def test_every_event_passes_the_checks_and_a_second_reading_brings_the_same(records: list[Record]) -> None:
    ids = set()
    for record in records:
        assert isinstance(record.item, Parsed)
        topic, event = record.item
        assert check(topic, event, NOW_MS) is None
        ids.add((topic, event["event_id"]))
    assert len(ids) == len(records)
    (source,) = find_sources([OLIST], ReportOptions())
    assert all(again == record for again, record in zip(source.read(lambda _: None), records, strict=True))
