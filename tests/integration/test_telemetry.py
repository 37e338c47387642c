"""A live worker scraped while it works, and asked how it is while Kafka and ClickHouse come and go."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest

from schemas.codec import Codec
from schemas.events import account_key
from streams.agents import now_ms
from tests.integration.broker import Broker
from tests.integration.program import FAUST, Ground, Place, Program, Sent, wait_until
from tests.integration.test_page_api import Listener
from tests.integration.test_worker import full
from tests.unit.sources import ORDER, RATING
from tests.unit.test_telemetry import samples

CODEC = Codec()
ORDERS, RUBBISH = 3_000, 50
SERVING = {"WEB__ENABLED": "true", "WEB__PORT": "0"}


def address(worker: Program) -> str:
    """Where it says that it answers."""
    wait_until(lambda: "metrics and health are at " in worker.log(), 60, "an address", worker)
    found = re.search(r"metrics and health are at (\S+)", worker.log())
    assert found is not None
    return found[1]


def ask(url: str, within_s: float = 30) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(url, timeout=within_s) as answer:  # noqa: S310  # our own server
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(url: str) -> dict[str, float]:
    status, text = ask(f"{url}/metrics")
    assert status == 200
    return samples(text)


def of(found: dict[str, float], name: str) -> float:
    """All samples of a metric together."""
    return sum(value for key, value in found.items() if key.partition("{")[0] == f"sellerpulse_{name}")


def orders(first: int, end: int) -> list[Sent]:
    """Orders of ten sellers, by number."""
    numbers = range(first, end)
    events = [full(ORDER | {"event_id": f"e{n}", "order_id": f"o{n}", "seller_id": f"S{n % 10}"}) for n in numbers]
    return [("orders", account_key(event), CODEC.encode("orders", event), []) for event in events]


def listening(worker: Program) -> set[str]:
    """The addresses at which its processes can be reached."""
    family = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
    found = [one for process in family for one in process.net_connections("inet") if one.status == "LISTEN"]
    return {f"http://{one.laddr.ip}:{one.laddr.port}" for one in found}


@pytest.fixture(scope="module")
def scraped(ground: Ground) -> Iterator[tuple[Place, Program, str]]:
    """A worker that is ready, and where it answers."""
    place = ground.place("scraped")
    with place.worker("--dlq-limit", "1", **SERVING) as worker:
        url = address(worker)
        wait_until(lambda: ask(f"{url}/readyz")[0] == 200, 60, "a worker that is ready", worker)
        yield place, worker, url


def test_events_by_outcome_are_what_was_sent_and_lag_falls_to_nothing(scraped: tuple[Place, Program, str]) -> None:
    place, worker, url = scraped
    sent = orders(0, ORDERS)
    rubbish: Sent = ("orders", b"S0|M", b"rubbish", [])
    place.produce([*sent, *[rubbish] * RUBBISH])
    wait_until(lambda: of(scrape(url), "events_total") >= ORDERS + RUBBISH, 60, "all of it", worker)
    wait_until(lambda: not place.left(), 60, "drained", worker)
    place.produce(sent[:500])
    wait_until(lambda: of(scrape(url), "events_total") >= ORDERS + RUBBISH + 500, 60, "duplicates", worker)
    found = scrape(url)
    wanted = {"stored": ORDERS, "duplicate": 500, "refused": RUBBISH}
    assert {key: found[f'sellerpulse_events_total{{outcome="{key}",topic="orders"}}'] for key in wanted} == wanted
    assert found['sellerpulse_refused_total{reason="not decodable",topic="orders"}'] == RUBBISH
    assert of(found, "lag_records") == 0
    assert len([key for key in found if key.startswith("sellerpulse_lag_records")]) == 16
    assert found["sellerpulse_partitions"] == 4
    assert found["sellerpulse_oldest_unflushed_seconds"] == 0
    assert found["sellerpulse_hot_accounts"] == 10
    assert found["sellerpulse_flush_seconds_count"] >= 2
    assert found['sellerpulse_accounts_touched_total{outcome="hit"}'] >= 10
    (stored,) = place.ask("SELECT count() AS rows FROM seller_daily FINAL")
    wait_until(lambda: of(scrape(url), "rows_total") >= stored["rows"], 60, "rows", worker)
    assert found["sellerpulse_healthy"] == found["sellerpulse_ready"] == 1


def test_the_page_follows_what_the_worker_writes(scraped: tuple[Place, Program, str]) -> None:
    place, worker, url = scraped
    event = full(ORDER | {"seller_id": "S1", "event_id": "new", "order_id": "new", "event_time": now_ms() - 60_000})
    who = ["S1", event["marketplace_id"]]
    shown = f"{url}/api/account?seller={who[0]}&marketplace={who[1]}"
    with Listener(url) as listener:
        place.produce([("orders", account_key(event), CODEC.encode("orders", event), [])])
        # On a day's first event all accounts change, and none is named.
        wait_until(lambda: any(who in (one["accounts"] or [who]) for one in listener.events), 60, "a change", worker)
        wait_until(lambda: ask(shown)[0] == 200, 60, "a row", worker)
        assert json.loads(ask(shown)[1])["metrics"]["orders_30d"]["value"] == 1
    wait_until(lambda: json.loads(ask(f"{url}/api/overview")[1])["fresh"]["lag_records"] == 0, 60, "no lag", worker)


def test_alerts_are_counted_by_state_and_by_receiver(scraped: tuple[Place, Program, str]) -> None:
    place, worker, url = scraped
    event = full(RATING | {"seller_id": "S0", "event_time": time.time_ns() // 1_000_000 - 60_000, "rating": 1})
    place.produce([("feedback", account_key(event), CODEC.encode("feedback", event), [])])
    told = 'sellerpulse_notifications_total{outcome="told",receiver="log"}'
    wait_until(lambda: scrape(url).get(told, 0) >= 1, 60, "an alert that is told", worker)
    assert scrape(url)['sellerpulse_alert_changes_total{severity="warning",state="firing"}'] >= 1


def test_lag_is_told_while_it_is_there(scraped: tuple[Place, Program, str], ground: Ground) -> None:
    place, worker, url = scraped
    ground.database.kill()
    try:
        place.produce(orders(ORDERS, ORDERS + 200))  # new ones: what is known needs no database
        wait_until(lambda: of(scrape(url), "lag_records") == 200, 60, "lag", worker)
        wait_until(lambda: scrape(url)["sellerpulse_oldest_unflushed_seconds"] > 1, 60, "an old record", worker)
        assert ask(f"{url}/readyz")[0] == 503
        assert scrape(url)['sellerpulse_lost{what="clickhouse"}'] == 1
    finally:
        ground.database.start()
    wait_until(lambda: of(scrape(url), "lag_records") == 0, 60, "caught up", worker)


def test_a_lost_clickhouse_is_told_with_no_record_and_forgotten_when_it_is_back(
    scraped: tuple[Place, Program, str], ground: Ground
) -> None:
    _, worker, url = scraped
    wait_until(lambda: ask(f"{url}/readyz")[0] == 200, 60, "ready", worker)
    ground.database.kill()
    wait_until(lambda: ask(f"{url}/readyz")[0] == 503, 60, "unready", worker)
    assert "ClickHouse does not answer (for " in ask(f"{url}/readyz")[1]
    assert ask(f"{url}/healthz") == (200, "ok\n")
    ground.database.start()
    wait_until(lambda: ask(f"{url}/readyz") == (200, "ok\n"), 60, "ready again", worker)


def test_a_broker_that_answers_nobody_is_told_and_forgotten_when_it_does(
    scraped: tuple[Place, Program, str], kafka: Broker
) -> None:
    _, worker, url = scraped
    kafka.sleep()
    try:
        wait_until(lambda: ask(f"{url}/readyz")[0] == 503, 60, "unready", worker)
        assert "Kafka does not answer (for " in ask(f"{url}/readyz")[1]
        assert ask(f"{url}/healthz") == (200, "ok\n")
        assert scrape(url)['sellerpulse_lost{what="kafka"}'] == 1
    finally:
        kafka.wake()
    wait_until(lambda: ask(f"{url}/readyz") == (200, "ok\n"), 60, "ready again", worker)


def test_nothing_else_is_open(scraped: tuple[Place, Program, str]) -> None:
    _, worker, url = scraped
    assert listening(worker) == {url}
    assert "<!doctype html>" in ask(url)[1].lower()
    for path in ("/stats/", "/graph/", "/tables/", "/router/", "/production/index"):  # Faust's own
        assert ask(url + path)[0] == 404


def test_a_worker_whose_port_is_taken_says_so_and_works(scraped: tuple[Place, Program, str], ground: Ground) -> None:
    _, _, url = scraped
    place = ground.place("taken")
    port = url.rpartition(":")[2]
    with place.worker(WEB__ENABLED="true", WEB__PORT=port) as worker:
        place.produce(orders(0, 10))
        wait_until(lambda: not place.left(), 60, "drained", worker)
        assert worker.log().count(f"127.0.0.1 port {port}: ") == 1
        assert "Traceback" not in worker.log()
        assert listening(worker) == set()
        assert worker.stop() == 0


def test_a_worker_that_faust_starts_with_its_web_server_on_has_none(ground: Ground) -> None:
    place = ground.place("faust")
    settings = {"KAFKA__BOOTSTRAP": place.kafka, "KAFKA__GROUP": place.group, "CLICKHOUSE__URL": place.db}
    words = ["-A", "streams.app", "worker", "-l", "info", "--with-web"]
    with Program(place.folder, *words, command=FAUST, **settings, **SERVING) as worker:
        url = address(worker)
        wait_until(lambda: ask(f"{url}/readyz")[0] == 200, 60, "ready", worker)
        assert listening(worker) == {url}


def test_a_worker_that_stands_still_answers_no_probe_and_one_that_goes_on_does(
    scraped: tuple[Place, Program, str],
) -> None:
    _, worker, url = scraped
    process = psutil.Process(worker.process.pid)
    process.suspend()
    try:
        with pytest.raises(TimeoutError):
            ask(f"{url}/healthz", within_s=2)
    finally:
        process.resume()
    assert ask(f"{url}/healthz") == (200, "ok\n")


def test_a_worker_answers_until_it_ends(scraped: tuple[Place, Program, str]) -> None:
    _, worker, url = scraped
    assert worker.stop() == 0, worker.log()
    with pytest.raises(urllib.error.URLError):
        ask(f"{url}/healthz")
    assert "Traceback" not in worker.log()
