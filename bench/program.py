"""Runs `sellerpulse` as its users do, in processes of its own, with default settings but for what a subject says."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bench.measured import SubjectFailed, Tables
from bench.memory import Memory
from streams.settings import PREFIX

SELLERPULSE = Path(sys.executable).with_name("sellerpulse")
LIMIT_S = 4 * 3600.0
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
SERVED = r"is served at (\S+)$"  # what `clickhouse` prints

_LAST_DAY = """SELECT toDate(max(event_time), 'UTC') FROM (
    SELECT event_time FROM order_events UNION ALL SELECT event_time FROM feedback_events
    UNION ALL SELECT event_time FROM survey_events)"""
# Up to the last event's day: a live worker's rows go on to today. All columns by their bits, in one number.
_TABLES = f"""SELECT
    (SELECT count() FROM order_events) AS orders, (SELECT count() FROM feedback_events) AS feedback,
    (SELECT count() FROM survey_events) AS surveys,
    count() AS seller_days, sum(orders_lifetime) AS orders_lifetime,
    groupBitXor(cityHash64(toString(tuple(* EXCEPT (computed_at))))) AS fingerprint
FROM seller_daily WHERE day <= ({_LAST_DAY})"""


class Finished(NamedTuple):
    """What a program printed, how long it took from before its start until after its end, and its memory."""

    output: str
    seconds: float
    peak_mb: float
    process_mb: float


class Program:
    """`sellerpulse` with these words, started in `folder`, for a `with` block; what still runs at its end is killed.

    `settings` are as in the environment, without their prefix: {"KAFKA__GROUP": "bench"}. `program` takes its place.
    """

    def __init__(
        self,
        *words: str,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] | None = None,
    ) -> None:
        stem = f"{words[0]}-{time.monotonic_ns()}"
        self._output, self._errors = folder / f"{stem}.out", folder / f"{stem}.err"
        self._words = words
        # Settings come from the environment and from a file in the working folder: there is none here.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        environment |= {f"{PREFIX}{name}": value for name, value in (settings or {}).items()}
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*(program or [str(SELLERPULSE)]), *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=errors,
            )  # fmt: skip
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self._output.read_text(errors="replace")

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        return self._errors.read_text(errors="replace")

    def wait(self, within_s: float = LIMIT_S) -> None:
        """Block until it has ended. Raises SubjectFailed unless by itself, in time and with exit code 0."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise SubjectFailed(f"sellerpulse {self._words[0]} takes more than {within_s:,.0f} s") from None
        if code != 0:
            raise self._ended(code)

    def check(self) -> None:
        """Raises SubjectFailed if it ended."""
        if (code := self._process.poll()) is not None:
            raise self._ended(code)

    def printed(self, pattern: str) -> str:
        """The first group of what it is to print, once it did. Raises SubjectFailed if it ends before."""
        deadline = time.monotonic() + READY_WITHIN_S
        while (found := re.search(pattern, self.output, re.MULTILINE)) is None:
            self.check()
            if time.monotonic() > deadline:
                raise SubjectFailed(f"sellerpulse {self._words[0]} is not ready after {READY_WITHIN_S:.0f} s")
            time.sleep(0.05)
        return found[1]

    def stop(self) -> None:
        """SIGTERM, and wait. Raises SubjectFailed if its end is not a good one."""
        self._process.terminate()
        self.wait(STOPPED_WITHIN_S)

    def _ended(self, code: int) -> SubjectFailed:
        return SubjectFailed(f"sellerpulse {self._words[0]} ended with exit code {code}: {_why(self.log)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _why(log: str) -> str:
    """The first exception that a JSON log tells of, else the last line."""
    lines = log.strip().splitlines()
    for line in lines:
        with suppress(json.JSONDecodeError):
            if exception := json.loads(line).get("exception"):
                return str(exception).strip().splitlines()[-1]
    return lines[-1] if lines else "nothing said"


def run(*words: str, folder: Path, settings: Mapping[str, str] | None = None) -> Finished:
    """Run `sellerpulse` with these words until it ends by itself. Raises SubjectFailed."""
    started = time.monotonic()
    with Program(*words, folder=folder, settings=settings) as program:
        with Memory(program.pid) as memory:
            program.wait()
        seconds = time.monotonic() - started
        return Finished(program.output, seconds, memory.peak_mb, memory.process_mb)


def tables(of: str, db: str, folder: Path) -> Tables:
    """What subjects that read these events must agree on: events kept, days, orders, and every column's bits."""
    return Tables(of, json.loads(run("sql", _TABLES, "--db", db, "--format", "JSONEachRow", folder=folder).output))


def count(db: str, table: str, folder: Path) -> int:
    """How many rows there are."""
    return int(run("sql", f"SELECT count() FROM {table}", "--db", db, "--format", "TSV", folder=folder).output)
