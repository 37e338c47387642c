"""Subject: `sellerpulse rebuild` of stored events that have no rows yet, from before its start until after its end."""

from pathlib import Path

from bench.measured import Run, Step, SubjectFailed, rate
from bench.program import count, run
from bench.wire import year_of
from bench.workload import Workload

REBUILD = "rebuild"
ACCOUNTS = 400


def rebuild(work: Workload, folder: Path, step: Step) -> Run:
    """The workload's number of events, of 400 accounts, a year."""
    year = year_of(ACCOUNTS, work.events)
    db = str(work.databases.copy(year, year.last_day, folder / "db", with_rows=False))
    step(REBUILD)
    finished = run("rebuild", "--db", db, folder=folder)
    rows = count(db, "seller_daily", folder)
    if not rows:
        raise SubjectFailed("rebuild made no rows")
    yield rate(
        REBUILD, year.events, finished.seconds, peak_mb=finished.peak_mb, process_mb=finished.process_mb,
        notes={"seconds": round(finished.seconds, 2), "rows": rows},
    )  # fmt: skip
