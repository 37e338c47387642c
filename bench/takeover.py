"""Subject: how long a worker that is given partitions takes to its first new row, whatever history is stored.

Ten events of ten accounts wait on the broker when the worker starts. The figure runs from the moment in which the
worker is given its partitions, by its own log, to the first row that shows one of those events.
"""

import time
from pathlib import Path

from bench.head import Ground, ground, today, wait_until_assigned
from bench.kafka import FLUSH_S, producer
from bench.measured import Measured, Run, Step, SubjectFailed
from bench.wire import read_wire, wire_file
from bench.workload import Workload
from schemas.codec import Codec
from schemas.events import Parsed, account_key, from_json
from schemas.rows import AccountId

TAKE_OVER = "take-over, to the first new row"
TIMES = 10  # as many events are stored as the workload has
ACCOUNTS = 10


def take_over(work: Workload, folder: Path, step: Step) -> Run:
    """One worker, started on a history of ten times the workload's events."""
    year = work.year(TIMES)
    accounts = _accounts(wire_file(year, work.output, step))
    with ground(work, year, today(), folder, step) as here:
        sent_ms = _send(here, accounts)
        step(TAKE_OVER)
        started = time.time()
        with here.worker(folder) as worker:
            here.wait_for(worker, accounts, sent_ms)
            seen = time.time()
            assigned = wait_until_assigned(worker)
    notes = {"stored": year.events, "from the process's start s": round(seen - started, 1)}
    yield Measured(TAKE_OVER, seen - assigned, "s", events=year.events, notes=notes)


def _accounts(file: Path) -> list[AccountId]:
    """The first ones that have events: some of them are among the biggest."""
    found: dict[AccountId, None] = {}
    for record in read_wire(file):
        seller, _, marketplace = record.key.decode().partition("|")
        found[seller, marketplace] = None
        if len(found) == ACCOUNTS:
            break
    return list(found)


def _send(here: Ground, accounts: list[AccountId]) -> int:
    """An order of each account; when they happened, epoch ms."""
    sender, codec, now_ms = producer(here.bootstrap), Codec(), time.time_ns() // 1_000_000
    for number, (seller, marketplace) in enumerate(accounts):
        said = {"topic": "orders", "kind": "PLACED", "event_id": "new", "order_id": f"new-{number}", "source": "bench"}
        parsed = from_json(said | {"seller_id": seller, "marketplace_id": marketplace, "event_time": now_ms})
        assert isinstance(parsed, Parsed)
        topic, event = parsed
        sender.produce(topic, codec.encode(topic, event), account_key(event))
    if sender.flush(FLUSH_S):
        raise SubjectFailed("Kafka did not take the events")
    return now_ms
