"""Subjects: what wide windows cost. A replay with all windows 30 days wide, and one with 3,650."""

from pathlib import Path

from bench.measured import Measured, Run, Step, rate
from bench.program import run
from bench.workload import Workload

NARROW, WIDE, RATIO = "replay, windows of 30 days", "replay, windows of 3,650 days", "3,650 days against 30"
WINDOWS = ("SHORT_DAYS", "MEDIUM_DAYS", "LONG_DAYS", "ODR_DAYS", "CS_DAYS")


def settings(days: int) -> dict[str, str]:
    """Every window so wide, as the environment says it."""
    return {f"METRICS__{window}": str(days) for window in WINDOWS}


def widths(work: Workload, folder: Path, step: Step) -> Run:
    """One after the other, and their ratio."""
    narrow = _replay(NARROW, 30, work, folder, step)
    yield narrow
    wide = _replay(WIDE, 3_650, work, folder, step)
    yield wide
    yield Measured(RATIO, wide.seconds / narrow.seconds, "x")


def _replay(row: str, days: int, work: Workload, folder: Path, step: Step) -> Measured:
    file = str(work.ordered)
    step(row)
    finished = run("replay", file, "--db", str(folder / f"db-{days}"), folder=folder, settings=settings(days))
    return rate(row, work.events, finished.seconds, peak_mb=finished.peak_mb, process_mb=finished.process_mb)
