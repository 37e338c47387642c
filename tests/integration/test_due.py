"""What falls due by the clock alone, on a real broker and a ClickHouse server, with workers that are killed."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.codec import Codec
from schemas.events import account_key
from streams.failpoints import VARIABLE
from tests.chaos.clock import Clock
from tests.integration.program import Ground, Place, Sent, Webhook, wait_until
from tests.integration.test_worker import full
from tests.unit.sources import RATING

HOUR = 3_600_000
CODEC = Codec()


def sent(order: str, kind: str, hours_ago: float) -> Sent:
    """What happens to the feedback on an order."""
    now = time.time_ns() // 1_000_000
    change: dict[str, Any] = {"seller_id": "due", "order_id": order, "kind": kind, "event_id": f"{kind}-{order}"}
    change |= {"event_time": now - int(hours_ago * HOUR), "comment": None} | (
        {} if kind == "SUBMITTED" else {"rating": None}
    )
    event = full(RATING) | change
    return "feedback", account_key(event), CODEC.encode("feedback", event), []


def of_alerts(place: Place, begin: dict[tuple[str, int], int]) -> Counter[tuple[str, str, str]]:
    """How often which change of which alert is on the topic; by rule, state and order."""
    spans = {at: (begin[at], end) for at, end in place.ends().items() if at[0] == "alerts"}
    told = [json.loads(cast("bytes", record.value())) for record in place.records(spans)]
    return Counter((one["rule"], one["state"], one["order_ids"][0]) for one in told if "alert_id" in one)


def firing(place: Place) -> set[tuple[str, str]]:
    rows = place.ask("SELECT rule, order_ids[1] AS o FROM alerts WHERE state = 'firing' AND seller_id = 'due'")
    return {(row["rule"], row["o"]) for row in rows}


def test_a_case_is_told_once_whoever_is_killed_and_falls_due_with_no_event(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, clock = ground.place("due"), Clock(tmp_path / "clock")
    for name, value in clock.environ.items():
        monkeypatch.setenv(name, value)
    begin = place.ends()
    opened, overdue = ("negative_feedback", "firing"), ("case_overdue", "firing")
    with Webhook() as webhook:
        place.produce([sent("one", "SUBMITTED", 2)])
        with place.worker(**{VARIABLE.removeprefix("SELLERPULSE_"): "alerts_sent=kill"}) as killed:
            wait_until(lambda: not killed.runs(), 60, "a worker that dies between topic and tables")
        assert of_alerts(place, begin) == {(*opened, "one"): 1}
        assert firing(place) == set()

        tomorrow = f"{datetime.now(UTC) + timedelta(1):%A}".lower()
        settings = {"RECEIVERS__WEBHOOK__URL": webhook.url, "DIGEST__ENABLED": "true", "DIGEST__HOUR": "0"}
        settings |= {"DIGEST__WEEKDAY": tomorrow}
        with place.worker(**settings) as worker:  # says it again, with the same id, and stores it
            wait_until(lambda: firing(place) == {("negative_feedback", "one")}, 60, "the alert", worker)
            # It is killed next: what the receiver got and the tables do not know yet would be told again.
            known = "SELECT 1 FROM notifications WHERE receiver = 'webhook' AND outcome = 'told'"
            wait_until(lambda: webhook.told and place.ask(known), 30, "a notification", worker)
        with place.worker(**settings) as worker:  # the one before was killed: this one knows what was said
            place.produce([sent("two", "SUBMITTED", 2)])
            wait_until(lambda: ("negative_feedback", "two") in firing(place), 60, "another's alert", worker)
            assert of_alerts(place, begin) == {(*opened, "one"): 2, (*opened, "two"): 1}

            clock.set(1)
            both = {("case_overdue", "one"), ("case_overdue", "two")}
            wait_until(lambda: both <= firing(place), 90, "what fell due with no event", worker)
            place.produce([sent("one", "RESPONDED", 0)])
            wait_until(lambda: ("case_overdue", "one") not in firing(place), 60, "the end of one", worker)
            told = of_alerts(place, begin)
            assert told == {
                (*opened, "one"): 2, (*opened, "two"): 1, (*overdue, "one"): 1, (*overdue, "two"): 1,
                ("case_overdue", "resolved", "one"): 1,
            }  # fmt: skip
            wait_until(lambda: len(notified(webhook)) == len(told), 30, "all of them told", worker)
            done = "SELECT told FROM digests FINAL WHERE seller_id = 'due' AND told"
            wait_until(lambda: place.ask(done), 90, "the account's digest", worker)
            assert worker.stop() == 0, worker.log()
    assert set(notified(webhook).values()) == {1}
    (digest,) = digests(webhook)
    assert [case["order_id"] for case in digest["cases"]] == ["one", "two"]
    ids = "SELECT uniqExact(alert_id) AS ids, count() AS n FROM alerts WHERE seller_id = 'due'"
    assert place.ask(ids) == [{"ids": 4, "n": 4}]


def notified(webhook: Webhook) -> Counter[tuple[str, str, str]]:
    """How often the receiver was told of which change."""
    changes = [change for message in list(webhook.told) for change in message.get("alerts", ()) if "state" in change]
    return Counter((one["rule"], one["state"], one["order_ids"][0]) for one in changes)


def digests(webhook: Webhook) -> list[dict[str, Any]]:
    """What the receiver was told of digests."""
    return [message for message in list(webhook.told) if message.get("type") == "digest"]
