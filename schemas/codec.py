"""Bytes on the wire to events and back. Any bytes at all give an `Accepted` or a `Refusal`, never an exception.

Two wire formats, told apart by their first bytes: `C3 01` + fingerprint (Avro single-object encoding) and `00` + id
(Confluent, with a Schema Registry). Whatever version of a schema a record was written with, what comes out is the
newest: the event as a dict, and its payload, the same content in the newest schema's own binary form. The payload's
digest orders contents: should two events share an id, the one with the smaller digest stands, on every machine.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.binary import NotAvroError, reader_of
from schemas.errors import Unavailable, reason_of
from schemas.events import RECORD_MAX, TOPICS, Refusal, Topic, account_key, check
from schemas.finite import least_bytes
from schemas.writer import UNUSUAL, writer_of

SCHEMAS = Path(__file__).parent
SINGLE_OBJECT = b"\xc3\x01"
CONFLUENT = b"\x00"
DIGEST_BYTES = 8
_NOT_LET_IN = (401, 403)


class Accepted(NamedTuple):
    """An event that passed every check; `payload` is it in the newest schema, `digest` ranks its content."""

    topic: Topic
    event: dict[str, Any]
    payload: bytes
    digest: bytes


class Registry(Protocol):
    """The part of confluent-kafka's Schema Registry client that the codec needs."""

    def get_schema(self, schema_id: int) -> Any:
        """The schema of that id, its text in `.schema_str`."""

    def register_schema(self, subject_name: str, schema: Any) -> int:
        """The id of a schema, registered if it was not."""


class _Version(NamedTuple):
    """One schema version of a topic, without logical types so that times stay ints."""

    topic: Topic
    writer: Any
    is_newest: bool


class Codec:
    """Decodes every schema version kept in `folder`, encodes the newest, `folder/{topic}.avsc`.

    With a `registry`, encodes in Confluent wire format and decodes both. Raises ConfigurationError nowhere:
    the schemas are part of the program. A registry that cannot be reached raises Unavailable.
    """

    def __init__(self, folder: Path = SCHEMAS, registry: Registry | None = None) -> None:
        self.registry = registry
        self.newest: dict[Topic, Any] = {t: _load(folder / f"{t}.avsc") for t in TOPICS}
        self._readers = {t: parse_schema(physical(s)) for t, s in self.newest.items()}
        self._read_newest = {t: reader_of(s) for t, s in self.newest.items()}
        self._write_newest = {t: writer_of(s) for t, s in self.newest.items()}
        self._canonical = {t: to_parsing_canonical_form(s) for t, s in self.newest.items()}
        self._by_fingerprint = dict(map(self._known, sorted(folder.glob("**/*.avsc"))))
        self._by_id: dict[int, _Version] = {}
        self._headers: dict[Topic, bytes] = {}

    # --- reading -----------------------------------------------------------------------------------------

    def accept(self, topic: Topic, key: bytes | None, value: bytes | None, now_ms: int) -> Accepted | Refusal:
        """The event of a Kafka record after every check of SPEC section 3, or why it is refused."""
        decoded = self.decode(topic, value)
        if isinstance(decoded, Refusal):
            return decoded
        event = decoded.event
        if reason := check(topic, event, now_ms):
            return Refusal(reason, topic)
        if key != account_key(event):
            return Refusal("the key is not the account's" if key else "no key", topic)
        return decoded

    def decode(self, topic: Topic, value: bytes | None) -> Accepted | Refusal:
        """An event of the right types, not yet held against `schemas.events.check`."""
        if not value:
            return Refusal("empty value", topic)
        if len(value) > RECORD_MAX:  # what it becomes takes up to thirty times as much memory
            return Refusal(f"a record over {RECORD_MAX} bytes", topic)
        head = value[:2]
        if head == SINGLE_OBJECT:
            version = self._by_fingerprint.get(value[2:10])
            payload = value[10:]
            if version is None:
                return Refusal(f"unknown schema fingerprint {value[2:10].hex()}", topic)
        elif head[:1] == CONFLUENT:
            found = self._by_registry(topic, value)
            if isinstance(found, Refusal):
                return found
            version, payload = found, value[5:]
        else:
            return Refusal("not decodable: neither single-object encoding nor Confluent wire format", topic)
        if version.topic != topic:
            return Refusal(f"a record of {version.topic} on topic {topic}", topic)
        return self._read(version, payload)

    def _read(self, version: _Version, payload: bytes) -> Accepted | Refusal:
        topic = version.topic
        try:
            if version.is_newest:
                event = self._read_newest[topic](payload)
            else:
                stream = BytesIO(payload)
                event = cast("dict[str, Any]", schemaless_reader(stream, version.writer, self._readers[topic]))
                if stream.tell() != len(payload):
                    return Refusal("not decodable: bytes after the record's end", topic)
                payload = self.payload(topic, event)
        except NotAvroError as wrong:
            return Refusal(f"not decodable: {wrong}", topic)
        except Exception as wrong:  # noqa: BLE001  # whatever strangers' bytes make the reader raise is a refusal
            return Refusal(f"not decodable: {type(wrong).__name__}", topic)
        return Accepted(topic, event, payload, digest_of(payload))

    def event(self, topic: Topic, payload: bytes) -> dict[str, Any]:
        """The event of a payload that was accepted before."""
        return self._read_newest[topic](payload)

    def _known(self, path: Path) -> tuple[bytes, _Version]:
        schema = _load(path)
        canonical = to_parsing_canonical_form(schema)
        mark = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
        return mark, self._version(schema["name"].rpartition(".")[2], schema, canonical)

    def _version(self, topic: Topic, schema: Any, canonical: str) -> _Version:
        """Raises ValueError, among others, for a schema by which a record could be read without end."""
        is_newest = canonical == self._canonical[topic]
        writer = self._readers[topic] if is_newest else parse_schema(physical(schema))
        least_bytes(writer)
        return _Version(topic, writer, is_newest)

    def _by_registry(self, topic: Topic, value: bytes) -> _Version | Refusal:
        if self.registry is None:
            return Refusal("Confluent wire format, but no Schema Registry is configured", topic)
        if len(value) < 5:
            return Refusal("not decodable: cut short", topic)
        schema_id = int.from_bytes(value[1:5], "big")
        known = self._by_id.get(schema_id)
        if known is None:
            try:
                text = self.registry.get_schema(schema_id).schema_str
            except Exception as failed:  # the client raises its own tree and that of its HTTP library
                if getattr(failed, "http_status_code", None) == 404:
                    return Refusal(f"unknown schema id {schema_id}", topic)
                raise Unavailable(f"Schema Registry: {unanswered(failed)}") from failed
            try:
                schema = json.loads(text)
                # By its own name, not the topic's: one stray record must not give the id to another topic for good.
                known = self._version(schema["name"].rpartition(".")[2], schema, to_parsing_canonical_form(schema))
            except Exception as wrong:  # noqa: BLE001  # any registered text at all
                return Refusal(f"schema id {schema_id} is unusable: {type(wrong).__name__}", topic)
            self._by_id[schema_id] = known
        return known

    # --- writing -----------------------------------------------------------------------------------------

    def encode(self, topic: Topic, event: Mapping[str, Any]) -> bytes:
        """The wire form of a complete, checked event in the newest schema."""
        return self._header(topic) + self.payload(topic, event)

    def payload(self, topic: Topic, event: Mapping[str, Any]) -> bytes:
        """The newest schema's binary form, without a wire header. Raises what fastavro raises for no such event."""
        try:
            return self._write_newest[topic](event)
        except UNUSUAL:
            pass  # and not below, so that an error of fastavro's comes alone
        stream = BytesIO()
        schemaless_writer(stream, self._readers[topic], event)
        return stream.getvalue()

    def restated(self, topic: Topic, event: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """Payload and digest of an event that was changed after it was decoded."""
        payload = self.payload(topic, event)
        return payload, digest_of(payload)

    def _header(self, topic: Topic) -> bytes:
        header = self._headers.get(topic)
        if header is None:
            header = self._headers[topic] = self._make_header(topic)
        return header

    def _make_header(self, topic: Topic) -> bytes:
        if self.registry is None:
            return SINGLE_OBJECT + bytes.fromhex(fingerprint(self._canonical[topic], "CRC-64-AVRO"))
        from confluent_kafka.schema_registry import Schema  # slow to import, and seldom needed

        try:
            schema = Schema(json.dumps(self.newest[topic]), "AVRO")
            schema_id = self.registry.register_schema(f"{topic}-value", schema)
        except Exception as failed:  # the client raises its own tree and that of its HTTP library
            raise Unavailable(f"Schema Registry: {unanswered(failed)}") from failed
        return CONFLUENT + schema_id.to_bytes(4, "big")


def unanswered(failed: Exception) -> str:
    """Why the registry gave no answer, without its address, which may hold a password."""
    status = getattr(failed, "http_status_code", None)
    if status in _NOT_LET_IN:
        return f"wrong user or password, or no right to this (HTTP {status})"
    return reason_of(failed) or (f"HTTP {status}" if status and status > 0 else type(failed).__name__)


def digest_of(payload: bytes) -> bytes:
    """8 bytes that rank contents; equal contents of the newest schema have equal digests."""
    return blake2b(payload, digest_size=DIGEST_BYTES).digest()


# --- containers, as the sink stores them ---------------------------------------------------------------------


class Container:
    """Builds Avro container files from payloads and digests, for a database that reads Avro itself.

    One block a record: should a payload that fastavro accepted read differently elsewhere, no neighbour suffers.
    """

    _SYNC = bytes(range(16))

    def __init__(self, newest: Mapping[str, Any]) -> None:
        stored = dict(newest)
        stored["fields"] = [
            *newest["fields"],
            {"name": "digest", "type": {"type": "fixed", "name": "digest8", "size": DIGEST_BYTES}},
        ]
        metadata = {"avro.schema": json.dumps(stored).encode(), "avro.codec": b"null"}
        body = b"".join(_bytes(k.encode()) + _bytes(v) for k, v in metadata.items())
        self._header = b"Obj\x01" + _long(len(metadata)) + body + _long(0) + self._SYNC

    def build(self, records: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The container of (payload, digest) pairs."""
        parts = [self._header]
        for payload, digest in records:
            parts += (_one_record_of(len(payload) + DIGEST_BYTES), payload, digest, self._SYNC)
        return b"".join(parts)


@lru_cache(maxsize=4096)
def _one_record_of(size: int) -> bytes:
    """The head of a block: one record, so many bytes."""
    return _long(1) + _long(size)


def _bytes(data: bytes) -> bytes:
    return _long(len(data)) + data


def _long(value: int) -> bytes:
    """A non-negative long as Avro's zigzag varint."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def physical(schema: Any) -> Any:
    """The schema without logical types: fastavro then leaves times as ints, and reads by what is on the wire."""
    if isinstance(schema, dict):
        return {k: physical(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [physical(item) for item in schema]
    return schema
