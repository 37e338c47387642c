"""`seller_current` is the latest day of each account, whoever writes, wakes up late, is outranked or repaired."""

import random

from schemas.events import MS_A_DAY
from schemas.rows import EPOCH_BITS
from sink.store import Store
from streams.core.metrics import Terms
from tests.contract.tables import ClickHouseTables
from tests.contract.test_store import DAY, NOON, order, put, put_rows
from tests.contract.test_tables import asked

ACCOUNTS = [(f"S{n}", "M") for n in range(4)]
DAYS = 6


def test_owners_that_come_and_sleep_and_go_leave_the_latest_day(database: Store) -> None:
    """Each owner of the accounts has an epoch; one that lost them may still write, as of the day that it knew."""
    chance, tables = random.Random(7), ClickHouseTables(database)
    database.client.command("TRUNCATE TABLE stored_seller_daily")
    database.client.command("TRUNCATE TABLE stored_seller_current")
    epoch, as_of, sleeping = 1, DAY + 1, [(1, DAY)]
    for step in range(30):
        seller, _ = account = chance.choice(ACCOUNTS)
        if chance.random() < 0.2:
            sleeping.append((epoch, as_of))
            epoch, as_of = epoch + 1, min(as_of + chance.randrange(2), DAY + DAYS)
        owner, known = chance.choice(sleeping) if chance.random() < 0.3 else (epoch, as_of)
        version = owner << EPOCH_BITS | step
        event = order(f"e{step}", seller_id=seller, event_time=NOON + chance.randrange(DAYS) * MS_A_DAY)
        first = event["event_time"] // MS_A_DAY
        if first > known:  # its only event is of a day to come: there are no rows any more
            database.add_gone(account, range(DAY, known + 1), version)
        else:
            database.add_gone(account, range(DAY, first), version)
            put_rows(database, event, version=version, first=chance.choice((0, known)), as_of=known)
        assert tables.not_current() == [], (step, seller)
    assert asked(database, "SELECT count() > 1 FROM seller_current") == [(True,)]


def test_rows_that_a_statement_computes_are_current_too(database: Store) -> None:
    tables = ClickHouseTables(database)
    events = [order(f"e{n}", seller_id=f"R{n}", event_time=NOON + n * MS_A_DAY) for n in range(3)]
    put(database, *events)
    accounts = [(event["seller_id"], "M") for event in events]
    database.move_as_of(DAY + 3)
    for epoch in (5, 4, 6):
        database.recompute(accounts, Terms(), first=0, as_of=DAY + 3, epoch=epoch)
        assert tables.not_current() == []
    put_rows(database, events[0], version=9 << EPOCH_BITS, as_of=DAY + 5)
    database.drop_rows({accounts[0]: 7 << EPOCH_BITS})
    assert tables.not_current() == []
    assert database.client.command(
        "SELECT min(day) = max(day) AND count() = 3 FROM seller_current WHERE seller_id LIKE 'R%'"
    )
