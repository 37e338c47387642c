"""The time of a peer's steady state, from its first record processed to its last, printed as one line of JSON.

Runs in the peers' environment, so it imports nothing of ours.
"""

import json
import sys
from time import perf_counter

LOOK_EVERY = 64  # records between looks at the clock


class Lap:
    """Counts up to so many records, or until so many seconds are over; those that warm up come before."""

    def __init__(self, warm_up: int, records: int, seconds: float) -> None:
        self._records, self._seconds = records, seconds
        self._count = -warm_up
        self._started = self._ended = 0.0

    def tick(self) -> bool:
        """A record was processed. True if it was the last; those that may follow do not count."""
        self._count = count = self._count + 1
        if count <= 1:
            self._started = perf_counter()
        elif count == self._records or (count % LOOK_EVERY == 0 and perf_counter() - self._started > self._seconds):
            self._ended = perf_counter()
            return True
        return False

    def end(self) -> None:
        """What was processed is committed as well."""
        self._ended = perf_counter()

    def tell(self) -> None:
        """Print how many records followed the first, and in how many seconds."""
        sys.stdout.write(json.dumps({"events": self._count - 1, "seconds": self._ended - self._started}) + "\n")
        sys.stdout.flush()


def lap_from(warm_up: str, records: str, seconds: str) -> Lap:
    """The lap that a command line asks for."""
    return Lap(int(warm_up), int(records), float(seconds))
