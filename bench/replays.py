"""Subjects: `sellerpulse replay`, from before the process starts until after it has ended, into a fresh database."""

import re
from pathlib import Path

from bench.measured import Measured, Run, Step, SubjectFailed, rate
from bench.program import count, run, tables
from bench.workload import Workload

IN_ORDER, SHUFFLED = "replay in order", "replay shuffled"
ROWS = (IN_ORDER, SHUFFLED)
# every row is right as of 2025-06-30; 40.2 s (feed 36.0, drain 1.1, rows 3.1), 24,876 events/s
_SUMMARY = re.compile(r"; ([\d.]+) s \((.+)\), [\d,]+ events/s$", re.MULTILINE)


def in_order(work: Workload, folder: Path, step: Step) -> Run:
    """The events as they happened."""
    step(IN_ORDER)
    yield _replay(IN_ORDER, work.ordered, work.events, folder)


def shuffled(work: Workload, folder: Path, step: Step) -> Run:
    """The same events in no order."""
    step(SHUFFLED)
    yield _replay(SHUFFLED, work.shuffled, work.events, folder)


def _replay(row: str, file: Path, events: int, folder: Path) -> Measured:
    db = str(folder / "db")
    finished = run("replay", str(file), "--db", db, folder=folder)
    found = _SUMMARY.search(finished.output)
    if found is None:
        raise SubjectFailed(f"no summary in what replay printed: {finished.output.strip()!r}")
    stages = {name: float(seconds) for name, seconds in (part.rsplit(" ", 1) for part in found[2].split(", "))}
    stages["start and exit"] = max(finished.seconds - float(found[1]), 0.0)
    left, rows = tables("lines", db, folder), count(db, "seller_daily", folder)
    return rate(
        row, events, finished.seconds, peak_mb=finished.peak_mb, process_mb=finished.process_mb,
        stages=stages, notes={"rows": rows}, tables=left,
    )  # fmt: skip
