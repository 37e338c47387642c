"""A year of many accounts comes to a worker, or was replayed: nobody is told; then each breach is told once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.codec import Codec
from schemas.events import MS_A_DAY, Parsed, account_key, from_json
from streams.pipeline import NEAR_EVENTS
from tests.integration.program import Ground, Place, Program, Sent, Webhook, succeed, wait_until
from tests.unit.sources import ORDER, RATING

# 10,000 pass too, in four minutes. With fewer ingested the last bad rating would come when the head is near.
SELLERS = {"ingested": [f"S{n:05}" for n in range(NEAR_EVENTS // 2)], "replayed": [f"S{n:05}" for n in range(600)]}
UNHAPPY = json.dumps([{"name": "unhappy", "metric": "negative_90d", "comparison": ">", "threshold": 0}])
CODEC = Codec()


def event(kind: dict[str, Any], seller: str, days_ago: float, number: int) -> dict[str, Any]:
    at = time.time_ns() // 1_000_000 - int(days_ago * MS_A_DAY)
    ids = {"event_id": f"{seller}-{number}", "seller_id": seller, "order_id": f"{seller}-{number}", "event_time": at}
    return {**kind, **ids}


def year(sellers: list[str]) -> Iterator[dict[str, Any]]:
    """By day: orders of every seller, each month and today, and a bad rating that is past, or not, or none."""
    for month in range(12, -1, -1):
        for n, seller in enumerate(sellers):
            yield event(ORDER | {"kind": "PLACED"}, seller, 30.4 * month, month)
            if month == 2 + 6 * (n % 3) and n % 3 < 2:  # 61 days ago, 243 days ago
                yield event(RATING | {"kind": "SUBMITTED", "rating": 1}, seller, 30.4 * month, 100 + month)


def live(place: Place, sellers: list[str]) -> None:
    place.produce([sent(event(RATING | {"kind": "SUBMITTED", "rating": 1}, seller, 0, 200)) for seller in sellers])


def sent(one: dict[str, Any]) -> Sent:
    topic, parsed = cast("Parsed", from_json(one))
    return topic, account_key(parsed), CODEC.encode(topic, parsed), []


def told(place: Place) -> list[tuple[str, str, int]]:
    asked = """SELECT seller_id, state, count() AS n FROM alert_history WHERE rule = 'unhappy' AND NOT muted
        GROUP BY ALL ORDER BY ALL"""
    return [(row["seller_id"], row["state"], row["n"]) for row in place.ask(asked)]


def is_settled(place: Place, events: int) -> bool:
    """Whether all that was sent is in the rows, and judged."""
    asked = """SELECT (SELECT count() FROM order_events) + (SELECT count() FROM feedback_events) AS events,
        (SELECT sum(orders_lifetime) + sum(negative_lifetime) FROM seller_current) AS known"""
    return place.ask(asked) == [{"events": events, "known": events}]


@pytest.mark.parametrize("how", ["ingested", "replayed"])
def test_nobody_is_told_of_a_year_and_then_of_each_breach_once(ground: Ground, how: str, tmp_path: Path) -> None:
    place, sellers = ground.place(how), SELLERS[how]
    events = list(year(sellers))
    if how == "replayed":
        (tmp_path / "year.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in events))
        succeed(tmp_path, "replay", "year.jsonl", "--db", place.db, ALERTS__RULES=UNHAPPY)
    with Webhook() as webhook:

        def worker() -> Program:
            return place.worker(ALERTS__RULES=UNHAPPY, RECEIVERS__WEBHOOK__URL=webhook.url)

        with worker() as first:
            wait_until(lambda: place.shared_by(1), 60, "a worker", first)
            if how == "ingested":
                place.produce(list(map(sent, events)))
            wait_until(lambda: is_settled(place, len(events)), 200, "all rows", first)
            time.sleep(3)
            firing = place.ask("SELECT uniq(seller_id) AS n FROM alerts WHERE rule = 'unhappy' AND state = 'firing'")
            assert firing == [{"n": len(sellers[::3])}]
            assert (told(place), webhook.told) == ([], [])
            breaching = sellers[2::3]
            live(place, breaching)
            wait_until(lambda: len(told(place)) > 100, 60, "some are told", first)
            first.kill()
        with worker() as second:
            wait_until(lambda: is_settled(place, len(events) + len(breaching)), 200, "all rows", second)
            time.sleep(3)
            live(place, breaching)  # again: the same
            time.sleep(2)
            assert told(place) == [(seller, "firing", 1) for seller in breaching]
