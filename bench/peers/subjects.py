"""Subjects: Faust and Quix Streams, over the same records on the same broker, each job in a process of its own.

Measured in the steady state, from the first record processed to the last (Quix Streams: to the commit that follows),
which leaves out their start. The slow ones get a share of the records, the first ones of the year: windows hold few
records then, which is in their favour. Only the sliding windows of even accounts are filled before, with 90 days. None
of them decodes a value: event time is the record's time.
"""

import ast
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.measured import Measured, Run, Step, SubjectFailed, rate
from bench.peers.environment import python_of_peers
from bench.wire import DAYS
from bench.workload import Workload

FAUST_NOTHING, FAUST_COUNTER = "Faust: nothing done", "Faust: table counter"
FAUST_HOPPING = "Faust: hopping 90 d by 1 d"
QUIX_COUNTER, QUIX_SLIDING = "Quix: counter", "Quix: sliding 90 d"
QUIX_EVEN, QUIX_HOPPING = "Quix: sliding 90 d, even accounts", "Quix: hopping 90 d by 1 d"
ROOT = Path(__file__).parents[2]
IN_MEMORY = Path("/dev/shm")
SECONDS = 60.0  # at most, of steady state
LIMIT_S = 300.0  # of a process


class Job(NamedTuple):
    """A line of the table: whose, which, how many records at most, and how many days come before those that count."""

    row: str
    peer: str
    name: str
    records: int
    warm_up_days: int = 0


FAUST = (
    Job(FAUST_NOTHING, "faust", "nothing", 200_000),
    Job(FAUST_COUNTER, "faust", "counter", 100_000),
    Job(FAUST_HOPPING, "faust", "hopping", 4_000),
)
QUIX = (
    Job(QUIX_COUNTER, "quix", "counter", 1_000_000),
    Job(QUIX_SLIDING, "quix", "sliding", 4_000),
    Job(QUIX_EVEN, "quix", "even", 20_000, warm_up_days=90),
    Job(QUIX_HOPPING, "quix", "hopping", 20_000),
)
ROWS = tuple(job.row for job in FAUST + QUIX)


def faust(work: Workload, folder: Path, step: Step) -> Run:
    """An agent that does nothing, a counter, a hopping table."""
    yield from _all(FAUST, work, folder, step)


def quix(work: Workload, folder: Path, step: Step) -> Run:
    """A counter, sliding and hopping windows."""
    yield from _all(QUIX, work, folder, step)


def _all(jobs: tuple[Job, ...], work: Workload, folder: Path, step: Step) -> Run:
    python = python_of_peers(work.output, step)
    bootstrap = work.brokers.holding(work.year())
    for job in jobs:
        step(job.row)
        yield _run(job, python, bootstrap, work.events, folder)


def _run(job: Job, python: Path, bootstrap: str, events: int, folder: Path) -> Measured:
    """One process until its lap is over."""
    warm_up = events * job.warm_up_days // DAYS
    lap = map(str, (warm_up, min(job.records, events - warm_up), SECONDS))
    state = Path(tempfile.mkdtemp(prefix="peer-", dir=IN_MEMORY if IN_MEMORY.is_dir() else folder))
    group = f"{job.peer}-{job.name}-{time.time_ns()}"
    module = f"bench.peers.on_{job.peer}"
    command = [str(python), "-W", "ignore", "-m", module, job.name, bootstrap, group, str(state), *lap]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise SubjectFailed(f"{job.row}: not over after {LIMIT_S:.0f} s") from None
    finally:
        shutil.rmtree(state, ignore_errors=True)
    if done.returncode != 0 or not done.stdout.strip():
        raise SubjectFailed(f"{job.row}: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["events"] < 1:
        raise SubjectFailed(f"{job.row}: nothing was processed")
    return rate(
        job.row,
        told["events"],
        told["seconds"],
        notes={"records": told["events"], "warm-up": warm_up} if warm_up else {"records": told["events"]},
    )


def settings() -> dict[str, str]:
    """What each peer was set to, as its script's docstring says."""
    return {"Faust": _settings("on_faust.py"), "Quix Streams": _settings("on_quix.py")}


def _settings(script: str) -> str:
    told = ast.get_docstring(ast.parse(Path(__file__).with_name(script).read_text(encoding="utf-8"))) or ""
    return " ".join(next(part for part in told.split("\n\n") if part.startswith("Settings")).split())
