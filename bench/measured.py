"""What one run of one subject gave: the shape that all subjects share, those of peers too."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

Step = Callable[[str], None]  # told what is under way


class SubjectFailed(Exception):
    """A subject did not do what was to be measured; one line says what happened."""


@dataclass(frozen=True)
class Measured:
    """A line of the table, once: so many events in so many seconds of wall time.

    `peak_mb` is the largest sum of the resident memory of all processes at one moment, `process_mb` that of the
    largest process, in 10^6 bytes; pages that processes share count in each. `stages` are seconds: those of a replay
    follow each other, those of a worker may overlap. `tables` is what every subject of the same events must leave.
    """

    row: str
    events: int
    seconds: float
    peak_mb: float | None = None
    process_mb: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    notes: dict[str, float] = field(default_factory=dict)
    tables: dict[str, int] | None = None

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    def __str__(self) -> str:
        memory = f", {self.peak_mb:,.0f} MB" if self.peak_mb is not None else ""
        notes = "".join(f", {name} {value:,g}" for name, value in self.notes.items())
        return f"{self.row}: {self.rate:,.0f} events/s, {self.seconds:.1f} s{memory}{notes}"


Run = Generator[Measured, None, None]  # one run of a subject: each of its lines as soon as it is known
