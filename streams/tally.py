"""What a worker counts of itself, from its start on, whatever its tenures. Knows no clock and no Kafka.

Place in the flow: beside it. The pipeline adds to it once a flush, not once an event; `telemetry` reads it when asked.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.events import Topic

FLUSH_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # upper ends, inclusive
KINDS_MAX = 40  # of reasons; a producer must not make labels without end
OTHER = "other"
_FOUND = re.compile(r": .*|(?<=schema fingerprint) \S+|(?<=schema id) \S+|(?<=a record of) \S+", re.DOTALL)


class Wait(NamedTuple):
    """Somebody waits for what is unavailable: since when, by the event loop's clock, and in what words."""

    since: float
    reason: str


@dataclass
class Tally:
    """Counts. Records are counted when they are durable: stored, duplicate, refused, or forwarded to their partition.

    A duplicate is known as one while its account is in memory; of others all are stored, and the database drops it.
    """

    records: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and what became of them
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # by topic and kind of reason
    rows: Counter[str] = field(default_factory=Counter)  # by what made them: memory or statement
    accounts: Counter[str] = field(default_factory=Counter)  # that a flush touched: hit, loaded (or new), cold
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)  # changes, by the new state and severity
    told: Counter[tuple[str, str]] = field(default_factory=Counter)  # changes, by receiver and what came of it
    flushes: list[int] = field(default_factory=lambda: [0] * (len(FLUSH_S) + 1))  # by how long they took
    flush_s: float = 0.0  # all of them together
    waits: dict[object, Wait] = field(default_factory=dict)  # what waits for a store, or a registry, right now

    def flushed(self, seconds: float) -> None:
        """A flush took so long."""
        self.flushes[bisect_left(FLUSH_S, seconds)] += 1
        self.flush_s += seconds

    def add(self, records: Mapping[tuple[str, str], int], refused: Mapping[tuple[Topic, str], int]) -> None:
        """So many records are durable, by topic and outcome; the refused ones by topic and reason."""
        self.records.update(records)
        known = {kind for _, kind in self.refused}
        for (topic, reason), count in refused.items():
            kind = kind_of(reason)
            if kind not in known:
                kind = kind if len(known) < KINDS_MAX else OTHER
                known.add(kind)
            self.refused[topic, kind] += count


def kind_of(reason: str) -> str:
    """A reason without what was found, which is the producer's.

    >>> kind_of("unknown kind: SHIPPD"), kind_of("unknown schema fingerprint 00c0ffee00c0ffee")
    ('unknown kind', 'unknown schema fingerprint')
    >>> kind_of("schema id 7 is unusable: KeyError"), kind_of("empty order_id")
    ('schema id is unusable', 'empty order_id')
    """
    return _FOUND.sub("", reason)
