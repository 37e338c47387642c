"""What was done with refused records, in every database: which are open, chosen by what, and settled once."""

import pytest

from schemas.rows import Rejected, Which
from sink.store import Store

NOON = 1_704_110_400_000
ODD = "it's \\ 'odd'\n😀.jsonl"
REFUSED = [
    Rejected("feedback", 2, 0, "", -1, "not decodable", NOON + 2),
    Rejected("orders", 0, 7, "", -1, "unknown kind: SOLD", NOON + 1),
    Rejected("orders", 0, 8, "", -1, "Unknown Kind: 100%_\\", NOON + 1),
    Rejected("unknown", -1, -1, ODD, 1, "no topic", NOON),
]  # the newest first
NAMES = ["feedback/2/0", "orders/0/7", "orders/0/8", f"unknown/{ODD}:1"]


@pytest.fixture
def store(database: Store) -> Store:
    """With these refused records, of which one came twice, and nothing done."""
    for table in ("stored_rejected_events", "settled_dead_letters"):
        database.client.command(f"TRUNCATE TABLE {table}")
    database.add_rejected(REFUSED)
    database.add_rejected(REFUSED[:1])
    return database


def chosen(store: Store, which: Which = Which(), *, only_open: bool = True) -> list[str]:  # noqa: B008  # immutable
    return [dead.name for dead in store.dead_letters(which, only_open=only_open)]


def test_each_refused_record_is_one_open_dead_letter(store: Store) -> None:
    letters = store.dead_letters(Which(), only_open=False)
    assert [dead.record for dead in letters] == REFUSED
    assert [dead.name for dead in letters] == NAMES
    assert {dead.state for dead in letters} == {"open"}
    assert [dead.name for dead in store.dead_letters(Which(), only_open=False, newest=2)] == NAMES[:2]


@pytest.mark.parametrize(
    "which, found",
    [
        (Which(topic="orders"), NAMES[1:3]),
        (Which(reason="unknown KIND"), NAMES[1:3]),
        (Which(reason="%_\\"), NAMES[2:3]),
        (Which(reason="'"), []),
        (Which(since=NOON + 1), NAMES[:3]),
        (Which(until=NOON + 1), NAMES[3:]),
        (Which(since=NOON + 1, until=NOON + 2), NAMES[1:3]),
        (Which(records=(NAMES[3], NAMES[0], "orders/0/9")), [NAMES[0], NAMES[3]]),
        (Which(topic="orders", reason="SOLD", records=(NAMES[2],)), []),
    ],
)
def test_all_that_is_said_of_a_choice_is_true_of_it(store: Store, which: Which, found: list[str]) -> None:
    assert chosen(store, which) == found


def test_what_is_settled_is_no_longer_open_and_stays_a_refused_record(store: Store) -> None:
    for _ in range(2):
        store.settle(REFUSED[1:2], "replayed")
        store.settle(REFUSED[3:], "dropped")
        store.settle([], "dropped")
    assert chosen(store) == [NAMES[0], NAMES[2]]
    assert chosen(store, only_open=False) == NAMES
    states = {dead.name: dead.state for dead in store.dead_letters(Which(), only_open=False)}
    assert states == dict(zip(NAMES, ("open", "replayed", "open", "dropped"), strict=True))
    store.add_rejected(REFUSED)  # again, by a worker that was killed before it committed
    assert chosen(store) == [NAMES[0], NAMES[2]]
    assert store.client.command("SELECT count() FROM rejected_events") == len(REFUSED)
