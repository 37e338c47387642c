"""The events that subjects read, each form of them made when the first subject asks for it and kept for the next.

As JSON Lines of 300 sellers for what reads files: in the order in which they happened, and in none. As Avro of 3,000
accounts, waiting on a real broker, for everything else.
"""

import random
from collections.abc import Callable
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from bench.kafka import Brokers
from bench.measured import Step
from bench.program import run
from bench.stored import Databases
from bench.wire import Year, wire_file, year_of
from streams.connectors import simulate

SELLERS, DAYS, SEED = 300, 365, 1
ACCOUNTS = 3_000


class Workload:
    """So many events. `output` keeps files for the next time, `scratch` goes with the bench; `close` stops brokers."""

    def __init__(self, events: int, output: Path, scratch: Path, step: Step) -> None:
        self.events, self.output = events, output
        self.brokers = Brokers(scratch, output, step)
        self.databases = Databases(scratch, output, step)
        self._scratch, self._step = scratch, step

    def year(self, times: float = 1) -> Year:
        """So many times the workload's events, of 3,000 accounts."""
        return year_of(ACCOUNTS, max(int(self.events * times), 1))

    @cached_property
    def wire(self) -> Path:
        """The year as it lies in Kafka."""
        return wire_file(self.year(), self.output, self._step)

    @cached_property
    def ordered(self) -> Path:
        """JSON Lines in the order in which they happened."""
        self._step(f"simulating {self.events:,} events of {SELLERS} sellers as JSON Lines")
        return self._made("events", self._simulate)

    @cached_property
    def shuffled(self) -> Path:
        """The same in no order."""
        ordered = self.ordered
        self._step("shuffling them")
        return self._made("shuffled", lambda partial: _shuffle(ordered, partial))

    def close(self) -> None:
        """Stop what runs."""
        self.brokers.close()

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        """Named after what makes it, so that an old file is never taken for a new one."""
        makers = Path(simulate.__file__).read_bytes(), Path(__file__).read_bytes()
        origin = blake2b(b"".join(makers), digest_size=4).hexdigest()
        file = self.output / f"{name}-{self.events}-{origin}.jsonl"
        if not file.exists():
            partial = self._scratch / "partial.jsonl"  # moved when whole
            make(partial)
            partial.replace(file)
        return file

    def _simulate(self, file: Path) -> None:
        run(
            "simulate", "--sellers", str(SELLERS), "--days", str(DAYS), "--events", str(self.events),
            "--seed", str(SEED), "-o", str(file), folder=self._scratch,
        )  # fmt: skip


def _shuffle(ordered: Path, shuffled: Path) -> None:
    lines = ordered.read_bytes().splitlines(keepends=True)
    random.Random(SEED).shuffle(lines)
    with shuffled.open("wb") as file:
        file.writelines(lines)
