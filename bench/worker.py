"""Subjects: one `sellerpulse worker` on a real broker, behind by all events when it starts, doing everything it does.

Time runs from before the worker's process starts. The database is an embedded folder that `sellerpulse clickhouse`
serves: a worker that holds the folder itself could not be asked when its rows are there. That server's memory counts;
the broker's does not.
"""

import ast
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import NamedTuple

from bench.measured import Run, Step, SubjectFailed, Tables, rate
from bench.memory import Memory
from bench.program import LIMIT_S, SERVED, Program, count, tables
from bench.wire import Year
from bench.workload import Workload
from schemas.errors import Unavailable
from schemas.events import TOPICS
from schemas.rows import Standard
from sink.connect import connect
from sink.store import Store
from streams.broker import Partition, Progress
from streams.settings import PREFIX, Settings, load_settings

WHOLE, WHOLE_COMMITTED = "Sellerpulse whole job", "whole job: all committed"
CATCHING, CATCHING_COMMITTED = "Sellerpulse catching up", "catching up: all committed"
ROWS = (WHOLE, CATCHING)
TWICE = 2  # as many records wait when it is to catch up
POLL_S = 0.1


class Done(NamedTuple):
    """Seconds from the workers' start, and what they took; `rows` are how many rows there are."""

    first_commit_s: float
    committed_s: float
    right_s: float
    stopped_s: float
    memory: Memory
    worker_mb: float
    stages: dict[str, float]
    rows: int
    tables: Tables


def whole_job(work: Workload, folder: Path, step: Step) -> Run:
    """The events of the workload until all is committed, and until every row up to today is right."""
    yield from _job(work, work.year(), (WHOLE_COMMITTED, WHOLE), folder, step)


def catching_up(work: Workload, folder: Path, step: Step) -> Run:
    """The same with twice as many."""
    yield from _job(work, work.year(TWICE), (CATCHING_COMMITTED, CATCHING), folder, step)


def _job(work: Workload, year: Year, names: tuple[str, str], folder: Path, step: Step) -> Run:
    bootstrap = work.brokers.holding(year)
    step(names[1])
    done = work_off(bootstrap, year.events, folder)
    yield rate(names[0], year.events, done.committed_s, notes={"first commit s": round(done.first_commit_s, 1)})
    notes = {"rows": done.rows, "worker MB": round(done.worker_mb), "stop s": round(done.stopped_s, 1)}
    yield rate(
        names[1], year.events, done.right_s, peak_mb=done.memory.peak_mb, process_mb=done.memory.process_mb,
        stages=done.stages, notes=notes, tables=done.tables,
    )  # fmt: skip


def work_off(
    bootstrap: str,
    events: int,
    folder: Path,
    *,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] | None = None,
) -> Done:
    """So many workers, of these settings, into a fresh database until every row is right; then they are stopped.

    `program` is what runs in place of `sellerpulse`, if anything.

    Raises SubjectFailed unless the topics hold so many events.
    """
    with ExitStack() as stack:
        served = stack.enter_context(Program("clickhouse", "--db", "db", "--port", "0", folder=folder))
        url = served.printed(SERVED)
        said = {**(settings or {}), "KAFKA__GROUP": f"bench-{time.time_ns()}"}
        progress = stack.enter_context(closing(Progress(bootstrap, said["KAFKA__GROUP"], partitions())))
        store = stack.enter_context(closing(connect(url, create=False)))
        ends = _ends(progress, events)
        started = time.monotonic()
        words = ("worker", "--kafka", bootstrap, "--db", url, "--log-format", "json")
        at_work = [
            stack.enter_context(Program(*words, folder=folder, settings=said, program=program)) for _ in range(workers)
        ]
        pids = [worker.pid for worker in at_work]
        with Memory(*pids, served.pid) as memory, Memory(*pids) as alone:
            first = wait_for_commits(at_work, progress, ends) - started
            committed = time.monotonic() - started
            right = wait_for_rows(at_work, store, standard_of(said)) - started
            checked = time.monotonic() - started
        for worker in at_work:
            worker.stop()
        stopped = time.monotonic() - started - checked
        stages = stages_of("\n".join(worker.log for worker in at_work))
        rows, left = count(url, "seller_daily", folder), tables(f"{events} on Kafka, {settings}", url, folder)
    return Done(first, committed, right, stopped, memory, alone.peak_mb, stages, rows, left)


def standard_of(said: Mapping[str, str]) -> Standard:
    """What tells rows of these settings from others."""
    environment = {f"{PREFIX}{name}": value for name, value in said.items()}
    return load_settings(environ=environment).standard(judged=False)


def _ends(progress: Progress, events: int) -> dict[Partition, int]:
    ends = {at: end for at, (_, end) in progress.ends().items()}
    if (total := sum(ends.values())) != events:
        raise SubjectFailed(f"the topics hold {total:,} records, not {events:,}")
    return ends


def partitions() -> list[Partition]:
    """All partitions of all topics of events."""
    return [(topic, n) for topic in TOPICS for n in range(Settings().kafka.partitions)]


def wait_for_commits(workers: Sequence[Program], progress: Progress, ends: dict[Partition, int]) -> float:
    """Block until the group's committed offsets are the ends; the moment of its first commit."""
    deadline = time.monotonic() + LIMIT_S
    first: float | None = None
    while True:
        for worker in workers:
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


def wait_for_rows(workers: Sequence[Program], store: Store, standard: Standard) -> float:
    """Block until no account's rows lag its events or the as-of day; the moment from which that was so."""
    deadline = time.monotonic() + LIMIT_S
    while (moment := time.monotonic()) < deadline:
        for worker in workers:
            worker.check()
        as_of = store.as_of()
        # Whether rows lag their events is a question that reads every event: asked all the time it would keep the
        # worker from its work. An account that the worker knows to lag has a mark that says so.
        if as_of is not None and not _marked_behind(store, as_of, standard) and not store.behind(as_of, standard):
            return moment
        time.sleep(POLL_S)
    raise SubjectFailed(f"rows are still behind their events after {LIMIT_S:,.0f} s")


def _marked_behind(store: Store, as_of: int, standard: Standard) -> bool:
    query = f"""SELECT count() = 0 OR countIf(formula != {standard.formula} OR as_of < toDate({as_of})) > 0
        FROM account_marks FINAL"""
    return bool(store.client.query(query).result_rows[0][0])


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
    return dict(seconds)
