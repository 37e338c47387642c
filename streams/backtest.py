"""Backtests: when rules would have fired on the stored history, and for how long.

Place in the flow: beside it, reading. Rows, cases and sources are judged as a replay judges them; nothing is written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from schemas.events import MS_A_DAY
from schemas.rows import AccountId, AlertRow, DailyRows
from streams.alerts import that_were
from streams.clocks import ClockStore, spells_of
from streams.core.account import Account
from streams.core.clocks import alert_of
from streams.core.evidence import Evidence
from streams.core.metrics import Terms
from streams.core.rules import OtherRule, Rule, columns_of
from streams.lagging import next_slice

EVERYTHING = 1, frozenset((0,))
PARTS = 4  # rows of so many metrics at once are no more than a part of what a statement writes
_NONE = Terms()


class Store(ClockStore, Protocol):
    """What a backtest needs of a store. Calls block."""

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""

    def sizes(
        self, partitions: int, owned: Iterable[int], *, among: Sequence[AccountId] | None
    ) -> dict[AccountId, tuple[int, int]]:
        """How many events accounts have, roughly, and the day of the first."""

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on."""


class Fired(NamedTuple):
    """An alert that would have fired, from the day of its first breach, or the backtest's first, until it was over.

    `until` is None of one that fires still; times are days with fractions since the epoch.
    """

    alert: AlertRow
    since: float
    until: float | None
    end: float

    @property
    def days(self) -> float:
        """How long, up to the backtest's end."""
        return (self.end if self.until is None else self.until) - self.since


class Span(NamedTuple):
    """The days of a backtest."""

    first: int
    last: int

    def fired(self, alert: AlertRow) -> Fired | None:
        """What of an alert falls into these days; None if nothing does, or it did not fire."""
        since = max(alert.since / MS_A_DAY, self.first)
        until = None if alert.resolved_at is None else alert.resolved_at / MS_A_DAY
        if alert.state == "pending" or (until is not None and until <= self.first):
            return None
        return Fired(alert, since, until, self.last + 1)


def backtest(
    store: Store, rules: Sequence[Rule], others: Iterable[OtherRule], span: Span, progress: Callable[[int, int], None]
) -> Iterator[list[Fired]]:
    """What would have fired on these days, of some accounts after others.

    On the first day all rules on metrics begin anew: what had held or not been cleared before is not known.
    `progress` hears of accounts done, of how many.
    """
    sizes = store.sizes(*EVERYTHING, among=None)
    accounts = sorted(key for key, (_, first_day) in sizes.items() if first_day <= span.last)
    by_name, waiting, done = {rule.name: rule for rule in others}, iter(accounts), 0

    def cost(key: AccountId) -> tuple[int, int]:
        events, first_day = sizes[key]
        return span.last + 1 - max(first_day, span.first), events

    while these := next_slice(waiting, cost, PARTS):
        progress(done, len(accounts))
        alerts = [*_of_metrics(store, rules, these, span), *_of_clocks(store, by_name, these, span)]
        yield [fired for alert in alerts if (fired := span.fired(alert)) is not None]
        done += len(these)
    progress(done, len(accounts))


def _of_metrics(store: Store, rules: Sequence[Rule], accounts: Sequence[AccountId], span: Span) -> Iterator[AlertRow]:
    rows = store.rows(accounts, span.first, columns_of(rules))
    if not rows.accounts:
        return iter(())
    return (alert for alert, _ in that_were(rules, rows, _nobody_asks) if alert.since // MS_A_DAY <= span.last)


def _of_clocks(
    store: Store, rules: Mapping[str, OtherRule], accounts: Sequence[AccountId], span: Span
) -> Iterator[AlertRow]:
    now = (span.last + 1) * MS_A_DAY - 1
    return (alert_of(rules, spell, now, 0) for spell in (spells_of(store, rules, accounts, now) if rules else ()))


def _nobody_asks(accounts: list[AccountId]) -> dict[AccountId, Evidence]:
    """Which orders are behind an alert is another question, and takes the time to load them."""
    return {key: Evidence(Account(key, _NONE)) for key in accounts}


# --- summed up -----------------------------------------------------------------------------------------------


class Tally:
    """What there is to say of a rule, alert after alert; `accounts` is known when all have been added."""

    def __init__(self, span: Span, days_a_bar: int) -> None:
        self._span, self._days_a_bar = span, days_a_bar
        self.days: list[float] = []
        self.firing = 0
        self._accounts: Counter[AccountId] = Counter()
        self.bars = [0] * -(-(span.last + 1 - span.first) // days_a_bar)

    @property
    def accounts(self) -> int:
        """How many had one or more alerts."""
        return len(self._accounts)

    def add(self, fired: Iterable[Fired]) -> None:
        """Alerts of accounts of which none was added before; a bar counts the accounts that had one fire then."""
        reached = set[tuple[AccountId, int]]()
        for one in fired:
            account = one.alert.seller_id, one.alert.marketplace_id
            self.days.append(one.days)
            self.firing += one.until is None
            self._accounts[account] += 1
            first, last = (int(at - self._span.first) // self._days_a_bar for at in (one.since, one.since + one.days))
            ends_with_bar = (one.since + one.days - self._span.first) % self._days_a_bar == 0
            last = max(last - ends_with_bar, first)
            reached |= {(account, bar) for bar in range(first, min(last + 1, len(self.bars)))}
        for _, bar in reached:
            self.bars[bar] += 1
