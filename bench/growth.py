"""Subject: how the whole job grows with events, accounts, the width of windows, and workers.

Each point is a worker, or two, on a real broker until every row is right, as in `bench.worker`; all that is not varied
stays as it is there. Accounts are varied over 30 days: what 100,000 of them need in a year is mostly rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.measured import Measured, Run, Step
from bench.widths import settings
from bench.wire import Year, year_of
from bench.worker import work_off
from bench.workload import Workload

EVENTS, ACCOUNTS, WIDTHS, WORKERS = "events", "accounts", "days a window", "workers"
SERIES = (EVENTS, ACCOUNTS, WIDTHS, WORKERS)
DAYS = 30  # when accounts are varied


class Point(NamedTuple):
    """What is varied, how large it is, and the job that shows it."""

    series: str
    size: int
    year: Year
    workers: int = 1
    settings: Mapping[str, str] | None = None


class Grown(NamedTuple):
    """Median seconds by size, and between neighbours the exponent of time over size."""

    sizes: list[float]
    seconds: list[float]
    exponents: list[float]

    def told(self, series: str) -> str:
        """The exponents; for windows and workers, how many times as long as the first the last takes."""
        if series in (EVENTS, ACCOUNTS):
            return "exponent " + ", ".join(f"{exponent:.2f}" for exponent in self.exponents)
        return f"{self.seconds[-1] / self.seconds[0]:.2f} x"


def points(work: Workload) -> Iterator[Point]:
    """All of them, those of one broker together."""
    year, events = work.year(), work.events
    for days in (30, 90, 365, 3_650):
        yield Point(WIDTHS, days, year, settings=settings(days))
    for workers in (1, 2):
        yield Point(WORKERS, workers, year, workers)
    for times in (0.1, 1, 10):
        grown = work.year(times)
        yield Point(EVENTS, grown.events, grown)
    for accounts in (events // 1000, events // 100, events // 10):
        yield Point(ACCOUNTS, accounts, year_of(accounts, events, days=DAYS, even=True))


def growth(work: Workload, folder: Path, step: Step) -> Run:
    """Every point once."""
    for point in points(work):
        bootstrap = work.brokers.holding(point.year)
        name = f"{point.series}: {point.size:,}"
        step(name)
        here = folder / f"{point.series}-{point.size}".replace(" ", "-")
        here.mkdir()
        done = work_off(bootstrap, point.year.events, here, workers=point.workers, settings=point.settings)
        yield Measured(
            name, done.right_s, "s", events=point.year.events, seconds=done.right_s, peak_mb=done.memory.peak_mb,
            process_mb=done.memory.process_mb, stages=done.stages, notes={"size": point.size, "rows": done.rows},
        )  # fmt: skip


def grown(rows: Mapping[str, Sequence[Measured]]) -> dict[str, Grown]:
    """Each series that was measured."""
    return {series: found for series in SERIES if (found := _grown(series, rows)).sizes}


def _grown(series: str, rows: Mapping[str, Sequence[Measured]]) -> Grown:
    mine = [runs for row, runs in rows.items() if row.startswith(f"{series}: ")]
    found = sorted((runs[0].notes["size"], median(run.value for run in runs)) for runs in mine)
    exponents = [log(after[1] / before[1]) / log(after[0] / before[0]) for before, after in pairwise(found)]
    return Grown([size for size, _ in found], [seconds for _, seconds in found], exponents)
