"""Subjects: `sellerpulse rebuild` of stored events that have no rows yet, from before its start until after its end."""

from pathlib import Path

from bench.measured import Measured, Run, Step, SubjectFailed, rate
from bench.program import count, run
from bench.wire import Year, year_of
from bench.workload import Workload

REBUILD, LARGE = "rebuild", "rebuild of one account"
ACCOUNTS = 400
EVENTS_AN_ORDER = 3.4


def rebuild(work: Workload, folder: Path, step: Step) -> Run:
    """The workload's number of events, of 400 accounts, a year."""
    yield _rebuild(REBUILD, year_of(ACCOUNTS, work.events), work, folder, step)


def large_account(work: Workload, folder: Path, step: Step) -> Run:
    """One account with about as many orders as the workload has events."""
    year = year_of(ACCOUNTS, int(EVENTS_AN_ORDER * work.events))
    yield _rebuild(LARGE, year._replace(even=1), work, folder, step)


def _rebuild(row: str, year: Year, work: Workload, folder: Path, step: Step) -> Measured:
    db = str(work.databases.copy(year, year.last_day, folder / "db", with_rows=False))
    step(row)
    finished = run("rebuild", "--db", db, folder=folder)
    rows = count(db, "seller_daily", folder)
    if not rows:
        raise SubjectFailed("rebuild made no rows")
    return rate(
        row, year.events, finished.seconds, peak_mb=finished.peak_mb, process_mb=finished.process_mb,
        notes={"seconds": round(finished.seconds, 2), "rows": rows},
    )  # fmt: skip
