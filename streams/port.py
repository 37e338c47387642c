"""The sink as the pipeline sees it: `sink.store` and its in-memory twin, by their shape alone."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol, TypeVar

from schemas.errors import SellerpulseError, Unavailable
from schemas.events import Topic
from schemas.rows import (
    AccountId,
    CaseRow,
    CaseStories,
    Loaded,
    Mark,
    OrderId,
    Rejected,
    SelfCheck,
    Standard,
    Stored,
    Wrong,
)
from streams.core.metrics import Array, Terms
from streams.intake import Partition
from streams.tally import Wait

log = logging.getLogger(__name__)

RETRY_S = (0.2, 10.0)  # first and longest pause before an unavailable sink is tried again
T = TypeVar("T")


async def patiently(
    thread: Executor,
    wanted: Callable[[], bool],
    call: Callable[..., T],
    *args: Any,
    waits: MutableMapping[object, Wait] | None = None,
) -> T:
    """Run a blocking call of the sink; one that is unavailable is tried until it is not, which holds all else back.

    Meanwhile it is among the `waits`. Raises CancelledError when the answer is no longer `wanted`.
    """
    pause, longest = RETRY_S
    loop, this, waits = asyncio.get_running_loop(), object(), {} if waits is None else waits
    try:
        while wanted():
            try:
                return await loop.run_in_executor(thread, call, *args)
            except Unavailable as failed:
                log.warning("%s; trying again in %.1f s", failed, pause)
                waits[this] = Wait(waits[this].since if this in waits else loop.time(), str(failed))
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, longest)
    finally:
        waits.pop(this, None)
    raise asyncio.CancelledError


class Call(Protocol):
    """Runs a blocking call of the sink, and comes back when it is done."""

    async def __call__(self, call: Callable[..., T], *args: Any) -> T: ...


class Connection(NamedTuple):
    """A connection to the store, and what runs its calls, one after another."""

    sink: "Sink"
    call: Call


class Sink(Protocol):
    """What the pipeline needs of a store; every write may be repeated. Calls block."""

    def add_events(self, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (payload, digest) pairs of accepted events."""

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False, since_ms: int | None = None) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled`, at least that.

        With `since_ms` at least the orders that have an event, or a promise, at that time or later.
        """

    def stored(self, accounts: Sequence[AccountId]) -> dict[AccountId, Stored]:
        """How much is stored of these accounts, as far as anything is."""

    def sizes(
        self, partitions: int, owned: Iterable[int], *, among: Sequence[AccountId] | None
    ) -> dict[AccountId, tuple[int, int]]:
        """How many events accounts of these partitions have, roughly, and the day of the first.

        Of those `among` these, if they are given.
        """

    def marks(self, accounts: Sequence[AccountId]) -> dict[AccountId, Mark]:
        """The marks of these accounts, as far as they have one."""

    def recompute(self, accounts: Sequence[AccountId], terms: Terms, *, first: int, as_of: int, epoch: int) -> None:
        """Write the rows of these accounts from day `first` to `as_of` as their stored events give them."""

    def differing(self, accounts: Sequence[AccountId], terms: Terms, *, as_of: int) -> dict[AccountId, Wrong]:
        """Of these accounts those with rows other than their stored events give, and what is wrong with them."""

    def add_self_check(self, check: SelfCheck) -> None:
        """Note what came of that; of an epoch the last note stands."""

    def add_rows(self, accounts: Sequence[AccountId], sizes: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Write rows of `seller_daily`, so many for each account."""

    def add_gone(self, account: AccountId, days: range, version: int) -> None:
        """The account has no rows of these days any more."""

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Write how far accounts' rows are."""

    def stale_orders(self, accounts: Sequence[AccountId], until_ms: int, reading: int) -> list[OrderId]:
        """Orders of these accounts whose case rows are not of this reading and of their events before `until_ms`.

        Of no reading that is 0: all that have case rows, or should.
        """

    def case_stories(self, orders: Sequence[OrderId], until_ms: int) -> CaseStories:
        """What is stored of these orders that happened before `until_ms`, and their case rows, gone ones too."""

    def add_cases(self, rows: Sequence[CaseRow]) -> None:
        """Write cases, but not of an account that a later epoch has marked."""

    def accounts(self, partitions: int, owned: Iterable[int]) -> dict[AccountId, int | None]:
        """Accounts of these partitions that have events, each with its first day that has a row, by its mark."""

    def behind(
        self, as_of: int, standard: Standard, partitions: int, owned: Iterable[int], *, thorough: bool
    ) -> dict[AccountId, int]:
        """Accounts of these partitions whose rows lag the settings or the as-of day, if `thorough` or their events.

        Each with the day of its first event.
        """

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""

    def move_as_of(self, day: int) -> int:
        """Move the as-of day forward, never back; what it is then."""

    def add_rejected(self, rejected: Sequence[Rejected]) -> None:
        """Write refused records."""

    def add_misplaced(self, offsets: Mapping[Partition, int], counts: Mapping[Partition, int]) -> None:
        """Note how many records of a batch, which ended there, were found outside their account's partition."""


def as_of_day(store: Sink) -> int:
    """The as-of day. Raises SellerpulseError before there is one."""
    as_of = store.as_of()
    if as_of is None:
        raise SellerpulseError("there are no rows yet: no worker or replay has written any")
    return as_of
