"""Planted e-mail addresses, phone numbers and names, by every way in: none is seen anywhere but on dead-letter topics.

A new way in is one more entry of `WAYS`. What is not masked by design, ids, is told in docs/privacy.md.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import pytest

from schemas.codec import Codec
from schemas.events import account_key
from tests import amazon
from tests.integration.gateway import AVRO, JSON, Gateway
from tests.integration.program import DLQ, Ground, Place, Sent, Webhook, run, wait_until
from tests.integration.test_telemetry import address, ask
from tests.integration.test_worker import full
from tests.unit.sources import OLIST

NOW = int(time.time() * 1000)
SELLER, MARKETPLACE = "S-PRIVATE", "A1PA6795UKMFR9"
NAMES = ("Maria Gonzalez-Planted", "山田 花子-Planted", "Jürgen Geheim-Planted")
PRIVATE = (
    "ana.planted@example.com", "JOAO.PLANTED@hotmail", "silva.planted @ gmail . com", "planted@qq.com",
    "+1 555 123 4567", "+49 171 7654321", "(11) 98687-8025", "06 12 34 56 78", "138-0013-8000", "+81 90-1234-5678",
    "0044 7700 900123",
)  # fmt: skip
COMMENTS = (
    "It broke. Call me at {}, please", "Bitte um Rückruf: {}", "por favor, meu contato: {}", "联系我 {} 谢谢",
    "電話してください {} よろしく", "écrivez à {} ou rien",
)  # fmt: skip
PLANTED = (*PRIVATE, *NAMES, "rater.planted@example.org", "Role-Planted", "broken.planted@example.net")
# By a producer of somebody else's, which masks nothing: seen on its topics until Kafka lets go of them.
STRAIGHT = ("straight.planted@example.com", "+39 347 1234567", "Straight-Planted")


def written(n: int) -> str:
    """A comment that names something private."""
    return COMMENTS[n % len(COMMENTS)].format(PRIVATE[n % len(PRIVATE)])


def events(way: str) -> list[dict[str, Any]]:
    """Bad ratings and answers of which somebody writes what is private, in fields that are made for it and others."""
    account: dict[str, Any] = {"seller_id": SELLER, "marketplace_id": MARKETPLACE, "source": way}
    account["event_time"] = NOW - 3_600_000
    found: list[dict[str, Any]] = []
    for n in range(2 * len(PRIVATE)):
        of = account | {"event_id": f"{way}-{n}", "order_id": f"{way}-order-{n}"}
        rating = {"kind": "SUBMITTED", "rating": 1, "comment": written(n)}
        review = {"kind": "REVIEWED", "root_cause": f"late, says {PRIVATE[n % len(PRIVATE)]}", "agent": "kim"}
        refund = {"kind": "REFUNDED", "amount": 1.0, "currency": f"EUR to {PRIVATE[n % len(PRIVATE)]}"}
        answer = {"conversation_id": f"{way}-talk-{n}", "message_id": f"{n}", "solved": False, "buyer_initiated": True}
        found += [
            {"topic": "orders", "kind": "PLACED", "skus": ["SKU-1"], **of},
            {"topic": "feedback", **of, **rating},
            {"topic": "feedback", **of, **review, "event_id": f"{way}-{n}-reviewed"},
            {"topic": "feedback", **of, **refund, "event_id": f"{way}-{n}-refunded"},
            {"topic": "surveys", **of, **answer, "comment": written(n + 1)},
        ]
    return found


def broken(event: dict[str, Any]) -> list[str]:
    """Lines that are refused, each with something private where nobody looks for it."""
    private, name = "broken.planted@example.net", NAMES[0]
    wrong: list[dict[str, Any]] = [
        {"kind": f"SUBMITTED by {name}"}, {"kind": private}, {"topic": private}, {"topic": name}, {"rating": private},
        {"event_time": f"yesterday, says {name}"}, {"event_id": private * 20}, {"comment": {"from": private}},
    ]  # fmt: skip
    return [*(json.dumps(event | one) for one in wrong), f'{{"topic": "feedback", "comment": "{private}', private]


def json_lines(folder: Path) -> list[str | Path]:
    """With unknown fields, which are dropped, and lines that are refused."""
    extra = {"buyer_name": NAMES[1], "buyer": {"email": PRIVATE[0], "phone": PRIVATE[4]}}
    usual, unusual = events("usual"), [event | extra for event in events("lines")]  # read by different ways
    lines = [json.dumps(event, ensure_ascii=False) for event in [*usual, *unusual]]
    (folder / "lines.jsonl").write_text("\n".join([*lines, *broken(events("lines")[1])]) + "\n")
    return [folder / "lines.jsonl"]


def avro_containers(folder: Path) -> list[str | Path]:
    """A container of each topic, records with a field more than the schema."""
    newest, extra = Codec().newest, {"name": "buyer_name", "type": "string"}
    made = events("avro")
    for topic, schema in newest.items():
        records = [full(event) | {"buyer_name": NAMES[2]} for event in made if event["topic"] == topic]
        with (folder / f"{topic}.avro").open("wb") as file:
            fastavro.writer(file, schema | {"fields": [*schema["fields"], extra]}, records)
    return [folder / f"{topic}.avro" for topic in newest]


def feedback_report(folder: Path) -> list[str | Path]:
    """With the rater's e-mail address and role; a row has a column too many, another no day."""
    head = "Datum\\tBewertung\\tKommentare\\tIhre Antwort\\tBestellnummer\\tE-Mail von Bewerter".replace("\\t", "\t")
    day = f"{datetime.now(UTC):%d.%m.%y}"
    rater = "rater.planted@example.org"
    rows = [[day, "1", written(n), written(n + 3), f"302-000000{n}-0000000", rater] for n in range(len(PRIVATE))]
    rows += [[day, "1", "x", "y", "302-9", rater, "Role-Planted"], [NAMES[0], "1", "x", rater, "302-8", rater]]
    (folder / "report.txt").write_text("\n".join(["\t".join(row) for row in [head.split("\t"), *rows]]) + "\n")
    return [folder / "report.txt", "--seller", SELLER, "--marketplace", MARKETPLACE, "--timezone", "Europe/Berlin"]


def olist(folder: Path) -> list[str | Path]:
    """Comments with a title; a row with a column too many, one whose score is a name."""
    into = folder / "olist"
    into.mkdir()
    for name, text in OLIST.items():
        more = ""
        if "reviews" in name:
            when = "2018-01-01 00:00:00,2018-01-02 12:00:00"
            more = "".join(f"p{n},o2,1,{PRIVATE[n]},{written(n)},{when}\n" for n in range(4))
            more += f"q1,o2,1,{NAMES[0]},{PRIVATE[0]},{when},{NAMES[1]}\nq2,o2,{NAMES[0]},,{PRIVATE[0]},{when}\n"
        (into / name).write_text(text.replace("r7,o1,5\n", more + "r7,o1,5\n") if more else text)
    return [into]


def amazon_orders(folder: Path) -> list[str | Path]:
    """Orders, returns and a notification with a town, a remark and a note that name people; of each one is refused."""
    buyer = {"ship_city": NAMES[0], "ship_postal_code": PRIVATE[4], "purchase_order_number": PRIVATE[0]}
    orders = [amazon.order(**buyer), amazon.order(**buyer, amazon_order_id="302-2", purchase_date=NAMES[1])]
    returns = [amazon.fba_return(customer_comments=written(0)), amazon.fba_return(return_date=NAMES[2])]
    notes: dict[str, Any] = {"DestinationPostalCode": PRIVATE[5], "BuyerName": NAMES[0]}
    changes = [amazon.notification(**notes), amazon.notification(**notes, id="n-2", PurchaseDate=NAMES[0])]
    (folder / "orders.txt").write_bytes(amazon.table(amazon.ALL_ORDERS[32], orders))
    (folder / "returns.txt").write_bytes(amazon.table(amazon.FBA_RETURNS, returns))
    (folder / "changes.json").write_bytes(amazon.as_json(changes))
    return [folder, "--seller", SELLER, "--marketplace", MARKETPLACE]


def etsy(folder: Path) -> list[str | Path]:
    """Receipts with the buyer's name, address and a message, and reviews; one of each is refused."""
    buyer = {"name": NAMES[0], "buyer_email": PRIVATE[0], "first_line": NAMES[1], "message_from_buyer": written(4)}
    receipt = {
        "receipt_id": 1,
        "created_timestamp": NOW // 1000 - 7200,
        "is_paid": True,
        "status": "Completed",
        **buyer,
    }
    receipt["transactions"] = [{"transaction_id": 11, "sku": "MUG"}, {"transaction_id": 12, "sku": "CUP"}]
    when = {"created_timestamp": NOW // 1000 - 3600, "updated_timestamp": NOW // 1000 - 3600}
    review = {"transaction_id": 11, "rating": 1, "review": written(3), "buyer_user_id": 9, **when}
    files = {
        "1.json": [receipt, receipt | {"created_timestamp": NAMES[2]}],
        "2.json": [review, review | {"rating": NAMES[0]}],
    }
    for name, results in files.items():
        (folder / name).write_text(json.dumps({"count": len(results), "results": results}, ensure_ascii=False))
    return [folder, "--seller", SELLER, "--format", "etsy"]


WAYS: dict[str, Callable[[Path], list[str | Path]]] = {
    "lines": json_lines, "avro": avro_containers, "report": feedback_report, "olist": olist,
    "amazon": amazon_orders, "etsy": etsy,
}  # fmt: skip


def by_gateway(folder: Path, kafka: str) -> dict[str, str]:
    """Lines, also such as are refused, an Avro container and what is no body at all; what the gateway says of them."""
    (folder / "posted").mkdir()
    json_lines(folder / "posted")
    containers = [Path(file).read_bytes() for file in avro_containers(folder / "posted")]
    lines = (folder / "posted" / "lines.jsonl").read_text().replace('"lines', '"posted').replace('"usual', '"sent')
    with Gateway(folder / "gateway", kafka) as gateway:
        gateway.is_ready()
        answers = [gateway.post(lines.encode()), *(gateway.post(one, AVRO) for one in containers)]
        answers.append(gateway.post(PRIVATE[0].encode(), JSON))
        assert [answer.status for answer in answers] == [202, 202, 202, 202, 400], [answer.body for answer in answers]
        said = {f"answer {n}": answer.body.decode() + str(answer.headers) for n, answer in enumerate(answers)}
        assert '"refused"' in said["answer 0"]
        said["the gateway's metrics"] = gateway.get("/metrics").body.decode()
        assert gateway.program.stop() == 0
        return said | {"the gateway's log": gateway.program.log()}


class Seen(NamedTuple):
    """What there is to see after a run, in words, by where."""

    place: Place
    said: dict[str, str]


@pytest.fixture(scope="module")
def seen(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Everything by every way to a worker with a receiver and a page; what all of that says and stores."""
    place, said = ground.place("privacy"), {}
    folder = tmp_path_factory.mktemp("privacy")
    with Webhook() as webhook:
        more = {"RECEIVERS__WEBHOOK__URL": webhook.url, "WEB__ENABLED": "true", "WEB__PORT": "0"}
        with place.worker("--dlq-limit", "1", **more) as worker:
            for name, way in WAYS.items():
                (folder / name).mkdir()
                done = run(folder, "ingest", *way(folder / name), "--kafka", place.kafka)
                said[f"ingest of {name}"] = done.stdout + done.stderr
                assert " refused" in said[f"ingest of {name}"], said[f"ingest of {name}"]
            said |= by_gateway(folder, place.kafka)
            for state in folder.glob("sellerpulse-connectors.db*"):
                said[f"the connectors' {state.name}"] = state.read_bytes().decode(errors="replace")
            place.produce(straight())
            url = address(worker)
            wait_until(lambda: not place.left(), 120, "drained", worker)
            wait_until(lambda: bool(webhook.told), 120, "a receiver who is told", worker)
            wait_until(lambda: place.ask("SELECT count() > 50 AS c FROM feedback_cases")[0]["c"], 60, "cases", worker)
            said |= pages(url) | commands(place)
            said["the webhook"] = json.dumps(webhook.told, ensure_ascii=False)
            said |= tables(place) | topics(place)
            refusal = run(
                folder, "forget", "--order", "x", "--db", place.db, "--kafka", place.kafka, KAFKA__GROUP="privacy"
            )
            said["forget"] = refusal.stderr
        said["the worker's log"] = worker.log()
    return Seen(place, said)


def straight() -> list[Sent]:
    """Events that nobody masked before Kafka; under a key that is a name; and what is no event at all."""
    found: list[Sent] = []
    e_mail, phone, name = STRAIGHT
    for event in (events("straight")[1], events("straight")[4]):
        topic, whole = event["topic"], full(event | {"comment": f"write to {e_mail} or call {phone}"})
        value = Codec().encode(topic, whole)
        found.append((topic, account_key(whole), value, []))
        found.append((topic, name.encode(), value, [("buyer", name)]))
        found.append((topic, account_key(whole), f"no event, {e_mail}".encode(), []))
    return found


def pages(url: str) -> dict[str, str]:
    """What the worker's page and its probes tell."""
    account = f"seller={SELLER}&marketplace={MARKETPLACE}"
    paths = ["metrics", "readyz", "api/overview", "api/catalogue", f"api/account?{account}", f"api/account?{account}x"]
    return {path: ask(f"{url}/{path}")[1] for path in paths}


def commands(place: Place) -> dict[str, str]:
    """What commands say that list what there is."""
    lists = [("dlq", "list"), ("cases", "list"), ("status",)]
    found = {}
    for words in lists:
        kafka = ("--kafka", place.kafka) if words == ("status",) else ()
        done = run(place.folder, *words, "--db", place.db, *kafka, KAFKA__GROUP=place.group)
        found[" ".join(words)] = done.stdout + done.stderr
    return found


def tables(place: Place) -> dict[str, str]:
    """Every row of every table and view, whole."""
    names = place.ask("SELECT name FROM system.tables WHERE database = currentDatabase()")
    every = (f"SELECT '{row['name']}' AS t, toValidUTF8(toString(tuple(*))) AS r FROM `{row['name']}`" for row in names)
    found: dict[str, str] = {}
    for row in place.ask(" UNION ALL ".join(every)):
        found[f"table {row['t']}"] = found.get(f"table {row['t']}", "") + row["r"] + "\n"
    return found


def topics(place: Place) -> dict[str, str]:
    """Every record of every topic but those of dead letters: key, value and headers."""
    ends = place.ends()
    spans = {at: (place.begin.get(at, 0), end) for at, end in ends.items() if at[0] not in DLQ}
    found: dict[str, str] = {}
    for record in place.records(spans):
        parts = [record.key() or b"", record.value() or b"", repr(record.headers()).encode()]
        key = f"topic {record.topic()}"
        found[key] = found.get(key, "") + b"\n".join(parts).decode("utf-8", "replace") + "\n"
    return found


def test_everything_that_was_to_be_looked_at_was_there(seen: Seen) -> None:
    assert {"topic orders", "topic feedback", "topic surveys", "topic alerts"} <= seen.said.keys()
    stored = ("order_events", "feedback_events", "survey_events", "cases", "alerts", "rejected_events", "notifications")
    assert {f"table stored_{name}" for name in stored} <= seen.said.keys()
    assert not [where for where, text in seen.said.items() if not text.strip()]
    assert "[e-mail]" in seen.said["table feedback_cases"]
    assert seen.said["table rejected_events"].count("lines.jsonl") == 10
    assert "the connectors' sellerpulse-connectors.db" in seen.said
    assert SELLER in seen.said["the webhook"]


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_private_is_seen_nowhere_but_on_dead_letter_topics(seen: Seen, planted: str) -> None:
    escaped = json.dumps(planted)[1:-1]
    assert [where for where, said in seen.said.items() if planted in said or escaped in said] == []


@pytest.mark.parametrize("planted", STRAIGHT)
def test_what_came_to_a_topic_unmasked_goes_no_further(seen: Seen, planted: str) -> None:
    assert {where for where, said in seen.said.items() if planted in said} == {"topic feedback", "topic surveys"}


def test_forget_is_refused_while_a_worker_runs(seen: Seen) -> None:
    assert seen.said["forget"] == "sellerpulse: 1 worker of group privacy run: stop them first\n"
