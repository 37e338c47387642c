"""Subject: one `sellerpulse worker` on a real broker, behind by all events when it starts.

The database is an embedded folder that `sellerpulse clickhouse` serves: a worker that holds the folder itself could
not be asked when its rows are there. That server's memory counts; the broker's does not.
"""

import ast
import json
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from bench.measured import Measured, Run, Step, SubjectFailed
from bench.memory import Memory
from bench.program import LIMIT_S, Program, count, run, tables
from bench.workload import Workload
from schemas.errors import Unavailable
from schemas.events import TOPICS
from sink.connect import connect
from sink.store import Store
from streams.broker import Partition, Progress
from streams.settings import Settings
from tests.integration.broker import Broker, fetch

INGEST, COMMITTED, ROWS = "ingest to Kafka", "worker: all committed", "worker: all rows there"
POLL_S = 0.1


def worker_on_kafka(work: Workload, folder: Path, step: Step) -> Run:
    """Ingest everything; then a worker from its start until all is committed, and until all rows are right."""
    with ExitStack() as stack:
        step("starting Kafka")
        fetch()
        kafka = Broker(folder)
        stack.callback(kafka.stop)
        kafka.start()
        run("topics", "create", "--kafka", kafka.bootstrap, folder=folder)
        step(INGEST)
        sent = run("ingest", str(work.ordered), "--kafka", kafka.bootstrap, folder=folder)
        yield Measured(INGEST, work.events, sent.seconds, peak_mb=sent.peak_mb, process_mb=sent.process_mb)
        step("worker on Kafka")
        served = stack.enter_context(Program("clickhouse", "--db", "db", "--port", "0", folder=folder))
        yield from _work(work, kafka.bootstrap, served, folder)


def _work(work: Workload, bootstrap: str, served: Program, folder: Path) -> Run:
    """A worker until its rows are there; then it is stopped, for what it logs about its stages at its end."""
    url = served.printed(r"is served at (\S+)$")
    progress = Progress(bootstrap, Settings().kafka.group, _partitions())
    with closing(progress), closing(connect(url, create=False)) as store:
        ends = {at: end for at, (_, end) in progress.ends().items()}
        if (total := sum(ends.values())) != work.events:
            raise SubjectFailed(f"the topics hold {total:,} records, not {work.events:,}")
        started = time.monotonic()
        words = ("worker", "--kafka", bootstrap, "--db", url, "--log-format", "json")
        with Program(*words, folder=folder) as worker:
            with Memory(worker.pid, served.pid) as memory, Memory(worker.pid) as alone:
                first = _wait_for_commits(worker, progress, ends) - started
                committed = time.monotonic() - started
                _wait_for_rows(worker, store)
                rows = time.monotonic() - started
            asked_to_stop = time.monotonic()
            worker.stop()
            stopped = time.monotonic() - asked_to_stop
            stages = stages_of(worker.log)
    notes = {"first commit s": round(first, 1)}
    yield Measured(COMMITTED, work.events, committed, notes=notes)
    notes = {"rows": count(url, "seller_daily", folder), "worker MB": round(alone.peak_mb), "stop s": round(stopped, 1)}
    yield Measured(
        ROWS, work.events, rows, peak_mb=memory.peak_mb, process_mb=memory.process_mb, stages=stages, notes=notes,
        tables=tables(url, folder),
    )  # fmt: skip


def _partitions() -> list[Partition]:
    return [(topic, n) for topic in TOPICS for n in range(Settings().kafka.partitions)]


def _wait_for_commits(worker: Program, progress: Progress, ends: dict[Partition, int]) -> float:
    """Block until the group's committed offsets are the ends; the moment of its first commit."""
    deadline = time.monotonic() + LIMIT_S
    first: float | None = None
    while True:
        worker.check()
        with suppress(Unavailable):  # while the broker makes its topic of offsets
            committed = progress.committed()
            if first is None and any(committed.values()):
                first = time.monotonic()
            if first is not None and all(committed[at] >= end for at, end in ends.items()):
                return first
        if time.monotonic() > deadline:
            raise SubjectFailed(f"the worker has not committed everything after {LIMIT_S:,.0f} s")
        time.sleep(POLL_S)


def _wait_for_rows(worker: Program, store: Store) -> None:
    """Block until no account's rows lag its events or the as-of day."""
    standard, deadline = Settings().standard(judged=False), time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        worker.check()
        asked = time.monotonic()
        as_of = store.as_of()
        if as_of is not None and not store.behind(as_of, standard):
            return
        # The question reads every event: asked more often it would keep the worker from its work.
        time.sleep(POLL_S + 3 * (time.monotonic() - asked))
    raise SubjectFailed(f"rows are still behind their events after {LIMIT_S:,.0f} s")


def stages_of(log: str) -> dict[str, float]:
    """Seconds by stage, of all tenures that the worker's JSON log tells of: `{counts}; seconds: {stages}`.

    >>> line = '{"logger": "streams.pipeline", "message": "{}; seconds: {\\'decode\\': 1.5}"}'
    >>> stages_of("not JSON\\n" + line + "\\n" + line)
    {'decode': 3.0}
    """
    seconds: Counter[str] = Counter()
    for line in log.splitlines():
        with suppress(json.JSONDecodeError):
            _, told, stages = json.loads(line).get("message", "").rpartition("; seconds: ")
            if told:
                seconds.update(ast.literal_eval(stages))
    if not seconds:
        raise SubjectFailed("the worker logged no seconds by stage at its end")
    return dict(seconds)
