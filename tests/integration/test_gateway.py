"""The gateway against a real broker: every answer, what is on the topics, and what slow or hostile peers get."""

import asyncio
import gzip
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from aiohttp import web
from confluent_kafka import KafkaError, Message

from schemas.codec import Codec
from streams.gateway.keys import new_key
from streams.gateway.refusing import NotTaken
from streams.gateway.sender import Sender
from streams.gateway.server import Connections, serve
from streams.sections import Gateway as GatewaySection
from streams.sections import GatewayKey, Kafka
from streams.settings import Settings
from tests.chaos.gateway import kill_under_load
from tests.integration.broker import Broker, free_ports
from tests.integration.gateway import AVRO, JSON, NDJSON, Gateway
from tests.integration.program import Ground, Place, run, wait_until
from tests.unit.test_gateway import container
from tests.unit.wire import EVENTS

ORDER: dict[str, Any] = {"topic": "orders"} | EVENTS["orders"]
CODEC = Codec()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gateway(ground: Ground) -> Iterator[Gateway]:
    with Gateway(ground.folder / "gateway", ground.kafka, body_mb=1, events_per_request=2000) as gateway:
        gateway.is_ready()
        yield gateway


@pytest.fixture
def place(ground: Ground, request: pytest.FixtureRequest) -> Place:
    return ground.place(f"gateway-{request.node.name[:60]}".replace("[", "-").replace("]", ""))


def order(event_id: str, **said: Any) -> dict[str, Any]:
    return ORDER | {"event_id": event_id} | said


def lines(*events: Mapping[str, Any]) -> bytes:
    return b"\n".join(map(orjson.dumps, events))


def written(place: Place) -> list[Message]:
    """What came to the topics since the place was made."""
    ends = place.ends()
    return place.records({at: (place.begin.get(at, 0), end) for at, end in ends.items()})


# --- every answer --------------------------------------------------------------------------------------------


def test_every_format_and_encoding_comes_to_its_topic_keyed_by_account(gateway: Gateway, place: Place) -> None:
    feedback = {"topic": "feedback"} | EVENTS["feedback"] | {"comment": "ana@example.com"}
    survey = {"topic": "surveys"} | EVENTS["surveys"] | {"agent": "x", "unknown": {"fields": "are ignored"}}
    sent = [
        gateway.post(orjson.dumps(order("json")), JSON),
        gateway.post(orjson.dumps([feedback, survey]), JSON),
        gateway.post(gzip.compress(lines(order("ndjson"), {})), NDJSON, encoding="gzip"),
        gateway.post(
            zstandard.compress(container({**EVENTS["orders"], "event_id": "avro"})), AVRO, encoding="zstd"
        ),
    ]  # fmt: skip
    assert [answer.status for answer in sent] == [202] * 4
    assert sent[2].json() == {
        "accepted": 1, "refused": 1, "forbidden": 0,
        "verdicts": [
            {"index": 0, "verdict": "accepted"}, {"index": 1, "verdict": "refused", "reason": "no topic"},
        ],
    }  # fmt: skip
    found = written(place)
    accepted = [CODEC.accept(r.topic(), r.key(), r.value(), int(time.time() * 1000)) for r in found if r.key()]  # type: ignore[arg-type]
    assert sorted(each.event["event_id"] for each in accepted) == ["avro", "e", "e", "json", "ndjson"]  # type: ignore[union-attr]
    assert [each.event["comment"] for each in accepted if each.topic == "feedback"] == ["[e-mail]"]  # type: ignore[union-attr]
    assert [record.topic() for record in found if not record.key()] == ["unknown.dlq"]


@pytest.mark.parametrize(
    "body, media_type, encoding, status",
    [
        (b"{", JSON, None, 400),
        (b"xyz", NDJSON, "gzip", 400),
        (b"Obj\x01", AVRO, None, 400),
        (bytes(2 << 20), NDJSON, None, 413),
        (gzip.compress(bytes(64 << 20)), NDJSON, "gzip", 413),
        (zstandard.compress(bytes(64 << 20)), NDJSON, "zstd", 413),
        (container({**EVENTS["orders"], "source": " " * (8 << 20)}, codec="deflate"), AVRO, None, 413),
        (b"{}\n" * 2001, NDJSON, None, 413),
        (b"{}", "text/plain", None, 415),
        (b"{}", None, None, 415),
        (b"{}", "application/json; charset=latin-1", None, 415),
        (b"{}", JSON, "br", 415),
        (b"{}", JSON, None, 422),
        (b"[]", JSON, None, 422),
    ],
)
def test_what_cannot_be_taken_is_told_by_its_status(
    gateway: Gateway, body: bytes, media_type: str | None, encoding: str | None, status: int
) -> None:
    answer = gateway.post(body, media_type, encoding=encoding)
    assert answer.status == status
    assert ("verdicts" if status == 422 else "error") in answer.json()
    assert answer.headers["Content-Type"].startswith("application/json")


def test_who_has_no_key_is_told_nothing_and_who_has_another_sellers_is_forbidden(
    gateway: Gateway, place: Place
) -> None:
    assert gateway.get("/nowhere").status == 404
    assert gateway.get("/v1/events").status == 405
    unknown = gateway.post(lines(ORDER), key="spk_wrong")
    assert (unknown.status, unknown.headers["WWW-Authenticate"]) == (401, "Bearer")
    others = lines(order("1", seller_id="T"), order("2", marketplace_id="N"))
    assert gateway.post(others, key=gateway.only_s).status == 403
    assert not written(place)
    mixed = gateway.post(lines(order("1", seller_id="T"), ORDER), key=gateway.only_s)
    assert mixed.status == 202
    assert [verdict["verdict"] for verdict in mixed.json()["verdicts"]] == ["forbidden", "accepted"]
    assert [record.key() for record in written(place)] == [b"S|M"]


def test_a_key_that_sends_too_much_is_told_when_to_come_again(ground: Ground, tmp_path: Path) -> None:
    with Gateway(tmp_path, ground.kafka, events_per_s=100) as slow:
        slow.is_ready()
        assert slow.post(lines(*(order(str(n)) for n in range(300)))).status == 202
        later = slow.post(lines(ORDER))
        assert later.status == 429
        assert 1 <= int(later.headers["Retry-After"]) <= 2
        assert slow.post(lines(ORDER), key=slow.only_s).status == 202  # the other key has its own
        wait_until(lambda: slow.post(lines(ORDER)).status == 202, 60, "a debt that is paid")


def test_metrics_and_log_tell_what_happened_and_nothing_of_it(gateway: Gateway) -> None:
    secret = order("secret-id", kind="ana@example.com", order_id="+49 170 1234567")
    assert gateway.post(lines(secret)).status == 422
    metrics = gateway.get("/metrics").body.decode()
    assert 'sellerpulse_gateway_requests_total{key="all",status="422"}' in metrics
    assert 'sellerpulse_gateway_refused_total{reason="unknown kind",topic="orders"}' in metrics
    assert "sellerpulse_gateway_ready 1.0" in metrics
    said = metrics + gateway.program.log()
    assert not [word for word in (gateway.key, "secret-id", "example.com", "1234567") if word in said]
    assert (gateway.get("/healthz").body, gateway.get("/readyz").body) == (b"ok\n", b"ok\n")


# --- Kafka is slow or gone -----------------------------------------------------------------------------------


def test_it_starts_without_kafka_and_says_so(tmp_path: Path) -> None:
    with Gateway(tmp_path, f"127.0.0.1:{free_ports(1)[0]}", kafka_s=1) as alone:
        alone.listens()
        wait_until(lambda: alone.get("/readyz").body == b"Kafka does not answer\n", 60, "a look at Kafka")
        assert alone.get("/readyz").status == 503
        assert alone.get("/healthz").status == 200
        answer = alone.post(lines(ORDER))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert alone.post(b"{").status == 503  # nor are dead letters there
        assert (
            'gateway_events_total{outcome="unacknowledged",topic="orders"} 1.0' in alone.get("/metrics").body.decode()
        )
        assert alone.program.stop() == 0


def test_what_kafka_acknowledges_too_late_is_no_202(kafka: Broker, ground: Ground, tmp_path: Path) -> None:
    with Gateway(tmp_path, ground.kafka, kafka_s=2) as impatient:
        impatient.is_ready()
        assert impatient.post(lines(ORDER)).status == 202
        kafka.sleep()
        try:
            began = time.monotonic()
            answer = impatient.post(lines(order("late")))
            took_s = time.monotonic() - began
        finally:
            kafka.wake()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert took_s >= 2
        wait_until(lambda: impatient.post(lines(order("late"))).status == 202, 60, "Kafka again")


def test_told_to_stop_it_answers_what_it_has_begun(kafka: Broker, ground: Ground, tmp_path: Path) -> None:
    with Gateway(tmp_path, ground.kafka) as stopping, ThreadPoolExecutor(1) as threads:
        stopping.is_ready()
        assert stopping.post(lines(ORDER)).status == 202
        kafka.sleep()
        try:
            answer = threads.submit(stopping.post, lines(order("last")))
            wait_until(
                lambda: b"sellerpulse_gateway_waiting_records 1.0" in stopping.get("/metrics").body, 30, "it waits"
            )
            stopping.program.process.terminate()
            wait_until(lambda: "stopping" in stopping.program.log(), 30, "it was told")
        finally:
            kafka.wake()
        assert answer.result().status == 202
        assert stopping.program.ended(30) == 0


def test_a_full_queue_is_503_at_once(kafka: Broker, ground: Ground) -> None:
    async def fill() -> None:
        sender = Sender(Kafka(bootstrap=ground.kafka), 5.0, queue=10)
        await sender.start()
        record = ("orders", b"S|M", CODEC.encode("orders", EVENTS["orders"]), None)
        await sender.send([record])
        kafka.sleep()
        try:
            first = asyncio.create_task(sender.send([record] * 8))
            await asyncio.sleep(0.2)
            with pytest.raises(NotTaken, match="too many events wait") as why:
                await sender.send([record] * 3)
        finally:
            kafka.wake()
        assert (why.value.status, why.value.retry_s) == (503, 1)
        await first
        sender._on_error(KafkaError(KafkaError._FATAL, "it lost its place", fatal=True))
        before = sender._producer
        while sender._producer is before:
            await asyncio.sleep(0.05)
        await sender.send([record])
        await sender.stop(5)

    asyncio.run(fill())


# --- clients -------------------------------------------------------------------------------------------------


def test_a_hundred_clients_at_once_are_all_served_in_the_end(gateway: Gateway, place: Place) -> None:
    busy: list[int] = []

    def client(number: int) -> None:
        while True:
            answer = gateway.post(lines(*(order(f"{number}-{n}") for n in range(5))))
            if answer.status == 202:
                return
            assert answer.status == 429
            busy.append(number)
            time.sleep(0.1 * int(answer.headers["Retry-After"]))

    with ThreadPoolExecutor(100) as threads:
        list(threads.map(client, range(100)))
    ids = [CODEC.decode("orders", record.value()).event["event_id"] for record in written(place)]  # type: ignore[union-attr]
    assert sorted(ids) == sorted(f"{number}-{n}" for number in range(100) for n in range(5))


def test_slow_clients_are_cut_off(ground: Ground, place: Place) -> None:
    (port,), (key, hashed) = free_ports(1), new_key()
    known = GatewayKey(name="x", hash=hashed, sellers="*", marketplaces="*")
    said = Settings(kafka=Kafka(bootstrap=ground.kafka), gateway=GatewaySection(port=port, keys=(known,)))
    post = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99999\r\n"
    post += f"Authorization: Bearer {key}\r\n\r\n".encode() + lines(ORDER, ORDER)

    async def scenario() -> list[bytes]:
        serving = asyncio.create_task(serve(said, CODEC, read_s=1, idle_s=3))
        while True:
            try:
                silent = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                assert not serving.done()
                await asyncio.sleep(0.05)
        half, whole, dripping, broken = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        half[1].write(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nX-More: ")
        whole[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        dripping[1].write(post)
        broken[1].write(post)
        await broken[1].drain()
        broken[1].close()
        found = await asyncio.gather(*(asyncio.wait_for(_read(r), 60) for r, _ in (silent, half, whole, dripping)))
        for _, writer in (silent, half, whole, dripping):
            writer.close()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        return found

    silent, half, whole, dripping = asyncio.run(scenario())
    assert (silent, half) == (b"", b"")
    assert whole.startswith(b"HTTP/1.1 200")
    assert dripping.startswith(b"HTTP/1.1 408")
    assert not written(place)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_of_too_many_connections_the_idlest_are_closed() -> None:
    async def scenario() -> int:
        connections = Connections(idle_s=60, most=5)
        app = web.Application(middlewares=[connections.around])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert runner.server is not None
        watching = asyncio.create_task(connections.watch(runner.server))
        port = runner.addresses[0][1]
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        while len(runner.server.connections) > 5:
            await asyncio.sleep(0.1)
        watching.cancel()
        left = len(runner.server.connections)
        for _, writer in opened:
            writer.close()
        await runner.cleanup()
        return left

    assert asyncio.run(scenario()) == 5


def test_an_address_that_is_taken_or_no_key_is_one_line(ground: Ground, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Gateway(tmp_path, ground.kafka) as other:
        other.program.kill()
        port = str(taken.getsockname()[1])
        done = run(tmp_path, "gateway", "--settings", "gateway.toml", GATEWAY__PORT=port)
        assert done.returncode == 1
        assert done.stderr.startswith(f"sellerpulse: the gateway cannot listen at 127.0.0.1 port {port}: ")
    done = run(tmp_path, "gateway")
    assert done.returncode == 2
    assert "sellerpulse gateway key" in done.stderr


def test_a_key_that_is_made_lets_in(ground: Ground, tmp_path: Path) -> None:
    made = run(tmp_path, "gateway", "key", "--name", "shop", "--seller", "S", "--marketplace", "M")
    assert made.returncode == 0
    key = made.stderr.split()[-1]
    assert key not in made.stdout
    with Gateway(tmp_path, ground.kafka) as gateway:
        gateway.program.kill()
        (tmp_path / "gateway.toml").write_text(f"[gateway]\nport = {gateway.port}\n{made.stdout}")
        gateway.start_again()
        assert gateway.post(lines(ORDER, order("1", seller_id="T")), key=key).json()["accepted"] == 1
        assert gateway.post(lines(ORDER)).status == 401


# --- the document --------------------------------------------------------------------------------------------


def test_what_the_document_says_is_so(gateway: Gateway, tmp_path: Path) -> None:
    """All checks of schemathesis, on data that the document allows and on data that it does not."""
    (tmp_path / "config.toml").write_text(f'[headers]\nAuthorization = "Bearer {gateway.key}"\n')
    words = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(tmp_path / "config.toml"), "run"]
    words += [f"http://127.0.0.1:{gateway.port}/openapi.json", "--checks", "all", "--max-examples", "12"]
    hooks = os.environ | {"SCHEMATHESIS_HOOKS": "tests.integration.described", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*words, "--seed", "1", "--no-color"], cwd=tmp_path, env=hooks, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "4 selected / 4 total" in done.stdout


# --- what 202 tells ------------------------------------------------------------------------------------------


def test_what_202_told_is_in_the_tables_whatever_was_killed(kafka: Broker, ground: Ground) -> None:
    verdict = kill_under_load(ground, kafka, events=20_000, batch=100, kills=4, seed=1)
    assert verdict.is_good, str(verdict)
    assert verdict.again > 0
