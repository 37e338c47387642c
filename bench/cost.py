"""Subject: what cases and alerts cost a worker. The whole job with them and, by `bench.bare`, without."""

import sys
from pathlib import Path

from bench.measured import Measured, Run, Step, rate
from bench.worker import work_off
from bench.workload import Workload

WITH, WITHOUT, RATIO = "whole job, cases and alerts", "whole job without them", "cases and alerts: time against without"
BARE = (sys.executable, "-P", str(Path(__file__).with_name("bare.py")))


def cost(work: Workload, folder: Path, step: Step) -> Run:
    """One after the other, and their ratio."""
    year = work.year()
    bootstrap = work.brokers.holding(year)
    taken: list[float] = []
    for row, program in ((WITHOUT, BARE), (WITH, None)):
        step(row)
        (here := folder / str(len(taken))).mkdir()
        done = work_off(bootstrap, year.events, here, program=program)
        taken.append(done.right_s)
        yield rate(row, year.events, done.right_s, stages=done.stages)
    yield Measured(RATIO, taken[1] / taken[0], "x")
