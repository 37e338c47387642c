"""A Schema Registry by its REST contract, a real broker and a real worker: registered, read by id, away and back."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.codec import SCHEMAS, Codec, physical
from schemas.events import TOPICS, Parsed, account_key, from_json
from tests.integration.program import Ground, run, succeed, wait_until
from tests.integration.registry import PASSWORD, USER, SchemaRegistry
from tests.unit.sources import ORDER, RATING


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry(is_locked=True) as registry:
        yield registry


def settings(registry: SchemaRegistry) -> dict[str, Any]:
    """How a command gets in."""
    login = {"KAFKA__REGISTRY__USER": USER, "KAFKA__REGISTRY__PASSWORD": PASSWORD}
    return {"KAFKA__SCHEMA_REGISTRY_URL": registry.url} | login


def full(event: Any) -> dict[str, Any]:
    parsed = from_json(event)
    assert isinstance(parsed, Parsed)
    return parsed.event


def test_versions_are_registered_listed_and_checked(registry: SchemaRegistry, tmp_path: Path) -> None:
    said = settings(registry)
    assert succeed(tmp_path, "schema", "list", **said).count("not registered") == 3
    first = succeed(tmp_path, "schema", "register", **said)
    assert succeed(tmp_path, "schema", "register", **said) == first
    assert registry.config == {f"{topic}-value": "FULL_TRANSITIVE" for topic in TOPICS}
    assert registry.subjects == {f"{topic}-value": [number] for number, topic in enumerate(TOPICS, 1)}
    listed = json.loads(succeed(tmp_path, "schema", "list", "--format", "json", **said))
    assert [(row["topic"], row["id"]) for row in listed] == [(topic, n) for n, topic in enumerate(TOPICS, 1)]
    changed = tmp_path / "changed.avsc"
    changed.write_text(succeed(tmp_path, "schema", "show", "orders"))
    assert "fits every" in succeed(tmp_path, "schema", "check", changed, **said)
    registry.refuses = True
    done = run(tmp_path, "schema", "check", changed, **said)
    assert (done.returncode, done.stdout.count("the registry says")) == (1, 1)
    changed.write_text(
        changed.read_text().replace('"skus"', '"sku_list"').replace('"namespace": "sellerpulse"', '"namespace": "x"')
    )
    assert run(tmp_path, "schema", "check", changed).returncode == 1
    wrong = run(tmp_path, "schema", "register", **said | {"KAFKA__REGISTRY__PASSWORD": "other"})
    assert wrong.stderr == "sellerpulse: Schema Registry: wrong user or password, or no right to this (HTTP 401)\n"
    registry.close()
    gone = run(tmp_path, "schema", "register", **said)
    assert (gone.returncode, gone.stderr.startswith("sellerpulse: Schema Registry: "), gone.stderr.count("\n")) == (
        1,
        True,
        1,
    )
    registry.open()


@pytest.mark.timeout(600)
def test_a_worker_waits_for_a_registry_that_went_away_and_goes_on(ground: Ground, registry: SchemaRegistry) -> None:
    """Ids it knows are read meanwhile, on other topics; an id it does not know waits, of a newer version too."""
    place, said = ground.place("registry"), settings(registry)
    succeed(ground.folder, "schema", "register", **said)
    newer = json.loads((SCHEMAS / "feedback.avsc").read_text())
    newer["fields"].append({"name": "channel", "type": "string", "default": "web"})
    registry.schemas.append(json.dumps(newer))
    order, rating = full(ORDER), full(RATING)
    codec = Codec()
    body = BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(physical(newer)), rating | {"channel": "app"})

    def orders(*ids: str) -> list[Any]:
        head = b"\0" + (1).to_bytes(4, "big")
        return [
            ("orders", account_key(order), head + codec.payload("orders", order | {"event_id": i}), []) for i in ids
        ]

    def count(table: str) -> int:
        return int(place.ask(f"SELECT toInt64(count()) AS n FROM {table}")[0]["n"])

    with place.worker(**said) as worker:
        wait_until(lambda: place.shared_by(1), 120, "a worker", worker)
        place.produce(orders("before", *map(str, range(100))))
        wait_until(lambda: not place.left(), 120, "drained", worker)
        assert registry.asked["GET /schemas/ids/1"] == 1
        registry.close()
        place.produce([("feedback", account_key(rating), b"\0" + (4).to_bytes(4, "big") + body.getvalue(), [])])
        wait_until(lambda: "Schema Registry" in worker.log(), 120, "that it waits", worker)
        place.produce(orders("meanwhile"))
        wait_until(lambda: count("order_events") == 102, 120, "known ids flow on", worker)
        assert len(place.left()) == 1
        failed = run(ground.folder, "ingest", _file(ground.folder), "--kafka", ground.kafka, **said)
        assert (failed.returncode, failed.stderr.startswith("sellerpulse: Schema Registry: ")) == (1, True)
        registry.open()
        wait_until(lambda: not place.left(), 120, "drained", worker)
        assert (count("feedback_events"), count("rejected_events")) == (1, 0)


def _file(folder: Path) -> Path:
    file = folder / "one.jsonl"
    file.write_text(json.dumps(ORDER) + "\n")
    return file
