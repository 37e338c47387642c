"""A worker at the head of its topics, over a database that holds a history: what the subjects share that start there.

The broker is an empty one of their own. The database is an embedded folder, served, as in `bench.worker`.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bench import kafka
from bench.measured import Step, SubjectFailed
from bench.program import READY_WITHIN_S, SERVED, Program
from bench.wire import Year
from bench.workload import Workload
from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from sink.connect import connect
from sink.store import Store

POLL_S = 0.05
FIRST_WITHIN_S = 600.0


class Ground(NamedTuple):
    """Where a worker may start: the broker, the database, who serves it."""

    bootstrap: str
    url: str
    store: Store
    served: Program

    def worker(self, folder: Path) -> Program:
        """A worker, started."""
        words = ("worker", "--kafka", self.bootstrap, "--db", self.url, "--log-format", "json")
        return Program(*words, folder=folder)

    def latest(self, accounts: Sequence[AccountId]) -> dict[AccountId, int]:
        """The time of the latest event that the last row of each account shows, epoch ms."""
        found = self.store.client.query(
            """SELECT seller_id, marketplace_id, max(toUnixTimestamp64Milli(last_event_time)) FROM seller_daily
            WHERE seller_id IN {sellers:Array(String)} AND day >= toDate({since:UInt16})
            GROUP BY seller_id, marketplace_id""",
            parameters={"sellers": [seller for seller, _ in accounts], "since": today() - 1},
        )
        return {(seller, marketplace): int(latest) for seller, marketplace, latest in found.result_rows}

    def wait_for(self, worker: Program, accounts: Sequence[AccountId], time_ms: int) -> float:
        """Block until a row of one of these accounts shows an event of that time or later; how long that took."""
        started = time.monotonic()
        while time.monotonic() - started < FIRST_WITHIN_S:
            worker.check()
            if max(self.latest(accounts).values(), default=0) >= time_ms:
                return time.monotonic() - started
            time.sleep(POLL_S)
        raise SubjectFailed(f"no new row after {FIRST_WITHIN_S:.0f} s")


@contextmanager
def ground(work: Workload, year: Year, as_of: int, folder: Path, step: Step) -> Iterator[Ground]:
    """An empty broker and a database with a year whose rows are right as of this day, for a `with` block."""
    db = work.databases.copy(year, as_of, folder / "db")
    work.brokers.close()
    step("starting an empty Kafka")
    with (
        kafka.empty(folder) as bootstrap,
        Program("clickhouse", "--db", str(db), "--port", "0", folder=folder) as served,
    ):
        url = served.printed(SERVED)
        with closing(connect(url, create=False)) as store:
            yield Ground(bootstrap, url, store, served)


def today() -> int:
    """The day it is, UTC, since the epoch."""
    return int(time.time()) * 1000 // MS_A_DAY


def assigned_at(worker: Program) -> float | None:
    """When the worker was given its partitions, epoch seconds, by its JSON log; None if it was not yet."""
    for line in worker.log.splitlines():
        with suppress(json.JSONDecodeError):
            told = json.loads(line)
            if told.get("logger") == "streams.agents" and str(told.get("message")).startswith("epoch "):
                return datetime.fromisoformat(told["time"]).timestamp()
    return None


def wait_until_assigned(worker: Program) -> float:
    """Block until the worker was given its partitions; when that was, epoch seconds. Raises SubjectFailed."""
    deadline = time.monotonic() + READY_WITHIN_S
    while (found := assigned_at(worker)) is None:
        worker.check()
        if time.monotonic() > deadline:
            raise SubjectFailed(f"the worker logged no epoch in {READY_WITHIN_S:.0f} s")
        time.sleep(POLL_S)
    return found
