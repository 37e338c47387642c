"""Everything that can be measured. A further subject is a function and a line here.

Its function takes the workload, an empty folder that is removed afterwards, and whom to tell what is under way; it
yields a `Measured` for each of its lines in the table, and raises SubjectFailed when there is nothing to measure.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import (
    ceilings,
    cost,
    daysend,
    freshness,
    gateway,
    growth,
    ingest,
    questions,
    rebuild,
    replays,
    soak,
    takeover,
    widths,
    worker,
)
from bench.measured import Run, Step
from bench.peers import subjects as peers
from bench.workload import Workload


class Subject(NamedTuple):
    """What `--only` calls it, a line about it, how it is run once, and whether it runs unless asked for."""

    name: str
    about: str
    run: Callable[[Workload, Path, Step], Run]
    by_default: bool = True


SUBJECTS = (
    Subject("whole", "one worker doing everything: all events wait on a real broker", worker.whole_job),
    Subject("catching-up", "the same, with twice as many events waiting", worker.catching_up),
    Subject("ceilings", "what fetching and decoding alone take", ceilings.ceilings),
    Subject("faust", "Faust as it comes: nothing done, a counter, hopping windows", peers.faust),
    Subject("quix", "Quix Streams: a counter, sliding and hopping windows", peers.quix),
    Subject("replay", "replay of a file in order, into a fresh embedded database", replays.in_order),
    Subject("shuffled", "the same events in no order", replays.shuffled),
    Subject("rebuild", "all rows anew from stored events", rebuild.rebuild),
    Subject("cost", "the whole job with cases and alerts, and without", cost.cost, by_default=False),
    Subject("widths", "replay with windows of 30 and of 3,650 days", widths.widths, by_default=False),
    Subject(
        "freshness", "from an event to its row, at 5,000 events/s for a minute", freshness.freshness, by_default=False
    ),
    Subject(
        "take-over", "to the first new row, with ten times the events stored", takeover.take_over, by_default=False
    ),
    Subject(
        "days-end", "a tenth as many accounts, until each has its new day's row", daysend.days_end, by_default=False
    ),
    Subject("questions", "analysts' queries over 100,000 accounts", questions.asked, by_default=False),
    Subject("large-account", "all rows of one account with a million orders", rebuild.large_account, by_default=False),
    Subject("memory", "ten minutes over ten times the events (long)", soak.memory, by_default=False),
    Subject("growth", "over events, accounts, windows and workers (long)", growth.growth, by_default=False),
    Subject("ingest", "a file to Kafka", ingest.ingest, by_default=False),
    Subject("gateway", "NDJSON batches of 1,000 over HTTP to Kafka", gateway.gateway, by_default=False),
)
