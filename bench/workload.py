"""The events that every subject reads: simulated once, then the same shuffled, and kept for the next time."""

import random
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measured import Step
from bench.program import run
from streams.connectors import simulate

SELLERS, DAYS, SEED = 300, 365, 1


@dataclass(frozen=True)
class Workload:
    """So many events as JSON Lines: in the order in which they happened, and in none."""

    events: int
    ordered: Path
    shuffled: Path


def prepare(events: int, folder: Path, step: Step) -> Workload:
    """The files, made where they are missing. Named after what makes them, so that old ones are never taken for new."""
    makers = Path(simulate.__file__).read_bytes(), Path(__file__).read_bytes()
    origin = blake2b(b"".join(makers), digest_size=4).hexdigest()
    ordered = folder / f"events-{events}-{origin}.jsonl"
    shuffled = ordered.with_name(f"shuffled-{ordered.name}")
    with TemporaryDirectory(prefix="prepare-", dir=folder) as scratch:
        _make(events, ordered, shuffled, Path(scratch), step)
    return Workload(events, ordered, shuffled)


def _make(events: int, ordered: Path, shuffled: Path, scratch: Path, step: Step) -> None:
    partial = scratch / "partial.jsonl"  # moved when whole: an interrupted start leaves nothing that looks complete
    if not ordered.exists():
        step(f"simulating {events:,} events of {SELLERS} sellers")
        run(
            "simulate", "--sellers", str(SELLERS), "--days", str(DAYS), "--events", str(events), "--seed", str(SEED),
            "-o", str(partial), folder=scratch,
        )  # fmt: skip
        partial.replace(ordered)
    if not shuffled.exists():
        step("shuffling them")
        lines = ordered.read_bytes().splitlines(keepends=True)
        random.Random(SEED).shuffle(lines)
        with partial.open("wb") as file:
            file.writelines(lines)
        partial.replace(shuffled)
