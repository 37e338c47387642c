"""Whatever bytes come, each record is an event or refused with a reason, in little memory and time."""

import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.batch import BATCH_MIN, BatchReader, Checked
from schemas.codec import Accepted, Codec, Registry
from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import RECORD_MAX, TOPICS, Parsed, Refusal, check
from schemas.finite import least_bytes
from tests.fuzz_corpus import CODEC, SIZE, Fuzzed, corpus, large, large_keys
from tests.unit.sources import ORDER, RATING, bare, container, lines, one, records, schema_of
from tests.unit.test_codec import registered
from tests.unit.wire import EVENTS, KEY, NOW_MS

MEMORY_MAX, CPU_S_MAX = 64 << 20, 1.0  # of decoding one value
RIGHT = ("sound", "our own headers", "odd headers")  # for which nothing is refused
BATCH = 500


@pytest.fixture(scope="module")
def fuzzed() -> list[Fuzzed]:
    return list(corpus())


def _accepted(one: Fuzzed) -> Accepted | Refusal:
    return CODEC.accept(one.topic, one.key, one.value, NOW_MS)


def test_every_record_is_an_event_or_refused_with_a_reason(fuzzed: list[Fuzzed]) -> None:
    refused: Counter[str] = Counter()
    for each in fuzzed:
        found = _accepted(each)
        if isinstance(found, Refusal):
            refused[each.kind] += 1
            assert found.reason.isprintable() or "kind" in found.reason
            assert 0 < len(found.reason) < 200
    assert len(fuzzed) == SIZE
    assert refused.keys() == {each.kind for each in fuzzed} - set(RIGHT)
    assert SIZE / 2 < refused.total() < SIZE


def test_the_same_corpus_comes_every_time(fuzzed: list[Fuzzed]) -> None:
    assert list(corpus(1_000)) == list(corpus(1_000))
    assert len({each.value for each in fuzzed}) > SIZE / 2


def test_a_batchs_look_finds_the_same(fuzzed: list[Fuzzed]) -> None:
    reader, by_batch = BatchReader(CODEC), 0
    for topic in TOPICS:
        mine = [each for each in fuzzed if each.topic == topic]
        for at in range(0, len(mine), BATCH):
            batch = mine[at : at + BATCH]
            found = reader.accept(topic, [each.key for each in batch], [each.value for each in batch], NOW_MS)
            for each, checked in zip(batch, found, strict=True):
                known = _accepted(each)
                if isinstance(known, Refusal):
                    assert checked == known
                else:
                    assert isinstance(checked, Checked)
                    assert (checked.payload, checked.digest) == (known.payload, known.digest)
                    by_batch += checked.event is None
    assert by_batch > BATCH_MIN


# --- memory and time -----------------------------------------------------------------------------------------


def suspicious() -> Iterator[Fuzzed]:
    """What might take much: the large ones, those as large as an event may be, and what claims to be large."""
    yield from large()
    yield from large(RECORD_MAX - 500)
    yield from large_keys()
    claims = ("huge length", "huge count", "deep nesting", "number too large")
    yield from (each for each in corpus(2_000) if each.kind in claims)


@pytest.mark.parametrize("company", [0, BATCH_MIN], ids=["alone", "in a batch"])
def test_decoding_no_record_takes_much_memory_or_time(company: int) -> None:
    reader = BatchReader(CODEC)
    sound = {topic: CODEC.encode(topic, EVENTS[topic]) for topic in TOPICS}
    for each in suspicious():
        is_large = len(each.value or b"") > RECORD_MAX / 2
        if company and not is_large:
            continue
        values = [each.value, *[sound[each.topic]] * company]
        keys = [each.key, *[KEY] * company]
        started = time.process_time()
        found = reader.accept(each.topic, keys, values, NOW_MS)
        taken = time.process_time() - started
        assert taken < CPU_S_MAX, (each.kind, taken)
        assert len(found) == len(values)
        if is_large:  # traced it takes ten times as long
            tracemalloc.start()
            reader.accept(each.topic, keys, values, NOW_MS)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < MEMORY_MAX, (each.kind, peak)


def test_a_record_longer_than_any_event_is_refused() -> None:
    event = EVENTS["feedback"] | {"comment": ""}
    room = RECORD_MAX - len(CODEC.encode("feedback", event)) - 2  # the length takes two bytes more
    fits, not_fits = (CODEC.encode("feedback", event | {"comment": "x" * size}) for size in (room - 1, room + 1))
    assert len(fits) <= RECORD_MAX < len(not_fits)
    assert isinstance(CODEC.decode("feedback", fits), Accepted)
    assert CODEC.decode("feedback", not_fits) == Refusal("a record over 1048576 bytes", "feedback")


# --- schemas of strangers ------------------------------------------------------------------------------------

NODE = {"type": "record", "name": "node", "fields": [{"name": "next", "type": ["null", "node"]}]}
EMPTY = {"type": "record", "name": "empty", "fields": [{"name": "nothing", "type": "null"}]}
ENDLESS = [NODE, {"type": "array", "items": "null"}, {"type": "map", "values": {"type": "array", "items": EMPTY}}]


@pytest.fixture
def registry() -> Registry:
    client: Registry = SchemaRegistryClient.new_client({"url": "mock://fuzz"})
    return client


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("tail", [b"\x02" * (RECORD_MAX - 1_000), b"\xfe\xff\xff\xff\xff\x01"])
def test_a_registered_schema_by_which_a_record_need_not_end_is_not_read_by(
    registry: Registry, kind: Any, tail: bytes
) -> None:
    """The one would end the process, the other take for ever."""
    codec, schema = Codec(registry=registry), json.loads(json.dumps(CODEC.newest["orders"]))
    schema["fields"].append({"name": "more", "type": kind})
    value = registered(registry, "orders-value", schema) + CODEC.payload("orders", EVENTS["orders"]) + tail
    assert codec.decode("orders", value) == Refusal("schema id 1 is unusable: ValueError", "orders")


@pytest.mark.parametrize(
    "kind, least",
    [
        ("null", 0), ("long", 1), (["null", "string"], 1), ({"type": "array", "items": "string"}, 1),
        ({"type": "map", "values": "null"}, 1), ({"type": "fixed", "name": "f", "size": 0}, 0),
        ({"type": "fixed", "name": "f", "size": 7}, 7), ({"type": "enum", "name": "e", "symbols": ["A"]}, 1),
        (EMPTY, 0), ({"type": {"type": "string"}}, 1),
        ({"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": EMPTY}]}, 1),
        ([EMPTY, {"type": "record", "name": "r", "fields": [{"name": "a", "type": "empty"}]}], 1),
    ],
)  # fmt: skip
def test_how_few_bytes_a_value_may_take(kind: Any, least: int) -> None:
    assert least_bytes(kind) == least


# --- files ---------------------------------------------------------------------------------------------------

LINES = [
    b'{"topic": "orders", "event_time": NaN}', b'{"topic": "orders", "event_time": Infinity}',
    lines(ORDER).replace(b"1500000000000", b"NaN").strip(), lines(ORDER).replace(b"1500000000000", b"9" * 400).strip(),
    lines(ORDER).replace(b"1500000000000", b"9223372036854775808").strip(),
    lines(ORDER).replace(b"1500000000000", b"1e999").strip(),
    lines(ORDER).replace(b'"o-1"', b'"\\ud800"').strip(), lines(ORDER).replace(b'"o-1"', b'"\xed\xa0\x80"').strip(),
    lines(ORDER).replace(b'"o-1"', b'"a\x00b"').strip(), bytes(500), b"\xff\xfe{}", b"[]", b"null",
    b'{"topic": "orders"',
    b"[" * 100_000, b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, b'{"topic": ' * 300 + b"1" + b"}" * 300,
    b"[" + b"{}," * 340_000 + b"{}]", b'{"skus": [' + b'"",' * 340_000 + b'""]}',
    b'"' + b"x" * 1_000_000 + b'"', lines({**RATING, "rating": 1 << 70}).strip(),
]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line[:24]))
def test_a_bad_line_is_refused_in_little_memory_and_time(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([line, lines(ORDER).strip(), b""]))
    tracemalloc.start()
    started = time.process_time()
    bad, good = records(path)
    taken, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bad.item.reason if isinstance(bad.item, Refusal) else check(*bad.item, NOW_MS)
    assert isinstance(good.item, Parsed)
    assert peak < MEMORY_MAX
    assert taken < 4 * CPU_S_MAX  # traced


def test_containers_cut_or_with_any_byte_changed_are_read_as_far_as_they_are_good(tmp_path: Path) -> None:
    """Cut anywhere, a byte changed anywhere, every length enormous: what is read is events, refusals, and damage."""
    whole = container(schema_of("orders"), [bare(ORDER)] * 20, block_bytes=200)
    spoiled = [whole[:size] for size in range(4, len(whole), 23)]
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    spoiled += [whole[:at] + other + whole[at + 1 :] for at in range(4, len(whole), 11) for other in (b"\xff", huge)]
    path = tmp_path / "events.avro"
    damaged = 0
    for content in spoiled:
        path.write_bytes(content)
        tracemalloc.start()
        try:
            found = records(path)
        except (FileDamaged, ConfigurationError) as wrong:
            damaged += 1
            assert str(path) in str(wrong)  # noqa: PT017  # or it is read
        else:
            assert found
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MEMORY_MAX
    assert damaged > len(spoiled) / 2


def test_a_container_whose_schema_contains_itself_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "events.avro"
    schema = schema_of("orders")
    schema["fields"].append({"name": "more", "type": NODE})
    path.write_bytes(container(schema, [bare(ORDER) | {"more": {"next": None}}]))
    with pytest.raises(ConfigurationError, match=r"not a readable Avro container: .* contains itself"):
        one(path)
