"""Subject: the memory of a worker whose history is far larger than what is hot, and whether it stays flat.

Events are offered to a running worker for ten minutes, of one account in twenty. Memory is that of the worker and of
the process that serves the database, together; drift is the median of the last minute less that of the third one.
"""

import time
from pathlib import Path
from statistics import median

from bench.head import ground, today
from bench.measured import Measured, Run, Step
from bench.memory import Memory
from bench.offer import Offer
from bench.wire import year_of
from bench.workload import Workload

PEAK, DRIFT = "memory at the peak", "memory: drift"
TIMES = 10  # as many events are stored as the workload has, of a tenth as many accounts
DAYS = 90
HOT_EVERY = 20
A_SECOND, SECONDS = 2_000, 600.0
MINUTE_S = 60.0
SETTLED_S = 2 * MINUTE_S


def memory(work: Workload, folder: Path, step: Step) -> Run:
    """Ten minutes."""
    accounts = max(work.events // 10, 20)
    year = year_of(accounts, TIMES * work.events, days=DAYS, even=True)
    hot = accounts // HOT_EVERY
    with ground(work, year, today(), folder, step) as here, here.worker(folder) as worker:
        step(f"offering {A_SECOND:,} events a second of {hot:,} accounts for {SECONDS / MINUTE_S:.0f} minutes")
        with (
            Memory(worker.pid, here.served.pid) as both,
            Memory(worker.pid) as alone,
            Offer(here.bootstrap, hot, a_second=A_SECOND, seconds=SECONDS, every=HOT_EVERY) as offer,
        ):
            while not offer.is_over():
                worker.check()
                time.sleep(1)
    notes: dict[str, float] = {"stored": year.events, "accounts": accounts, "hot": hot}
    notes |= {"offered/s": round(offer.count / SECONDS), "worker MB": round(alone.peak_mb)}
    yield Measured(PEAK, both.peak_mb, "MB", events=offer.count, notes=notes)
    yield Measured(DRIFT, drift_mb(both), "MB", notes={"worker MB": round(drift_mb(alone), 1)})


def drift_mb(memory: Memory) -> float:
    """The last minute's median less the third minute's."""
    started, ended = memory.samples[0][0], memory.samples[-1][0]
    early = [mb for at, mb in memory.samples if SETTLED_S <= at - started < SETTLED_S + MINUTE_S]
    late = [mb for at, mb in memory.samples if at > ended - MINUTE_S]
    return median(late) - median(early)
