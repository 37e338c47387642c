"""Rows computed anew from the stored events: after a change of settings, or because they are not right.

The same statement as for accounts that a worker leaves cold, slice by slice, each marked when it is done: a rebuild
that was interrupted goes on where it stopped. It may run beside workers: rows and marks are written under the epoch of
the worker that wrote the account last, so what that one writes later outranks them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from schemas.rows import EPOCH_BITS, AccountId, Mark, Standard
from streams.accounts import first_row
from streams.core.metrics import Terms
from streams.following import Follower
from streams.lagging import Lag
from streams.marks import Tenure
from streams.port import Connection, Sink, as_of_day

EVERYTHING = 1, frozenset((0,))  # how many partitions there are, and which are meant

T = TypeVar("T")
Progress = Callable[[int, int], None]


def rebuild(store: Sink, terms_of: Callable[[str], Terms], standard: Standard, progress: Progress) -> int:
    """Bring all rows up to date with the stored events and these settings; of how many accounts that took.

    `progress` hears of accounts done, of how many. Raises SellerpulseError before there is an as-of day.
    """
    lagging = store.behind(as_of_day(store), standard, *EVERYTHING, thorough=True)
    return restate(store, lagging, terms_of, standard, progress)


def restate(
    store: Sink,
    lagging: Mapping[AccountId, int],
    terms_of: Callable[[str], Terms],
    standard: Standard,
    progress: Progress,
) -> int:
    """Write all rows of these accounts anew, each given with the first day that has an event or a row; how many."""
    as_of = as_of_day(store)
    marks = store.marks(list(lagging))
    done = 0
    for epoch, accounts in _by_epoch(lagging, marks).items():
        written = max((mark.version & (1 << EPOCH_BITS) - 1 for key in accounts if (mark := marks.get(key))), default=0)
        follower = Follower(
            store, terms_of, tenure=Tenure(0, epoch, *EVERYTHING), standard=standard, as_of=as_of, hot_bytes=0,
            call=_at_once, computing=Connection(store, _at_once), tell=_by_nobody, judge=_by_nobody,
            marks_written=written,
        )  # fmt: skip
        follower.lagging.accounts = {key: Lag(True, min(lagging[key], first_row(marks.get(key)))) for key in accounts}
        while follower.lagging:
            progress(done, len(lagging))
            before = len(follower.lagging)
            asyncio.run(follower.settle())
            done += before - len(follower.lagging)
    progress(done, len(lagging))
    return done


def _by_epoch(accounts: Iterable[AccountId], marks: dict[AccountId, Mark]) -> dict[int, list[AccountId]]:
    found: dict[int, list[AccountId]] = {}
    for key in accounts:
        mark = marks.get(key)
        found.setdefault(mark.version >> EPOCH_BITS if mark else 0, []).append(key)
    return found


async def _at_once(call: Callable[..., T], *args: Any) -> T:
    return call(*args)


async def _by_nobody(_: Any) -> None:
    """Alerts are the workers' and the replays' business, and nobody is told of cases anew."""
