"""Subject: how long an event takes from being produced to being seen in a row of ClickHouse.

5,000 events a second are offered for a minute to a running worker over 1,000 accounts, each with a year of history.
Every event's time is the moment in which it is handed to the producer. Of a tenth of the accounts every event is
followed: they get events of topic orders alone, so they come in order, and as soon as the account's row of today has a
`last_event_time` that is not before an event's, that event is in the row. Rows are asked for over HTTP, as a reader
would, again and again; a latency ends when the answer has arrived, so what asking takes is part of it.
"""

import time
from collections import deque
from pathlib import Path
from statistics import quantiles

from bench.head import Ground, ground, today, wait_until_assigned
from bench.measured import Measured, Run, Step, SubjectFailed
from bench.offer import Offer
from bench.program import Program
from bench.wire import account_of, year_of
from bench.workload import Workload
from schemas.rows import AccountId

P50, P99 = "event to visible row, p50", "event to visible row, p99"
ACCOUNTS, A_SECOND, SECONDS = 1_000, 5_000, 60.0
WATCHED = tuple(account_of(number) for number in range(ACCOUNTS // 10))
HISTORY = 0.2  # of the workload's events
SETTLE_S = 5.0  # at first, while accounts are loaded
POLL_S = 0.05
LAST_WITHIN_S = 60.0


def freshness(work: Workload, folder: Path, step: Step) -> Run:
    """Latencies over a minute."""
    year = year_of(ACCOUNTS, max(int(HISTORY * work.events), ACCOUNTS), even=True)
    with ground(work, year, today(), folder, step) as here, here.worker(folder) as worker:
        wait_until_assigned(worker)
        step(f"offering {A_SECOND:,} events a second for {SECONDS:.0f} s")
        seconds = SETTLE_S + SECONDS
        with Offer(here.bootstrap, ACCOUNTS, a_second=A_SECOND, seconds=seconds, watched=WATCHED) as offer:
            latencies, asked = _follow(here, worker, offer)
    cuts = quantiles(latencies, n=100)
    offered = round(offer.count / seconds)
    notes = {
        "offered/s": offered,
        "followed": len(latencies),
        "max s": round(max(latencies), 2),
        "poll ms": round(asked * 1000),
    }
    yield Measured(P50, cuts[49], "s", events=offer.count, notes=notes)
    yield Measured(P99, cuts[98], "s", events=offer.count)


def _follow(here: Ground, worker: Program, offer: Offer) -> tuple[list[float], float]:
    """The latency of every watched event but the first seconds', and the mean time between two looks, in seconds."""
    latencies: list[float] = []
    waiting: dict[AccountId, deque[int]] = {account: deque() for account in WATCHED}
    taken = dict.fromkeys(WATCHED, 0)
    started, looks, deadline = time.monotonic(), 0, None
    counts_from_ms = time.time_ns() // 1_000_000 + int(SETTLE_S * 1000)
    while True:
        is_over = offer.is_over()
        latest = here.latest(WATCHED)
        now_ms = time.time_ns() // 1_000_000
        worker.check()
        looks += 1
        for account, times in waiting.items():
            times.extend(offer.sent[account][taken[account] :])
            taken[account] += len(offer.sent[account]) - taken[account]
            while times and times[0] <= latest.get(account, 0):
                if (sent_ms := times.popleft()) >= counts_from_ms:
                    latencies.append((now_ms - sent_ms) / 1000)
        if is_over:
            deadline = deadline or time.monotonic() + LAST_WITHIN_S
            if not any(waiting.values()):
                return latencies, (time.monotonic() - started) / looks
            if time.monotonic() > deadline:
                raise SubjectFailed(f"{sum(map(len, waiting.values())):,} events are in no row")
        time.sleep(POLL_S)
