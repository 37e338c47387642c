"""Released schemas: kept as they were, changed only so that any version reads what any other wrote, by real records."""

import json
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import fastavro
import pytest

from schemas.batch import BatchReader, Checked
from schemas.codec import SCHEMAS, Codec, Container, physical
from schemas.compatibility import faults
from schemas.events import TOPICS
from schemas.release import release
from schemas.versions import Version, edited, fingerprint_of, keep, released
from tests.unit.wire import EVENTS, KEY, NOW_MS, accepted

RELEASED = released()
FIRST = RELEASED["feedback"][0].schema

# --- records that must be read for ever, by the fingerprint of their version -------------------------------------

RECORDED = {
    "b573b6fe63d6ba49": "c301b573b6fe63d6ba4902650253024d8088a9ce98630874657374026f0c504c41434544020c53454c4c4552"
    "028288a9ce9863040261026200",
    "f381fc6fa0cec41f": "c301f381fc6fa0cec41f02650253024d8088a9ce98630874657374026f125355424d49545445440208020866"
    "696e6500000000000201020000",
    "2a8eb07fb8631ade": "c3012a8eb07fb8631ade02650253024d8088a9ce986308746573740263026d0101000206416e6100",
}


def test_every_released_version_is_as_it_was_released() -> None:
    assert edited() == []


def test_records_of_every_version_are_read_for_ever() -> None:
    marks = {version.fingerprint for versions in RELEASED.values() for version in versions}
    assert marks == set(RECORDED), "a version without a recorded event: add its bytes to RECORDED"
    codec = Codec()
    for topic, versions in RELEASED.items():
        for version in versions:
            wire = bytes.fromhex(RECORDED[version.fingerprint])
            assert wire[2:10].hex() == version.fingerprint
            event = accepted(codec.accept(topic, KEY, wire, NOW_MS)).event
            assert event == EVENTS[topic]
            by_id = Codec(registry=Registered({7: version.text}))
            assert accepted(by_id.accept(topic, KEY, b"\0\0\0\0\7" + wire[10:], NOW_MS)).event == event


# --- what may follow ---------------------------------------------------------------------------------------------


class Registered(NamedTuple):
    """A registry that has these schemas."""

    texts: Mapping[int, str]

    def get_schema(self, schema_id: int) -> Any:
        return Text(self.texts[schema_id])

    def register_schema(self, subject_name: str, schema: Any) -> int:
        raise NotImplementedError


class Text(NamedTuple):
    schema_str: str


def changed(schema: Any, name: str, **change: Any) -> Any:
    """The schema with a field that says something else; None: does not say it."""
    fields = [
        {k: v for k, v in (field | change).items() if v is not GONE} if field["name"] == name else field
        for field in schema["fields"]
    ]
    return schema | {"fields": fields}


def added(schema: Any, *fields: dict[str, Any], at: int | None = None) -> Any:
    place = len(schema["fields"]) if at is None else at
    return schema | {"fields": [*schema["fields"][:place], *fields, *schema["fields"][place:]]}


def without(schema: Any, name: str) -> Any:
    return schema | {"fields": [field for field in schema["fields"] if field["name"] != name]}


GONE = object()
STRING, MAYBE = "string", ["null", "string"]
CHANNEL = {"name": "channel", "type": STRING, "default": "web"}
SECOND = added(FIRST, CHANNEL)
THIRD = without(SECOND, "channel") | {"fields": [*FIRST["fields"], {"name": "locale", "type": MAYBE, "default": None}]}
HISTORY = [Version("feedback", n, json.dumps(schema)) for n, schema in enumerate((FIRST, SECOND, THIRD), 1)]
INSIDE = {"name": "n", "type": "record", "fields": [{"name": "inner", "type": ["null", "n"], "default": None}]}

GOOD: dict[str, Any] = {
    "a nullable string": added(THIRD, {"name": "a", "type": MAYBE, "default": None}),
    "a nullable number": added(THIRD, {"name": "a", "type": ["null", "long"], "default": None}),
    "a boolean with a default": added(THIRD, {"name": "a", "type": "boolean", "default": True}),
    "a double with a default": added(THIRD, {"name": "a", "type": "double", "default": 0.5}),
    "strings, none by default": added(THIRD, {"name": "a", "type": {"type": "array", "items": STRING}, "default": []}),
    "a time or null": added(
        THIRD, {"name": "a", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": None}
    ),
    "three fields, one before the others": added(
        added(THIRD, {"name": "a", "type": "int", "default": 3}, at=0),
        {"name": "b", "type": STRING, "default": "é"}, {"name": "c", "type": ["null", "double"], "default": None},
    ),
    "fields in another order": THIRD | {"fields": [*THIRD["fields"][5:], *THIRD["fields"][:5]]},
    "an added field goes": added(without(THIRD, "locale"), {"name": "a", "type": "int", "default": 1}),
    "a field that had gone is back as it was": added(THIRD, CHANNEL),
}  # fmt: skip


class Bad(NamedTuple):
    schema: Any
    reason: str  # what our message says
    apache: bool  # whether Apache's checker sees it


BAD: dict[str, Bad] = {
    "a new field without a default": Bad(added(THIRD, {"name": "a", "type": STRING}), "a: not in version 1", True),
    "a field of every event is gone": Bad(without(THIRD, "order_id"), "order_id: every event", True),
    "another name": Bad(THIRD | {"name": "ratings"}, "its name: must be", False),
    "a string becomes bytes": Bad(changed(THIRD, "source", type="bytes"), "source: its type changed", False),
    "an int becomes a long": Bad(changed(THIRD, "rating", type=["null", "long"]), "rating: its type changed", True),
    "a field is renamed by an alias": Bad(
        added(without(THIRD, "comment"), {"name": "remark", "type": MAYBE, "default": None, "aliases": ["comment"]}),
        "remark: no field has aliases", False,
    ),
    "a default that is no value of its type": Bad(
        added(THIRD, {"name": "a", "type": "int", "default": "x"}), "must match schema type", False
    ),
    "a name back with another default": Bad(
        added(THIRD, CHANNEL | {"default": "shop"}), "channel: its default changed since version 2", False
    ),
    "another logical type": Bad(
        changed(THIRD, "event_time", type={"type": "long", "logicalType": "timestamp-micros"}),
        "its fingerprint is that of version 3", False,
    ),
    "a record inside itself": Bad(
        added(THIRD, {"name": "a", "type": ["null", INSIDE], "default": None}), "contain itself", False
    ),
    "a kind that is an enum": Bad(
        changed(THIRD, "kind", type={"type": "enum", "name": "kinds", "symbols": ["SUBMITTED", "REMOVED"]}),
        "kind: its type changed", True,
    ),
    "a name that the containers need": Bad(
        added(THIRD, {"name": "digest", "type": MAYBE, "default": None}), "digest: the program needs", False
    ),
}  # fmt: skip


def test_ten_good_changes_pass() -> None:
    assert len(GOOD) == 10
    assert {name: found for name, schema in GOOD.items() if (found := faults(schema, HISTORY))} == {}


@pytest.mark.parametrize("name", BAD)
def test_bad_changes_are_refused_with_what_to_do(name: str) -> None:
    found = faults(BAD[name].schema, HISTORY)
    assert any(BAD[name].reason in each for each in found), found
    assert any(each.startswith("Apache avro: ") for each in found) is BAD[name].apache, found


def test_other_words_are_no_change() -> None:
    assert faults(changed(THIRD, "kind", doc="Other words."), HISTORY) == []


# --- and by real records -----------------------------------------------------------------------------------------


def kept_in(folder: Path, newest: Any) -> Codec:
    """A program of that newest schema that keeps the history."""
    folder.mkdir()
    for topic in TOPICS:
        (folder / f"{topic}.avsc").write_text((SCHEMAS / f"{topic}.avsc").read_text())
    for version in HISTORY:
        (folder / f"feedback-{version.number}.avsc").write_text(version.text)
    (folder / "feedback.avsc").write_text(json.dumps(newest))
    return Codec(folder)


def filled(schema: Any) -> dict[str, Any]:
    """An event of the schema in which no added field has its default."""
    values = {STRING: "other", "long": 9, "int": 9, "boolean": False, "double": 9.5, "array": ["x"]}
    event = dict(EVENTS["feedback"])
    for field in physical(schema)["fields"]:
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        while isinstance(kind, dict) and kind["type"] not in values:
            kind = kind["type"]
        event.setdefault(field["name"], values.get(kind["type"] if isinstance(kind, dict) else kind))
    return {field["name"]: event[field["name"]] for field in schema["fields"]}


def as_read(event: Mapping[str, Any], reader: Any) -> dict[str, Any]:
    """What a reader of this version is to see of an event."""
    return {f["name"]: event[f["name"]] if f["name"] in event else f["default"] for f in reader["fields"]}


def written(schema: Any, event: Mapping[str, Any]) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(physical(schema)), event)
    return stream.getvalue()


def single(schema: Any, event: Mapping[str, Any]) -> bytes:
    return b"\xc3\x01" + bytes.fromhex(fingerprint_of(schema)) + written(schema, event)


@pytest.mark.parametrize("name", GOOD)
def test_every_version_reads_what_any_other_wrote(name: str, tmp_path: Path) -> None:
    """fastavro, our codec and the batch's look; the newer program and, by a registry, the earlier ones."""
    new, event = GOOD[name], filled(GOOD[name])
    codec = kept_in(tmp_path / "new", new)
    wires = [single(new, event)]
    for version in HISTORY:
        old, old_event = version.schema, filled(version.schema)
        pair = fastavro.parse_schema(physical(old)), fastavro.parse_schema(physical(new))
        assert fastavro.schemaless_reader(BytesIO(written(old, old_event)), *pair) == as_read(old_event, new)
        assert fastavro.schemaless_reader(BytesIO(written(new, event)), *pair[::-1]) == as_read(event, old)
        wires.append(single(old, old_event))
        assert accepted(codec.accept("feedback", KEY, wires[-1], NOW_MS)).event == as_read(old_event, new)
        earlier = kept_in(tmp_path / str(version.number), old)
        earlier.registry = Registered({5: json.dumps(new)})
        wire = b"\0\0\0\0\5" + written(new, event)
        assert accepted(earlier.accept("feedback", KEY, wire, NOW_MS)).event == as_read(event, old)
        assert all(
            isinstance(e, Checked) for e in BatchReader(earlier).accept("feedback", [KEY] * 99, [wire] * 99, NOW_MS)
        )
    mixed = wires * 50
    found = BatchReader(codec).accept("feedback", [KEY] * len(mixed), mixed, NOW_MS)
    one_by_one = [accepted(codec.accept("feedback", KEY, wire, NOW_MS)) for wire in wires] * 50
    pairs = [(each.payload, each.digest) for each in found if isinstance(each, Checked)]
    assert pairs == [(each.payload, each.digest) for each in one_by_one]
    stored = list(fastavro.reader(BytesIO(Container(physical(new)).build(pairs))))
    assert [{k: v for k, v in r.items() if k != "digest"} for r in stored if isinstance(r, dict)] == [
        each.event for each in one_by_one
    ]


def test_what_bad_changes_would_do_to_real_records(tmp_path: Path) -> None:
    """Each is lost, misread or not read at all: by the changed program or an earlier one."""
    unharmed = []
    for number, (name, bad) in enumerate(BAD.items()):
        try:
            harms = list(_harms(bad.schema, tmp_path / str(number)))
        except Exception as failed:  # noqa: BLE001  # whatever a library raises for it is harm enough
            harms = [str(failed)]
        if not harms:
            unharmed.append(name)
    assert unharmed == []


def _harms(new: Any, folder: Path) -> Iterator[str]:
    codec = kept_in(folder, new)
    event = filled(new)
    own = codec.decode("feedback", single(new, event))
    yield from ["not read by itself"] if getattr(own, "event", None) != event else []
    for version in HISTORY:
        if version.fingerprint == fingerprint_of(new):
            yield "one fingerprint for two"
        old_event = filled(version.schema)
        found = codec.decode("feedback", single(version.schema, old_event))
        yield from ["old not read"] if getattr(found, "event", None) != as_read(old_event, new) else []
        pair = fastavro.parse_schema(physical(new)), fastavro.parse_schema(physical(version.schema))
        seen = fastavro.schemaless_reader(BytesIO(written(new, event)), *pair)
        yield from ["new misread"] if seen != as_read(event, version.schema) else []
        for name in {f["name"] for f in HISTORY[1].schema["fields"]} & {f["name"] for f in new["fields"]}:
            defaults = [f.get("default") for s in (HISTORY[1].schema, new) for f in s["fields"] if f["name"] == name]
            yield from ["two truths of one record"] if defaults[0] != defaults[1] else []
        if "remark" in event and as_read(event, version.schema)["comment"] != event["remark"]:
            yield "lost by a rename"
    container = Container(physical(new)).build([(written(new, event), bytes(8))])
    (stored,) = fastavro.reader(BytesIO(container))
    assert isinstance(stored, dict)
    yield from ["not stored as it was"] if {name: stored[name] for name in event} != event else []


# --- keeping them ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copytree(SCHEMAS, tmp_path / "schemas", ignore=lambda *_: ["__pycache__"])


def test_a_release_keeps_the_version_before(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "change.avsc"
    file.write_text(json.dumps(SECOND))
    done = release(file, folder)
    assert isinstance(done, Version)
    assert (done.number, edited(folder)) == (2, [])
    assert [version.text for version in released(folder)["feedback"]] == [
        RELEASED["feedback"][0].text,
        file.read_text(),
    ]
    assert release(file, folder) == ["it is version 2, words apart"]
    codec = Codec(folder)
    assert accepted(codec.decode("feedback", single(FIRST, EVENTS["feedback"]))).event["channel"] == "web"


def test_a_bad_change_is_not_released(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "change.avsc"
    file.write_text(json.dumps(BAD["a new field without a default"].schema))
    assert isinstance(release(file, folder), list)
    assert edited(folder) == []
    assert len(released(folder)["feedback"]) == 1


@pytest.mark.parametrize(
    "edit",
    [lambda text: text.replace('"default": false', '"default": true'), lambda text: text.replace("-millis", "-micros")],
)
def test_an_edit_in_place_is_noticed(folder: Path, edit: Callable[[str], str]) -> None:
    path = folder / "feedback.avsc"
    path.write_text(edit(path.read_text()))
    assert [each.partition(":")[0] for each in edited(folder)] == [
        "feedback.avsc is not version 1 of feedback as it was released"
    ]


def test_a_version_that_was_never_released_or_has_gone_is_noticed(folder: Path) -> None:
    keep("feedback", json.dumps(SECOND), folder)
    (folder / "versions" / "feedback-1.avsc").rename(folder / "versions" / "feedback-9.avsc")
    assert [each.partition(":")[0] for each in edited(folder)] == [
        "feedback-1.avsc is gone",
        "feedback-9.avsc was never released",
    ]
