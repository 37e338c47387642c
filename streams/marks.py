"""Marks: whose accounts are, and how far their rows follow their events.

A mark tells the checksum of the events that an account's rows know of, the settings they follow, and their days. It is
written after all that it tells of: what a crash leaves in between is found by `Sink.behind`, and so is what lags.
Rows may begin earlier than a mark tells. Should the event of such a day give way to another, whoever comes after a
crash would not look for its rows: so the day is noted before, by a mark of no checksum.

Its place in the flow: under what writes rows. Writes nothing but marks.
"""

from collections.abc import Iterable, Mapping
from itertools import count
from typing import NamedTuple

from schemas.rows import EPOCH_BITS, AccountId, Mark, Standard, Stored
from streams.accounts import first_row
from streams.core.metrics import FOREVER
from streams.port import Call, Sink


class Tenure(NamedTuple):
    """Partitions given to a worker, from an assignment to the next: these, of so many, under this fencing epoch."""

    generation: int
    epoch: int
    partitions: int
    owned: frozenset[int]

    def version(self, number: int) -> int:
        """The version of what is written now: fencing epoch, then a number that grows within it. The greatest stands.

        Of rows that is the number of accepted events, of marks how many were written.
        """
        return self.epoch << EPOCH_BITS | number


class Marks:
    """The marks of one tenure's accounts; `written`: so many under its epoch before."""

    def __init__(self, sink: Sink, call: Call, *, tenure: Tenure, standard: Standard, written: int = 0) -> None:
        self.first_rows: dict[AccountId, int] = {}  # of stored accounts: the first day of a row, as far as is noted
        self._sink, self._call, self._tenure, self._standard = sink, call, tenure, standard
        self._claimed: set[AccountId] = set()  # marked under this epoch
        self._written = count(written + 1)

    async def look(self) -> None:
        """Find the accounts of ours, and what is noted of them."""
        known = await self._call(self._sink.accounts, *self._tenure[2:])
        self.first_rows = {key: FOREVER if day is None else day for key, day in known.items()}

    async def note(self, floors: Mapping[AccountId, int]) -> None:
        """Where rows may begin earlier than the sink knows, tell it, before anything is stored of that."""
        version, nothing = self._next(), Standard(0)
        lower = {key: floor for key, floor in floors.items() if floor < self.first_rows[key]}
        if lower:
            await self._call(
                self._sink.add_marks, [Mark(key, 0, nothing, day, day, version) for key, day in lower.items()]
            )
            self.first_rows |= lower

    async def claim(self, accounts: Iterable[AccountId], marks: Mapping[AccountId, Mark] | None = None) -> None:
        """Mark accounts as ours, by the mark that they have, before we look at their cases.

        What an owner before us writes of cases after that is not taken, and what it wrote before is seen, though the
        events that it knew may have given way to others.
        """
        if theirs := [key for key in accounts if key not in self._claimed]:
            marks = await self._call(self._sink.marks, theirs) if marks is None else marks
            none = Mark(("", ""), 0, Standard(0), 1, 0, 0)
            of_others = [key for key in theirs if marks.get(key, none).version >> EPOCH_BITS != self._tenure.epoch]
            ours = [marks.get(key, none)._replace(account=key, version=self._next()) for key in of_others]
            if ours:
                await self._call(self._sink.add_marks, ours)
            self._claimed.update(theirs)

    async def write(self, accounts: Mapping[AccountId, Stored], as_of: int) -> list[Mark]:
        """Note that all rows of these accounts up to that day are those of so many events."""
        marks = [
            Mark(key, of.checksum, self._standard, min(of.first_day, as_of + 1), as_of, self._next())
            for key, of in accounts.items()
        ]
        await self._call(self._sink.add_marks, marks)
        self.first_rows |= {mark.account: first_row(mark) for mark in marks}
        self._claimed.update(accounts)
        return marks

    def _next(self) -> int:
        return self._tenure.version(next(self._written))
