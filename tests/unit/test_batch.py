"""A batch's look against the codec's: whatever the bytes, the two find the same."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import batch
from schemas.batch import BatchReader, Checked
from schemas.codec import Accepted, Codec
from schemas.columns import ITEMS_MAX
from schemas.errors import Unavailable
from schemas.events import FEEDBACK_KINDS, ORDER_KINDS, TOPICS, YEAR_2000_MS, YEAR_2201_MS, Refusal, Topic, account_key
from streams.connectors.simulate import Simulation, simulate
from tests.unit.test_codec import OLDER
from tests.unit.wire import ANY, DAY_MS, EVENTS, KEY, NOW_MS

Record = tuple[bytes | None, bytes | None]  # key, value

CODEC = Codec()
EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS)
LATER_MS = 1_760_000_000_000  # behind all simulated events
YEAR_2039_MS = 1 << 41  # the first time of seven bytes


@pytest.fixture(autouse=True, scope="module")
def _no_batch_is_too_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "BATCH_MIN", 1)
        yield


def _look(
    reader: BatchReader, topic: Topic, records: Sequence[Record], now_ms: int = NOW_MS
) -> list[Checked | Refusal]:
    return reader.accept(topic, [key for key, _ in records], [value for _, value in records], now_ms)


def _agree(
    codec: Codec, found: Sequence[Checked | Refusal], topic: Topic, records: Sequence[Record], now_ms: int
) -> int:
    """Holds what a batch gave against what the codec gives for each record. Returns how many took the fast path."""
    assert len(found) == len(records)
    for one, (key, value) in zip(found, records, strict=True):
        known = codec.accept(topic, key, value, now_ms)
        if isinstance(known, Refusal):
            assert one == known
            continue
        assert type(one) is Checked
        event = known.event
        assert one.account == (event["seller_id"], event["marketplace_id"])
        assert one[1:4] == (event["event_time"], known.payload, known.digest)
        assert one.event == (None if one.event is None else event)
        assert one.event is not None or event.get("comment") is event.get("root_cause") is None
    return sum(isinstance(one, Checked) and one.event is None for one in found)


# --- any batch -----------------------------------------------------------------------------------------------


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """The event as most are: short ASCII texts, no comment."""
    plain = {name: _short(value) if type(value) is str else value for name, value in event.items()}
    if "skus" in event:
        plain["skus"] = [_short(sku) for sku in event["skus"][:ITEMS_MAX]]
    if "comment" in event:
        plain["comment"] = None
    return plain


def _short(text: str) -> str:
    return text.encode("ascii", "replace").decode()[:63]


_TIMES = (
    -(1 << 63), -1, 0, YEAR_2000_MS - 1, YEAR_2000_MS, NOW_MS, NOW_MS + DAY_MS, NOW_MS + DAY_MS + 1,
    YEAR_2039_MS - 1, YEAR_2039_MS, YEAR_2201_MS - 1, YEAR_2201_MS, (1 << 63) - 1,
)  # fmt: skip
_ODD_TEXT = st.sampled_from(["", "x", "é", "\0", "x" * 63, "x" * 64, "x" * 256, "x" * 257])
_ACCOUNTS = st.sampled_from([("S", "M"), ("S", "M|N"), ("S|M", "N"), ("ß", "M"), ("S" * 63, "M"), ("S", "M" * 64)])
_ODD: dict[str, st.SearchStrategy[Any]] = {
    "event_id": _ODD_TEXT,
    "seller_id": _ODD_TEXT,
    "source": _ODD_TEXT,
    "event_time": st.sampled_from(_TIMES),
    "order_id": _ODD_TEXT,
    "conversation_id": _ODD_TEXT,
    "message_id": _ODD_TEXT,
    "kind": st.sampled_from(["", "placed", "PLACED ", "REMOVE", *sorted(ORDER_KINDS | FEEDBACK_KINDS)]),
    "deliver_by": st.sampled_from(_TIMES),
    "skus": st.lists(_ODD_TEXT, max_size=ITEMS_MAX + 2),
    "rating": st.none() | st.sampled_from([-1, 0, 1, 5, 6, 63, 64, 300]),
    "comment": _ODD_TEXT,
    "amount": st.sampled_from([math.nan, math.inf, -math.inf, -0.0, -1.0, 5e-324, 1.7e308]),
    "buyer_initiated": st.booleans(),
}


@st.composite
def _events(draw: st.DrawFn, topic: Topic) -> dict[str, Any]:
    event = draw(ANY[topic])
    if draw(st.integers(0, 3)):
        event = _plain(event)
    event["seller_id"], event["marketplace_id"] = draw(_ACCOUNTS)
    if not draw(st.integers(0, 3)):
        name = draw(st.sampled_from([name for name in _ODD if name in event]))
        event = event | {name: draw(_ODD[name])}
    return event


@st.composite
def _records(draw: st.DrawFn, topic: Topic, older: Codec) -> Record:
    if not draw(st.integers(0, 11)):
        topic = draw(st.sampled_from(TOPICS))
    event = draw(_events(topic))
    codec = CODEC if draw(st.integers(0, 7)) else older
    key, value = account_key(event), codec.encode(topic, event | ({"buyer": "who"} if codec is older else {}))
    if not draw(st.integers(0, 5)):
        return draw(st.none() | st.sampled_from([b"", KEY, key + b" "])), value
    if not draw(st.integers(0, 2)):
        return key, _spoil(Random(draw(st.integers(0, 1 << 32))), value, CODEC.encode("orders", EVENTS["orders"]))
    return key, value


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A codec that writes earlier versions."""
    return Codec(_folder(tmp_path_factory.mktemp("older"), OLDER))


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """A codec that knows the earlier versions and writes the newest."""
    folder = _folder(tmp_path_factory.mktemp("evolved"), CODEC.newest)
    (folder / "earlier").mkdir()
    _folder(folder / "earlier", OLDER)
    return Codec(folder)


def _folder(folder: Path, schemas: dict[Topic, Any]) -> Path:
    for topic, schema in schemas.items():
        (folder / f"{topic}.avsc").write_text(json.dumps(schema))
    return folder


@EVERY_TOPIC
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_batch_gives_what_the_codec_gives(topic: Topic, data: st.DataObject, older: Codec, evolved: Codec) -> None:
    reader = BatchReader(evolved)
    for _ in range(2):  # the second time, accounts are known
        records = data.draw(st.lists(_records(topic, older), max_size=8))
        now_ms = data.draw(st.sampled_from([NOW_MS, NOW_MS, 0, YEAR_2201_MS, -(1 << 70), 1 << 70]))
        _agree(evolved, _look(reader, topic, records, now_ms), topic, records, now_ms)


# --- very many spoiled records ---------------------------------------------------------------------------------


def _spoil(chance: Random, value: bytes, other: bytes) -> bytes:
    """The value with one thing done to it."""
    at, to = sorted((chance.randrange(len(value)), chance.randrange(len(value) + 1)))
    byte = chance.choice((0, 1, 2, 3, 4, 0x20, 0x7E, 0x7F, 0x80, 0x82, 0xFF, chance.randrange(256)))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :],
        lambda: value[:at] + bytes([byte]) + value[at + 1 :],
        lambda: value[:at] + bytes([byte]) + value[at:],
        lambda: value[:at] + value[at + 1 :],
        lambda: value[:at] + chance.randbytes(3) + value[at + 3 :],
        lambda: value[:at],
        lambda: value + chance.randbytes(1 + at % 3),
        lambda: value + bytes(1 + at % 3),
        lambda: value[:at] + other[to:],
        lambda: value[:at] + other[at:],
        lambda: other[:10] + value[10:],
        lambda: b"\0\0\0\0\1" + value[10:],
        lambda: value + value[10:],
        lambda: b"",
    )
    return chance.choice(ways)()


def _simulated(events: int, seed: int) -> dict[Topic, list[tuple[bytes, bytes]]]:
    """Keys and values as a marketplace's connectors send them."""
    records: dict[Topic, list[tuple[bytes, bytes]]] = {topic: [] for topic in TOPICS}
    for topic, event in simulate(Simulation(sellers=20, days=200, events=events, seed=seed)):
        records[topic].append((account_key(event), CODEC.encode(topic, event)))
    return records


@pytest.fixture(scope="module")
def simulated() -> dict[Topic, list[tuple[bytes, bytes]]]:
    return _simulated(30_000, 1)


@EVERY_TOPIC
def test_of_very_many_spoiled_records_none_is_taken_for_another(
    topic: Topic, simulated: dict[Topic, list[tuple[bytes, bytes]]]
) -> None:
    chance = Random(7)
    reader, good = BatchReader(CODEC), simulated[topic]
    others = [value for records in simulated.values() for _, value in records[:50]]
    seen, fast, refused = 0, 0, 0
    while seen < 24_000:
        records: list[Record] = []
        for key, value in chance.sample(good, 500):
            spoiled = _spoil(chance, value, chance.choice(others)) if chance.random() < 0.8 else value
            records.append((chance.choice(good)[0] if chance.random() < 0.05 else key, spoiled))
        found = _look(reader, topic, records, LATER_MS)
        fast += _agree(CODEC, found, topic, records, LATER_MS)
        refused += sum(isinstance(one, Refusal) for one in found)
        seen += len(records)
    assert fast > seen // 10, "a test of the fast path must be on it"
    assert refused > seen // 3


_FULL = {
    "agent": "Ana",
    "amount": 2.5,
    "currency": "EUR",
    "customer_service": True,
    "order_id": "o",
}


@EVERY_TOPIC
def test_every_byte_in_every_place_is_taken_for_what_the_codec_takes_it(topic: Topic) -> None:
    reader = BatchReader(CODEC)
    event = _plain(EVENTS[topic])
    for base in (event, event | {name: value for name, value in _FULL.items() if name in event}):
        value = CODEC.encode(topic, base)
        records = [
            (KEY, value[:at] + bytes([byte]) + value[at + 1 :]) for at in range(len(value)) for byte in range(256)
        ]
        assert _agree(CODEC, _look(reader, topic, records), topic, records, NOW_MS) >= 256


@EVERY_TOPIC
def test_bytes_that_went_to_the_neighbour_are_not_taken_for_the_records_own(
    topic: Topic, simulated: dict[Topic, list[tuple[bytes, bytes]]]
) -> None:
    """The batch's bytes end to end are the same as those of good records; only the borders are elsewhere."""
    for shift in range(-20, 21):
        joined = b"".join(value for _, value in simulated[topic][:20])
        values, start = [], 0
        for number, (_, value) in enumerate(simulated[topic][:20]):
            size = len(value) + (shift if number % 2 else -shift)
            values.append(joined[start : start + size])
            start += size
        records = [(key, value) for (key, _), value in zip(simulated[topic], values, strict=False)]
        assert b"".join(values) == joined
        fast = _agree(CODEC, _look(BatchReader(CODEC), topic, records, LATER_MS), topic, records, LATER_MS)
        assert bool(fast) == (shift == 0)


# --- what is fast ----------------------------------------------------------------------------------------------


def test_nearly_all_orders_take_the_fast_path(simulated: dict[Topic, list[tuple[bytes, bytes]]]) -> None:
    records = simulated["orders"]
    assert len(records) > 20_000
    found = _look(BatchReader(CODEC), "orders", records, LATER_MS)
    assert _agree(CODEC, found, "orders", records, LATER_MS) >= 0.99 * len(records)


@pytest.mark.parametrize("topic", ["feedback", "surveys"])
def test_comments_and_they_alone_take_the_slow_path(
    topic: Topic, simulated: dict[Topic, list[tuple[bytes, bytes]]]
) -> None:
    records = simulated[topic]
    comments = [_accepted(CODEC.accept(topic, *record, LATER_MS)).event["comment"] for record in records]
    found = _look(BatchReader(CODEC), topic, records, LATER_MS)
    _agree(CODEC, found, topic, records, LATER_MS)
    assert [one.event is None for one in found if isinstance(one, Checked)] == [comment is None for comment in comments]


def _accepted(found: Accepted | Refusal) -> Accepted:
    assert isinstance(found, Accepted), found
    return found


FEW_ITEMS = ["a"] * ITEMS_MAX
PATHS: dict[str, tuple[Topic, dict[str, Any], bool]] = {  # what of the event, and whether the fast path takes it
    "an order": ("orders", {}, True),
    "no items": ("orders", {"skus": []}, True),
    "many items": ("orders", {"skus": FEW_ITEMS}, True),
    "too many items": ("orders", {"skus": [*FEW_ITEMS, "b"]}, False),
    "empty items": ("orders", {"skus": ["", ""]}, True),
    "no fulfilment": ("orders", {"fulfilment": None, "deliver_by": None}, True),
    "a long id": ("orders", {"event_id": "x" * 63}, True),
    "an id that is too long": ("orders", {"event_id": "x" * 64}, False),
    "not ASCII": ("orders", {"source": "é"}, False),
    "an item that is not ASCII": ("orders", {"skus": ["a", "é"]}, False),
    "as early as can be": ("orders", {"event_time": YEAR_2000_MS}, True),
    "as late as can be": ("orders", {"event_time": NOW_MS + DAY_MS}, True),
    "a promise for 2039": ("orders", {"deliver_by": YEAR_2039_MS - 1}, True),
    "a promise for later": ("orders", {"deliver_by": YEAR_2039_MS}, False),
    "no comment": ("feedback", {"comment": None}, True),
    "a comment": ("feedback", {}, False),
    "an empty comment": ("feedback", {"comment": ""}, False),
    "money": ("feedback", {"comment": None, "amount": -12.5, "currency": "EUR", "agent": "Ana"}, True),
    "a rating with another kind": ("feedback", {"comment": None, "kind": "STRUCK"}, True),
    "no rating with another kind": ("feedback", {"comment": None, "kind": "STRUCK", "rating": None}, True),
    "a survey": ("surveys", {"order_id": "o"}, True),
    "a survey's comment": ("surveys", {"comment": "x"}, False),
}


@pytest.mark.parametrize("what", PATHS)
def test_what_takes_the_fast_path(what: str) -> None:
    topic, change, is_fast = PATHS[what]
    records = [(KEY, CODEC.encode(topic, EVENTS[topic] | change))]
    found = _look(BatchReader(CODEC), topic, records)
    assert isinstance(found[0], Checked)
    assert _agree(CODEC, found, topic, records, NOW_MS) == is_fast


WRONG: dict[str, tuple[Topic, dict[str, Any]]] = {
    "before 2000": ("orders", {"event_time": YEAR_2000_MS - 1}),
    "ahead of the clock": ("orders", {"event_time": NOW_MS + DAY_MS + 1}),
    "a promise before 2000": ("orders", {"deliver_by": YEAR_2000_MS - 1}),
    "a promise after 2200": ("orders", {"deliver_by": YEAR_2201_MS}),
    "another topic's kind": ("orders", {"kind": "SUBMITTED"}),
    "a kind and more": ("orders", {"kind": "PLACED2"}),
    "no kind": ("feedback", {"kind": ""}),
    "no stars": ("feedback", {"rating": 0}),
    "six stars": ("feedback", {"rating": 6}),
    "six stars, removed": ("feedback", {"rating": 6, "kind": "REMOVED"}),
    "minus one star": ("feedback", {"rating": -1}),
    "minus one star, removed": ("feedback", {"rating": -1, "kind": "REMOVED"}),
    "no rating": ("feedback", {"rating": None}),
    "no number": ("feedback", {"amount": math.nan}),
    "endless": ("feedback", {"amount": math.inf}),
    "minus endless": ("feedback", {"amount": -math.inf}),
    "unasked": ("surveys", {"buyer_initiated": False}),
}
for _topic in TOPICS:
    WRONG |= {f"{_topic} without {name}": (_topic, {name: ""}) for name in EVENTS[_topic] if name.endswith("_id")}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_against_a_rule_is_refused(what: str) -> None:
    topic, change = WRONG[what]
    event = _plain(EVENTS[topic]) | change
    _refused(topic, account_key(event), CODEC.encode(topic, event))


@EVERY_TOPIC
def test_a_length_of_two_bytes_is_not_read_as_one_byte(topic: Topic) -> None:
    """8128 characters are announced; who reads one byte sees 64 of them, and a good record."""
    value = CODEC.encode(topic, _plain(EVENTS[topic]) | {"source": "x" * 63})
    _refused(topic, KEY, value.replace(b"\x7ex", b"\x80\x7fx"))


@EVERY_TOPIC
def test_nothing_at_all_is_refused_and_its_neighbours_are_not(topic: Topic) -> None:
    good = CODEC.encode(topic, _plain(EVENTS[topic]))
    records: list[Record] = [(KEY, good), (KEY, None), (None, good), (KEY, b""), (None, None), (KEY, good)]
    assert _agree(CODEC, _look(BatchReader(CODEC), topic, records), topic, records, NOW_MS) == 2


def _refused(topic: Topic, key: bytes, value: bytes) -> None:
    found = _look(BatchReader(CODEC), topic, [(key, value)])
    _agree(CODEC, found, topic, [(key, value)], NOW_MS)
    assert isinstance(found[0], Refusal)


@pytest.mark.parametrize("topic", ["orders", "feedback"])
def test_every_kind_takes_the_fast_path(topic: Topic) -> None:
    kinds = sorted(ORDER_KINDS if topic == "orders" else FEEDBACK_KINDS)
    records = [(KEY, CODEC.encode(topic, _plain(EVENTS[topic]) | {"kind": kind})) for kind in kinds]
    assert _agree(CODEC, _look(BatchReader(CODEC), topic, records), topic, records, NOW_MS) == len(kinds)


def test_a_small_batch_is_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_MIN", 3)
    record = (KEY, CODEC.encode("orders", EVENTS["orders"]))
    assert _agree(CODEC, _look(BatchReader(CODEC), "orders", [record] * 2), "orders", [record] * 2, NOW_MS) == 0
    assert _agree(CODEC, _look(BatchReader(CODEC), "orders", [record] * 3), "orders", [record] * 3, NOW_MS) == 3
    assert BatchReader(CODEC).accept("orders", [], [], NOW_MS) == []


# --- accounts --------------------------------------------------------------------------------------------------


def test_an_account_is_the_same_object_on_every_topic_and_path() -> None:
    reader = BatchReader(CODEC)
    found = [
        one
        for topic in TOPICS
        for change in ({"comment": None}, {"source": "é"})
        for one in _look(reader, topic, [(KEY, CODEC.encode(topic, EVENTS[topic] | change))] * 2)
    ]
    assert len({id(one.account) for one in found if isinstance(one, Checked)}) == 1
    assert len(found) == 12


def test_accounts_that_share_a_key_stay_apart() -> None:
    reader = BatchReader(CODEC)
    accounts = [("S", "M|N"), ("S|M", "N")]
    events = [EVENTS["orders"] | {"seller_id": s, "marketplace_id": m} for s, m in accounts * 3]
    records = [(b"S|M|N", CODEC.encode("orders", event)) for event in events]
    found = _look(reader, "orders", records)
    _agree(CODEC, found, "orders", records, NOW_MS)
    assert len({id(one.account) for one in found if isinstance(one, Checked)}) == 2


def test_accounts_past_the_limit_are_forgotten_and_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ACCOUNTS_MAX", 3)
    reader = BatchReader(CODEC)
    events = [EVENTS["orders"] | {"seller_id": f"S{n % 5}"} for n in range(25)]
    records = [(account_key(event), CODEC.encode("orders", event)) for event in events]
    assert _agree(CODEC, _look(reader, "orders", records), "orders", records, NOW_MS) == 25
    assert len(reader._known) <= len(reader._accounts) <= 3


# --- a registry ------------------------------------------------------------------------------------------------


class MuteRegistry:
    """A registry that never answers."""

    def get_schema(self, schema_id: int) -> Any:
        raise ConnectionError("no route")

    def register_schema(self, subject_name: str, schema: Any) -> int:
        raise ConnectionError("no route")


def test_a_registry_that_must_be_asked_and_is_out_of_reach_is_unavailable() -> None:
    reader = BatchReader(Codec(registry=MuteRegistry()))
    good = CODEC.encode("orders", EVENTS["orders"])
    assert [one.event for one in _look(reader, "orders", [(KEY, good)]) if isinstance(one, Checked)] == [None]
    with pytest.raises(Unavailable):
        _look(reader, "orders", [(KEY, good), (KEY, b"\0\0\0\0\1" + good[10:])])
