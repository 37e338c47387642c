"""The calendar run forward: what is known today of the days to come, and what would make them other days.

All of it is arithmetic on rows that the calendar gives: those of the days to come, if nothing else happens; the same
without a rating. Nothing is estimated, nothing is written. What would end a breach is in `remedies`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from schemas.rows import AccountId, DailyRows
from streams.core.account import Account, Rows, snapshot_columns
from streams.core.metrics import Array, Columns, Terms, snapshot
from streams.core.rules import SEVERITIES, Rule
from streams.core.stories import MS_A_DAY, FeedbackFact, OrderFact
from streams.core.verdicts import QUIET, Episode, Past, Verdicts, history, judge

DAYS_AHEAD = 365
RATEABLE_DAYS = 90  # a buyer rates an order that was placed less than so many days ago
_AT_ONCE = 50  # removals
_WORST_FIRST = range(len(SEVERITIES) - 1, QUIET, -1)


class Course(NamedTuple):
    """An account's rows from its first day on, and every metric of them; `today` is the index of the as-of day's."""

    rows: Rows
    columns: dict[str, Array]
    today: int
    terms: Terms

    @property
    def as_of(self) -> int:
        """The day of today's row."""
        return self.rows.first + self.today


def course(account: Account, as_of: int) -> Course:
    """What was, and what will be if nothing else happens, for `DAYS_AHEAD` and the longest window more.

    Moves the account itself on. Events that are stored already and happen after `as_of` are part of what will be.
    """
    account.restate(as_of + DAYS_AHEAD + account.terms.long_days)
    rows = account.rows(account.first_day)
    assert rows is not None, "the account has a row as of a day, so as of a later one"
    return Course(rows, _metrics([rows], account.terms), as_of - rows.first, account.terms)


def _metrics(blocks: Sequence[Rows], terms: Terms) -> dict[str, Array]:
    return snapshot(snapshot_columns(blocks, lambda account: terms))


def quiet_from(course: Course) -> int:
    """The day from which on nothing changes any more, as far as is looked ahead; today at the earliest."""
    ahead = [column[course.today :] for name, column in course.columns.items() if name != "cs_is_current"]
    changes = [np.flatnonzero(differing(column[1:], column[:-1])) for column in ahead]
    return course.as_of + max((int(at[-1]) + 1 for at in changes if len(at)), default=0)


def differing(one: Array, other: Array) -> Array:
    """Where two columns of a metric differ; a null is like another."""
    unlike: Array = (one != other) & ((one == one) | (other == other))  # NaN is not itself
    return unlike


def end_of(day: int) -> int:
    """The last instant of a day."""
    return (day + 1) * MS_A_DAY - 1


# --- breaches ------------------------------------------------------------------------------------------------


class Breach(NamedTuple):
    """A rule that is in breach from the row of day `begins` on, fires from `fires` on, and no more in that of `ends`.

    None: never, as far as is looked ahead. A breach that ends before it fires is none.
    The rest is of today's row, or of the day it begins: of several metrics of a rule, the one that it is judged by.
    `fades`: it ends because too little is left in the window to say so, while the metric is no better.
    """

    rule: str
    metric: str
    severity: str
    value: float
    threshold: float
    begins: int
    fires: int | None
    ends: int | None
    fades: bool


def breaches(rules: Sequence[Rule], course: Course) -> list[Breach]:
    """Those of today, the most severe first, then those to come; as alerts are: what is silenced is not among them."""
    sizes = [len(course.rows.last_event_time)]
    found = [
        _breach(rule, verdicts, course, episode)
        for rule, verdicts in zip(
            rules, judged(rules, course.rows.account, course.columns, sizes).values(), strict=True
        )
        for episode in history(verdicts, sizes)
        if episode.last >= course.today
    ]
    return sorted(found, key=lambda b: (max(b.begins, course.as_of), -SEVERITIES.index(b.severity), b.rule))


def _breach(rule: Rule, verdicts: Verdicts, course: Course, episode: Episode) -> Breach:
    row, end, first = max(course.today, episode.since), episode.resolved, course.rows.first
    value, threshold = float(verdicts.value[row]), float(verdicts.threshold[row])
    metric = next(condition.metric for condition in rule.conditions if course.columns[condition.metric][row] == value)
    then = value if end is None else float(course.columns[metric][end])
    return Breach(
        rule.name,
        metric,
        SEVERITIES[verdicts.severity[row]],
        value,
        threshold,
        begins=first + episode.since,
        fires=first + episode.firing[0] if episode.firing else None,
        ends=None if end is None else first + end,
        fades=end is not None and bool(then < threshold if rule.comparison[0] == "<" else then > threshold),
    )


def judged(
    rules: Sequence[Rule],
    account: AccountId,
    columns: Columns,
    sizes: Sequence[int],
    past: dict[str, Past] | None = None,
) -> dict[str, Verdicts]:
    """What the rules say of an account's dense rows, once or several times over; before them there was `past`."""
    return judge(rules, DailyRows([account] * len(sizes), list(sizes), dict(columns)), past)


def past_of(rules: Sequence[Rule], course: Course, day: int, times: int) -> dict[str, Past]:
    """What went before a day's row, so many times over."""
    before = day - course.rows.first
    past = {}
    for name, of in judged(rules, course.rows.account, course.columns, [len(course.rows.last_event_time)]).items():
        calm = np.flatnonzero(~of.breach[:before])
        held = before - 1 - int(calm[-1]) if len(calm) else before
        fired = of.severity[before - 1] if before and of.fires[before - 1] else QUIET
        past[name] = Past(np.full(times, fired, dtype=np.int8), np.full(times, held, dtype=np.int64))
    return past


# --- ratings: those that may come, and those that may go -------------------------------------------------------


def still_to_rate(account: Account, as_of: int) -> Counter[int]:
    """How many orders that were never rated can be rated until the end of each day, that day among them."""
    oldest, now, feedback = end_of(as_of - RATEABLE_DAYS), end_of(as_of), account.stories[FeedbackFact]
    last_days = Counter[int]()
    for order, story in account.stories[OrderFact].items():
        placed = min((event.time_ms for event in story.values() if event.kind == "PLACED"), default=0)
        if oldest < placed <= now and not any(
            fact.kind == "SUBMITTED" and fact.time_ms <= now for fact in feedback[order].values()
        ):
            last_days[placed // MS_A_DAY + RATEABLE_DAYS - 1] += 1
    return last_days


class Removal(NamedTuple):
    """What the removal of a rating today would bring.

    `ends`: rules in breach today that would not be; `spares`: days in breach, of those looked at, that would not be,
    by severity, critical first; `points`: Buy Box points added up over those days; `moves`: the metrics that rules are
    about, as they are today and as they would be.
    """

    order_id: str
    rating: FeedbackFact
    ends: tuple[str, ...]
    spares: tuple[int, ...]
    points: int
    moves: dict[str, tuple[float, float]]


def standing_rating(account: Account, order: str, as_of: int) -> FeedbackFact | None:
    """The rating of an order that stands at the end of a day."""
    standing = None
    for fact in sorted(account.stories[FeedbackFact][order].values()):
        if fact.time_ms <= end_of(as_of) and fact.kind in ("SUBMITTED", "REMOVED", "STRUCK"):
            standing = fact if fact.kind == "SUBMITTED" else None
    return standing


def standing_ratings(account: Account, cases: Iterable[tuple[str, str]], as_of: int) -> list[tuple[str, FeedbackFact]]:
    """Of these orders, each with the event of a rating, those whose rating stands at the end of a day; with it."""
    found = [(order, event_id, standing_rating(account, order, as_of)) for order, event_id in cases]
    return [(order, rating) for order, event_id, rating in found if rating and rating.event_id == event_id]


def removal(as_of: int) -> FeedbackFact:
    """The event that takes an order's rating away, as the last one of a day."""
    return FeedbackFact(end_of(as_of), "\U0010ffff", 0, "REMOVED", None, None)


def removals(
    account: Account, course: Course, rules: Sequence[Rule], ratings: Iterable[tuple[str, FeedbackFact]], days: int
) -> list[Removal]:
    """What the removal of each of these would bring in the rows of today and so many days more.

    First what spares most days in breach, critical ones before others, then what gives most points back.
    """
    ratings = list(ratings)
    slices = [ratings[at : at + _AT_ONCE] for at in range(0, len(ratings), _AT_ONCE)]
    found = [one for some in slices for one in _removals(account, course, rules, some, days)]
    return sorted(found, key=lambda one: (one.spares, one.points, one.rating), reverse=True)


def _removals(
    account: Account, course: Course, rules: Sequence[Rule], ratings: Sequence[tuple[str, FeedbackFact]], days: int
) -> Iterator[Removal]:
    cut = slice(course.today, course.today + days + 1)
    rows = Rows(course.rows.account, course.as_of, *(of[cut] for of in course.rows[2:]))
    taken = [_taken(account, order, course.as_of, days) for order, _ in ratings]
    # The account as it is comes first, as if nothing were taken.
    columns = _metrics([rows, *(rows._replace(counters=rows.counters - t) for t in taken)], course.terms)
    times = len(taken) + 1
    past = past_of(rules, course, course.as_of, times)
    of_rules = judged(rules, rows.account, columns, [days + 1] * times, past)
    severity = np.array([of_rules[rule.name].severity for rule in rules])
    severity = severity.reshape(len(rules), times, days + 1)
    points = columns["buy_box_points_90d"].reshape(-1, days + 1).sum(axis=1)
    watched = dict.fromkeys(condition.metric for rule in rules for condition in rule.conditions)
    for i, (order, rating) in enumerate(ratings, 1):
        ended = (severity[:, 0, 0] > QUIET) & (severity[:, i, 0] == QUIET)
        yield Removal(
            order,
            rating,
            tuple(rule.name for rule, at in zip(rules, ended, strict=True) if at),
            tuple(int((severity[:, 0] == s).sum() - (severity[:, i] == s).sum()) for s in _WORST_FIRST),
            int(points[i] - points[0]),
            {name: (float(columns[name][0]), float(columns[name][i * (days + 1)])) for name in watched},
        )


def _taken(account: Account, order: str, as_of: int, days: int) -> Array:
    """What the removal of an order's rating takes from the account's counters, today and on so many days more."""
    counters = []
    for more in ([], [removal(as_of)]):
        alone = Account(account.id, account.terms)
        stories = (account.stories[topic][order].values() for topic in (OrderFact, FeedbackFact))
        for fact in chain(*stories, more):
            alone.add(order, fact)
        alone.restate(as_of + days)
        rows = alone.rows(as_of)
        assert rows is not None, "it has a rating by then"
        counters.append(rows.counters)
    taken: Array = counters[0] - counters[1]
    return taken
