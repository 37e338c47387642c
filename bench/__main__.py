"""`python -m bench`: every subject so many times, side by side in one run, then a table and a file of results.

A measurement, no test: a missed target is told, and the exit is 0. It is 1 if a subject fails, or if two subjects
that read the same events leave different tables.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from subprocess import SubprocessError

from rich.console import Console

from bench.machine import machine
from bench.measured import Measured, SubjectFailed
from bench.report import Rows, print_rows, write_results
from bench.subjects import SUBJECTS, Subject
from bench.watch import Watch
from bench.workload import Workload, prepare
from schemas.errors import SellerpulseError

WIDTH = 132  # of what goes into a file
FAILURES = (SubjectFailed, SellerpulseError, SubprocessError, OSError, RuntimeError)  # the last: a broker not up


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Sellerpulse on this machine.",
        epilog="; ".join(f"{subject.name}: {subject.about}" for subject in SUBJECTS),
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="how many (default: 1,000,000)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each (default: 3)")
    names = [subject.name for subject in SUBJECTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--output", type=Path, default=Path(tempfile.gettempdir()) / "sellerpulse-bench", metavar="DIR",
        help="where results.json goes, the events are kept and databases rest meanwhile (default: a temporary folder)",
    )  # fmt: skip
    asked = parser.parse_args(words)
    if asked.events < 1 or asked.runs < 1:
        parser.error("--events and --runs are at least 1")
    return asked


class Bench:
    """What was measured so far, what failed, and the tables that every subject must leave."""

    def __init__(self, watch: Watch) -> None:
        self.rows: Rows = {}
        self.failures: dict[str, str] = {}
        self._watch = watch
        self._first: Measured | None = None

    def run(self, subject: Subject, work: Workload, folder: Path, which: str) -> None:
        """Measure a subject once, unless it failed before; the folder is removed afterwards."""
        if subject.name in self.failures:
            return
        try:
            with (
                tempfile.TemporaryDirectory(prefix="run-", dir=folder) as scratch,
                closing(subject.run(work, Path(scratch), self._watch.step)) as run,
            ):
                for measured in run:
                    self.rows.setdefault(measured.row, []).append(measured)
                    self._watch.say(f"{which}: {measured}")
                    self._compare(measured)
        except FAILURES as failed:
            self.failures[subject.name] = f"{which}: {failed}"
            self._watch.say(f"{which}: {subject.name} FAILED: {failed}")

    def _compare(self, measured: Measured) -> None:
        if measured.tables is None:
            return
        if self._first is None:
            self._first = measured
        elif measured.tables != self._first.tables:
            told = f"{measured.row} left {measured.tables}, {self._first.row} before it {self._first.tables}"
            raise SubjectFailed(f"the tables differ: {told}")


def main(words: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 measured, 1 a subject failed; wrong usage exits with 2."""
    asked, console = _arguments(words), Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    asked.output.mkdir(parents=True, exist_ok=True)
    output = asked.output.resolve()
    here = machine()
    console.print(", ".join(f"{name} {value}" for name, value in here.items()), highlight=False)
    subjects = [subject for subject in SUBJECTS if subject.name in asked.only]
    with Watch(asked.runs * len(subjects)) as watch:
        try:
            work = prepare(asked.events, output, watch.step)
        except FAILURES as failed:
            print(f"no events to measure with: {failed}", file=sys.stderr)
            return 1
        bench = Bench(watch)
        # Run by run and not subject by subject: what the machine does meanwhile then falls on all of them.
        for n in range(1, asked.runs + 1):
            for subject in subjects:
                bench.run(subject, work, output, f"run {n} of {asked.runs}")
                watch.advance()
    print_rows(console, bench.rows)
    results = output / "results.json"
    write_results(results, here, asked.events, bench.rows, bench.failures)
    console.print(f"all numbers are in {results}", highlight=False, soft_wrap=True)
    for name, why in bench.failures.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
