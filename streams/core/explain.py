"""Why a metric has its value: which orders, conversations and events count, each until when.

`streams.core.parts` says what a metric is made of, the stories what is counted. Each thing counted is a *stay*: a span
in a counter's window, from the day it enters until the day it leaves. Reads an account that is restated.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas.events import RATING_KINDS
from streams.core.account import Account
from streams.core.metrics import FOREVER, METRIC_BY_NAME, Counter, Fact, Metric, Terms, iso, monday_of
from streams.core.parts import SIDES, Part, cells, parts, with_numbers
from streams.core.stories import MS_A_DAY, AnyFact, FeedbackFact, OrderFact, Span, SurveyFact, is_partial

# --- what counts ---------------------------------------------------------------------------------------------


class Stay(NamedTuple):
    """What a story says, in the window of a counter: it counts in the rows of the days [enters, leaves)."""

    subject: str
    counter: Counter
    span: Span
    enters: int
    leaves: int

    def is_in(self, day: int | None) -> bool:
        """Whether it counts at the end of the day; None: a day that there never was."""
        return day is not None and self.enters <= day < self.leaves


def stays(account: Account, counters: Iterable[Counter]) -> Iterator[Stay]:
    """Everything that ever counts in these counters, of a whole account."""
    of_fact: dict[Fact, list[tuple[Counter, int, int]]] = {}
    for counter in set(counters):
        bounds = counter, counter.lag(account.terms), counter.days(account.terms)
        of_fact.setdefault(counter.fact, []).append(bounds)
    for is_conversation in {is_of_conversations(fact) for fact in of_fact}:
        for subject in _subjects(account, is_conversation):
            for span in account.says(is_conversation, subject):
                for counter, lag, days in of_fact.get(span.fact, ()):
                    enters, leaves = max(span.start, span.dated + lag), min(span.end, span.dated + lag + days)
                    if enters < leaves:
                        yield Stay(subject, counter, span, enters, min(leaves, FOREVER))


def is_of_conversations(fact: Fact) -> bool:
    return fact.startswith("cs_")


def _subjects(account: Account, is_conversation: bool) -> Iterable[str]:
    if is_conversation:
        return account.stories[SurveyFact]
    return account.orders()


def evaluated_on(part: Part, day: int, known: Mapping[str, Any]) -> int | None:
    """The day whose end the part is counted at: the row's, or that before the evaluation's Monday."""
    if not known or part.of is None:
        return day if known else None
    monday = monday_of(day) if part.of == "week" else known["cs_shown_week"]
    return None if monday is None else int(monday) - 1


def shown_on(part: Part, day: int) -> int:
    """The day whose row first shows what is so from `day` on: for an evaluation, the Monday after it."""
    return day if part.of is None or day >= FOREVER else int(monday_of(day + 7))


class Contribution(NamedTuple):
    """What one order or conversation brings to a metric, dated that day, in the rows of [enters, leaves).

    `brings` has an amount for each side that it counts in. `ages`: it leaves by age, not because of an event.
    """

    subject: str
    counters: tuple[str, ...]
    brings: Mapping[str, int]
    dated: int
    enters: int
    leaves: int
    ages: bool
    events: tuple[AnyFact, ...] = ()


class Explained(NamedTuple):
    """A metric's value at the end of a day, its formula without and with numbers, and what each side adds up to.

    `windows` are the first and the last day of each counter's; the first is None where it has no end.
    """

    metric: Metric
    day: int
    value: Any
    formula: str
    working: str
    totals: Mapping[str, int]
    windows: Mapping[str, tuple[int | None, int]]
    contributions: list[Contribution]


def explain(account: Account, name: str, day: int) -> Explained:
    """Everything that counts in a metric at the end of a day, the newest first."""
    metric, known = METRIC_BY_NAME[name], cells(account, day)
    made_of = parts(metric, account.terms)
    found: dict[tuple[str, int, int, bool], list[tuple[Part, Stay]]] = {}
    on = {part: evaluated_on(part, day, known) for part in made_of}
    for stay in stays(account, (part.counter for part in made_of)):
        for part in made_of:
            if part.counter is stay.counter and stay.is_in(on[part]):
                leaves = shown_on(part, stay.leaves)
                leaves = leaves if leaves > day else FOREVER  # a score stays on show until there is another
                found.setdefault((stay.subject, stay.span.dated, leaves, _ages(stay)), []).append((part, stay))
    contributions = [
        Contribution(
            subject, names_of(of), brings_of(of), dated, min(shown_on(part, stay.enters) for part, stay in of), leaves,
            ages, _behind(account, subject, [stay for _, stay in of], on[of[0][0]]),
        )
        for (subject, dated, leaves, ages), of in found.items()
    ]  # fmt: skip
    contributions += _latest(account, day) if not made_of else []
    contributions.sort(key=lambda each: (-each.dated, each.subject, each.leaves))
    totals = {side: 0 for side in SIDES if side in {part.side for part in made_of}}
    for each in contributions:
        for side, amount in each.brings.items():
            totals[side] += amount
    formula, working = metric.formula_under(account.terms), with_numbers(metric, account.terms, known)
    windows = {part.counter.name: _window(part.counter, at, account.terms) for part, at in on.items() if at is not None}
    return Explained(metric, day, known[name], formula, working, totals, windows, contributions)


def _window(counter: Counter, at: int, terms: Terms) -> tuple[int | None, int]:
    days, last = counter.days(terms), at - counter.lag(terms)
    return None if days == FOREVER else last - days + 1, last


def _ages(stay: Stay) -> bool:
    return stay.leaves < stay.span.end or stay.leaves == FOREVER


def names_of(of: Iterable[tuple[Part, Stay]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.counter.name for part, _ in of))


def brings_of(of: Iterable[tuple[Part, Stay]]) -> dict[str, int]:
    brings: dict[str, int] = {}
    for part, stay in of:
        brings[part.side] = brings.get(part.side, 0) + part.weight * stay.span.amount
    return brings


def _latest(account: Account, day: int) -> list[Contribution]:
    """The last event before the end of the day, which `last_event_time` is: it gives way to the next one."""
    until = (day + 1) * MS_A_DAY
    events = [
        (fact.time_ms, subject, fact)
        for of_topic in account.stories.values()
        for subject, story in of_topic.items()
        for fact in story.values()
    ]
    time_ms, subject, fact = max((event for event in events if event[0] < until), key=lambda event: event[:2])
    leaves = min((event[0] // MS_A_DAY for event in events if event[0] >= until), default=FOREVER)
    dated = time_ms // MS_A_DAY
    return [Contribution(subject, ("last_event_time",), {}, dated, dated, leaves, False, (fact,))]


# --- what makes it null --------------------------------------------------------------------------------------


class Partly(NamedTuple):
    """Ratings of an account are of these partial sources, since this day."""

    sources: list[str]
    since: int

    @property
    def words(self) -> str:
        """Why a metric is null that needs all ratings."""
        return f"ratings from {' and '.join(self.sources)} are partial, the first is of {iso(self.since)}"


def partly(account: Account, day: int) -> Partly | None:
    """Which partial sources ratings of the account are of by the end of a day; None: of none."""
    found = [
        (rating.time_ms // MS_A_DAY, rating.source)
        for order in (account.stories[FeedbackFact] if account.terms.partial_sources else ())
        for rating in partial_ratings(account, order)
        if rating.time_ms // MS_A_DAY <= day
    ]
    return Partly(sorted({source for _, source in found}), min(found)[0]) if found else None


def partial_ratings(account: Account, order: str) -> list[FeedbackFact]:
    """The ratings of an order that are of partial sources, standing or not."""
    events = account.stories[FeedbackFact][order].values()
    return [event for event in events if is_partial(event, account.terms.partial_sources)]


# --- the events behind it ------------------------------------------------------------------------------------

_RECEIVED = frozenset(("received_orders", "problem_free_orders"))
_DEFECTS = frozenset(("odr_defects", "odr_defects_seller"))
_PLACED = frozenset(("orders", "odr_negative", "odr_claims", "odr_chargebacks", "odr_orders_seller")) | _DEFECTS


def _behind(account: Account, subject: str, of: Iterable[Stay], at: int | None) -> tuple[AnyFact, ...]:
    """The events that make these stays so at the end of a day, in story order."""
    facts, dated = {stay.span.fact for stay in of}, {stay.span.dated for stay in of}
    is_conversation = any(map(is_of_conversations, facts))
    if "partial_ratings" in facts:
        ratings = sorted(partial_ratings(account, subject))
        return tuple(rating for rating in ratings if rating.time_ms // MS_A_DAY in dated)
    story = [
        fact for fact in story_of(account, is_conversation, subject) if at is None or fact.time_ms // MS_A_DAY <= at
    ]
    if is_conversation:
        is_each = "cs_responses" in facts  # every answer counts, else the latest for the conversation
        return tuple(fact for fact in story if fact.time_ms // MS_A_DAY in dated) if is_each else tuple(story[-1:])
    return tuple(fact for fact in story if fact in _telling(facts, story))


def _telling(facts: set[Fact], story: list[Any]) -> list[AnyFact]:
    """Of an order's story the events that make these facts true."""

    def of(*kinds: str) -> list[Any]:
        return [fact for fact in story if fact.kind in kinds]

    told: list[AnyFact] = []
    if facts & _PLACED:
        told += of("PLACED")[:1]
    if facts & _RECEIVED:
        told += (of("DELIVERED") or of("SHIPPED"))[:1]
    rating = of(*RATING_KINDS)[-1:]  # SUBMITTED, or nothing stands
    is_negative = any(fact.kind == "SUBMITTED" and fact.rating <= 2 for fact in rating)
    if facts - _RECEIVED - _PLACED or "odr_negative" in facts or (is_negative and facts & _DEFECTS):
        told += [fact for fact in rating if fact.kind == "SUBMITTED"]
    if "odr_claims" in facts or facts & _DEFECTS:
        told += [fact for fact in of("CLAIM_OPENED", "CLAIM_DENIED")[-1:] if fact.kind == "CLAIM_OPENED"]
    if "odr_chargebacks" in facts or facts & _DEFECTS:
        told += of("CHARGEBACK")[:1]
    return told


def story_of(account: Account, is_conversation: bool, subject: str) -> list[Any]:
    """A story's events, those that change no metric left out, in story order."""
    topics = (SurveyFact,) if is_conversation else (OrderFact, FeedbackFact)
    events = [fact for topic in topics for fact in account.stories[topic][subject].values()]
    return sorted(fact for fact in events if type(fact) is not FeedbackFact or fact.kind in RATING_KINDS)
