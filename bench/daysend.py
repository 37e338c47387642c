"""Subject: the end of the day. How long one worker takes until every account has its row of the new day.

The accounts have a few events each, all of the week before; their rows are right as of yesterday. No event comes. The
figure runs from the moment in which the worker is given its partitions, by its own log.
"""

import time
from pathlib import Path

from bench.head import FIRST_WITHIN_S, Ground, ground, today, wait_until_assigned
from bench.measured import Measured, Run, Step, SubjectFailed
from bench.memory import Memory
from bench.program import Program
from bench.wire import year_of
from bench.workload import Workload

DAYS_END = "end of the day"
EVENTS_AN_ACCOUNT, DAYS = 10, 7
POLL_S = 0.1


def days_end(work: Workload, folder: Path, step: Step) -> Run:
    """A tenth as many accounts as the workload has events."""
    accounts = max(work.events // 10, 1)
    year = year_of(accounts, accounts * EVENTS_AN_ACCOUNT, days=DAYS, even=True)
    with ground(work, year, year.last_day, folder, step) as here:
        before = _rows_of(here, year.last_day)
        step(f"{DAYS_END}: {before:,} accounts")
        with here.worker(folder) as worker, Memory(worker.pid, here.served.pid) as memory:
            _wait(here, worker, before)
            seconds = time.time() - wait_until_assigned(worker)
    yield Measured(
        DAYS_END, seconds, "s", seconds=seconds, peak_mb=memory.peak_mb, process_mb=memory.process_mb,
        notes={"accounts": before},
    )  # fmt: skip


def _rows_of(here: Ground, day: int) -> int:
    return int(here.store.client.query(f"SELECT count() FROM seller_daily WHERE day = toDate({day})").result_rows[0][0])


def _wait(here: Ground, worker: Program, accounts: int) -> None:
    deadline = time.monotonic() + FIRST_WITHIN_S
    while time.monotonic() < deadline:
        worker.check()
        asked = time.monotonic()
        if _rows_of(here, today()) >= accounts:
            return
        time.sleep(POLL_S + 3 * (time.monotonic() - asked))  # asked more often it would keep the worker from its work
    raise SubjectFailed(f"not every account has its new row after {FIRST_WITHIN_S:.0f} s")
