"""Bytes on the wire to events and back: both formats, every version of a schema, and what the sink is sent."""

import json
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import SINGLE_OBJECT, Codec, Container, Registry, digest_of
from schemas.errors import Unavailable
from schemas.events import TOPICS, Topic, account_key, to_ms
from tests.unit.wire import ANY, EVENTS, KEY, NOW_MS, accepted, refused

CODEC = Codec()
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)


# --- single-object encoding ----------------------------------------------------------------------------------


@EVERY_TOPIC
def test_without_a_registry_records_are_single_objects(topic: Topic) -> None:
    wire = CODEC.encode(topic, EVENTS[topic])
    mark = fingerprint(to_parsing_canonical_form(CODEC.newest[topic]), "CRC-64-AVRO")
    assert wire[:10] == b"\xc3\x01" + bytes.fromhex(mark)
    body = BytesIO(wire[10:])
    record = fastavro.schemaless_reader(body, CODEC.newest[topic], None)
    assert isinstance(record, dict)
    assert {
        name: to_ms(value) if name in ("event_time", "deliver_by") else value for name, value in record.items()
    } == (EVENTS[topic])


@EVERY_TOPIC
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_event_comes_back_as_it_was(topic: Topic, data: st.DataObject) -> None:
    event = data.draw(ANY[topic])
    found = accepted(CODEC.accept(topic, account_key(event), CODEC.encode(topic, event), NOW_MS))
    assert (found.topic, found.event) == (topic, event)
    assert found.payload == CODEC.payload(topic, event)
    assert CODEC.restated(topic, event) == (found.payload, found.digest)


def test_contents_that_differ_have_digests_that_differ() -> None:
    events = [EVENTS["orders"] | {name: value} for name in ("source", "order_id") for value in ("1", "2", "1\0")]
    assert len({digest_of(CODEC.payload("orders", event)) for event in events}) == len(events)


# --- Confluent wire format -----------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Registry:
    """confluent-kafka's own stand-in for a Schema Registry; nobody else sees this one."""
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client: Registry = SchemaRegistryClient.new_client({"url": "mock://registry"})
    return client


def registered(registry: Registry, subject: str, schema: Any) -> bytes:
    from confluent_kafka.schema_registry import Schema

    text = schema if isinstance(schema, str) else json.dumps(schema)
    return b"\0" + registry.register_schema(subject, Schema(text, "AVRO")).to_bytes(4, "big")


@EVERY_TOPIC
def test_with_a_registry_records_carry_the_schemas_id(registry: Registry, topic: Topic) -> None:
    wire = Codec(registry=registry).encode(topic, EVENTS[topic])
    text = registry.get_schema(int.from_bytes(wire[1:5], "big")).schema_str
    assert wire[:1] == b"\0"
    assert json.loads(text) == CODEC.newest[topic]
    assert wire[5:] == CODEC.payload(topic, EVENTS[topic])


@EVERY_TOPIC
def test_with_a_registry_both_formats_are_read_as_the_same_event(registry: Registry, topic: Topic) -> None:
    codec = Codec(registry=registry)
    by_id, by_mark = codec.encode(topic, EVENTS[topic]), CODEC.encode(topic, EVENTS[topic])
    assert accepted(codec.decode(topic, by_id)) == accepted(codec.decode(topic, by_mark))


def test_a_registrys_older_and_newer_versions_are_read(registry: Registry) -> None:
    codec = Codec(registry=registry)
    for schema in (OLDER["orders"], _with_field(CODEC.newest["orders"], "gift", "boolean")):
        head = registered(registry, "orders-value", schema)
        body = _written(schema, EVENTS["orders"] | {"gift": True, "buyer": "who"})
        expected = EVENTS["orders"] if schema is not OLDER["orders"] else EVENTS["orders"] | {"skus": []}
        found = accepted(codec.decode("orders", head + body))
        assert found.event == expected
        assert found.digest == digest_of(CODEC.payload("orders", expected))


def test_what_a_registry_knows_nothing_of_or_nothing_good_is_refused(registry: Registry) -> None:
    codec = Codec(registry=registry)
    body = CODEC.payload("orders", EVENTS["orders"])
    assert refused(codec.decode("orders", b"\0\0\0\x03\xe7" + body)) == "unknown schema id 999"
    assert refused(codec.decode("orders", b"\0\0\0")) == "not decodable: cut short"
    coupons = registered(registry, "a", {"type": "record", "name": "coupons", "fields": []})
    assert "unusable" in refused(codec.decode("orders", coupons + body))
    for text in ('"string"', '{"type": "record", "name": "orders", "fields": []}'):
        assert refused(codec.decode("orders", registered(registry, text, text) + body))


def test_a_record_on_another_topic_is_refused_and_takes_no_schema_with_it(registry: Registry) -> None:
    codec = Codec(registry=registry)
    wire = Codec(registry=registry).encode("feedback", EVENTS["feedback"])
    assert refused(codec.decode("orders", wire)) == "a record of feedback on topic orders"
    assert accepted(codec.decode("feedback", wire)).event == EVENTS["feedback"]


def test_without_a_registry_its_format_is_refused() -> None:
    reason = refused(CODEC.decode("orders", b"\0\0\0\0\1" + CODEC.payload("orders", EVENTS["orders"])))
    assert reason == "Confluent wire format, but no Schema Registry is configured"


class MuteRegistry:
    """A registry that does not answer, then does."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.is_mute = True

    def get_schema(self, schema_id: int) -> Any:
        if self.is_mute:
            raise ConnectionError("no route")
        return self._registry.get_schema(schema_id)

    def register_schema(self, subject_name: str, schema: Any) -> int:
        if self.is_mute:
            raise ConnectionError("no route")
        return self._registry.register_schema(subject_name, schema)


def test_a_registry_out_of_reach_is_unavailable_and_asked_again(registry: Registry) -> None:
    wire = Codec(registry=registry).encode("surveys", EVENTS["surveys"])
    mute = MuteRegistry(registry)
    codec = Codec(registry=mute)
    with pytest.raises(Unavailable):
        codec.decode("surveys", wire)
    with pytest.raises(Unavailable):
        codec.encode("surveys", EVENTS["surveys"])
    mute.is_mute = False
    assert accepted(codec.decode("surveys", wire)).event == EVENTS["surveys"]
    assert codec.encode("surveys", EVENTS["surveys"]) == wire
    mute.is_mute = True
    assert accepted(codec.decode("surveys", wire)).event == EVENTS["surveys"]


# --- versions of a schema ------------------------------------------------------------------------------------


def _without(schema: Any, *names: str) -> Any:
    return schema | {"fields": [field for field in schema["fields"] if field["name"] not in names]}


def _with_field(schema: Any, name: str, type_: Any) -> Any:
    return schema | {"fields": [{"name": name, "type": type_}, *schema["fields"]]}


def _written(schema: Any, event: dict[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), event)
    return stream.getvalue()


def _single(schema: Any, event: dict[str, Any]) -> bytes:
    mark = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return SINGLE_OBJECT + bytes.fromhex(mark) + _written(schema, event)


# Versions as there may once have been: fields that have gone, fields that were not there yet, another order.
OLDER: dict[Topic, Any] = {
    "orders": _with_field(_without(CODEC.newest["orders"], "skus"), "buyer", "string"),
    "feedback": _without(CODEC.newest["feedback"], "date_only", "root_cause", "customer_service", "amount"),
    "surveys": _without(CODEC.newest["surveys"], "agent", "comment"),
}
OLDER["surveys"]["fields"].reverse()
SINCE: dict[Topic, dict[str, Any]] = {
    "orders": {"skus": []},
    "feedback": {"date_only": False, "root_cause": None, "customer_service": None, "amount": None},
    "surveys": {"agent": None, "comment": None},
}


@pytest.fixture
def evolved(tmp_path: Path) -> Codec:
    """A codec of a folder with an earlier version of every schema."""
    (tmp_path / "earlier").mkdir()
    for topic, schema in CODEC.newest.items():
        (tmp_path / f"{topic}.avsc").write_text(json.dumps(schema))
        (tmp_path / "earlier" / f"{topic}-1.avsc").write_text(json.dumps(OLDER[topic]))
    return Codec(tmp_path)


@EVERY_TOPIC
def test_every_version_in_the_folder_is_read_as_the_newest(evolved: Codec, topic: Topic) -> None:
    event = EVENTS[topic] | SINCE[topic]
    old = accepted(evolved.accept(topic, KEY, _single(OLDER[topic], event | {"buyer": "who"}), NOW_MS))
    new = accepted(evolved.accept(topic, KEY, CODEC.encode(topic, event), NOW_MS))
    assert old == new
    assert new.event == event
    assert evolved.encode(topic, event) == CODEC.encode(topic, event)


@EVERY_TOPIC
def test_rules_hold_for_every_version(evolved: Codec, topic: Topic) -> None:
    wire = _single(OLDER[topic], EVENTS[topic] | {"buyer": "who", "seller_id": ""})
    assert refused(evolved.accept(topic, b"|M", wire, NOW_MS)) == "empty seller_id"
    cut = _single(OLDER[topic], EVENTS[topic] | {"buyer": "who"})
    assert refused(evolved.decode(topic, cut[:-1])).startswith("not decodable")
    assert refused(evolved.decode(topic, cut + b"\0")) == "not decodable: bytes after the record's end"


def test_a_version_that_is_not_in_the_folder_is_refused() -> None:
    wire = _single(OLDER["orders"], EVENTS["orders"] | {"buyer": "who"})
    assert refused(CODEC.decode("orders", wire)) == f"unknown schema fingerprint {wire[2:10].hex()}"


def test_no_two_versions_that_we_keep_share_a_canonical_form() -> None:
    paths = list(Path("schemas").glob("**/*.avsc"))
    assert len({to_parsing_canonical_form(json.loads(path.read_text())) for path in paths}) == len(paths) >= 3


# --- containers ----------------------------------------------------------------------------------------------

READ = """
import chdb, sys
print(chdb.query(f"SELECT * REPLACE (hex(digest) AS digest) FROM file('{sys.argv[1]}', 'Avro')", "JSONEachRow"))
"""


@EVERY_TOPIC
def test_a_container_is_read_by_fastavro_and_by_clickhouse(topic: Topic, tmp_path: Path) -> None:
    events = [EVENTS[topic], EVENTS[topic] | {"event_id": "é\0'" * 80}]
    payloads = [CODEC.payload(topic, event) for event in events]
    container = Container(CODEC.newest[topic]).build((payload, digest_of(payload)) for payload in payloads)
    records = list(fastavro.reader(BytesIO(container)))
    assert [record["digest"] for record in records if isinstance(record, dict)] == [digest_of(p) for p in payloads]
    (tmp_path / "events.avro").write_bytes(container)
    command = [sys.executable, "-c", READ, str(tmp_path / "events.avro")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line]
    for row, event, payload in zip(rows, events, payloads, strict=True):
        assert row["digest"] == digest_of(payload).hex().upper()
        assert {name: row[name] for name in event if not name.endswith(("time", "_by"))} == {
            name: value for name, value in event.items() if not name.endswith(("time", "_by"))
        }


@pytest.mark.parametrize("length", [0, 1, 63, 64, 8191, 8192, 1 << 20])
def test_a_container_holds_records_of_any_length(length: int) -> None:
    event = EVENTS["surveys"] | {"comment": "x" * length}
    payload = CODEC.payload("surveys", event)
    container = Container(CODEC.newest["surveys"]).build([(payload, struct.pack("<Q", length))] * 2)
    read = [record["comment"] for record in fastavro.reader(BytesIO(container)) if isinstance(record, dict)]
    assert read == ["x" * length] * 2
