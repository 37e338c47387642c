"""Cases: what a bad rating asks of the staff, and what became of it, as the order's story tells it.

A case is opened by one SUBMITTED of 1-2 stars, or of 3 that the marketplace would remove; what follows it in story
order up to the next SUBMITTED belongs to it. Nothing here depends on the order of arrival, nor on a clock: what time
alone brings (`expired`) is told by the instant at which it will.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from schemas.events import MS_A_DAY
from schemas.rows import CaseRow, OrderId, Transition
from streams.core.comments import VERSION, Reading, read

MS_AN_HOUR = 3_600_000
WORST_STARS, LOW_STARS = 2, 3  # up to 2 stars it is a case, up to 3 it may be one

_STATUS_OF = {
    "RESPONDED": "acted", "CONTACTED": "acted", "REMOVAL_REQUESTED": "removal_requested",
    "REMOVAL_DENIED": "removal_denied", "REMOVED": "removed", "STRUCK": "struck",
}  # fmt: skip
_FINAL = ("removed", "struck")
_ACTIONS = ("RESPONDED", "CONTACTED", "REFUNDED", "REPLACED", "REMOVAL_REQUESTED")


class OrderPart(NamedTuple):
    """What cases need of an event on topic `orders`. Sorts in story order."""

    time_ms: int
    event_id: str
    rank: int
    fulfilment: str | None
    skus: Sequence[str]


class FeedbackPart(NamedTuple):
    """What cases need of an event on topic `feedback`. Sorts in story order."""

    time_ms: int
    event_id: str
    rank: int
    kind: str
    rating: int | None
    comment: str | None
    agent: str | None
    root_cause: str | None
    date_only: bool
    arrived_on_time: bool | None
    item_as_described: bool | None
    customer_service: bool | None


def cases_of(
    order: OrderId, orders: Iterable[OrderPart], feedback: Iterable[FeedbackPart], *, known: Iterable[str], version: int
) -> list[CaseRow]:
    """The case rows of an order's story: a function of the set of its events.

    Of ratings of 1-3 stars that make no case, and of cases `known` by their feedback_event_id that are none any more,
    the row says so: whoever looks at checksums need not look at the order again.
    """
    told, story = sorted(orders), sorted(feedback)
    checksum = (sum(event.rank for event in told) + sum(event.rank for event in story)) % (1 << 64)
    fulfilment = next((event.fulfilment for event in reversed(told) if event.fulfilment is not None), None)
    skus = list(dict.fromkeys(sku for event in told for sku in event.skus))
    none = CaseRow(
        *order, "", 0, 0, None, [], None, "", None, None, None, None, None, 0, [], None, [], None, [],
        checksum, VERSION, version, gone=1,
    )  # fmt: skip
    rows = {event_id: none._replace(feedback_event_id=event_id) for event_id in known}
    submitted = [at for at, event in enumerate(story) if event.kind == "SUBMITTED"]
    for at, end in pairwise([*submitted, len(story)]):
        rating = story[at]
        if is_low(rating.kind, rating.rating):
            row = none._replace(feedback_event_id=rating.event_id)
            reading = _read(rating, by_marketplace=fulfilment == "MARKETPLACE")
            if (rating.rating or 0) <= WORST_STARS or reading.grounds:
                row = _told(row, story[at:end], story[end] if end < len(story) else None, reading, skus)
            rows[rating.event_id] = row
    return list(rows.values())


def is_low(kind: str, rating: int | None) -> bool:
    """Whether a feedback event is a rating of which there is to be a row."""
    return kind == "SUBMITTED" and rating is not None and rating <= LOW_STARS


def _read(rating: FeedbackPart, *, by_marketplace: bool) -> Reading:
    answers = rating.arrived_on_time, rating.item_as_described, rating.customer_service
    return read(
        rating.comment, rating=rating.rating or 0, answers=answers if answers != (None, None, None) else None,
        by_marketplace=by_marketplace,
    )  # fmt: skip


def _told(
    row: CaseRow, facts: Sequence[FeedbackPart], later: FeedbackPart | None, reading: Reading, skus: list[str]
) -> CaseRow:
    """The row of a case. `facts`: its rating and what belongs to it; `later`: the rating that took its place."""
    rating, is_bad = facts[0], (facts[0].rating or 0) <= WORST_STARS
    # A marketplace that gives no time may have meant any of the day.
    start = (rating.time_ms // MS_A_DAY + 1) * MS_A_DAY if rating.date_only else rating.time_ms
    transitions, is_final, requested_at, denied_at = _walk(facts)
    if later is not None and not is_final:
        status = "replaced" if (later.rating or 0) <= WORST_STARS else "revised"
        transitions.append(Transition(status, later.time_ms, later.event_id, later.agent))
        is_final = True
    remove_by = start + 60 * MS_A_DAY
    causes = [fact.root_cause for fact in facts if fact.kind == "REVIEWED" and fact.root_cause]
    return row._replace(
        opened_at=rating.time_ms,
        rating=rating.rating or 0,
        comment=rating.comment,
        skus=skus,
        agent=next((fact.agent for fact in reversed(facts) if fact.agent is not None), None),
        status=transitions[-1].status,
        closed_at=transitions[-1].at if is_final else None,
        respond_target_at=start + 3 * MS_AN_HOUR if is_bad else None,
        respond_by=start + 24 * MS_AN_HOUR if is_bad else None,
        first_action_at=next((fact.time_ms for fact in facts if fact.kind in _ACTIONS), None),
        reviewed_at=next((fact.time_ms for fact in reversed(facts) if fact.kind == "REVIEWED"), None),
        remove_by=remove_by,
        removal_grounds=list(reading.grounds),
        follow_up_at=None if is_final or requested_at is None else requested_at + 3 * MS_A_DAY,
        root_causes=causes[-1:] or list(reading.causes),
        expires_at=None if is_final or requested_at is not None else max(remove_by, denied_at or 0),
        transitions=transitions,
        gone=0,
    )


def _walk(facts: Sequence[FeedbackPart]) -> tuple[list[Transition], bool, int | None, int | None]:
    """The statuses that the facts of a case bring, whether the last is final, when a removal was asked for that nobody
    has answered, and when one that was asked for was last denied."""
    rating = facts[0]
    transitions = [Transition("open", rating.time_ms, rating.event_id, rating.agent)]
    requested_at = denied_at = None
    for fact in facts[1:]:
        if fact.kind == "REMOVAL_REQUESTED":
            requested_at = fact.time_ms
        elif fact.kind == "REMOVAL_DENIED" and requested_at is not None:
            requested_at, denied_at = None, fact.time_ms
        status = _STATUS_OF.get(fact.kind)
        if status is not None and status != transitions[-1].status:
            transitions.append(Transition(status, fact.time_ms, fact.event_id, fact.agent))
        if status in _FINAL:
            return transitions, True, None, denied_at
    return transitions, False, requested_at, denied_at
