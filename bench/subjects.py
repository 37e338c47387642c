"""Everything that can be measured. A further subject, such as a peer, is a function and a line here.

Its function takes the workload, an empty folder that is removed afterwards, and whom to tell what is under way; it
yields a `Measured` for each of its lines in the table, and raises SubjectFailed when there is nothing to measure.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import ceilings, replays, worker
from bench.measured import Run, Step
from bench.workload import Workload


class Subject(NamedTuple):
    """What `--only` calls it, a line about it, and how it is run once."""

    name: str
    about: str
    run: Callable[[Workload, Path, Step], Run]


SUBJECTS = (
    Subject("replay", "replay of the events in order, into a fresh embedded database", replays.in_order),
    Subject("shuffled", "the same events in no order", replays.shuffled),
    Subject("worker", "ingest, then one worker on a real Kafka", worker.worker_on_kafka),
    Subject("ceilings", "what decoding alone takes", ceilings.ceilings),
)
