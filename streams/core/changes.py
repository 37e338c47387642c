"""Why a metric is another than it was: what entered and left between two days, and what came late.

Reads an account that is restated; `arrivals` makes one of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from streams.core.account import Account
from streams.core.explain import Stay, brings_of, evaluated_on, is_of_conversations, names_of, shown_on, stays, story_of
from streams.core.metrics import METRIC_BY_NAME, Terms
from streams.core.parts import Part, cells, parts
from streams.core.stories import MS_A_DAY, AnyFact, Span, conversation_says, order_says

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
    days = {part: (evaluated_on(part, before, was), evaluated_on(part, after, now)) for part in made_of}
    found: dict[tuple[int, str, int, bool], list[tuple[Part, Stay]]] = {}
    for stay in stays(account, (part.counter for part in made_of)):
        for part in made_of:
            entered = stay.is_in(days[part][1])
            if part.counter is stay.counter and entered != stay.is_in(days[part][0]):
                day = shown_on(part, stay.enters if entered else stay.leaves)
                found.setdefault((day, stay.subject, stay.span.dated, entered), []).append((part, stay))
    moves = [
        Move(
            day, subject, names_of(of), {side: n if entered else -n for side, n in brings_of(of).items()},
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
    is_conversation = is_of_conversations(spans[0].fact)
    story = story_of(account, is_conversation, subject)
    that_day = [fact for fact in story if fact.time_ms // MS_A_DAY in {span[edge] for span in spans}]

    def needed(without: list[Any]) -> bool:
        rest = [fact for fact in story if fact not in without]
        return not edges(spans) <= edges(_said(rest, is_conversation, account.terms))

    return tuple([fact for fact in that_day if needed([fact])] or (that_day if that_day and needed(that_day) else []))


def _said(story: Iterable[Any], is_conversation: bool, terms: Terms) -> list[Span]:
    if is_conversation:
        return conversation_says(story)
    return order_says(story, (), terms.receipt_days, terms.partial_sources)


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
