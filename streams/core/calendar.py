"""The calendar: the steps that an account's counters take, by day, and the sums of them at the as-of day.

Any day's counters are a prefix sum of steps, anchored at the as-of day, so that restating costs the days restated and
no more. Knows of counters and days alone; what makes steps is in `stories`.
"""

from array import array

import numpy as np

from streams.core.metrics import COUNTERS, Array
from streams.core.stories import Points

BEFORE_ALL = -(1 << 30)  # the as-of day before there is one
_WIDTHS = "bhi"  # of steps: half of an account's memory, and few have more than 127 of anything on a day


class Calendar:
    """Steps of every counter by day, and the sums at the as-of day."""

    def __init__(self) -> None:
        self.as_of = BEFORE_ALL
        self.sums = [0] * len(COUNTERS)
        self.steps: dict[int, array[int]] = {}
        self._nothing = _no_steps(_WIDTHS[0])

    def replace(self, before: Points, after: Points) -> int | None:
        """Steps in place of others; the first day on which that makes a difference, None if on none."""
        # Half of what an event costs a worker that is catching up, hence the plain loop.
        steps, sums, as_of, first = self.steps, self.sums, self.as_of, None
        for point, step in before.items():
            after[point] = after.get(point, 0) - step
        for (day, counter), step in after.items():
            if step:
                of_day = steps.get(day)
                if of_day is None:
                    of_day = steps[day] = self._nothing[:]
                try:
                    of_day[counter] += step
                except OverflowError:
                    self._widen(of_day[counter] + step)
                    steps[day][counter] += step
                if day <= as_of:
                    sums[counter] += step
                if first is None or day < first:
                    first = day
        return first

    def _widen(self, step: int) -> None:
        """Steps in arrays wide enough for this one."""
        width = next(width for width in _WIDTHS if step.bit_length() < 8 * array(width).itemsize)
        self._nothing = _no_steps(width)
        for day, of_day in self.steps.items():
            self.steps[day] = array(width, of_day)

    def move(self, as_of: int) -> None:
        """The as-of day moves forward."""
        passed = [day for day in self.steps if self.as_of < day <= as_of]
        for day in passed:
            for counter, step in enumerate(self.steps[day]):
                self.sums[counter] += step
        self.as_of = as_of

    def values(self, first: int, counters: slice = slice(None)) -> Array:
        """The counters at the end of each day from `first` to the as-of day: int64 (days, counters)."""
        steps = self.steps
        days = range(first + 1, self.as_of + 1)
        packed = b"".join([steps.get(day, self._nothing).tobytes() for day in days])
        moves = np.frombuffer(packed, dtype=self._nothing.typecode).reshape(len(days), len(COUNTERS))[:, counters]
        sums = np.array(self.sums, dtype=np.int64)[counters]
        values = np.empty((len(days) + 1, len(sums)), dtype=np.int64)
        values[0] = sums - moves.sum(axis=0, dtype=np.int64)
        np.cumsum(moves, axis=0, out=values[1:])
        values[1:] += values[0]
        return values


def _no_steps(width: str) -> "array[int]":
    return array(width, [0] * len(COUNTERS))
