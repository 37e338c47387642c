"""Databases with events stored, made once a bench and copied for each run that starts from one.

`python -m bench.stored DB FILE DAY` is the process that stores a file's events, by the program's own store, and moves
the as-of day to DAY. The rows are the program's to make: `sellerpulse rebuild`.
"""

import shutil
import subprocess
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path

from bench.measured import Step, SubjectFailed
from bench.program import run
from bench.wire import HEADER_BYTES, Year, read_wire, wire_file
from schemas.codec import digest_of
from schemas.events import TOPICS
from sink.connect import connect

ROOT = Path(__file__).parents[1]
BATCH = 200_000  # events an insert


class Databases:
    """Embedded databases by what they hold."""

    def __init__(self, folder: Path, output: Path, step: Step) -> None:
        self._folder, self._output, self._step = folder, output, step
        self._made: dict[tuple[Year, int, bool], Path] = {}

    def copy(self, year: Year, as_of: int, to: Path, *, with_rows: bool = True) -> Path:
        """A new database at `to` with these events, and if `with_rows`, every row right as of this day."""
        made = self._made.get((year, as_of, with_rows))
        if made is None:
            made = self._made[year, as_of, with_rows] = self._make(year, as_of, with_rows=with_rows)
        self._step("copying the database")
        shutil.copytree(made, to, symlinks=True)  # its own, relative ones
        return to

    def _make(self, year: Year, as_of: int, *, with_rows: bool) -> Path:
        file = wire_file(year, self._output, self._step)
        made = self._folder / f"db-{len(self._made)}"
        self._step(f"storing {year.events:,} events")
        command = [sys.executable, "-m", "bench.stored", str(made), str(file), str(as_of)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SubjectFailed(f"the events cannot be stored: {done.stderr.strip().splitlines()[-1]}")
        if with_rows:
            self._step("making their rows")
            run("rebuild", "--db", str(made), folder=self._folder)
        return made


def main(db: str, file: str, day: str) -> None:
    """Store the events."""
    records = read_wire(Path(file))
    with closing(connect(db)) as store:
        while batch := list(islice(records, BATCH)):
            for topic in TOPICS:
                payloads = [record.value[HEADER_BYTES:] for record in batch if record.topic == topic]
                store.add_events(topic, [(payload, digest_of(payload)) for payload in payloads])
        store.move_as_of(int(day))


if __name__ == "__main__":
    main(*sys.argv[1:])
