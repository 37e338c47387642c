"""Rows of all accounts, or of a sample, held against the stored events; and what is wrong put right.

The same check as a worker's of a few accounts, slice by slice. It may run beside workers: an account that they are
about to restate is late, not wrong. What is wrong is written anew as `streams.rebuild` does it, under the epoch of the
worker that wrote the account last, once rows are gone that nobody of that epoch can have written: whatever put them
there, they would outrank all that is right.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from schemas.rows import EPOCH_BITS, AccountId, DailyRows, SelfCheck, Standard, Wrong
from streams.checking import check
from streams.core.metrics import Terms
from streams.lagging import next_slice
from streams.port import Sink, as_of_day
from streams.rebuild import EVERYTHING, Progress, restate

PARTS = 4  # a slice is compared column by column: a quarter of what a statement computes otherwise
NOBODY = 0  # the epoch under which a check of all accounts is noted


class Store(Sink, Protocol):
    """What this needs of a store beside what a pipeline does. Calls block."""

    def strays(self) -> list[AccountId]:
        """Accounts that have rows or cases, and no event."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""

    def drop_cases(self, accounts: Sequence[AccountId]) -> None:
        """Remove all case rows of these accounts."""

    def drop_rows(self, versions: Mapping[AccountId, int]) -> None:
        """Of each account remove the rows of that version or a greater one, and those of days after the as-of day."""


class Sample(NamedTuple):
    """So many accounts, chosen by this seed."""

    size: int
    seed: int


class Verified(NamedTuple):
    """How many accounts were compared, how many rows they should have, what is wrong, and how many accounts lag."""

    accounts: int
    rows: int
    wrong: dict[AccountId, Wrong]
    late: int

    @property
    def differing(self) -> int:
        """Rows that are wrong, missing or surplus."""
        return sum(wrong.all_rows for wrong in self.wrong.values())


def verify(
    store: Store,
    terms_of: Callable[[str], Terms],
    standard: Standard,
    progress: Progress,
    *,
    sample: Sample | None,
    now_ms: int,
) -> Verified:
    """Hold rows against the stored events, and of all accounts note what came of it.

    `progress` hears of accounts done, of how many. Raises SellerpulseError before there is an as-of day.
    """
    as_of, sizes = as_of_day(store), store.sizes(*EVERYTHING, among=None)
    accounts = sorted({*sizes, *store.strays()})
    if sample is not None:
        accounts = sorted(random.Random(sample.seed).sample(accounts, min(sample.size, len(accounts))))

    def cost(key: AccountId) -> tuple[int, int]:
        events, first_day = sizes.get(key, (0, as_of))
        return as_of + 1 - first_day, events

    found, done, waiting = Verified(0, 0, {}, 0), 0, iter(accounts)
    while these := next_slice(waiting, cost, PARTS):
        progress(done, len(accounts))
        checked = check(store, these, terms_of, standard)
        found = Verified(
            found.accounts + checked.accounts, found.rows + checked.rows, found.wrong | checked.wrong,
            found.late + len(checked.late),
        )  # fmt: skip
        done += len(these)
    progress(done, len(accounts))
    if sample is None:
        differed_at = now_ms if found.wrong else None
        store.add_self_check(SelfCheck(NOBODY, now_ms, found.accounts, found.rows, found.differing, differed_at))
    return found


def repair(
    store: Store,
    wrong: Mapping[AccountId, Wrong],
    terms_of: Callable[[str], Terms],
    standard: Standard,
    progress: Progress,
) -> None:
    """Write all rows of these accounts anew. Interrupted, `verify` finds what is left."""
    stored, marks = store.stored(list(wrong)), store.marks(list(wrong))
    versions = dict.fromkeys(wrong, 0)
    for key, of in stored.items():
        epoch = marks[key].version >> EPOCH_BITS if key in marks else 0
        versions[key] = (epoch << EPOCH_BITS | of.events) + 1
    store.drop_rows(versions)
    store.drop_cases(list(versions))
    first_days = {key: of.first_day for key, of in stored.items()}
    left = store.rows(list(first_days), 0, ())
    for key, at in zip(left.accounts, np.cumsum([0, *left.sizes]), strict=False):
        first_days[key] = min(first_days[key], int(left.columns["day"][at]))
    restate(store, first_days, terms_of, standard, progress)
