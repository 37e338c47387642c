"""Cases follow events: which orders have case rows that are not what the stored events give, and what is written.

Place in the flow: after the rows of accounts, before their marks, so that a crash in between finds it all again. What
is new is told before it is written: each change goes out at least once.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.events import MS_A_DAY, iso_time
from schemas.rows import AccountId, CaseRow, CaseStories, Cell, OrderId, Transition, Wrong
from streams.core.cases import FeedbackPart, OrderPart, cases_of
from streams.core.comments import VERSION
from streams.port import Call, Sink

ORDERS_AT_ONCE = 20_000  # whose stories are in memory at once
EVERY_READING = 0  # no reading is that: asked for by it, all cases are behind
TOLD_BY_EVENTS = CaseRow._fields.index("checksum")  # columns before it are, what follows is how we know


class CaseChange(NamedTuple):
    """A case has taken another status, by its last transition or one before."""

    case: CaseRow
    step: Transition

    def as_json(self) -> dict[str, Any]:
        """As it goes to the topic `alerts`: times ISO-8601, the same `change_id` however often it is sent."""
        case, step = self
        named = (*case.order, case.feedback_event_id, step.status, str(step.at), step.event_id)
        change_id = blake2b("\0".join(named).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        told = {name: getattr(case, name) for name in _TOLD} | step._asdict()
        return {"type": "case", "change_id": change_id} | told | {name: _iso(told[name]) for name in _INSTANTS}


_INSTANTS = ("opened_at", "respond_by", "remove_by", "follow_up_at", "at")
_TOLD = (
    "seller_id", "marketplace_id", "order_id", "feedback_event_id", "opened_at", "rating", "removal_grounds",
    "root_causes", "respond_by", "remove_by", "follow_up_at",
)  # fmt: skip


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso_time(time_ms)


Tell = Callable[[Sequence[CaseChange]], Awaitable[None]]


async def restate_cases(
    sink: Sink,
    call: Call,
    tell: Tell,
    versions: Mapping[AccountId, int],
    orders: Sequence[OrderId],
    *,
    whole: Sequence[AccountId],
    as_of: int,
) -> int:
    """Write the cases of these orders, and of those orders of `whole` accounts whose rows are not right; how many rows.

    `versions` are those of the rows of all their accounts.
    """
    until_ms, written = (as_of + 1) * MS_A_DAY, 0
    stale = [*orders, *(await call(sink.stale_orders, whole, until_ms, VERSION) if whole else ())]
    for at in range(0, len(stale), ORDERS_AT_ONCE):
        these = stale[at : at + ORDERS_AT_ONCE]
        stories = await call(sink.case_stories, these, until_ms)
        # The day is part of it: of an account with no more events a later day may know of more of them.
        rows = cases_anew(these, stories, lambda order: versions[order[:2]] + as_of)
        if changes := _changes(stories.cases, rows):
            await tell(changes)
        if rows:
            await call(sink.add_cases, rows)
        written += len(rows)
    return written


def cases_anew(orders: Iterable[OrderId], stories: CaseStories, version_of: Callable[[OrderId], int]) -> list[CaseRow]:
    """All case rows of these orders as their stored events give them, those that are gone among them."""
    told: dict[OrderId, tuple[list[OrderPart], list[FeedbackPart], list[str]]] = {
        order: ([], [], []) for order in orders
    }
    for seller, marketplace, order, *fields in stories.orders:
        told[seller, marketplace, order][0].append(OrderPart._make(fields))
    for seller, marketplace, order, *fields in stories.feedback:
        told[seller, marketplace, order][1].append(FeedbackPart._make(fields))
    for case in stories.cases:
        told[case.order][2].append(case.feedback_event_id)
    return [
        row
        for order, (events, feedback, known) in told.items()
        for row in cases_of(order, events, feedback, known=known, version=version_of(order))
    ]


def wrong_cases(sink: Sink, accounts: Sequence[AccountId], as_of: int) -> dict[AccountId, Wrong]:
    """Of these accounts those with cases other than their stored events give, and what is wrong with them. Blocks."""
    until_ms = (as_of + 1) * MS_A_DAY
    orders = sink.stale_orders(accounts, until_ms, EVERY_READING)
    found: dict[AccountId, Wrong] = {}
    for at in range(0, len(orders), ORDERS_AT_ONCE):
        these = orders[at : at + ORDERS_AT_ONCE]
        stories = sink.case_stories(these, until_ms)
        ours, theirs = _by_id(stories.cases), _by_id(cases_anew(these, stories, lambda _: 0))
        for key in sorted(ours.keys() | theirs.keys()):
            if wrong := _wrong(ours.get(key), theirs.get(key)):
                found[key[:2]] = found[key[:2]].and_also(wrong) if key[:2] in found else wrong
    return found


def _by_id(cases: Iterable[CaseRow]) -> dict[tuple[str, str, str, str], CaseRow]:
    return {(*case.order, case.feedback_event_id): case for case in cases if not case.gone}


def _wrong(stored: CaseRow | None, right: CaseRow | None) -> Wrong | None:
    """What is wrong with one case; None if it is as it should be."""
    case = stored or right
    assert case is not None
    day, what = case.opened_at // MS_A_DAY, f"case {case.feedback_event_id} of order {case.order_id}"
    if stored is None:
        return Wrong(0, 1, 0, 0, [Cell(day, what, "missing", "there")])
    if right is None:
        return Wrong(0, 0, 1, 0, [Cell(day, what, "there", "none")])
    shown = zip(CaseRow._fields[:TOLD_BY_EVENTS], stored, right, strict=False)
    cells = [Cell(day, f"{name} of {what}", _text(one), _text(other)) for name, one, other in shown if one != other]
    return Wrong(1, 0, 0, len(cells), cells) if cells else None


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _changes(before: Iterable[CaseRow], after: Iterable[CaseRow]) -> list[CaseChange]:
    """The transitions that no row told of yet."""
    known = {(case.order, case.feedback_event_id): case.transitions for case in before if not case.gone}
    return [
        CaseChange(case, step)
        for case in after
        if not case.gone
        for step in case.transitions
        if step not in known.get((case.order, case.feedback_event_id), ())
    ]
