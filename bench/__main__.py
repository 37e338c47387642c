"""`python -m bench`: every subject so many times, side by side in one run, then a table, a picture, a file of results.

A measurement, no test: a missed target is told, and the exit is 0. It is 1 if a subject fails, or if two subjects
that read the same events leave different tables.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import machine
from bench.measured import Measured, SubjectFailed, Tables
from bench.peers.subjects import settings as peers_settings
from bench.plot import plot_growth, plot_rates
from bench.report import print_rows, write_results
from bench.subjects import SUBJECTS, Subject
from bench.watch import Watch
from bench.workload import Workload

WIDTH = 160  # of what goes into a file
EPILOG = """\
whole, catching-up, ceilings, faust, quix and growth read the same kind of events: of 3,000 accounts in a year, Avro,
keyed by account, in 4 partitions of each topic of a real broker, which is started and loaded here, once for each number
of events. replay, shuffled, widths, ingest and gateway read JSON Lines of 300 sellers. The others start from a database
with events stored. Every subject is a consumer group or a process of its own. DIR also keeps the events and the
environment that the peers are installed in, for the next time. By default a bench takes some twenty minutes.

examples:
  python -m bench                                   everything that runs by default, three times
  python -m bench --events 50000 --runs 1           a first look, in some minutes
  python -m bench --only whole faust quix           one worker against its peers
  python -m bench --only memory --runs 1            half an hour for a figure
"""


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measure Sellerpulse on this machine, beside what bounds it and what people would use instead.\n\n"
        f"subjects that run by default:\n{_told(by_default=True)}\n\nonly when named:\n{_told(by_default=False)}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="how many (default: 1,000,000)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each (default: 3)")
    names = [subject.name for subject in SUBJECTS]
    defaults = [subject.name for subject in SUBJECTS if subject.by_default]
    parser.add_argument("--only", nargs="+", choices=names, default=defaults, metavar="NAME", help="these subjects")
    parser.add_argument(
        "--output", type=Path, default=Path(tempfile.gettempdir()) / "sellerpulse-bench", metavar="DIR",
        help="where results.json and the pictures go (default: a temporary folder)",
    )  # fmt: skip
    asked = parser.parse_args(words)
    if asked.events < 1 or asked.runs < 1:
        parser.error("--events and --runs are at least 1")
    return asked


def _told(*, by_default: bool) -> str:
    return "\n".join(f"  {s.name:<15}{s.about}" for s in SUBJECTS if s.by_default is by_default)


class Bench:
    """What was measured so far, what failed, and the tables that subjects of the same events must leave."""

    def __init__(self, work: Workload, watch: Watch) -> None:
        self.rows: dict[str, list[Measured]] = {}
        self.failures: dict[str, str] = {}
        self._work, self._watch = work, watch
        self._left: dict[str, tuple[str, Tables]] = {}

    def run(self, subject: Subject, folder: Path, which: str) -> None:
        """Measure a subject once, unless it failed before; the folder is removed afterwards."""
        if subject.name in self.failures:
            return
        try:
            with (
                tempfile.TemporaryDirectory(prefix="run-", dir=folder) as scratch,
                closing(subject.run(self._work, Path(scratch), self._watch.step)) as run,
            ):
                for measured in run:
                    self.rows.setdefault(measured.row, []).append(measured)
                    self._watch.say(f"{which}: {measured}")
                    self._compare(measured)
        except Exception as failed:  # noqa: BLE001  # whatever befalls one, the others are measured
            self.failures[subject.name] = f"{which}: {failed}"
            self._watch.say(f"{which}: {subject.name} FAILED: {failed}")

    def _compare(self, measured: Measured) -> None:
        if measured.tables is None:
            return
        row, tables = self._left.setdefault(measured.tables.of, (measured.row, measured.tables))
        if measured.tables != tables:
            raise SubjectFailed(f"the tables differ: {measured.row} left {measured.tables}, {row} before it {tables}")


def measure(asked: argparse.Namespace, subjects: Sequence[Subject], output: Path) -> Bench:
    """Run all subjects. Run by run and not subject by subject: what the machine does meanwhile falls on all of them."""
    with (
        Watch(asked.runs * len(subjects)) as watch,
        tempfile.TemporaryDirectory(prefix="bench-", dir=output) as scratch,
        closing(Workload(asked.events, output, Path(scratch), watch.step)) as work,
    ):
        bench = Bench(work, watch)
        for n in range(1, asked.runs + 1):
            for subject in subjects:
                bench.run(subject, Path(scratch), f"run {n} of {asked.runs}")
                watch.advance()
        return bench


def report(bench: Bench, about: Mapping[str, Any], output: Path, console: Console) -> None:
    """The table, the files, and what the peers were set to."""
    print_rows(console, bench.rows)
    for peer, told in about["peers"].items():
        console.print(f"{peer}. {told}", highlight=False)
    results, rates, growth = output / "results.json", output / "rates.png", output / "growth.png"
    write_results(results, about, bench.rows, bench.failures)
    drawn = [rates] if plot_rates(rates, bench.rows, about["machine"]) else []
    drawn += [growth] if plot_growth(growth, bench.rows) else []
    told = f"all numbers are in {results}" + "".join(f", drawn in {picture}" for picture in drawn)
    console.print(told, highlight=False, soft_wrap=True)


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
    bench = measure(asked, subjects, output)
    peers = peers_settings() if {"faust", "quix"} & {subject.name for subject in subjects} else {}
    about = {"machine": here, "events": asked.events, "runs": asked.runs, "peers": peers}
    report(bench, about, output, console)
    for name, why in bench.failures.items():
        print(f"{name} failed: {why}", file=sys.stderr)
    return 1 if bench.failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
