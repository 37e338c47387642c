"""One contract for every store: the one in memory, chDB in this process, and the same over HTTP."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from aiokafka.partitioner import murmur2

from schemas.codec import Accepted, Codec, digest_of
from schemas.events import MS_A_DAY, TOPICS, Topic, check
from schemas.rows import AccountId, AlertChange, AlertRow, Loaded, Mark, Rejected, SelfCheck, Standard
from sink.store import Store
from streams.accounts import restore
from streams.core.account import Account, snapshot_columns
from streams.core.metrics import METRICS, Terms, snapshot
from tests.contract.tables import Row, Tables
from tests.fold import add, fold

CODEC = Codec()
TERMS = Terms()
DAY = 19_723  # 2024-01-01
NOON = DAY * MS_A_DAY + MS_A_DAY // 2
ACCOUNT = ("S", "M")
LIVE = Standard(7)
ODD_IDS = [
    "it's", '"quoted"', "back\\slash", "\\'", "tab\tnew\nline\r", "nul\0in", "\0", "a|b", "|", "%s {x} $1 :y",
    "é 评价 😀", "x" * 256, "😀" * 256, " ", "--", "/*", "`", "NULL", "0", "01", "1e3",
]  # fmt: skip


# --- what is written -----------------------------------------------------------------------------------------


def order(event_id: str = "e", **fields: Any) -> Row:
    known: Row = {"order_id": "o", "kind": "PLACED", "fulfilment": None, "deliver_by": None, "skus": []}
    return _event("orders", event_id) | known | fields


def feedback(event_id: str = "e", **fields: Any) -> Row:
    known = dict.fromkeys(("comment", "agent", "amount", "currency", "root_cause"))
    known |= dict.fromkeys(("arrived_on_time", "item_as_described", "customer_service"))
    return (
        _event("feedback", event_id)
        | {"order_id": "o", "kind": "SUBMITTED", "rating": 5, "date_only": False}
        | known
        | fields
    )


def survey(event_id: str = "e", **fields: Any) -> Row:
    known = {"conversation_id": "c", "message_id": "m", "solved": True, "buyer_initiated": True}
    return _event("surveys", event_id) | known | dict.fromkeys(("order_id", "agent", "comment")) | fields


def _event(topic: str, event_id: str) -> Row:
    common = {"seller_id": "S", "marketplace_id": "M", "event_time": NOON, "source": "test"}
    return {"topic": topic, "event_id": event_id} | common


FULL = [
    order(fulfilment="MARKETPLACE", deliver_by=NOON + 1, skus=["a", "", "é'\\", "\0"]),
    order("e2", kind="CLAIM_OPENED", event_time=946_684_800_000, deliver_by=7_289_654_399_999),
    feedback(
        comment="it's \"fine\"\\\n😀", agent="Ana", amount=-0.1, currency="EUR", root_cause="late", date_only=True,
        arrived_on_time=True, item_as_described=False, customer_service=True,
    ),
    feedback("e2", kind="REVIEWED", rating=None, comment=""),
    survey(order_id="o", agent="", comment="c\tc", solved=False),
    survey("e2", event_time=NOON + 1),
]  # fmt: skip


def packed(*events: Row) -> dict[Topic, list[tuple[bytes, bytes]]]:
    """Payloads and digests, as the pipeline hands them over."""
    records: dict[Topic, list[tuple[bytes, bytes]]] = {}
    for event in events:
        payload = CODEC.payload(event["topic"], event)
        records.setdefault(event["topic"], []).append((payload, digest_of(payload)))
    return records


def put(store: Store, *events: Row) -> None:
    for topic, records in packed(*events).items():
        store.add_events(topic, records)


def shown(tables: Tables) -> list[Row]:
    return [{"topic": topic} | row for topic in TOPICS for row in tables.events(topic)]


def in_order(events: Sequence[Row]) -> list[Row]:
    """As `shown` gives them."""

    def key(event: Row) -> tuple[Any, ...]:
        subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
        return TOPICS.index(event["topic"]), event["seller_id"], event["marketplace_id"], subject, event["event_id"]

    return sorted(events, key=key)


def folded(*events: Row, account: AccountId = ACCOUNT) -> Account:
    accounts: dict[AccountId, Account] = {account: Account(account, TERMS)}
    for event in events:
        add(accounts, event, TERMS)
    return accounts[account]


def put_rows(store: Store, *events: Row, version: int = 1, first: int = 0, as_of: int = DAY + 3) -> list[Row]:
    """Write the rows of these events' accounts, and give them as the tables are to show them."""
    accounts = {(event["seller_id"], event["marketplace_id"]): None for event in events}
    blocks = []
    for key in accounts:
        account = folded(
            *(event for event in events if (event["seller_id"], event["marketplace_id"]) == key), account=key
        )
        account.restate(as_of)
        rows = account.rows(first)
        assert rows is not None
        blocks.append(rows)
    columns = snapshot_columns(blocks, lambda _: TERMS)
    sizes = [len(block.last_event_time) for block in blocks]
    known = snapshot(columns) | {"day": columns["day"]}
    known["version"] = np.full(sum(sizes), version, dtype=np.uint64)
    store.add_rows([block.account for block in blocks], sizes, known)
    return [row for row in fold([events], as_of) if row["day"] >= str(np.datetime64(first, "D"))]


def mark_of(*events: Row, as_of: int = DAY + 3, version: int = 1, standard: Standard = LIVE) -> Mark:
    event = events[0]
    account = folded(*events, account=(event["seller_id"], event["marketplace_id"]))
    return Mark(account.id, account.checksum, standard, account.first_day, as_of, version)


# --- events --------------------------------------------------------------------------------------------------


def test_events_are_shown_field_by_field(store: Store, tables: Tables) -> None:
    put(store, *FULL)
    assert shown(tables) == FULL


def test_events_written_again_are_there_once(store: Store, tables: Tables) -> None:
    for _ in range(3):
        put(store, *FULL, *FULL)
    assert shown(tables) == FULL
    assert sum(map(len, store.load([ACCOUNT]).events.values())) == len(FULL)


@pytest.mark.parametrize("batches", ["one batch", "two batches"])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "pair",
    [
        (order(), order(kind="SHIPPED")),
        (feedback(rating=1), feedback(rating=5, event_time=NOON - MS_A_DAY)),
        (survey(), survey(comment="no")),
    ],
    ids=TOPICS,
)
def test_of_two_contents_under_one_id_the_smaller_digest_stands(
    store: Store, tables: Tables, pair: tuple[Row, Row], first: int, batches: str
) -> None:
    come = pair[first], pair[1 - first]
    if batches == "one batch":
        put(store, *come)
    else:
        for event in come:
            put(store, event)
    stands = min(pair, key=lambda event: int.from_bytes(digest_of(CODEC.payload(event["topic"], event)), "little"))
    assert shown(tables) == [stands]
    assert folded(*pair).checksum == folded(stands).checksum
    mark = mark_of(stands)
    store.add_marks([mark])
    assert store.behind(DAY + 3, LIVE) == {}
    assert store.first_day() == stands["event_time"] // MS_A_DAY


def test_an_id_names_an_event_among_its_subjects_alone(store: Store, tables: Tables) -> None:
    events = [
        order(), order(order_id="o2"), order(seller_id="S2"), order(marketplace_id="M2"),
        feedback(), feedback(order_id="o2"), survey(), survey(conversation_id="c2"),
    ]  # fmt: skip
    put(store, *events)
    assert shown(tables) == in_order(events)


def test_odd_ids_come_back_as_they_are(store: Store, tables: Tables) -> None:
    events = [order(odd, seller_id=odd, marketplace_id=odd, order_id=odd) for odd in ODD_IDS]
    events += [feedback(odd, seller_id=odd, marketplace_id=odd, order_id=odd) for odd in ODD_IDS]
    events += [survey(odd, seller_id=odd, marketplace_id=odd, conversation_id=odd) for odd in ODD_IDS]
    put(store, *events)
    assert shown(tables) == in_order(events)
    accounts: list[AccountId] = [(odd, odd) for odd in ODD_IDS]
    for account in accounts:
        of_account = store.load([account])
        assert [row[:4] for rows in of_account.events.values() for row in rows] == [(*account, account[0], NOON)] * 3
    assert sorted(store.behind(DAY, LIVE)) == sorted(accounts)
    store.add_marks([mark_of(*(e for e in events if e["seller_id"] == odd)) for odd in ODD_IDS])
    assert store.behind(DAY, LIVE) == {}
    assert store.load(accounts).marks.keys() == set(accounts)
    expected = put_rows(store, *events, as_of=DAY)
    assert tables.seller_daily() == expected


def test_what_is_loaded_restores_the_account(store: Store) -> None:
    other = [order(seller_id="S2"), survey(seller_id="S2")]
    put(store, *FULL, *other)
    accounts = [ACCOUNT, ("S2", "M"), ("nobody", "M")]
    restored = restore(accounts, store.load(accounts), lambda _: TERMS)
    for account, events in zip(accounts, (FULL, other, []), strict=True):
        known = folded(*events, account=account)
        assert restored[account].stories == known.stories
        assert (restored[account].count, restored[account].checksum) == (known.count, known.checksum)
        assert restored[account].first_day == known.first_day


def test_accounts_are_loaded_by_the_thousand(store: Store) -> None:
    sellers = [f"S{n}" for n in range(2500)]
    put(store, *(order(seller_id=seller) for seller in sellers))
    found = store.load([(seller, "M") for seller in sellers])
    assert sorted(row[0] for row in found.events["orders"]) == sorted(sellers)


def test_nothing_is_loaded_of_nobody(store: Store) -> None:
    put(store, *FULL)
    nothing: dict[Topic, list[Any]] = {topic: [] for topic in TOPICS}
    assert store.load([]) == Loaded(nothing, {})
    assert store.load([("S", "M2"), ("", "")]) == Loaded(nothing, {})


def test_whatever_bytes_are_accepted_are_stored_as_what_they_were_read_as(store: Store, tables: Tables) -> None:
    """Records with a few bytes changed: one that the codec takes and ClickHouse does not would fail its whole batch."""
    chance = random.Random(7)
    events = {}
    for n in range(4000):
        event = chance.choice(FULL) | {"event_id": f"{n:05}"}
        wire = bytearray(CODEC.encode(event["topic"], event))
        at = chance.randrange(16, len(wire))
        wire[at : at + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
        found = CODEC.decode(event["topic"], bytes(wire))
        if isinstance(found, Accepted) and check(found.topic, found.event, NOON + MS_A_DAY) is None:
            events[found.event["event_id"]] = {"topic": found.topic} | found.event, (found.payload, found.digest)
    for topic in TOPICS:
        store.add_events(topic, [record for event, record in events.values() if event["topic"] == topic])
    assert shown(tables) == in_order([event for event, _ in events.values()])
    assert len(events) > 500


def test_the_first_day_is_that_of_the_first_event(store: Store) -> None:
    assert store.first_day() is None
    put(store, order(event_time=NOON), survey(event_time=NOON - 2 * MS_A_DAY), feedback(event_time=NOON + MS_A_DAY))
    assert store.first_day() == DAY - 2


# --- rows ----------------------------------------------------------------------------------------------------


def test_rows_are_shown_cell_by_cell(store: Store, tables: Tables) -> None:
    surveys = [survey(str(n), conversation_id=str(n), solved=n > 9, event_time=NOON - MS_A_DAY) for n in range(40)]
    expected = put_rows(store, *FULL[2:], *surveys, order(seller_id="S2", event_time=NOON + MS_A_DAY), as_of=DAY + 9)
    assert tables.seller_daily() == expected
    assert {row["cs_band"] for row in expected} == {None, "yellow"}


@pytest.mark.parametrize(
    "versions", [(1, 2), (1, 1), (1 << 40, 1 << 40 | 5), (1 << 40 | 999, 2 << 40), (5, (1 << 63) + 1)]
)
def test_rows_of_a_greater_version_stand_and_of_an_equal_one_the_last(
    store: Store, tables: Tables, versions: tuple[int, int]
) -> None:
    put_rows(store, order(), version=versions[0])
    expected = put_rows(store, order(), feedback(), version=versions[1])
    assert tables.seller_daily() == expected


def test_rows_of_a_stale_epoch_change_nothing_however_many_events_it_knew(store: Store, tables: Tables) -> None:
    expected = put_rows(store, order(), feedback(), version=3 << 40 | 2)
    put_rows(store, order(), version=2 << 40 | 1_000_000)
    put_rows(store, order(), version=3 << 40 | 1)
    assert tables.seller_daily() == expected


def test_rows_written_again_are_there_once(store: Store, tables: Tables) -> None:
    for _ in range(3):
        expected = put_rows(store, *FULL[2:])
    assert tables.seller_daily() == expected


def test_later_rows_leave_earlier_ones_alone(store: Store, tables: Tables) -> None:
    before = put_rows(store, order())
    after = put_rows(store, order(), feedback(event_time=NOON + MS_A_DAY), first=DAY + 1, version=2)
    assert tables.seller_daily() == [before[0], *after]


def test_gone_rows_are_not_shown_until_a_later_version_brings_them_back(store: Store, tables: Tables) -> None:
    rows = put_rows(store, order())
    store.add_gone(ACCOUNT, range(DAY, DAY + 2), 2)
    store.add_gone(ACCOUNT, range(DAY, DAY + 2), 2)
    assert tables.seller_daily() == rows[2:]
    put_rows(store, order(), version=1)
    assert tables.seller_daily() == rows[2:]
    assert put_rows(store, order(), version=3) == rows
    assert tables.seller_daily() == rows


def test_rows_go_under_the_version_that_wrote_them(store: Store, tables: Tables) -> None:
    rows = put_rows(store, order(), version=2)
    store.add_gone(ACCOUNT, range(DAY, DAY + 1), 2)
    assert tables.seller_daily() == rows[1:]


def test_of_marks_the_greatest_version_stands_and_of_equal_ones_the_last(store: Store) -> None:
    marks = [
        mark_of(order(), version=version, as_of=DAY + n) for n, version in enumerate((2 << 40, 1 << 40 | 9, 2 << 40))
    ]
    for mark in marks:
        store.add_marks([mark])
        store.add_marks([mark])
    assert store.load([ACCOUNT]).marks == {ACCOUNT: marks[2]}


def test_marks_hold_every_number_that_they_may(store: Store) -> None:
    largest = (1 << 64) - 1
    mark = Mark(ACCOUNT, largest, Standard(largest, largest), DAY + 1, 10_957, largest)
    store.add_marks([mark])
    assert store.load([ACCOUNT]).marks == {ACCOUNT: mark}


# --- what is behind ------------------------------------------------------------------------------------------


def test_an_account_without_a_mark_is_behind(store: Store) -> None:
    assert store.behind(DAY, LIVE) == {}
    put(store, order(), feedback("f"), survey("s"))
    assert list(store.behind(DAY, LIVE)) == [ACCOUNT]


@pytest.mark.parametrize(
    "marked, asked, is_behind",
    [
        (Standard(7), Standard(7), False),
        (Standard(7), Standard(8), True),  # other settings
        (Standard(7, 5), Standard(7), False),  # a live worker does not care by which rules a replay judged
        (Standard(7), Standard(7, 5), True),  # a replay does
        (Standard(7, 5), Standard(7, 5), False),
        (Standard(7, 5), Standard(7, 6), True),
        (Standard((1 << 64) - 1, 1 << 63), Standard((1 << 64) - 1, 1 << 63), False),
    ],
)
def test_an_account_is_behind_the_settings(store: Store, marked: Standard, asked: Standard, is_behind: bool) -> None:
    put(store, order())
    store.add_marks([mark_of(order(), standard=marked)])
    assert list(store.behind(DAY, asked)) == [ACCOUNT] * is_behind


def test_an_account_is_behind_its_events(store: Store) -> None:
    events = [order(), order("e2", kind="SHIPPED"), feedback(), survey()]
    put(store, *events)
    store.add_marks([mark_of(*events)])
    assert store.behind(DAY, LIVE) == {}
    for event in (order("e3"), feedback("e3"), survey("e3")):
        put(store, event)
        events.append(event)
        assert list(store.behind(DAY, LIVE)) == [ACCOUNT]
        store.add_marks([mark_of(*events, version=len(events))])
        assert store.behind(DAY, LIVE) == {}


def test_an_account_is_behind_the_as_of_day_once_it_has_begun(store: Store) -> None:
    put(store, order(), order(seller_id="later", event_time=NOON + 5 * MS_A_DAY))
    store.add_marks(
        [mark_of(order(), as_of=DAY), mark_of(order(seller_id="later", event_time=NOON + 5 * MS_A_DAY), as_of=DAY)]
    )
    assert [len(store.behind(day, LIVE)) for day in (DAY - 1, DAY, DAY + 1, DAY + 4, DAY + 5)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("partitions", [1, 2, 3, 6, 8, 64])
def test_every_partition_has_the_accounts_that_kafka_gives_it(store: Store, partitions: int) -> None:
    accounts: list[AccountId] = [*((f"S{n}", "DE") for n in range(60)), *((odd, "M|M") for odd in ODD_IDS)]
    put(store, *(order(seller_id=seller, marketplace_id=marketplace) for seller, marketplace in accounts))
    homes = {account: (murmur2("|".join(account).encode()) & 0x7FFFFFFF) % partitions for account in accounts}
    for home in {0, 1, partitions - 1}:
        expected = [account for account in accounts if homes[account] == home]
        assert sorted(store.behind(DAY, LIVE, partitions, [home])) == sorted(expected)
    assert sorted(store.behind(DAY, LIVE, partitions, range(partitions))) == sorted(accounts)
    assert store.behind(DAY, LIVE, partitions, []) == {}


def test_a_look_that_is_not_thorough_finds_all_but_what_lags_events_alone(store: Store) -> None:
    put(store, order(), order(seller_id="S2"))
    assert len(store.behind(DAY, LIVE, thorough=False)) == 2  # never written
    store.add_marks([mark_of(order()), mark_of(order(seller_id="S2"), as_of=DAY)])
    put(store, feedback())
    assert list(store.behind(DAY, LIVE)) == [ACCOUNT]
    assert store.behind(DAY, LIVE, thorough=False) == {}
    assert list(store.behind(DAY + 1, LIVE, thorough=False)) == [("S2", "M")]
    assert len(store.behind(DAY, Standard(8), thorough=False)) == 2


@pytest.mark.parametrize("partitions", [1, 3])
def test_accounts_are_those_with_events_of_any_topic(store: Store, partitions: int) -> None:
    assert store.accounts(partitions, range(partitions)) == {}
    put(
        store,
        order(),
        feedback(),
        survey(),
        feedback(seller_id="S2"),
        survey(seller_id="S3"),
        order(seller_id=ODD_IDS[0]),
    )
    accounts = [("S", "M"), ("S2", "M"), ("S3", "M"), (ODD_IDS[0], "M")]
    assert sorted(store.accounts(partitions, range(partitions))) == sorted(accounts)
    for home in range(partitions):
        mine = [a for a in accounts if (murmur2("|".join(a).encode()) & 0x7FFFFFFF) % partitions == home]
        assert sorted(store.accounts(partitions, [home])) == sorted(mine)
    assert store.accounts(partitions, []) == {}


def test_accounts_come_with_their_first_row_by_their_mark(store: Store) -> None:
    put(store, order(), order(seller_id="later"), order(seller_id="unmarked"))
    put(store, order(seller_id="S", event_id="e2"))
    later = mark_of(order(seller_id="later"))._replace(first_day=DAY + 1, as_of=DAY)
    store.add_marks([mark_of(order()), later])
    assert store.accounts() == {("S", "M"): DAY, ("later", "M"): None, ("unmarked", "M"): None}


# --- the as-of day and epochs --------------------------------------------------------------------------------


def test_the_as_of_day_never_moves_back(store: Store) -> None:
    assert store.as_of() is None
    moves = [(DAY, DAY), (DAY, DAY), (DAY - 1, DAY), (DAY + 300, DAY + 300), (10_957, DAY + 300), (47_481, 47_481)]
    for day, then in moves:
        assert store.move_as_of(day) == then
        assert store.as_of() == then


def test_every_epoch_is_greater_than_those_before(store: Store) -> None:
    epochs = [store.next_epoch() for _ in range(5)]
    assert epochs == sorted(set(epochs))
    assert epochs[0] > 0


# --- refused and misplaced records ---------------------------------------------------------------------------

REFUSED = [
    Rejected("feedback", 2, 0, "", -1, "not decodable", NOON + 1),
    Rejected("orders", 0, 7, "", -1, "it's \\ 'odd'\n😀", NOON),
    Rejected("orders", 0, 8, "", -1, "", NOON),
    Rejected("unknown", -1, -1, "a'b.jsonl", 1, "no topic", NOON),
    Rejected("unknown", -1, -1, "a'b.jsonl", 2, "no topic", NOON),
]


def test_a_refused_record_is_one_row_by_where_it_came_from(store: Store, tables: Tables) -> None:
    for _ in range(2):
        store.add_rejected(REFUSED)
        store.add_rejected(REFUSED[:1])
    nulls = {-1: None, "": None}
    coordinates = ("partition", "offset", "file", "line")
    assert tables.rejected_events() == [
        {name: nulls.get(value, value) if name in coordinates else value for name, value in row._asdict().items()}
        for row in REFUSED
    ]


def test_of_the_checks_of_an_epoch_the_last_stands(store: Store, tables: Tables) -> None:
    first, last = SelfCheck(3, NOON, 1, 2, 0, None), SelfCheck(3, NOON + 5, 2, 4, 1, NOON + 5)
    other = SelfCheck(0, NOON, 9, 9, 0, None)
    for each in (first, last, other):
        store.add_self_check(each)
    assert tables.self_checks == {0: other, 3: last}


def test_misplaced_records_are_counted_once_a_batch(store: Store, tables: Tables) -> None:
    offsets = {("orders", 0): 10, ("orders", 1): 5, ("surveys", 0): 3}
    counts = {("orders", 0): 4, ("surveys", 0): 3}
    for _ in range(2):
        store.add_misplaced(offsets, counts)
    store.add_misplaced({("orders", 0): 12}, {("orders", 0): 1})
    assert tables.misplaced() == {("orders", 0, 10): 4, ("surveys", 0, 3): 3, ("orders", 0, 12): 1}


# --- alerts --------------------------------------------------------------------------------------------------


def alert(alert_id: str = "a", **fields: Any) -> AlertRow:
    known = AlertRow(
        alert_id, "rule", *ACCOUNT, "metric", "firing", "warning", 0.1, 0.05, NOON, None, ["o1", "it's"], 2, 1
    )
    return known._replace(**fields)


def change(alert_id: str = "a", **fields: Any) -> AlertChange:
    return AlertChange(alert_id, DAY, "rule", *ACCOUNT, "firing", 0.1, 1)._replace(**fields)


def by_id(rows: Sequence[AlertRow]) -> list[AlertRow]:
    return sorted(rows, key=lambda row: row.alert_id)


def test_alerts_are_shown_in_their_latest_state(store: Store) -> None:
    fired = [alert(), alert("b", value=None, order_ids=[], order_count=0)]
    for _ in range(2):
        store.add_alerts(fired, [change(), change("b", value=None)])
    assert by_id(store.alerts()) == fired
    resolved = alert(state="resolved", resolved_at=NOON + MS_A_DAY, value=0.0, version=2)
    store.add_alerts([resolved], [change(state="resolved", day=DAY + 1, version=2)])
    store.add_alerts([alert(severity="critical")], [])
    assert by_id(store.alerts()) == [resolved, fired[1]]
    assert store.alerts(only_open=True) == [fired[1]]
    assert sorted((c.alert_id, c.day, c.state, c.value) for c in store.alert_changes([ACCOUNT])) == [
        ("a", DAY, "firing", 0.1), ("a", DAY + 1, "resolved", 0.1), ("b", DAY, "firing", None),
    ]  # fmt: skip


def test_pending_alerts_are_open_and_muted_changes_are_told_apart(store: Store) -> None:
    store.add_alerts([alert(state="pending"), alert("b"), alert("c", state="resolved")], [change(muted=1), change("b")])
    assert [row.alert_id for row in by_id(store.alerts(only_open=True))] == ["a", "b"]
    assert {found.alert_id: found.muted for found in store.alert_changes([ACCOUNT])} == {"a": 1, "b": 0}


def test_alerts_are_given_by_account(store: Store) -> None:
    rows = [alert(odd, seller_id=odd) for odd in ODD_IDS]
    store.add_alerts(rows, [change(odd, seller_id=odd) for odd in ODD_IDS])
    for row in rows:
        account = (row.seller_id, "M")
        assert store.alerts([account]) == [row]
        assert [found.alert_id for found in store.alert_changes([account])] == [row.alert_id]
    assert by_id(store.alerts()) == by_id(rows)
    assert store.alerts([("S", "M")]) == []
    assert store.alerts([]) == []


def test_an_alert_that_never_was_is_gone(store: Store) -> None:
    store.add_alerts([alert(), alert("b")], [change(), change("b")])
    store.add_alerts([alert(version=2, gone=1)], [change(version=2, gone=1)])
    assert store.alerts() == [alert("b")]
    assert store.alert_changes([ACCOUNT]) == [change("b")]
    store.add_alerts([alert(version=3)], [change(version=3)])
    assert by_id(store.alerts()) == [alert(version=3), alert("b")]


# --- nothing at all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS)
def test_writing_nothing_changes_nothing(store: Store, tables: Tables, topic: Topic) -> None:
    put(store, *FULL)
    store.add_events(topic, [])
    nothing = np.array([], dtype=object)
    store.add_rows([], [], {metric.name: nothing for metric in METRICS} | {"day": nothing, "version": nothing})
    store.add_gone(ACCOUNT, range(DAY, DAY), 1)
    store.add_marks([])
    store.add_rejected([])
    store.add_misplaced({}, {})
    store.add_alerts([], [])
    assert shown(tables) == FULL
    assert (tables.seller_daily(), tables.rejected_events(), tables.misplaced(), store.alerts()) == ([], [], {}, [])
    assert store.load([ACCOUNT]).marks == {}
