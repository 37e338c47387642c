"""An account: its stories, and the calendar that adds up by day what they say.

`Account.add` takes an event into its story and marks the story changed; `Account.restate` replaces the steps of the
changed stories and tells the first day whose row is another now; `Account.rows` reads rows off the calendar.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from schemas.rows import AccountId
from streams.core.calendar import Calendar
from streams.core.metrics import (
    COUNTER_INDEX,
    COUNTERS,
    FOREVER,
    MONDAY,
    SURVEY_COLUMNS,
    SURVEY_COUNTERS,
    TERMS_IN_FORMULAS,
    Array,
    Fact,
    Spread,
    Terms,
    spread,
)
from streams.core.packed import Stories
from streams.core.stories import (
    MS_A_DAY,
    AnyFact,
    FeedbackFact,
    OrderFact,
    Points,
    Span,
    SurveyFact,
    conversation_says,
    order_says,
    points,
)

# What an account takes in memory, as tracemalloc measured it; a test measures it again.
BYTES_AN_ACCOUNT, BYTES_AN_EVENT, BYTES_A_DAY = 6_000, 140, 200


class Rows(NamedTuple):
    """Rows of one account, one a day from `first`: what `metrics.snapshot` needs, counters as (days, counters)."""

    account: AccountId
    first: int
    counters: Array
    last_event_time: Array  # ms
    week: Array  # (days, 3): responses, conversations, solved of the week's evaluation
    shown: Array  # (days, 3): Monday (-1: none), conversations, solved of the evaluation on show


class Account:
    """One seller on one marketplace: the set of its events, and what they add up to.

    A pure function of the set of events added and of the as-of day, whatever the order and however often.
    """

    def __init__(self, account: AccountId, terms: Terms) -> None:
        self.id = account
        self.terms = terms
        self.count = 0
        self.checksum = 0  # sum of the events' ranks, modulo 2^64: tells one set of events from another
        self.stories = {of: Stories(of) for of in (OrderFact, FeedbackFact, SurveyFact)}
        self._spreads = _spread(terms)
        self._calendar = Calendar()
        self._changed: dict[tuple[bool, str], Points] = {}
        self._replaced: frozenset[str] = frozenset()  # orders and conversations of which an event gave way to another
        self.first_day = FOREVER  # of the account's first event
        self._latest: dict[int, int] = {}  # day -> greatest event_time on it
        self._touched: int | None = None
        self._weeks: tuple[int, Array, Array] | None = None

    # --- events ------------------------------------------------------------------------------------------

    def add(self, subject: str, fact: AnyFact) -> bool:
        """Take an event of an order or conversation; False if it changes nothing (seen before).

        Where an id was seen with other content, the content of the smaller rank stands.
        """
        topic = type(fact)
        story = self.stories[topic].open(subject)
        known = story.get(fact.event_id)
        if known is not None and known.rank <= fact.rank:
            return False
        is_conversation = topic is SurveyFact
        if (is_conversation, subject) not in self._changed:
            self._changed[is_conversation, subject] = self._steps_of(is_conversation, subject)
        story[fact.event_id] = fact
        self.checksum = (self.checksum + fact.rank - (known.rank if known else 0)) % (1 << 64)
        if known is None:
            self.count += 1
            self._meet(fact.time_ms)
        else:
            self._replaced |= {subject}
            self._remember_times()
        return True

    def _meet(self, time_ms: int) -> None:
        day = time_ms // MS_A_DAY
        if time_ms > self._latest.get(day, -1):
            self._latest[day] = time_ms
            self.first_day = min(self.first_day, day)
            self._touch(day)

    def _remember_times(self) -> None:
        """An event was replaced: its time may have been a day's latest, so all are read again."""
        self._touch(self.first_day)
        self._latest, self.first_day = {}, FOREVER
        for stories in self.stories.values():
            for story in stories.values():
                for fact in story.values():
                    self._meet(fact.time_ms)

    def _touch(self, day: int) -> None:
        self._touched = day if self._touched is None else min(self._touched, day)

    @property
    def bytes(self) -> int:
        """How much memory it takes, roughly."""
        return bytes_of(self.count, len(self._calendar.steps))

    @property
    def as_of(self) -> int:
        """The last day that has a row."""
        return self._calendar.as_of

    def pack(self) -> None:
        """Pack the stories that events came for, whether they changed anything or not; `restate` does too."""
        for stories in self.stories.values():
            stories.pack()

    def orders(self) -> Iterator[str]:
        """The orders that have events of either topic."""
        orders = self.stories[OrderFact]
        yield from orders
        yield from (order for order in self.stories[FeedbackFact] if order not in orders)

    # --- contributions -----------------------------------------------------------------------------------

    def says(self, is_conversation: bool, subject: str) -> list[Span]:
        """The spans of one story."""
        if is_conversation:
            return conversation_says(self.stories[SurveyFact][subject].values())
        orders, feedback = self.stories[OrderFact][subject], self.stories[FeedbackFact][subject]
        return order_says(orders.values(), feedback.values(), self.terms.receipt_days, self.terms.partial_sources)

    def _steps_of(self, is_conversation: bool, subject: str) -> Points:
        return points(self.says(is_conversation, subject), self._spreads)

    def badly_rated(self) -> list[str]:
        """The orders whose stories changed since `restate` was last called, and whose rating is, or may have been, one
        of 3 stars or fewer."""
        feedback = self.stories[FeedbackFact]
        return [
            order
            for is_conversation, order in self._changed
            if not is_conversation
            and (
                order in self._replaced
                or any(fact.rating is not None and fact.rating <= 3 for fact in feedback[order].values())
            )
        ]

    def restate(self, as_of: int) -> int | None:
        """Bring the calendar up to date with the stories and the as-of day.

        The first day whose row is not what it was when this last returned, None if every row still stands.
        """
        calendar = self._calendar
        for (is_conversation, subject), before in self._changed.items():
            first = calendar.replace(before, self._steps_of(is_conversation, subject))
            if first is not None:
                self._touch(first)
            if is_conversation:
                self._weeks = None
        self._changed.clear()
        self.pack()
        self._replaced = frozenset()
        if as_of > calendar.as_of:
            self._touch(calendar.as_of + 1)
            calendar.move(as_of)
        touched, self._touched = self._touched, None
        if touched is None or touched > as_of:
            self._touched = touched
            return None
        return touched

    def step(self, day: int, counter: str) -> int:
        """By how much a counter changes on a day, past or to come, as far as the stories tell when it was restated."""
        of_day = self._calendar.steps.get(day)
        return 0 if of_day is None else of_day[COUNTER_INDEX[counter]]

    # --- rows --------------------------------------------------------------------------------------------

    def rows(self, first: int) -> Rows | None:
        """The rows from `first`, or the account's first day, to the as-of day; None if that leaves none."""
        first = max(first, self.first_day)
        if first > self.as_of:
            return None
        week, shown = self._survey_weeks(first)
        return Rows(self.id, first, self._calendar.values(first), self._last_times(first), week, shown)

    def _last_times(self, first: int) -> Array:
        """The greatest event_time before the end of each day: one that has no event keeps the last one's."""
        day = first
        while day not in self._latest:  # ends: `first` is not before the first day
            day -= 1
        last, times = self._latest[day], []
        for day in range(first, self.as_of + 1):
            last = self._latest.get(day, last)
            times.append(last)
        return np.array(times, dtype=np.int64)

    def _survey_weeks(self, first: int) -> tuple[Array, Array]:
        """For each day from `first`: the evaluation of its week's Monday, and the one on show."""
        start, week, shown = self._evaluations()
        days = np.arange(first, self.as_of + 1)
        at = (days - start) // 7
        return week[at], shown[at]

    def _evaluations(self) -> tuple[int, Array, Array]:
        """The first Monday, and for each Monday since: the evaluation, and the one on show."""
        known = self._weeks
        start = self.first_day - (self.first_day - MONDAY) % 7
        if known is not None and known[0] == start and len(known[1]) == (self.as_of - start) // 7 + 1:
            return known
        # The evaluation of a Monday is the running count at the end of the day before it.
        week = self._calendar.values(start - 1, SURVEY_COUNTERS)[:-1:7]
        mondays = start + 7 * np.arange(len(week))
        enough = (week[:, 0] >= self.terms.cs_min_responses) & (week[:, 1] > 0)
        at = np.maximum.accumulate(np.where(enough, np.arange(len(week)), -1))
        shown = np.column_stack([mondays[at], week[at, 1], week[at, 2]])
        shown[at < 0] = (-1, 0, 0)
        self._weeks = start, week, shown
        return self._weeks


def bytes_of(events: int, days: int) -> int:
    """How much memory an account of so many events takes, with steps on so many days; roughly."""
    return BYTES_AN_ACCOUNT + BYTES_AN_EVENT * events + BYTES_A_DAY * days


_spreads: dict[Terms, dict[Fact, Spread]] = {}


def _spread(terms: Terms) -> dict[Fact, Spread]:
    """`spread`, made once for each set of terms: thousands of accounts share a few."""
    if terms not in _spreads:
        _spreads[terms] = spread(terms)
    return _spreads[terms]


def snapshot_columns(rows: Iterable[Rows], terms_of: Callable[[AccountId], Terms]) -> dict[str, Array]:
    """The rows of several accounts as the columns that `metrics.snapshot` reads, account after account."""
    blocks = list(rows)
    sizes = [len(block.last_event_time) for block in blocks]
    counters = np.concatenate([block.counters for block in blocks])
    week = np.concatenate([block.week for block in blocks])
    shown = np.concatenate([block.shown for block in blocks])
    columns = {counter.name: counters[:, i] for i, counter in enumerate(COUNTERS)}
    columns |= {f"cs_week_{n}": week[:, i] for i, n in enumerate(SURVEY_COLUMNS["week"])}
    columns |= {f"cs_shown_{n}": shown[:, i] for i, n in enumerate(SURVEY_COLUMNS["shown"])}
    columns["day"] = np.concatenate([np.arange(b.first, b.first + n) for b, n in zip(blocks, sizes, strict=True)])
    columns["last_event_time"] = np.concatenate([block.last_event_time for block in blocks])
    terms = [terms_of(block.account) for block in blocks]
    for name in TERMS_IN_FORMULAS:
        columns[name] = np.repeat([getattr(of, name) for of in terms], sizes)
    return columns
