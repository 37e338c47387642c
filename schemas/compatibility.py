"""May a changed schema be released? What is written by any version must be read by any other: FULL_TRANSITIVE.

Place in the flow: before it, in CI and in `sellerpulse schema check`. Apache avro's own checker is asked about every
released version, both ways. It looks at neither defaults nor logical types, follows aliases that our reader of old
records would have to know of, and takes bytes for strings; so the rules of this house come first, each with what to do.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from avro import errors
from avro import schema as apache
from avro.compatibility import ReaderWriterCompatibilityChecker as Checker
from avro.compatibility import SchemaCompatibilityType
from fastavro import parse_schema
from fastavro.validation import validate

from schemas import binary, columns, writer
from schemas.codec import physical
from schemas.events import TOPICS, Topic
from schemas.finite import least_bytes
from schemas.versions import Version, bare, fingerprint_of

NAMESPACE = "sellerpulse"
TAKEN = ("topic", "digest")  # by the JSON form of an event, and by the containers that the sink is sent
NOT_READ = (AssertionError, AttributeError, KeyError, TypeError, ValueError)  # raised for a type that no reader is for

_Fields = Mapping[str, Mapping[str, Any]]


def topic_of(schema: Any) -> Topic | None:
    """Whose schema it is, by its name; None if it is none's."""
    if not isinstance(schema, dict):
        return None
    full = (schema.get("type"), schema.get("namespace"), schema.get("name"))
    return next((topic for topic in TOPICS if full == ("record", NAMESPACE, topic)), None)


def faults(schema: Any, released: Sequence[Version]) -> list[str]:
    """Why the schema may not follow these versions of its topic, a line each; none: it may.

    A released version itself, its words changed or not, has no faults.
    """
    if topic_of(schema) is None:
        return [f"its name: must be the record {NAMESPACE}.{{{','.join(TOPICS)}}}, for ever; no other is read"]
    try:
        parsed = _parsed(schema)
        least_bytes(parse_schema(physical(schema)))
    except ValueError as endless:
        return [f"a record could be without end ({endless}): no type may contain itself"]
    except Exception as wrong:  # noqa: BLE001  # two libraries' trees of errors, for any text at all
        return [f"it is no Avro schema: {str(wrong).splitlines()[0] if str(wrong) else type(wrong).__name__}"]
    for version in released:
        if fingerprint_of(schema) == version.fingerprint:
            return [] if bare(schema) == bare(version.schema) else [_taken(version)]
    found = [*_unread(schema), *(fault for version in released for fault in _against(schema, version))]
    for version in released:
        found += _by_apache(parsed, _parsed(version.schema), version.number)
    return list(dict.fromkeys(found))


def _taken(version: Version) -> str:
    return (
        f"its fingerprint is that of version {version.number}, while a default, logical type or alias differs: records "
        "of the two could not be told apart; leave what is there as it is, and add a field"
    )


def _parsed(schema: Any) -> apache.Schema:
    """Raises ValueError for no such schema, as for one that contains itself."""
    try:
        return apache.parse(json.dumps(schema))
    except errors.AvroException as wrong:
        raise TypeError(str(wrong) or type(wrong).__name__) from wrong


# --- the rules of the house --------------------------------------------------------------------------------------


def _unread(schema: Any) -> Iterator[str]:
    """What this program would not read, whatever the versions before."""
    names = [field["name"] for field in schema["fields"]]
    if "marketplace_id" not in names[1:] or names[names.index("marketplace_id") - 1] != "seller_id":
        yield "seller_id: marketplace_id must follow it at once; put new fields at the end"
    for field in schema["fields"]:
        name = field["name"]
        if "aliases" in field:
            yield f"{name}: no field has aliases, since earlier programs know none: add a field, keep the old one"
        if name in TAKEN:
            yield f"{name}: the program needs this name for itself: take another"
        if not _is_read(field):
            yield f"{name}: not of a type that is read: string, int, long, boolean, double, one or null, an array"
        elif "default" in field and not _fits(field):
            yield f"{name}: its default is no value of its type (of a type or null: null)"


def _is_read(field: Mapping[str, Any]) -> bool:
    with suppress(*NOT_READ):
        one = {"fields": [field]}
        return all((binary.reader_of(one), writer.writer_of(one), columns.reader_of(field["type"])))
    return False


def _fits(field: Mapping[str, Any]) -> bool:
    kind = field["type"]
    return bool(validate(field["default"], physical(kind[0] if isinstance(kind, list) else kind), raise_errors=False))


def _against(schema: Any, version: Version) -> Iterator[str]:
    old, new, since = _fields(version.schema), _fields(schema), f"since version {version.number}"
    for name, field in new.items():
        if name not in old:
            if "default" not in field:
                yield f"{name}: not in version {version.number}, so it needs a default: null, of a type or null"
        elif bare(physical(field["type"])) != bare(physical(old[name]["type"])):
            yield f"{name}: its type changed {since}: leave it, and add a field of another name with a default"
        elif bare(field["type"]) != bare(old[name]["type"]):
            yield f"{name}: its logical type changed {since}: leave it, and add a field of another name with a default"
        elif "default" in old[name] and _default(field) != _default(old[name]):
            yield f"{name}: its default changed {since}: put {_default(old[name])} back"
    for name in old.keys() - new.keys():
        if "default" not in old[name]:
            yield f"{name}: every event of version {version.number} has it, so it must stay: put it back"


def _default(field: Mapping[str, Any]) -> str | None:
    """As JSON, which tells false from 0."""
    return json.dumps(field["default"]) if "default" in field else None


def _fields(schema: Any) -> _Fields:
    return {field["name"]: field for field in schema["fields"]}


# --- Apache avro's checker ---------------------------------------------------------------------------------------


def _by_apache(new: apache.Schema, old: apache.Schema, number: int) -> Iterator[str]:
    for reader, writer_, who in (
        (new, old, f"it would not read version {number}"),
        (old, new, f"version {number} would not read it"),
    ):
        found = Checker().get_compatibility(reader, writer_)  # type: ignore[no-untyped-call]
        if found.compatibility is not SchemaCompatibilityType.compatible:
            kinds = ", ".join(dict.fromkeys(kind.name for kind in found.incompatibilities))
            yield f"Apache avro: {who}: {kinds} ({', '.join(sorted(found.messages))})"
