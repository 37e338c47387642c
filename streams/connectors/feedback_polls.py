"""What happened since the feedback report was last polled: its ratings held against those that were known.

Its place in the flow: between the report's rows and its events. A rating that is new, changed, answered or gone
becomes an event; one that was told does not again. Pure but for the polls it is given: knows neither files nor clocks.

Ids say in which order things were told, for times do not always: those of a first poll (order:day:stars) come before
all of later ones (order:poll:time:number), in the order of bytes, and these in the order of the polls.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.errors import FileDamaged
from schemas.events import EPOCH
from streams.connectors.polls import Polls

REPORT = "feedback-report"
QUESTIONS = ("arrived_on_time", "item_as_described", "customer_service")
VANISH_FEW = 2  # ratings; so many may vanish at once, however few are known
VANISH_PERCENT = 10  # of those known in the days that a report covers
NOT_WHOLE = "ratings missing from a report that is not whole, or older: not taken for removed"
_LAYOUT = ""  # the subject under which a report's own form is known; orders have none so short

Told = dict[str, Any]  # of a rating: as `_of` makes it, and ms, the time last told, number, of what was told, stands


@dataclass(frozen=True)
class Account:
    """What a report does not say: whose it is, where its days begin, how it writes dates, and its events' source."""

    seller_id: str
    marketplace_id: str
    zone: ZoneInfo
    date_order: str
    source: str = REPORT

    @property
    def name(self) -> str:
        """Among the polls: the reports of two sources are not polls of each other."""
        return f"{self.seller_id}|{self.marketplace_id}|{self.source}"

    def start_ms(self, day: date) -> int:
        """When a day begins, epoch ms."""
        return (datetime.combine(day, time(), self.zone) - EPOCH) // timedelta(milliseconds=1)


class Rating(NamedTuple):
    """A row. `answers` and `response` are None where the report's form has no such column."""

    order_id: str
    day: date
    stars: int
    comment: str
    response: str | None
    answers: tuple[bool | None, ...] | None

    @property
    def first_id(self) -> str:
        """What a first poll calls it, after the source."""
        return f"{self.order_id}:{self.day}:{self.stars}"


@dataclass(frozen=True)
class Poll:
    """One download of the report. `at_ms` is its own time; only a whole one says what vanished."""

    at_ms: int
    columns: int
    is_whole: bool
    accepts_removals: bool = False


class Changes:
    """What a poll tells of an account, and learns. One of its kind a download."""

    def __init__(self, account: Account, poll: Poll, ratings: Sequence[Rating], polls: Polls) -> None:
        self._account, self._poll, self._polls = account, poll, polls
        self._known: Mapping[str, Told] = polls.known(REPORT, account.name)
        # Of several rows of an order the last one stands, as in its story.
        self._standing = {one.order_id: one for one in sorted(ratings, key=lambda one: (one.day, one.first_id))}
        last_ms = polls.polled_ms(REPORT, account.name)
        self._is_latest = last_ms is None or poll.at_ms >= last_ms

    def of(self, rating: Rating) -> Iterator[dict[str, Any]]:
        """The events of a row: nothing if all of it is known."""
        known = self._known.get(rating.order_id)
        stands = self._standing[rating.order_id] == rating
        if known is None:
            yield from self._first(rating, learns=stands)
        elif stands and self._is_latest:
            yield from self._later(rating, known)

    def vanished(self, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
        """A REMOVED for each rating that is gone, if the report can say that; to be asked after all rows.

        Raises FileDamaged, and tells none, for more of them than are removed between two polls.
        """
        account, poll = self._account, self._poll
        layout = self._known.get(_LAYOUT, {}).get("columns", poll.columns)
        if self._is_latest:
            self._polls.learn(REPORT, account.name, _LAYOUT, {"columns": poll.columns})
            self._polls.poll(REPORT, account.name, poll.at_ms)
        covered = self._covered()
        gone = [order_id for order_id in covered if order_id not in self._standing]
        if not gone:
            return
        if not (poll.is_whole and self._is_latest and layout == poll.columns):
            left_out[NOT_WHOLE] += len(gone)
            return
        most = max(VANISH_FEW, len(covered) * VANISH_PERCENT // 100)
        is_another_s = self._known.keys().isdisjoint(self._standing)
        if not poll.accepts_removals and (len(gone) > most or is_another_s):
            raise FileDamaged(
                f"{len(gone)} of {len(covered)} known ratings of its days are missing, so none was taken for removed: "
                "if it is this account's and whole, --accept-removals removes them"
            )
        for order_id in gone:
            known = self._known[order_id]
            now = known | {"ms": max(poll.at_ms, known["ms"]), "number": known["number"] + 1, "stands": False}
            self._learn(order_id, now)
            yield self._event(order_id, now, "REMOVED")

    def _covered(self) -> list[str]:
        """The orders whose known ratings stand and are of days that the report covers whole: not its first one."""
        oldest = min((rating.day for rating in self._standing.values()), default=None)
        if oldest is None:
            return []
        days = {order: date.fromisoformat(one["day"]) for order, one in self._known.items() if one.get("stands")}
        at_ms, start_ms = self._poll.at_ms, self._account.start_ms
        return [order for order, day in days.items() if day > oldest and start_ms(day) <= at_ms]

    def _first(self, rating: Rating, *, learns: bool) -> Iterator[dict[str, Any]]:
        at_ms = self._account.start_ms(rating.day)
        event_id = f"{self._account.source}:{rating.first_id}"
        common = self._common(rating.order_id) | {"event_time": at_ms, "date_only": True}
        yield common | {"event_id": event_id} | _submitted(rating)
        if rating.response:
            yield common | {"event_id": f"{event_id}:RESPONDED", "kind": "RESPONDED", "comment": rating.response}
        if learns:
            self._learn(rating.order_id, _of(rating) | {"ms": at_ms, "number": 1, "stands": True})

    def _later(self, rating: Rating, known: Told) -> Iterator[dict[str, Any]]:
        found, at_ms = _of(rating), self._poll.at_ms
        # What only one of the two forms can say has not changed.
        for column in ("answers", "response"):
            if found[column] is None:
                found[column] = known[column]
        now = known | found
        if not known["stands"] or _differs(found, known):
            new_day_ms = self._account.start_ms(rating.day) if found["day"] != known["day"] else None
            told_ms = max(at_ms if new_day_ms is None else new_day_ms, known["ms"])
            now |= {"ms": told_ms, "number": now["number"] + 1, "stands": True}
            is_day = told_ms == new_day_ms
            yield self._event(rating.order_id, now, "SUBMITTED") | _submitted(rating) | {"date_only": is_day}
        if rating.response and found["response"] != known["response"]:
            now |= {"number": now["number"] + 1}
            event = self._event(rating.order_id, now, "RESPONDED") | {"event_time": max(at_ms, known["ms"])}
            yield event | {"comment": rating.response}
        if now != known:
            self._learn(rating.order_id, now)

    def _learn(self, order_id: str, told: Told) -> None:
        self._polls.learn(REPORT, self._account.name, order_id, told)

    def _common(self, order_id: str) -> dict[str, Any]:
        account = self._account
        of = {"seller_id": account.seller_id, "marketplace_id": account.marketplace_id, "source": account.source}
        return {"topic": "feedback", "order_id": order_id, **of}

    def _event(self, order_id: str, told: Told, kind: str) -> dict[str, Any]:
        """One of a later poll, with an id after all before it."""
        number = f"{self._poll.at_ms:014d}:{told['number']:06d}"
        event_id = f"{self._account.source}:{order_id}:poll:{number}"
        return self._common(order_id) | {"event_id": event_id, "event_time": told["ms"], "kind": kind}


def _submitted(rating: Rating) -> dict[str, Any]:
    answers = dict(zip(QUESTIONS, rating.answers or (), strict=False))
    return {"kind": "SUBMITTED", "rating": rating.stars, "comment": rating.comment or None} | answers


def _of(rating: Rating) -> Told:
    """What of a row is held against the next one. Texts are not kept: they are the buyers'."""
    return {
        "day": rating.day.isoformat(),
        "stars": rating.stars,
        "comment": _digest(rating.comment),
        "answers": None if rating.answers is None else list(rating.answers),
        "response": None if rating.response is None else _digest(rating.response),
    }


def _differs(found: Told, known: Told) -> bool:
    """Whether a rating is another than it was. Answers that no report told before are no change."""
    same = all(found[column] == known[column] for column in ("day", "stars", "comment"))
    return not same or (known["answers"] is not None and found["answers"] != known["answers"])


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest() if text else ""
