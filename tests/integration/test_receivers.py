"""Receivers of a live worker on a real broker: a real Alertmanager, some that fail, kills between state and message.

The Alertmanager is Debian's `prometheus-alertmanager`, or any that is on PATH by that name or as `alertmanager`.
"""

import json
import os
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.events import MS_A_DAY, Parsed, account_key, from_json, to_ms
from streams.failpoints import VARIABLE
from tests.integration.program import Ground, Loopback, Program, Sent, Silent, Webhook, succeed, wait_until
from tests.unit.sources import ORDER

CODEC = Codec()
ALERTMANAGER = """
route:
  receiver: nobody
  group_by: [seller_id]
  group_wait: 0s
receivers:
  - name: nobody
"""


def orders(kind: str, seller: str, numbers: Iterable[int]) -> list[Sent]:
    """What happens to these orders of a seller, now."""
    parsed = from_json(ORDER)
    assert isinstance(parsed, Parsed)
    common = parsed.event | {"seller_id": seller, "kind": kind, "event_time": time.time_ns() // 1_000_000}
    events = ({**common, "event_id": f"live-{kind}-{n}", "order_id": f"live-{n}"} for n in numbers)
    return [("orders", account_key(event), CODEC.encode("orders", event), []) for event in events]


def breach(seller: str) -> list[Sent]:
    """Enough for `order_defect_rate`, and for that alone."""
    return [*orders("PLACED", seller, range(40)), *orders("CLAIM_OPENED", seller, range(2))]


def told(webhook: Webhook) -> list[dict[str, Any]]:
    """The changes that it was told of."""
    return [alert for message in list(webhook.told) for alert in message["alerts"]]


def ids(changes: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each change."""
    return Counter(change["id"] for change in changes)


# --- an Alertmanager -----------------------------------------------------------------------------------------


class Alertmanager:
    """One on loopback, and what its API says."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """What it answers; None if it does not."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/{path}", timeout=5) as answer:  # noqa: S310  # our own
                return json.loads(answer.read())
        except urllib.error.URLError:
            return None

    def group(self, seller: str) -> list[dict[str, Any]]:
        """The alerts that it has grouped under this seller."""
        groups = self.get("alerts/groups") or []
        return [alert for group in groups if group["labels"] == {"seller_id": seller} for alert in group["alerts"]]


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """A real one, empty."""
    program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if program is None:
        reason = "a real Alertmanager needs prometheus-alertmanager on PATH"
        if "SELLERPULSE_CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "config.yml").write_text(ALERTMANAGER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    words += [f"--config.file={folder / 'config.yml'}", f"--storage.path={folder}"]
    with Program(folder, *words, command=[program]) as running:
        manager = Alertmanager(port)
        wait_until(lambda: manager.get("status"), 30, "an Alertmanager", running)
        yield manager


def test_an_alertmanager_takes_groups_and_resolves_alerts(ground: Ground, alertmanager: Alertmanager) -> None:
    place = ground.place("alertmanager")
    link = "https://pulse.example.org/alerts/{alert_id}"
    settings = {"URL": alertmanager.url, "GENERATOR_URL": link}
    with place.worker(**{f"RECEIVERS__ALERTMANAGER__{name}": value for name, value in settings.items()}) as worker:
        wait_until(lambda: place.shared_by(1), 60, "a worker", worker)
        place.produce([*breach("grouped"), *breach("other")])
        wait_until(lambda: alertmanager.group("grouped"), 30, "an alert", worker)
        (alert,) = alertmanager.group("grouped")
        (stored,) = place.ask("SELECT * FROM alerts WHERE seller_id = 'grouped'")
        assert alert["labels"]["alertname"] == stored["rule"] == "order_defect_rate"
        assert alert["labels"]["severity"] == "critical"
        assert alert["annotations"]["alert_id"] == stored["alert_id"]
        assert alert["generatorURL"] == link.replace("{alert_id}", stored["alert_id"])
        assert alert["startsAt"][:10] == stored["since"][:10]
        assert alert["status"]["state"] == "active"
        assert datetime.fromisoformat(alert["endsAt"]) > datetime.now(UTC)
        place.produce(orders("CLAIM_DENIED", "grouped", range(2)))
        wait_until(lambda: not alertmanager.group("grouped"), 30, "its end", worker)
        assert len(alertmanager.group("other")) == 1
        assert worker.stop() == 0
    told_of = place.ask("SELECT receiver, outcome, count() AS n FROM notifications GROUP BY ALL ORDER BY ALL")
    assert told_of == [{"receiver": name, "outcome": "told", "n": 3} for name in ("alertmanager", "log")]


# --- receivers that fail -------------------------------------------------------------------------------------


class Failing(Silent):
    """Says 500."""

    def do_POST(self) -> None:  # noqa: N802  # its name there
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.end_headers()


def test_receivers_that_hang_fail_or_are_gone_hold_up_neither_the_others_nor_rows(ground: Ground) -> None:
    place, over = ground.place("failing"), threading.Event()

    class Hanging(Silent):
        def do_POST(self) -> None:  # noqa: N802  # its name there
            over.wait()

    with ExitStack() as stack:
        hanging, failing = stack.enter_context(Loopback(Hanging)), stack.enter_context(Loopback(Failing))
        good = stack.enter_context(Webhook())
        stack.callback(over.set)
        settings = {
            "ALERTMANAGER__URL": f"http://127.0.0.1:{hanging.port}", "ALERTMANAGER__TIMEOUT_S": "300",
            "SLACK__URL": f"http://127.0.0.1:{failing.port}/secret",
            "EMAIL__HOST": "127.0.0.1", "EMAIL__PORT": "1", "EMAIL__SENDER": "a@example.org",
            "EMAIL__TO": '["b@example.org"]', "WEBHOOK__URL": good.url,
        }  # fmt: skip
        worker = stack.enter_context(place.worker(**{f"RECEIVERS__{name}": value for name, value in settings.items()}))
        wait_until(lambda: place.shared_by(1), 60, "a worker", worker)
        for number in range(3):
            begun = time.monotonic()
            place.produce(breach(f"failing-{number}"))
            rows = f"SELECT count() AS n FROM seller_current WHERE seller_id = 'failing-{number}'"
            wait_until(lambda rows=rows: place.ask(rows) == [{"n": 1}], 20, "rows", worker)  # type: ignore[misc]
            wait_until(lambda n=number: len(told(good)) > n, 20, "the one that works", worker)  # type: ignore[misc]
            assert time.monotonic() - begun < 20
        retrying = "SELECT DISTINCT receiver FROM notifications WHERE outcome = 'retrying' AND next_at IS NOT NULL"
        wait_until(lambda: len(place.ask(retrying)) == 2, 20, "two to be tried again", worker)
        assert worker.stop() == 0
    assert [count for _, count in ids(told(good)).items()] == [1, 1, 1]
    assert "receiver slack was not told of 1 alert change: HTTP 500" in worker.log()
    assert "secret" not in worker.log()
    # who comes back is told of everything, by the next worker
    with Webhook() as slack, place.worker(RECEIVERS__SLACK__URL=slack.url, RECEIVERS__LOG="false") as worker:
        wait_until(lambda: len(slack.told) == 3, 90, "what was left", worker)
        assert worker.stop() == 0
    assert sorted(message["text"].split()[1] for message in slack.told) == [f"failing-{number}" for number in range(3)]


# --- kill -9 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point, most", [("alerts_stored", 1), ("before_notify", 1), ("after_notify", 2)])
def test_killed_between_state_and_message_each_breach_is_told_at_most_twice_under_one_id(
    ground: Ground, point: str, most: int
) -> None:
    place = ground.place(f"killed-{point.replace('_', '-')}")
    sellers = [f"killed-{number}" for number in range(4)]
    with Webhook() as webhook:
        settings = {"RECEIVERS__WEBHOOK__URL": webhook.url, "RECEIVERS__LOG": "false"}
        armed = {VARIABLE.removeprefix("SELLERPULSE_"): f"{point}=kill"}
        with place.worker(**settings, **armed) as doomed:
            wait_until(lambda: place.shared_by(1), 60, "a worker", doomed)
            place.produce([record for seller in sellers for record in breach(seller)])
            assert doomed.ended(60) == -signal.SIGKILL
        with place.worker(**settings) as worker:
            wait_until(lambda: {one["seller_id"] for one in told(webhook)} == {*sellers}, 90, "all", worker)
            wait_until(lambda: not place.left(), 60, "drained", worker)
            assert worker.stop() == 0
    counted = ids(told(webhook))
    assert len(counted) == len(sellers)
    assert max(counted.values()) == most
    assert {one["state"] for one in told(webhook)} == {"firing"}


def test_workers_that_come_and_go_tell_each_breach_once(ground: Ground) -> None:
    place = ground.place("coming-and-going")
    sellers: set[str] = set()
    with Webhook() as webhook:
        settings = {"RECEIVERS__WEBHOOK__URL": webhook.url, "RECEIVERS__LOG": "false"}

        def breaches(*running: Program) -> None:
            new = [f"coming-{len(sellers) + number}" for number in range(8)]
            sellers.update(new)
            place.produce([record for seller in new for record in breach(seller)])
            wait_until(lambda: {one["seller_id"] for one in told(webhook)} == sellers, 60, "all", *running)

        with place.worker(**settings) as one:
            wait_until(lambda: place.shared_by(1), 60, "a worker", one)
            breaches(one)
            with place.worker(**settings) as two:
                wait_until(lambda: place.shared_by(2), 60, "two workers", one, two)
                breaches(one, two)
                assert one.stop() == 0
                breaches(two)
                assert two.stop() == 0
    assert {*ids(told(webhook)).values()} == {1}
    assert len(told(webhook)) == len(sellers)


# --- a year, and then a day ----------------------------------------------------------------------------------


ACCOUNTS, EVENTS, LIVE = int(os.environ.get("SELLERPULSE_ACCOUNTS", "500")), 30, 20


def shift_to_today(file: Path) -> None:
    """Let a simulated year end today, so that a live worker has no days to make up."""
    events = [json.loads(line) for line in file.read_bytes().splitlines()]
    days = time.time_ns() // 1_000_000 // MS_A_DAY - max(to_ms(event["event_time"]) for event in events) // MS_A_DAY
    for event in events:
        times = [name for name in ("event_time", "deliver_by") if event.get(name) is not None]
        event |= {name: to_ms(event[name]) + days * MS_A_DAY for name in times}
    now = time.time_ns() // 1_000_000
    file.write_text("".join(f"{json.dumps(event)}\n" for event in events if event["event_time"] <= now))


def test_a_replayed_year_tells_nobody_and_then_each_breach_is_told_once(ground: Ground, tmp_path: Path) -> None:
    place = ground.place("year")
    words = ["--sellers", ACCOUNTS, "--days", 365, "--events", ACCOUNTS * EVENTS, "-o", "year.jsonl"]
    succeed(tmp_path, "simulate", *map(str, words), within_s=600)
    shift_to_today(tmp_path / "year.jsonl")
    with Webhook() as webhook:
        settings = {"RECEIVERS__WEBHOOK__URL": webhook.url, "RECEIVERS__LOG": "false"}
        succeed(tmp_path, "replay", "year.jsonl", "--db", place.db, within_s=1800, **settings)
        (changes,) = place.ask("SELECT count() AS n FROM alert_history")
        assert changes["n"] > ACCOUNTS / 20
        with place.worker(**settings) as worker:
            wait_until(lambda: place.shared_by(1), 60, "a worker", worker)
            sellers = [f"live-{number}" for number in range(LIVE)]
            place.produce([record for seller in sellers for record in breach(seller)])
            wait_until(lambda: {one["seller_id"] for one in told(webhook)} >= {*sellers}, 60, "all breaches", worker)
            wait_until(lambda: not place.left(), 60, "drained", worker)
            time.sleep(3)  # what would come too much comes by then
            assert worker.stop() == 0
    assert sorted(one["seller_id"] for one in told(webhook)) == sorted(sellers)
    assert {*ids(told(webhook)).values()} == {1}
