"""The OpenAPI 3.1 document of the gateway: events from the Avro schemas and the rules of `schemas.events`.

Place in the flow: beside it, served at `/openapi.json`. Says what a type can say; that a time must not be more than a
day ahead of the clock is in words alone, since a document may be kept.
"""

from collections.abc import Mapping
from typing import Any

from schemas.events import FEEDBACK_KINDS, ID_LENGTH_MAX, ORDER_KINDS, YEAR_2000_MS, YEAR_2201_MS, Topic
from streams.gateway.body import ENCODINGS
from streams.sections import Gateway

EVENTS = "/v1/events"
_TYPES = {"string": "string", "int": "integer", "double": "number", "boolean": "boolean"}
_IDS = ("event_id", "seller_id", "marketplace_id", "order_id", "conversation_id", "message_id")
_KINDS = {"orders": sorted(ORDER_KINDS), "feedback": sorted(FEEDBACK_KINDS)}
_JSON = "application/json"
Schema = dict[str, Any]


def document(newest: Mapping[Topic, Any], gateway: Gateway) -> dict[str, Any]:
    """The document, JSON; `newest` are the Avro schemas by topic."""
    names = {topic: schema["name"].capitalize() for topic, schema in newest.items()}
    refs = {topic: f"#/components/schemas/{name}" for topic, name in names.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sellerpulse gateway", "version": "1",
            "description": "Order, feedback and survey events in. What 202 tells is in Kafka; what 503 tells may be, "
            "and is to be sent again: event ids make that harmless.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            EVENTS: {"post": _post(gateway)},
            "/healthz": {"get": _probe("healthz", "Whether it runs", _text("ok"), {})},
            "/readyz": {"get": _probe("readyz", "Whether events are taken", _text("ok"), {"503": _text("why not")})},
            "/metrics": {"get": _probe("metrics", "Metrics in Prometheus's text format", _text("the metrics"), {})},
            "/openapi.json": {"get": _probe("openapi", "This document", _json("the document", {"type": "object"}), {})},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
            "schemas": {
                "Event": {
                    "oneOf": [{"$ref": ref} for ref in refs.values()],
                    "discriminator": {"propertyName": "topic", "mapping": refs},
                },
                **{names[topic]: event_schema(topic, schema) for topic, schema in newest.items()},
                "Time": _time(YEAR_2000_MS, None),
                "Promise": _time(YEAR_2000_MS, YEAR_2201_MS - 1),
                "Verdicts": _verdicts(),
                "Error": {
                    "type": "object", "required": ["error"], "properties": {"error": {"type": "string"}},
                },
            },
        },
    }  # fmt: skip


# --- events --------------------------------------------------------------------------------------------------


def event_schema(topic: Topic, avro: Mapping[str, Any]) -> Schema:
    """The JSON form of a topic's events. A field that it does not name is ignored."""
    properties = {"topic": {"const": topic}} | {each["name"]: _field(topic, each) for each in avro["fields"]}
    if topic == "surveys":
        properties["buyer_initiated"]["const"] = True
    schema: Schema = {
        "type": "object", "description": avro["doc"],
        "required": ["topic", *(each["name"] for each in avro["fields"] if "default" not in each)],
        "properties": properties,
    }  # fmt: skip
    if topic == "feedback":  # a rating there is, whatever the kind, is 1 to 5
        schema["if"] = {"properties": {"kind": {"const": "SUBMITTED"}}, "required": ["kind"]}
        schema["then"] = {"properties": {"rating": {"type": "integer"}}, "required": ["rating"]}
    return schema


def _field(topic: str, field: Mapping[str, Any]) -> Schema:
    kind, name = field["type"], field["name"]
    nullable = isinstance(kind, list)
    if nullable:
        (kind,) = (each for each in kind if each != "null")
    schema: Schema
    if isinstance(kind, dict) and kind.get("logicalType") == "timestamp-millis":
        schema = {"$ref": f"#/components/schemas/{'Promise' if name == 'deliver_by' else 'Time'}"}
    elif isinstance(kind, dict):
        schema = {"type": "array", "items": {"type": _TYPES[kind["items"]]}}
    else:
        schema = {"type": _TYPES[kind]}
    if name in _IDS:
        schema |= {"minLength": 1, "maxLength": ID_LENGTH_MAX}
    if name == "kind":
        schema["enum"] = _KINDS[topic]
    if name == "rating":
        schema |= {"minimum": 1, "maximum": 5}
    if nullable:
        schema = (
            {"oneOf": [schema, {"type": "null"}]} if "$ref" in schema else schema | {"type": [schema["type"], "null"]}
        )
    if field.get("default") is not None:
        schema["default"] = field["default"]
    if "doc" in field:
        schema["description"] = field["doc"]
    return schema


def _time(least: int, most: int | None) -> Schema:
    number: Schema = {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})
    return {
        "description": "Epoch milliseconds, or ISO-8601 (without a zone: UTC); not before 2000. An event's is not "
        "more than a day ahead of the clock.",
        "oneOf": [number, {"type": "string", "format": "date-time", "pattern": "^2"}],
    }


# --- requests and answers ------------------------------------------------------------------------------------


def _post(gateway: Gateway) -> Schema:
    event: Schema = {"$ref": "#/components/schemas/Event"}
    text = {"type": "string", "minLength": 1}
    verdicts = {"$ref": "#/components/schemas/Verdicts"}
    again = {"Retry-After": {"required": True, "description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    asks = {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}}
    events = f"{gateway.events_per_request} events and {gateway.body_mb} MiB, decompressed"
    return {
        "operationId": "sendEvents", "summary": "Send events", "security": [{"key": []}],
        "description": f"At most {events}. Each event is judged by itself: a request is accepted if one of them is. "
        f"Content-Encoding may be {' or '.join(ENCODINGS)}.",
        "requestBody": {"required": True, "content": {
            _JSON: {"schema": {"oneOf": [event, {"type": "array", "items": event, "minItems": 1}]}},
            "application/x-ndjson": {"schema": text | {"description": "One event a line."}},
            "application/avro": {"schema": {
                "description": "An Avro object container; the name of its records is the topic. Codecs null, deflate, "
                "snappy, zstandard, bzip2 and xz.",
            }},
        }},
        "responses": {
            "202": _json("Kafka has acknowledged every accepted event; the verdicts tell which", verdicts),
            "400": _error("The body cannot be read; nothing of it was taken"),
            "401": _error("No key, or an unknown one", asks),
            "403": _json("Every event is of an account out of the key's scope", verdicts),
            "408": _error("The body came too slowly"),
            "413": _error(f"More than {events}"),
            "415": _error("Another content type, content encoding or Avro codec"),
            "422": _json("No event was accepted; the verdicts tell why", verdicts),
            "429": _error("More events a second, or requests at once, than the key may send", again),
            "503": _error("Kafka did not acknowledge all of it: some may be there; send the same again", again),
        },
    }  # fmt: skip


def _verdicts() -> Schema:
    count = {"type": "integer", "minimum": 0}
    return {
        "type": "object", "required": ["accepted", "refused", "forbidden", "verdicts"],
        "properties": {
            "accepted": count, "refused": count, "forbidden": count,
            "verdicts": {"type": "array", "description": "In the order of the events.", "items": {
                "type": "object", "required": ["index", "verdict"],
                "properties": {
                    "index": count | {"description": "Of the event in the array or container, or its line; from 0."},
                    "verdict": {"enum": ["accepted", "refused", "forbidden"]},
                    "reason": {"type": "string", "description": "Why it is refused; repeats nothing of the event."},
                },
            }},
        },
    }  # fmt: skip


def _probe(name: str, summary: str, answer: Schema, more: Schema) -> Schema:
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **more}}


def _json(about: str, schema: Schema, headers: Schema | None = None) -> Schema:
    return {"description": about, "content": {_JSON: {"schema": schema}}} | ({"headers": headers} if headers else {})


def _text(about: str) -> Schema:
    return {"description": about, "content": {"text/plain": {"schema": {"type": "string"}}}}


def _error(about: str, headers: Schema | None = None) -> Schema:
    return _json(about, {"$ref": "#/components/schemas/Error"}, headers)
