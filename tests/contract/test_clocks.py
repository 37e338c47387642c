"""What rules on cases and sources look at: of every store the same."""

import random

import pytest

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, SourceGap
from sink.store import Store
from tests.contract.test_store import ACCOUNT, DAY, order, put

HOUR = 3_600_000
LAST = DAY * MS_A_DAY + 9 * HOUR  # of what a source brings


def busy_days(days: int, *, events: int = 5, source: str = "feed", until: int = DAY) -> list[dict[str, object]]:
    """A source that brought so many events on each of so many days before `until`, and one in its ninth hour."""
    times = [(until - day) * MS_A_DAY + n * HOUR for day in range(1, days + 1) for n in range(events)]
    return [order(f"{source}-{time}", source=source, event_time=time) for time in [*times, until * MS_A_DAY + 9 * HOUR]]


@pytest.mark.parametrize(
    "days, events, hours, silent",
    [
        (14, 5, 48, True),
        (14, 5, 47.999, False),  # not yet for 48 h
        (13, 5, 48.1, False),  # not yet a source that usually brings that much
        (14, 4, 48.1, False),  # nor is this
        (28, 5, 24 * 300, True),
    ],
)
def test_a_source_is_silent_that_usually_brings_something(
    store: Store, days: int, events: int, hours: float, silent: bool
) -> None:
    put(store, *busy_days(days, events=events))
    now = LAST + int(hours * HOUR)
    assert store.source_gaps([ACCOUNT], now) == ([SourceGap(ACCOUNT, "feed", LAST, None)] if silent else [])


def test_days_that_were_busy_long_ago_do_not_count(store: Store) -> None:
    put(store, *busy_days(14, until=DAY - 20))
    put(store, order("later", source="feed", event_time=LAST))  # 14 days of the 28 before would have to be busy
    before = (DAY - 20) * MS_A_DAY + 9 * HOUR
    assert store.source_gaps([ACCOUNT], LAST + 50 * HOUR) == [SourceGap(ACCOUNT, "feed", before, LAST)]


def test_a_silence_ends_with_the_next_event_of_the_same_source(store: Store) -> None:
    put(store, *busy_days(20))
    put(store, order("other", source="another", event_time=LAST + HOUR))
    now = LAST + 80 * HOUR
    assert store.source_gaps([ACCOUNT], now) == [SourceGap(ACCOUNT, "feed", LAST, None)]
    back = LAST + 70 * HOUR
    put(store, order("back", source="feed", event_time=back), order("future", source="feed", event_time=now + 1))
    assert store.source_gaps([ACCOUNT], now) == [SourceGap(ACCOUNT, "feed", LAST, back)]
    assert store.source_gaps([("S", "elsewhere")], now) == []
    assert store.source_gaps([], now) == []


def test_what_comes_twice_counts_once(store: Store) -> None:
    events = busy_days(20, events=4)
    for _ in range(2):
        put(store, *events)
    assert store.source_gaps([ACCOUNT], LAST + 50 * HOUR) == []


def test_whose_source_has_just_fallen_silent_is_found_among_all(store: Store) -> None:
    put(store, *busy_days(20))
    for hours, is_found in ((48, True), (90, True)):
        found: list[AccountId] = store.quiet(1, (0,), LAST + hours * HOUR)
        assert (ACCOUNT in found) == is_found
    assert store.quiet(1, (), LAST + 50 * HOUR) == []


def test_gaps_are_those_of_the_memory_store(store: Store) -> None:
    from tests.memory import MemoryStore

    rng, other = random.Random(5), MemoryStore()
    time, events = DAY * MS_A_DAY, []
    for n in range(3000):
        time += int(rng.expovariate(2 / HOUR)) + (rng.random() < 0.005) * rng.randint(30, 90) * HOUR
        events.append(order(f"e{n}", source=rng.choice(["a", "a", "b"]), event_time=time, seller_id=f"S{n % 2}"))
    accounts = [("S0", "M"), ("S1", "M")]
    for one in (store, other):
        put(one, *events)  # type: ignore[arg-type]  # its twin
    found = other.source_gaps(accounts, time)
    assert len(found) > 5
    assert sorted(store.source_gaps(accounts, time)) == found
