"""Rows held against the stored events: are they what these give, computed anew by the one statement?

Rows lag their events while a worker is at it: that is no error. An account is judged only if its mark says, before its
rows are compared and after, that they are those of all its events, and is the same mark.

Its place in the flow: beside what writes rows. A worker does it to a few accounts now and then,
`sellerpulse verify` to all.
"""

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from schemas.rows import AccountId, Mark, SelfCheck, Standard, Stored, Wrong
from streams.casework import wrong_cases
from streams.core.metrics import Terms
from streams.port import Call, Sink

log = logging.getLogger(__name__)

ACCOUNTS_A_CHECK = 20  # of a worker, and of no more events than take the statement a moment
EVENTS_A_CHECK = 20_000


class Checked(NamedTuple):
    """Accounts that were compared: how many and how many rows they should have, those that are wrong, and those that
    were left out because their rows lag or were written meanwhile."""

    accounts: int
    rows: int
    wrong: dict[AccountId, Wrong]
    late: set[AccountId]


def check(sink: Sink, accounts: Iterable[AccountId], terms_of: Callable[[str], Terms], standard: Standard) -> Checked:
    """Hold all rows of these accounts against their events. Changes nothing; blocks."""
    asked, as_of = set(accounts), sink.as_of()
    if as_of is None:
        return Checked(0, 0, {}, asked)
    before = _at_rest(sink, asked, standard, as_of)
    suspects: dict[AccountId, Wrong] = {}
    for terms in {terms_of(marketplace) for _, marketplace in before}:
        alike = sorted(key for key in before if terms_of(key[1]) == terms)
        suspects |= sink.differing(alike, terms, as_of=as_of)
    for key, of_cases in wrong_cases(sink, sorted(before), as_of).items():
        suspects[key] = suspects[key].and_also(of_cases) if key in suspects else of_cases
    after = _at_rest(sink, suspects.keys(), standard, as_of) if suspects and sink.as_of() == as_of else {}
    wrong = {key: of for key, of in suspects.items() if key in after and after[key] == before[key]}
    sure = before.keys() - (suspects.keys() - wrong.keys())
    rows = sum(max(as_of + 1 - of.first_day, 0) for key in sure if (of := before[key][0]) is not None)
    return Checked(len(sure), rows, wrong, asked - sure)


def _at_rest(
    sink: Sink, accounts: Iterable[AccountId], standard: Standard, as_of: int
) -> dict[AccountId, tuple[Stored | None, Mark | None]]:
    """Of these accounts those whose rows should be right by now, with what tells so.

    One without an event is to have no row: events are stored before rows are written.
    """
    keys = list(accounts)
    stored, marks = sink.stored(keys), sink.marks(keys)
    both = {key: (stored.get(key), marks.get(key)) for key in keys}
    return {key: (of, mark) for key, (of, mark) in both.items() if of is None or _is_done(of, mark, standard, as_of)}


def _is_done(stored: Stored, mark: Mark | None, standard: Standard, as_of: int) -> bool:
    if mark is None or mark.checksum != stored.checksum or not mark.follows(standard):
        return False
    return mark.as_of >= as_of or stored.first_day > as_of


class Sampler:
    """What a worker checks while it has time: a few of its accounts, chosen at random, again and again.

    `call` runs a blocking call of `sink`; both are its own, so that no flush waits for a comparison. An account with
    more events than a check has time for is left to `sellerpulse verify`.
    """

    def __init__(
        self, sink: Sink, terms_of: Callable[[str], Terms], standard: Standard, epoch: int, call: Call
    ) -> None:
        self.so_far = SelfCheck(epoch, 0, 0, 0, 0, None)
        self._sink, self._terms_of, self._standard, self._call = sink, terms_of, standard, call

    async def check(self, accounts: list[AccountId], now_ms: int) -> None:
        """Check some of these accounts, and note what came of it."""
        chosen = random.sample(accounts, min(len(accounts), ACCOUNTS_A_CHECK))
        these = _light_ones(await self._call(self._sink.stored, chosen)) if chosen else []
        if not these:
            return
        found = await self._compared(these)
        if found.wrong:  # a flush may have been between its writes
            found = found._replace(wrong=(await self._compared(found.wrong)).wrong)
        for account, wrong in found.wrong.items():
            log.error("%s; `sellerpulse verify` tells all, `--repair` mends it", described(account, wrong))
        differing = sum(wrong.all_rows for wrong in found.wrong.values())
        epoch, _, accounts_so_far, rows_so_far, differing_so_far, differed_at = self.so_far
        self.so_far = SelfCheck(
            epoch, now_ms, accounts_so_far + found.accounts, rows_so_far + found.rows,
            differing_so_far + differing, now_ms if differing else differed_at,
        )  # fmt: skip
        await self._call(self._sink.add_self_check, self.so_far)

    async def _compared(self, accounts: Iterable[AccountId]) -> Checked:
        return await self._call(partial(check, self._sink, accounts, self._terms_of, self._standard))


def _light_ones(stored: Mapping[AccountId, Stored]) -> list[AccountId]:
    """Accounts until their events are as many as a check has time for."""
    these, room = [], EVENTS_A_CHECK
    for key, of in stored.items():
        if of.events <= room:
            room -= of.events
            these.append(key)
    return these


def described(account: AccountId, wrong: Wrong) -> str:
    """What is wrong with an account's rows, in a line."""
    seller, marketplace = account
    kinds = ((wrong.rows, "differ"), (wrong.missing, "are missing"), (wrong.surplus, "should not be there"))
    said = ", ".join(f"{count:,} {what}" for count, what in kinds if count)
    return f"rows of {seller!r} on {marketplace!r} are not what the stored events give: {said}"
