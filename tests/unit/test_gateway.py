"""What the gateway makes of a request's bytes, its keys and their limits; its document says what the schemas say."""

import gzip
import io
import json
from typing import Any

import fastavro
import orjson
import pytest
import zstandard as zstd
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.codec import SCHEMAS, Codec
from schemas.errors import Unavailable
from schemas.events import TOPICS, from_json
from streams.gateway.body import FORMATS, decompressed, records_of
from streams.gateway.keys import Bucket, Holder, Keyring, hash_of, new_key
from streams.gateway.openapi import document
from streams.gateway.refusing import NotTaken
from streams.gateway.verdicts import LETTERS_MAX, Judged, judge
from streams.sections import Gateway, GatewayKey, Scope
from tests.unit.wire import EVENTS, NOW_MS

CODEC = Codec()
LIMIT, EVENTS_MAX = 1 << 20, 1_000
JSON, NDJSON, AVRO = FORMATS
ORDER: dict[str, Any] = {"topic": "orders"} | EVENTS["orders"]
FEEDBACK: dict[str, Any] = {"topic": "feedback"} | EVENTS["feedback"]
KEY, HASH = new_key()


def holder(sellers: Scope = "*", marketplaces: Scope = "*", **limits: Any) -> Holder:
    key = GatewayKey(name="test", hash=HASH, sellers=sellers, marketplaces=marketplaces)
    return Holder(key, Gateway(**limits), lambda: 0.0)


def judged(content: bytes, media_type: str = JSON, whose: Holder | None = None) -> Judged:
    records = records_of(content, media_type, limit=LIMIT, events_max=EVENTS_MAX)
    return judge(records, whose or holder(), CODEC, NOW_MS, "gateway/test/0")


def container(*events: dict[str, Any], topic: str = "orders", codec: str = "null") -> bytes:
    schema = json.loads((SCHEMAS / f"{topic}.avsc").read_text())
    file = io.BytesIO()
    fastavro.writer(file, schema, events, codec=codec)
    return file.getvalue()


def status_of(content: bytes, media_type: str = JSON, **limits: Any) -> tuple[int, str]:
    with pytest.raises(NotTaken) as why:
        records_of(content, media_type, **({"limit": LIMIT, "events_max": EVENTS_MAX} | limits))
    return why.value.status, why.value.words


# --- bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, media_type",
    [
        (orjson.dumps(ORDER), JSON),
        (orjson.dumps([ORDER]), JSON),
        (orjson.dumps(ORDER) + b"\n\n", NDJSON),
        *((container(EVENTS["orders"], codec=codec), AVRO) for codec in ("null", "deflate", "snappy", "zstandard")),
        *((container(EVENTS["orders"], codec=codec), AVRO) for codec in ("bzip2", "xz")),
    ],
)
def test_every_format_gives_the_same_record_for_kafka(content: bytes, media_type: str) -> None:
    found = judged(content, media_type)
    assert found.outgoing == [("orders", b"S|M", CODEC.encode("orders", EVENTS["orders"]), None)]
    assert orjson.loads(found.answer())["verdicts"] == [{"index": 0, "verdict": "accepted"}]
    assert found.status == 202


@pytest.mark.parametrize("pack, encoding", [(gzip.compress, "gzip"), (zstd.compress, "zstd"), (bytes, "identity")])
def test_encodings_are_taken_off_also_in_several_members(pack: Any, encoding: str) -> None:
    assert decompressed(pack(b"abc") + pack(b"def"), encoding, 6) == b"abcdef"


@pytest.mark.parametrize("pack, encoding", [(gzip.compress, "gzip"), (zstd.compress, "zstd")])
def test_a_bomb_is_told_before_it_is_unpacked(pack: Any, encoding: str) -> None:
    with pytest.raises(NotTaken) as why:
        decompressed(pack(bytes(1 << 26)), encoding, LIMIT)
    assert why.value.status == 413
    with pytest.raises(NotTaken) as why:  # of many small members
        decompressed(pack(bytes(1 << 19)) * 3, encoding, LIMIT)
    assert why.value.status == 413
    with pytest.raises(NotTaken) as why:
        decompressed(pack(b"abc")[:-1], encoding, LIMIT)
    assert why.value.status == 400


@pytest.mark.parametrize("codec", ["deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_a_bomb_inside_a_container_is_told_before_it_is_unpacked(codec: str) -> None:
    bomb = container({**EVENTS["orders"], "source": " " * (8 << 20)}, codec=codec)
    assert len(bomb) < LIMIT
    assert status_of(bomb, AVRO)[0] == 413


@pytest.mark.parametrize(
    "content, media_type, status",
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"5", JSON, 400),
        (b'"\xff"', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"", AVRO, 400),
        (b"Obj\x01", AVRO, 400),
        (container(EVENTS["orders"])[:-1], AVRO, 400),
        (container(EVENTS["orders"]) + b"more", AVRO, 400),
        (container(EVENTS["orders"]).replace(b"null", b"lzmo"), AVRO, 415),
        (b"{}\n" * (EVENTS_MAX + 1), NDJSON, 413),
        (orjson.dumps([{}] * (EVENTS_MAX + 1)), JSON, 413),
        (container(*[EVENTS["orders"]] * (EVENTS_MAX + 1)), AVRO, 413),
    ],
)
def test_a_body_that_cannot_be_read_whole_is_taken_in_no_part(content: bytes, media_type: str, status: int) -> None:
    assert status_of(content, media_type)[0] == status


@given(st.sampled_from([JSON, NDJSON, AVRO]), st.binary(max_size=300), st.integers(0, 400), st.booleans())
def test_garbage_is_a_verdict_or_not_taken_and_never_an_error(
    media_type: str, garbage: bytes, at: int, is_inside: bool
) -> None:
    good = container(EVENTS["orders"]) if media_type == AVRO else orjson.dumps(ORDER)
    content = good[:at] + garbage + good[at + 3 :] if is_inside else garbage
    try:
        found = judged(content, media_type)
    except NotTaken as why:
        assert why.status in (400, 413, 415)  # noqa: PT017  # or there is none
    else:
        assert found.status in (202, 422)
        assert len(found.verdicts) >= len(found.outgoing)


@given(st.binary(max_size=200), st.sampled_from(["gzip", "zstd"]))
def test_garbage_for_a_decompressor_is_not_taken(garbage: bytes, encoding: str) -> None:
    head = {"gzip": gzip.compress(b"x" * 99)[:20], "zstd": zstd.compress(b"x" * 99)[:9]}[encoding]
    try:
        assert decompressed(head + garbage, encoding, LIMIT) is not None
    except NotTaken as why:
        assert why.status in (400, 413)  # noqa: PT017  # likewise


# --- verdicts ------------------------------------------------------------------------------------------------


def test_each_event_has_its_verdict_by_its_line_and_a_reason_repeats_nothing() -> None:
    lines = [
        orjson.dumps(ORDER), b"", b'{"topic": "ana@example.com"}', orjson.dumps(ORDER | {"kind": "+49 170 1234567"}),
        orjson.dumps(ORDER | {"seller_id": "other"}), b"{nonsense", orjson.dumps(FEEDBACK | {"rating": 9}),
    ]  # fmt: skip
    found = judged(b"\n".join(lines), NDJSON, holder(sellers=("S",)))
    assert orjson.loads(found.answer()) == {
        "accepted": 1, "refused": 4, "forbidden": 1,
        "verdicts": [
            {"index": 0, "verdict": "accepted"},
            {"index": 2, "verdict": "refused", "reason": "unknown topic"},
            {"index": 3, "verdict": "refused", "reason": "unknown kind"},
            {"index": 4, "verdict": "forbidden"},
            {"index": 5, "verdict": "refused", "reason": "not JSON"},
            {"index": 6, "verdict": "refused", "reason": "rating is not 1 to 5"},
        ],
    }  # fmt: skip
    assert found.status == 202
    letters = {topic: (value, dict(headers or [])) for topic, _, value, headers in found.outgoing if headers}
    assert letters["feedback.dlq"][0] == lines[6]
    about = {"reason": b"rating is not 1 to 5", "source_topic": b"feedback", "source_file": b"gateway/test/0"}
    assert letters["feedback.dlq"][1] == about | {"source_line": b"7", "refused_at": str(NOW_MS).encode()}
    assert set(letters) == {"feedback.dlq", "orders.dlq", "unknown.dlq"}
    assert b"example" not in repr([headers for _, headers in letters.values()]).encode()


def test_comments_are_masked_before_anything_is_sent() -> None:
    event = FEEDBACK | {"comment": "write to ana@example.com or +49 170 1234567"}
    for content, media_type in (
        (orjson.dumps([event]), JSON),
        (orjson.dumps(event), NDJSON),
        (container({**EVENTS["feedback"], "comment": event["comment"]}, topic="feedback"), AVRO),
    ):
        ((_, _, value, _),) = judged(content, media_type).outgoing
        assert b"[e-mail]" in value
        assert b"[phone]" in value
        assert b"example" not in value
        assert b"1234567" not in value


@pytest.mark.parametrize(
    "sellers, marketplaces, status",
    [("*", "*", 202), (("S",), ("M",), 202), (("T",), "*", 403), ("*", ("N",), 403), ((), "*", 403)],
)
def test_a_key_sends_events_of_its_sellers_on_its_marketplaces(
    sellers: Scope, marketplaces: Scope, status: int
) -> None:
    found = judged(orjson.dumps(ORDER), JSON, holder(sellers, marketplaces))
    assert found.status == status
    assert bool(found.outgoing) is (status == 202)


def test_nothing_accepted_is_422_also_of_nothing() -> None:
    assert orjson.loads(judged(b"[]").answer()) == {"accepted": 0, "refused": 0, "forbidden": 0, "verdicts": []}
    assert judged(b"[]").status == 422
    assert judged(b"\n", NDJSON).status == 422
    assert judged(b"[{}]").status == 422
    assert judged(orjson.dumps([ORDER, {}]), whose=holder(sellers=("T",))).status == 422


def test_dead_letters_of_a_request_are_bounded_in_number_and_size() -> None:
    found = judged(orjson.dumps([{"x": "y" * 100_000}] + [{}] * 300), JSON)
    assert len(found.outgoing) == LETTERS_MAX
    assert len(found.verdicts) == 301
    assert max(len(value) for _, _, value, _ in found.outgoing) == 1 << 16


class _Registry:
    """Gives ids, or no answer."""

    def __init__(self, answers: bool) -> None:
        self._answers = answers

    def get_schema(self, schema_id: int) -> Any:
        raise NotImplementedError

    def register_schema(self, subject_name: str, schema: Any) -> int:
        if not self._answers:
            raise OSError("no route")
        return 7


def test_with_a_registry_events_are_in_its_wire_format_and_wait_for_it() -> None:
    records = records_of(orjson.dumps(ORDER), JSON, limit=LIMIT, events_max=1)
    found = judge(records, holder(), Codec(registry=_Registry(answers=True)), NOW_MS, "x")
    assert found.outgoing[0][2] == b"\x00\x00\x00\x00\x07" + CODEC.payload("orders", EVENTS["orders"])
    with pytest.raises(Unavailable):
        judge(records, holder(), Codec(registry=_Registry(answers=False)), NOW_MS, "x")


def test_an_event_too_large_for_kafka_is_refused() -> None:
    event = ORDER | {"source": "x" * ((1 << 20) - 900)}
    records = records_of(orjson.dumps([event]), JSON, limit=8 << 20, events_max=10)
    (verdict,) = judge(records, holder(), CODEC, NOW_MS, "x").verdicts
    assert verdict["reason"].startswith("a record over")


# --- keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_known_by_its_hash_and_no_other_is() -> None:
    other, other_hash = new_key()
    assert hash_of(KEY) == HASH
    assert len({KEY, other}) == 2
    assert len(KEY) == len("spk_") + 43
    keys = tuple(GatewayKey(name=n, hash=h, sellers="*", marketplaces="*") for n, h in (("a", HASH), ("b", other_hash)))
    ring = Keyring(Gateway(keys=keys))
    assert ring.holder_of(f"Bearer {KEY}").name == "a"
    assert ring.holder_of(f"bearer {other}").name == "b"
    for wrong in ("", KEY, "Bearer ", f"Bearer {KEY[:-1]}", f"Basic {KEY}", f"Bearer {HASH}", "Bearer \udcff"):
        with pytest.raises(NotTaken) as why:
            ring.holder_of(wrong)
        assert why.value.status == 401


def test_a_bucket_runs_into_debt_and_waits_until_it_is_paid() -> None:
    now = 0.0
    bucket = Bucket(100, lambda: now)
    bucket.take(100)
    assert bucket.debt_s() == 0
    bucket.take(250)
    assert bucket.debt_s() == pytest.approx(2.5)
    now = 2.5
    assert bucket.debt_s() == 0
    bucket.take(1)
    assert bucket.debt_s() > 0
    now = 1000.0
    bucket.take(101)  # what was not taken is not kept for longer than a second
    assert bucket.debt_s() == pytest.approx(0.01)


def test_a_key_in_debt_or_with_many_requests_is_told_when_to_come_again() -> None:
    one = holder(events_per_s=10, requests_at_once=1)
    with one.admitted():
        with pytest.raises(NotTaken, match="at once") as why, one.admitted():
            pass
        assert (why.value.status, why.value.retry_s) == (429, 1)
    one.bucket.take(45)
    with pytest.raises(NotTaken, match="in a second") as why, one.admitted():
        pass
    assert (why.value.status, why.value.retry_s) == (429, 4)


def test_keys_that_cannot_be_told_apart_are_no_settings() -> None:
    key = {"hash": HASH, "sellers": "*", "marketplaces": ["M"]}
    with pytest.raises(ValueError, match="same name or hash"):
        Gateway.model_validate({"keys": [key | {"name": "a"}, key | {"name": "b"}]})
    with pytest.raises(ValueError, match="hash"):
        Gateway.model_validate({"keys": [key | {"name": "a", "hash": KEY}]})


# --- the document --------------------------------------------------------------------------------------------

DOCUMENT = document(CODEC.newest, Gateway())
DESCRIBED = DOCUMENT["components"]["schemas"]
EVENT = Draft202012Validator({"$ref": "#/components/schemas/Event", "components": {"schemas": DESCRIBED}})


@pytest.mark.parametrize("topic", TOPICS)
def test_the_document_has_the_fields_of_the_avro_schema(topic: str) -> None:
    avro = json.loads((SCHEMAS / f"{topic}.avsc").read_text())
    schema = DESCRIBED[topic.capitalize()]
    assert list(schema["properties"]) == ["topic", *(field["name"] for field in avro["fields"])]
    assert schema["required"] == ["topic", *(field["name"] for field in avro["fields"] if "default" not in field)]
    assert "additionalProperties" not in schema
    for field in avro["fields"]:
        described = Draft202012Validator(schema["properties"][field["name"]] | {"components": {"schemas": DESCRIBED}})
        assert described.is_valid(None) is (isinstance(field["type"], list)), field["name"]
        if "default" in field:
            assert described.is_valid(field["default"])


_CHANGES = st.dictionaries(
    st.sampled_from(sorted({name for topic in TOPICS for name in EVENTS[topic]} | {"topic", "more"})),
    st.none() | st.booleans() | st.integers(-9, 9) | st.just(NOW_MS) | st.floats(0.5, 4.5).filter(lambda x: x % 1)
    | st.sampled_from(["", "x" * 257, "PLACED", "SUBMITTED", "2024-01-01T00:00:00Z", "orders"]) | st.just(["a"]),
    max_size=3,
)  # fmt: skip


@given(st.sampled_from(TOPICS), _CHANGES, st.sets(st.sampled_from(["order_id", "rating", "skus", "kind", "source"])))
def test_an_event_is_accepted_if_and_only_if_the_document_says_so(
    topic: Any, changes: dict[str, Any], absent: set[str]
) -> None:
    event = {"topic": topic} | EVENTS[topic] | changes
    event = {name: value for name, value in event.items() if name not in absent}
    ((_, raw, _),) = records_of(orjson.dumps(event), JSON, limit=LIMIT, events_max=1)
    assert from_json(orjson.loads(raw)) is not None
    found = judged(orjson.dumps(event))
    assert EVENT.is_valid(event) is (found.status == 202), (found.verdicts, event)
