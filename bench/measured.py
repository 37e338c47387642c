"""What one run of one subject gave: the shape that all subjects share, those of peers too."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Step = Callable[[str], None]  # told what is under way
Unit = Literal["events/s", "s", "MB", "x"]

_FORMS: dict[Unit, str] = {"events/s": ",.0f", "s": ",.2f", "MB": ",.0f", "x": ",.2f"}


class SubjectFailed(Exception):
    """A subject did not do what was to be measured; one line says what happened."""


class Tables(NamedTuple):
    """What is in a database afterwards, which must be the same wherever the same events were read."""

    of: str  # the events
    values: dict[str, int]


@dataclass(frozen=True)
class Measured:
    """A line of the table, once.

    `seconds` is wall time. `peak_mb` is the largest sum of the resident memory of all processes at one moment,
    `process_mb` that of the largest process, in 10^6 bytes; pages that processes share count in each. `stages` are
    seconds: those of a replay follow each other, those of a worker may overlap.
    """

    row: str
    value: float
    unit: Unit
    events: int = 0
    seconds: float = 0.0
    peak_mb: float | None = None
    process_mb: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    tables: Tables | None = None

    def __str__(self) -> str:
        time = f", {self.seconds:.1f} s" if self.seconds and self.unit != "s" else ""
        memory = f", {self.peak_mb:,.0f} MB" if self.peak_mb is not None and self.unit != "MB" else ""
        notes = "".join(f", {name} {value:,g}" for name, value in self.notes.items())
        return f"{self.row}: {written(self.value, self.unit)}{time}{memory}{notes}"


def rate(
    row: str,
    events: int,
    seconds: float,
    *,
    peak_mb: float | None = None,
    process_mb: float | None = None,
    stages: dict[str, float] | None = None,
    notes: dict[str, float] | None = None,
    tables: Tables | None = None,
) -> Measured:
    """So many events in so many seconds."""
    value = events / seconds
    return Measured(
        row, value, "events/s", events, seconds, peak_mb, process_mb, stages or {}, notes or {}, tables
    )  # fmt: skip


def written(value: float, unit: Unit) -> str:
    """A value with its unit, as people read it.

    >>> written(61234.5, "events/s")
    '61,234 events/s'
    """
    return f"{value:{_FORMS[unit]}} {unit}"


Run = Generator[Measured, None, None]  # one run of a subject: each of its lines as soon as it is known
