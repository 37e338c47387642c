"""A story is what is known of one order or one conversation: its set of events. Here is what a story says.

`order_says` and `conversation_says` turn a story into spans: this fact, this amount, dated this day, true of the
rows from this day until that day. `points` spreads spans over the windows and gives the steps that each counter
takes, day by day: a window of W days is no more than a span's end. Nothing here depends on the order of arrival.
"""

from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple

from streams.core.metrics import FOREVER, Fact, Spread

MS_A_DAY = 86_400_000


class OrderFact(NamedTuple):
    """What the metrics need of an event on topic `orders`.

    Facts sort in story order, (time_ms, event_id): Python compares str by code point, which is the order of the
    UTF-8 bytes, and the rank, a hash, tells apart events of two topics that are equal in both.
    """

    time_ms: int
    event_id: str
    rank: int
    kind: str
    fulfilment: str | None
    deliver_by: int | None


class FeedbackFact(NamedTuple):
    """What the metrics need of an event on topic `feedback`. `answers`: on time, as described, service."""

    time_ms: int
    event_id: str
    rank: int
    kind: str
    rating: int | None
    answers: tuple[bool | None, bool | None, bool | None] | None
    source: str = ""


class SurveyFact(NamedTuple):
    """What the metrics need of an event on topic `surveys`."""

    time_ms: int
    event_id: str
    rank: int
    solved: bool
    order_id: str | None


AnyFact = OrderFact | FeedbackFact | SurveyFact
FACT_OF_TOPIC: dict[str, type[AnyFact]] = {"orders": OrderFact, "feedback": FeedbackFact, "surveys": SurveyFact}


def fact_of(topic: str, event: Mapping[str, Any], digest: bytes) -> tuple[str, AnyFact]:
    """The subject (order or conversation id) of a checked event, and what the metrics need of it."""
    rank = int.from_bytes(digest, "little")
    if topic == "orders":
        return event["order_id"], OrderFact(
            event["event_time"],
            event["event_id"],
            rank,
            intern(event["kind"]),
            event["fulfilment"],
            event["deliver_by"],
        )
    if topic == "feedback":
        answers = (event["arrived_on_time"], event["item_as_described"], event["customer_service"])
        return event["order_id"], FeedbackFact(
            event["event_time"], event["event_id"], rank, intern(event["kind"]), event["rating"],
            answers if answers != (None, None, None) else None, intern(event["source"]),
        )  # fmt: skip
    return event["conversation_id"], SurveyFact(
        event["event_time"], event["event_id"], rank, event["solved"], event["order_id"]
    )


class Span(NamedTuple):
    """A story says: `amount` of `fact`, dated `dated`, in the rows of the days [start, end)."""

    fact: Fact
    amount: int
    dated: int
    start: int
    end: int


Points = dict[tuple[int, int], int]  # (day, counter index) -> the step that the counter takes on that day


def order_says(
    orders: Iterable[OrderFact],
    feedback: Iterable[FeedbackFact],
    receipt_days: int,
    partial_sources: frozenset[str] = frozenset(),
) -> list[Span]:
    """The spans of an order's story.

    The story is read day by day; at the end of each day that has events, `_State.facts` says what is true from that
    day until the story's next one. What stays true goes on as one span.
    """
    story: list[OrderFact | FeedbackFact] = sorted([*orders, *feedback])
    state = _State(receipt_days)
    spans: list[Span] = []
    going_on: dict[tuple[Fact, int, int], int] = {}
    last = len(story) - 1
    for i, event in enumerate(story):
        state.add(event)
        day = event.time_ms // MS_A_DAY
        until = story[i + 1].time_ms // MS_A_DAY if i < last else FOREVER
        if until == day:
            continue
        said = state.facts(day, until)
        for what, start in list(going_on.items()):
            if what not in said:
                spans.append(Span(*what, start, day))
                del going_on[what]
        for what, start in said.items():
            going_on.setdefault(what, start)
    spans += [Span(*what, start, FOREVER) for what, start in going_on.items()]
    if partial_sources:
        days = [event.time_ms // MS_A_DAY for event in story if is_partial(event, partial_sources)]
        spans += [Span("partial_ratings", 1, day, day, FOREVER) for day in days]
    return spans


def is_partial(event: AnyFact, partial_sources: frozenset[str]) -> bool:
    """Whether it is a rating of one of these sources, standing or not: its removal brings no missing rating back."""
    return type(event) is FeedbackFact and event.kind == "SUBMITTED" and event.source in partial_sources


_STARS: tuple[Fact, ...] = ("stars", "negative", "negative", "neutral", "positive", "positive")
_QUESTIONS: tuple[tuple[Fact, Fact], ...] = (
    ("arrived_on_time_answers", "arrived_on_time_yes"),
    ("item_as_described_answers", "item_as_described_yes"),
    ("customer_service_answers", "customer_service_yes"),
)


class _State:
    """An order as it stands after the events added so far, in story order."""

    __slots__ = (
        "cancelled_or_returned", "chargeback", "claim_open", "deliver_by", "delivered", "marketplace_fulfils",
        "placed", "rating", "receipt_ms", "shipped",
    )  # fmt: skip

    def __init__(self, receipt_days: int) -> None:
        self.receipt_ms = receipt_days * MS_A_DAY
        self.placed: int | None = None
        self.shipped: int | None = None
        self.delivered: int | None = None
        self.deliver_by: int | None = None
        self.marketplace_fulfils = False
        self.cancelled_or_returned = False
        self.claim_open = False
        self.chargeback = False
        self.rating: FeedbackFact | None = None

    def add(self, event: Any) -> None:
        """The next event in story order."""
        kind = event.kind
        if type(event) is FeedbackFact:
            if kind == "SUBMITTED":
                self.rating = event
            elif kind in ("REMOVED", "STRUCK"):
                self.rating = None
            return
        if event.deliver_by is not None:
            self.deliver_by = event.deliver_by
        if event.fulfilment is not None:
            self.marketplace_fulfils = event.fulfilment == "MARKETPLACE"
        if kind == "PLACED":
            self.placed = event.time_ms if self.placed is None else self.placed
        elif kind == "SHIPPED":
            self.shipped = event.time_ms if self.shipped is None else self.shipped
        elif kind == "DELIVERED":
            self.delivered = event.time_ms if self.delivered is None else self.delivered
        elif kind in ("CANCELLED", "RETURNED"):
            self.cancelled_or_returned = True
        elif kind == "CHARGEBACK":
            self.chargeback = True
        else:
            self.claim_open = kind == "CLAIM_OPENED"

    def received_ms(self) -> int | None:
        """When the order was, or will count as, received: SPEC section 4, *Received*."""
        if self.delivered is not None:
            return self.delivered
        if self.shipped is None:
            return None
        if self.deliver_by is None:
            return self.shipped + self.receipt_ms
        return max(self.deliver_by, self.shipped)

    def facts(self, day: int, until: int) -> dict[tuple[Fact, int, int], int]:
        """What is true of the rows of [day, until): (fact, amount, dated) -> the first of those days it holds on."""
        said: dict[tuple[Fact, int, int], int] = {}
        negative = False
        if self.rating is not None:
            negative = self._say_rating(said, self.rating, day)
        if self.placed is not None:
            self._say_defects(said, self.placed // MS_A_DAY, day, negative)
        received = self.received_ms()
        if received is not None:
            dated = received // MS_A_DAY
            start = max(day, dated)
            if start < until:
                said["received_orders", 1, dated] = start
                if self._is_problem_free(received, negative):
                    said["problem_free_orders", 1, dated] = start
        return said

    def _is_problem_free(self, received: int, negative: bool) -> bool:
        late = self.deliver_by is not None and received > self.deliver_by and not self.marketplace_fulfils
        return not (late or negative or self.cancelled_or_returned or self.claim_open or self.chargeback)

    @staticmethod
    def _say_rating(said: dict[tuple[Fact, int, int], int], rating: FeedbackFact, day: int) -> bool:
        dated, stars = rating.time_ms // MS_A_DAY, rating.rating or 0
        said[_STARS[stars], 1, dated] = day
        said["stars", stars, dated] = day
        if rating.answers is not None:
            for (answered, said_yes), answer in zip(_QUESTIONS, rating.answers, strict=True):
                if answer is not None:
                    said[answered, 1, dated] = day
                    if answer:
                        said[said_yes, 1, dated] = day
        return stars <= 2

    def _say_defects(self, said: dict[tuple[Fact, int, int], int], dated: int, day: int, negative: bool) -> None:
        said["orders", 1, dated] = day
        if negative:
            said["odr_negative", 1, dated] = day
        if self.claim_open:
            said["odr_claims", 1, dated] = day
        if self.chargeback:
            said["odr_chargebacks", 1, dated] = day
        defect = negative or self.claim_open or self.chargeback
        if defect:
            said["odr_defects", 1, dated] = day
        if not self.marketplace_fulfils:
            said["odr_orders_seller", 1, dated] = day
            if defect:
                said["odr_defects_seller", 1, dated] = day


def conversation_says(surveys: Iterable[SurveyFact]) -> list[Span]:
    """The spans of a conversation's story: every answer is a response; the latest speaks for the conversation."""
    story = sorted(surveys)
    spans: list[Span] = []
    for i, event in enumerate(story):
        day = event.time_ms // MS_A_DAY
        until = story[i + 1].time_ms // MS_A_DAY if i + 1 < len(story) else FOREVER
        spans.append(Span("cs_responses", 1, day, day, FOREVER))
        if until > day:
            spans.append(Span("cs_running_conversations", 1, day, day, until))
            if event.solved:
                spans.append(Span("cs_running_solved", 1, day, day, until))
    return spans


def points(spans: Sequence[Span], spreads: dict[Fact, Spread]) -> Points:
    """The steps of every counter: up where a span enters its window, down where it leaves or ends."""
    steps: Points = {}
    for fact, amount, dated, start, end in spans:
        for counter, days, lag in spreads[fact]:
            enter = max(start, dated + lag)
            leave = min(end, dated + lag + days)
            if enter < leave:
                steps[enter, counter] = steps.get((enter, counter), 0) + amount
                if leave < FOREVER:
                    steps[leave, counter] = steps.get((leave, counter), 0) - amount
    return steps
