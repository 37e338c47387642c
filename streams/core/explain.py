"""Why a metric has its value: which orders, conversations and events count, and what made it another than before.

The catalogue alone says what a metric is made of (`parts` asks its formula what it reads), the stories alone what is
counted. Each thing counted is a *stay*: a span in a counter's window, from the day it enters until the day it leaves.
Reads an account that is restated; `arrivals` makes one of its own.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from schemas.events import RATING_KINDS
from streams.core.calendar import Account, snapshot_columns
from streams.core.formula import Sql, Value
from streams.core.metrics import (
    COUNTER_INDEX,
    COUNTERS,
    FOREVER,
    METRIC_BY_NAME,
    SURVEY_COLUMNS,
    SURVEY_COUNTERS,
    TERMS_IN_FORMULAS,
    Counter,
    Fact,
    Metric,
    Terms,
    monday_of,
    snapshot,
)
from streams.core.stories import (
    MS_A_DAY,
    AnyFact,
    FeedbackFact,
    OrderFact,
    Span,
    SurveyFact,
    conversation_says,
    order_says,
)

VALUE, NUMERATOR, DENOMINATOR = "value", "numerator", "denominator"
SIDES = (VALUE, NUMERATOR, DENOMINATOR)

# --- what a metric is made of --------------------------------------------------------------------------------


class Part(NamedTuple):
    """`weight` x this counter goes into the value, or into that side of its fraction.

    `of` is which evaluation of the survey score counts, the week's or the one on show; None: the row's own day.
    """

    side: str
    counter: Counter
    weight: int
    of: str | None = None


# What the catalogue calls an evaluation's columns -> the running counter that they are, on the day before the Monday.
# Of the Monday on show itself: the answers of which there were enough.
_EVALUATED = {
    f"cs_{of}_{name}": (counter, of)
    for of, names in SURVEY_COLUMNS.items()
    for name, counter in zip(names, COUNTERS[SURVEY_COUNTERS], strict=True)
}


class _Read(dict[str, Value]):
    """Columns of SQL, made as a formula asks for them: afterwards its keys are what it read."""

    def __missing__(self, name: str) -> Value:
        self[name] = Sql(name)
        return self[name]


def inputs(metric: Metric) -> list[str]:
    """The counters and metrics that the metric's formula reads."""
    read = _Read()
    metric.compute(read)
    return [name for name in read if name not in (*TERMS_IN_FORMULAS, "day")]


def parts(metric: Metric, terms: Terms) -> list[Part]:
    """What the metric is made of: parts of its value or, of a fraction, of each side; none of `last_event_time`."""
    read = inputs(metric)
    above, slash, below = metric.words.partition(" / ")
    if slash:
        sides = ((NUMERATOR, _named(above, read)), (DENOMINATOR, _named(below, read)))
        return [part for side, names in sides for name in names for part in _summands(side, name, terms)]
    if read == ["cs_score"]:  # the band of a score is made of what the score is made of
        return parts(METRIC_BY_NAME["cs_score"], terms)
    return _summands(VALUE, metric.name, terms)


def _named(words: str, read: Iterable[str]) -> list[str]:
    """Those of the names that the words name; the score on show leaves out which evaluation it means."""
    named = set(re.findall(r"\w+", words))
    return [name for name in read if not named.isdisjoint((name, name.removeprefix("cs_shown_")))]


def _summands(side: str, name: str, terms: Terms) -> list[Part]:
    """The counters of a sum, each with its weight: what the sum is if the counter is 1 and the others 0."""
    if name in _EVALUATED:
        return [Part(side, _EVALUATED[name][0], 1, _EVALUATED[name][1])]
    metric = METRIC_BY_NAME.get(name)
    read = [] if metric is None else inputs(metric)
    if read in ([], [name]):
        return [Part(side, COUNTERS[COUNTER_INDEX[name]], 1)] if name in COUNTER_INDEX else []
    if metric is None or len(read) == 1:
        return _summands(side, read[0], terms)
    known = {term: getattr(terms, term) for term in TERMS_IN_FORMULAS} | dict.fromkeys(read, 0)
    return [
        part._replace(weight=part.weight * int(metric.compute(known | {each: 1})))
        for each in read
        for part in _summands(side, each, terms)
    ]


# --- values --------------------------------------------------------------------------------------------------


def cells(account: Account, day: int) -> dict[str, Any]:
    """Every column of the catalogue's, and every counter, at the end of a day; null is None, no row no column.

    Days are day numbers, times epoch ms. The account is restated to that day or a later one.
    """
    rows = account.rows(day)
    if rows is None or rows.first != day:
        return {}
    one = rows._replace(**{name: getattr(rows, name)[:1] for name in rows._fields[2:]})
    columns = snapshot_columns([one], lambda _: account.terms)
    return {name: _plain(name, values[0]) for name, values in (columns | snapshot(columns)).items()}


def series(account: Account, name: str, first: int) -> tuple[int, list[Any]]:
    """The metric on each day from `first`, or the account's first, to the as-of day; that day, and the values."""
    rows = account.rows(first)
    if rows is None:
        return first, []
    return rows.first, [_plain(name, v) for v in snapshot(snapshot_columns([rows], lambda _: account.terms))[name]]


def _plain(name: str, value: Any) -> Any:
    if name in ("cs_week", "cs_shown_week"):
        return int(value) if value >= 0 else None
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def with_numbers(metric: Metric, terms: Terms, known: Mapping[str, Any]) -> str:
    """The formula under these terms with the numbers put in for the names that it reads."""
    text, read = metric.formula_under(terms), inputs(metric)
    numbers = {name: known[name] for name in read}
    if " / " in text:
        numbers |= {name.removeprefix("cs_shown_"): known[name] for name in read}
    return re.sub(r"[a-z]\w*", lambda word: _number(numbers, word[0]), text)


def _number(numbers: Mapping[str, Any], word: str) -> str:
    if word not in numbers:
        return word
    number = numbers[word]
    return f"{number:,}" if isinstance(number, int | float) else str(number)


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
    for is_conversation in {_is_of_conversations(fact) for fact in of_fact}:
        for subject in _subjects(account, is_conversation):
            for span in account.says(is_conversation, subject):
                for counter, lag, days in of_fact.get(span.fact, ()):
                    enters, leaves = max(span.start, span.dated + lag), min(span.end, span.dated + lag + days)
                    if enters < leaves:
                        yield Stay(subject, counter, span, enters, min(leaves, FOREVER))


def _is_of_conversations(fact: Fact) -> bool:
    return fact.startswith("cs_")


def _subjects(account: Account, is_conversation: bool) -> Iterable[str]:
    if is_conversation:
        return account.stories[SurveyFact]
    return account.stories[OrderFact] | account.stories[FeedbackFact]


def _evaluated_on(part: Part, day: int, known: Mapping[str, Any]) -> int | None:
    """The day whose end the part is counted at: the row's, or that before the evaluation's Monday."""
    if not known or part.of is None:
        return day if known else None
    monday = monday_of(day) if part.of == "week" else known["cs_shown_week"]
    return None if monday is None else int(monday) - 1


def _shown_on(part: Part, day: int) -> int:
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
    """A metric's value at the end of a day, its formula without and with numbers, and what each side adds up to."""

    metric: Metric
    day: int
    value: Any
    formula: str
    working: str
    totals: Mapping[str, int]
    contributions: list[Contribution]


def explain(account: Account, name: str, day: int) -> Explained:
    """Everything that counts in a metric at the end of a day, the newest first."""
    metric, known = METRIC_BY_NAME[name], cells(account, day)
    made_of = parts(metric, account.terms)
    found: dict[tuple[str, int, int, bool], list[tuple[Part, Stay]]] = {}
    on = {part: _evaluated_on(part, day, known) for part in made_of}
    for stay in stays(account, (part.counter for part in made_of)):
        for part in made_of:
            if part.counter is stay.counter and stay.is_in(on[part]):
                leaves = _shown_on(part, stay.leaves)
                leaves = leaves if leaves > day else FOREVER  # a score stays on show until there is another
                found.setdefault((stay.subject, stay.span.dated, leaves, _ages(stay)), []).append((part, stay))
    contributions = [
        Contribution(
            subject, _names(of), _brings(of), dated, min(_shown_on(part, stay.enters) for part, stay in of), leaves,
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
    return Explained(metric, day, known[name], formula, working, totals, contributions)


def _ages(stay: Stay) -> bool:
    return stay.leaves < stay.span.end or stay.leaves == FOREVER


def _names(of: Iterable[tuple[Part, Stay]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.counter.name for part, _ in of))


def _brings(of: Iterable[tuple[Part, Stay]]) -> dict[str, int]:
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


# --- the events behind it ------------------------------------------------------------------------------------

_RECEIVED = frozenset(("received_orders", "problem_free_orders"))
_DEFECTS = frozenset(("odr_defects", "odr_defects_seller"))
_PLACED = frozenset(("orders", "odr_negative", "odr_claims", "odr_chargebacks", "odr_orders_seller")) | _DEFECTS


def _behind(account: Account, subject: str, of: Iterable[Stay], at: int | None) -> tuple[AnyFact, ...]:
    """The events that make these stays so at the end of a day, in story order."""
    facts, dated = {stay.span.fact for stay in of}, {stay.span.dated for stay in of}
    is_conversation = any(map(_is_of_conversations, facts))
    story = [fact for fact in _story(account, is_conversation, subject) if at is None or fact.time_ms // MS_A_DAY <= at]
    if is_conversation:
        is_each = "cs_responses" in facts  # every answer counts, else the latest for the conversation
        return tuple(fact for fact in story if fact.time_ms // MS_A_DAY in dated) if is_each else tuple(story[-1:])
    return tuple(fact for fact in story if fact in _telling(facts, story))


def _telling(facts: set[Fact], story: list[AnyFact]) -> list[AnyFact]:
    """Of an order's story the events that make these facts true."""

    def of(*kinds: str) -> list[AnyFact]:
        return [fact for fact in story if not isinstance(fact, SurveyFact) and fact.kind in kinds]

    told: list[AnyFact] = []
    if facts & _PLACED:
        told += of("PLACED")[:1]
    if facts & _RECEIVED:
        told += (of("DELIVERED") or of("SHIPPED"))[:1]
    rating = of(*RATING_KINDS)[-1:]  # SUBMITTED, or nothing stands
    is_negative = any(isinstance(fact, FeedbackFact) and (fact.rating or 5) <= 2 for fact in rating)
    if facts - _RECEIVED - _PLACED or "odr_negative" in facts or (is_negative and facts & _DEFECTS):
        told += [fact for fact in rating if fact.kind == "SUBMITTED"]
    if "odr_claims" in facts or facts & _DEFECTS:
        told += [fact for fact in of("CLAIM_OPENED", "CLAIM_DENIED")[-1:] if fact.kind == "CLAIM_OPENED"]
    if "odr_chargebacks" in facts or facts & _DEFECTS:
        told += of("CHARGEBACK")[:1]
    return told


def _story(account: Account, is_conversation: bool, subject: str) -> list[Any]:
    """A story's events, those that change no metric left out, in story order."""
    topics = (SurveyFact,) if is_conversation else (OrderFact, FeedbackFact)
    events = [fact for topic in topics for fact in account.stories[topic].get(subject, {}).values()]
    return sorted(fact for fact in events if type(fact) is not FeedbackFact or fact.kind in RATING_KINDS)


# --- a change between two days -------------------------------------------------------------------------------


class Move(NamedTuple):
    """What one order or conversation brought to a change, on that day: it entered, or left with what it had brought.

    `events` made it do so; none: time did, by age, or when an order without a delivery came to count as received.
    """

    day: int
    subject: str
    counters: tuple[str, ...]
    brings: Mapping[str, int]
    dated: int
    entered: bool
    events: tuple[AnyFact, ...]


def changes(account: Account, name: str, before: int, after: int) -> list[Move]:
    """What entered a metric between the ends of two days and what left it, the newest first.

    What entered and left again meanwhile is not told. Amounts are as they change each side: its two totals differ by
    their sum.
    """
    made_of = parts(METRIC_BY_NAME[name], account.terms)
    was, now = cells(account, before), cells(account, after)
    days = {part: (_evaluated_on(part, before, was), _evaluated_on(part, after, now)) for part in made_of}
    found: dict[tuple[int, str, int, bool], list[tuple[Part, Stay]]] = {}
    for stay in stays(account, (part.counter for part in made_of)):
        for part in made_of:
            entered = stay.is_in(days[part][1])
            if part.counter is stay.counter and entered != stay.is_in(days[part][0]):
                day = _shown_on(part, stay.enters if entered else stay.leaves)
                found.setdefault((day, stay.subject, stay.span.dated, entered), []).append((part, stay))
    moves = [
        Move(
            day, subject, _names(of), {side: amount if entered else -amount for side, amount in _brings(of).items()},
            dated, entered, _causes(account, subject, [stay for _, stay in of], entered),
        )
        for (day, subject, dated, entered), of in found.items()
    ]  # fmt: skip
    return sorted(moves, key=lambda move: (-move.day, move.subject, move.entered))


def _causes(account: Account, subject: str, of: Iterable[Stay], entered: bool) -> tuple[AnyFact, ...]:
    """The events without which these would not have entered, or left, when they did; none if time alone did it."""
    edge = Span._fields.index("start" if entered else "end")

    def edges(spans: Iterable[Span]) -> set[tuple[Any, ...]]:
        return {(*span[:3], span[edge]) for span in spans}

    spans = [stay.span for stay in of if (stay.enters == stay.span.start if entered else stay.leaves == stay.span.end)]
    if not spans:
        return ()
    is_conversation = _is_of_conversations(spans[0].fact)
    story = _story(account, is_conversation, subject)
    that_day = [fact for fact in story if fact.time_ms // MS_A_DAY in {span[edge] for span in spans}]

    def needed(without: list[Any]) -> bool:
        rest = [fact for fact in story if fact not in without]
        return not edges(spans) <= edges(_said(rest, is_conversation, account.terms))

    return tuple([fact for fact in that_day if needed([fact])] or (that_day if that_day and needed(that_day) else []))


def _said(story: Iterable[Any], is_conversation: bool, terms: Terms) -> list[Span]:
    return conversation_says(story) if is_conversation else order_says(story, (), terms.receipt_days)


# --- what came late ------------------------------------------------------------------------------------------


class Arrival(NamedTuple):
    """An event that arrived at `seen_ms`, and the metric before and after it did."""

    seen_ms: int
    subject: str
    event: AnyFact
    before: Any
    after: Any


Seen = Mapping[tuple[type[AnyFact], str, str, int], int]  # type, subject, event id and rank of an event -> epoch ms


def arrivals(account: Account, name: str, day: int, seen: Seen) -> list[Arrival]:
    """The metric at the end of a day as these events of the account arrived, one after the other.

    Its first `before` is the value without all of them, its last `after` the value with them; None: null or no row.
    """
    then, late = Account(account.id, account.terms), []
    for topic, stories in account.stories.items():
        for subject, story in stories.items():
            for event in story.values():
                seen_ms = seen.get((topic, subject, event.event_id, event.rank))
                if seen_ms is None:
                    then.add(subject, event)
                else:
                    late.append((seen_ms, event.time_ms, event.event_id, subject, event))
    then.restate(day)
    value, found = cells(then, day).get(name), []
    for seen_ms, _, _, subject, event in sorted(late, key=lambda each: each[:4]):
        then.add(subject, event)
        before = value
        if then.restate(day) is not None:
            value = cells(then, day).get(name)
        found.append(Arrival(seen_ms, subject, event, before, value))
    return found
