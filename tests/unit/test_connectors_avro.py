"""Avro container files, of any writer's schema, damaged and cut short."""

import gzip
import json
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.events import check
from tests.unit.sources import (
    MASKED,
    NOW_MS,
    ORDER,
    RATING,
    SURVEY,
    bare,
    container,
    events,
    one,
    records,
    refusals,
    schema_of,
    until_damage,
)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "zstandard", "snappy"])
def test_an_avro_container_names_its_topic_by_its_record(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "events.bin"
    path.write_bytes(container(schema_of("feedback"), [bare(RATING)] * 3, codec))
    found = records(path)
    assert [record.line for record in found] == [1, 2, 3]
    assert all(event["comment"] == MASKED and event["event_time"] == RATING["event_time"] for event in events(found))
    assert {record.item.topic for record in found} == {"feedback"}
    again: Any = fastavro.schemaless_reader(BytesIO(found[0].raw), schema_of("feedback"), None)
    assert again["event_id"] == "f-1"


def test_a_compressed_container_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(gzip.compress(container(schema_of("orders"), [bare(ORDER)])))
    assert one(path).format == "avro"
    assert len(events(records(path))) == 1


def avro_schema(name: str, **types: Any) -> dict[str, Any]:
    fields = dict.fromkeys(bare(ORDER), "string") | types
    return {"type": "record", "name": name, "fields": [{"name": k, "type": v} for k, v in fields.items()]}


def long(logical: str) -> dict[str, str]:
    return {"type": "long", "logicalType": logical}


@pytest.mark.parametrize(
    "kind, value",
    [
        ("long", 1_500_000_000_123),
        (long("timestamp-millis"), datetime(2017, 7, 14, 2, 40, 0, 123_000, UTC)),
        (["null", long("timestamp-micros")], datetime(2017, 7, 14, 2, 40, 0, 123_999, UTC)),
        (long("timestamp-nanos"), 1_500_000_000_123_999_999),
        ("string", "2017-07-14T02:40:00.123Z"),
    ],
)
def test_a_writer_may_have_its_own_schema_of_times(tmp_path: Path, kind: Any, value: object) -> None:
    path = tmp_path / "events.avro"
    written = {**bare(ORDER), "event_time": value}
    path.write_bytes(container(avro_schema("shop.v7.orders", event_time=kind), [written]))
    (event,) = events(records(path))
    assert event["event_time"] == 1_500_000_000_123
    assert event["skus"] == []


def test_a_time_no_calendar_knows_refuses_its_event_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    times = [1_500_000_000_000, 2**62, -(2**62), 1_500_000_000_000]
    plain = container(avro_schema("orders", event_time="long"), [{**bare(ORDER), "event_time": t} for t in times])
    header, rest = plain.split(b'"long"', 1)
    logical = json.dumps(long("timestamp-millis")).encode()
    assert header.count(b"avro.schema") == 1
    path.write_bytes(_with_longer_schema(plain, b'"long"', logical))
    assert rest
    found = records(path)
    assert [check("orders", event, NOW_MS) is None for event in events(found)] == [True, False, False, True]


def _with_longer_schema(plain: bytes, old: bytes, new: bytes) -> bytes:
    """The container with its schema's text changed: the writer refuses what a stranger may well have written."""
    schema = fastavro.reader(BytesIO(plain)).metadata["avro.schema"].encode()
    changed = schema.replace(old, new)
    return plain.replace(_avro_bytes(schema), _avro_bytes(changed))


def _avro_bytes(data: bytes) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, "bytes", data)
    return stream.getvalue()


def test_a_container_may_hold_a_union_of_records(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    values = [("sellerpulse.orders", bare(ORDER)), ("sellerpulse.surveys", bare(SURVEY))]
    path.write_bytes(container([schema_of("orders"), schema_of("surveys")], values))
    assert [record.item.topic for record in records(path)] == ["orders", "surveys"]


def test_avro_types_are_as_strict_as_json(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    schema = avro_schema("feedback", rating="double", event_time="long")
    path.write_bytes(container(schema, [{**bare(ORDER), "rating": 4.5}]))
    assert refusals(records(path)) == [(1, "rating is not a whole number")]


def test_a_record_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    path.write_bytes(container(avro_schema("shop.coupons", event_time="long"), [bare(ORDER)]))
    assert refusals(records(path)) == [(1, "unknown topic: coupons")]


def test_text_that_is_not_utf_8_refuses_its_record_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    values = [{**bare(ORDER), "order_id": name} for name in ("first", "other", "third")]
    path.write_bytes(container(schema_of("orders"), values).replace(b"other", b"oth\xffr"))
    found = records(path)
    assert refusals(found) == [(2, "not UTF-8")]
    assert [event["order_id"] for event in events(found)] == ["first", "third"]


def test_a_block_damaged_inside_costs_the_rest_of_that_block(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    whole = container(
        schema_of("orders"), [{**bare(ORDER), "order_id": f"order-{i}"} for i in range(9)], block_bytes=300
    )
    first, *others = (block.num_records for block in fastavro.block_reader(BytesIO(whole)))
    assert first > 2
    assert others
    at = whole.index(b"order-1")
    path.write_bytes(whole[: at - 1] + b"\x7f" + whole[at:])  # its length
    found, said = until_damage(path)
    assert refusals(found) == [(2, f"not decodable: the rest of an Avro block, {first - 1} records")]
    assert [event["order_id"] for event in events(found)] == ["order-0", *(f"order-{i}" for i in range(first, 9))]
    assert [record.line for record in found] == [1, 2, *range(first + 1, 10)]
    assert said.startswith(f"{path}: ")


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_container_cut_anywhere_keeps_its_whole_blocks(tmp_path: Path, codec: str) -> None:
    values = [{**bare(ORDER), "order_id": f"order-{i}"} for i in range(300)]
    whole = container(schema_of("orders"), values, codec, block_bytes=6_000)
    blocks = list(fastavro.block_reader(BytesIO(whole)))
    assert blocks[1].num_records > 63  # a number of two bytes, which may be cut as well
    ends = [block.offset + block.size for block in blocks]
    path = tmp_path / "events.avro"
    for cut in (100, blocks[0].offset - 1, *range(ends[0] + 1, ends[0] + 4), ends[1] - 20, ends[1] - 1):
        path.write_bytes(whole[:cut])
        found, said = until_damage(path)
        assert len(events(found)) == sum(b.num_records for b, end in zip(blocks, ends, strict=True) if end <= cut)
        assert not refusals(found)
        assert said.startswith(f"{path}: ")


def test_records_of_no_bytes_do_not_go_on_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    path.write_bytes(container({"type": "record", "name": "orders", "fields": []}, [{}] * 3))
    found, _ = until_damage(path)
    assert len(found) == 1
