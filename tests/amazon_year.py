"""A simulated marketplace's year twice: as the reports that sellers of Amazon's would have polled, and as events.

Both are told from the same facts, those that reports can tell. The events know nothing of how reports are read; what
they share with them is when a poll was made, the only time that a report has for a rating that changed or vanished.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from streams.connectors.simulate import Simulation, simulate
from tests.amazon import ALL_ORDERS, FBA_RETURNS, RETURNS, a_return, fba_return, order, table

DAY_MS = 86_400_000
POLL_DAYS, OVERLAP_DAYS, FULL = 14, 30, 365
PENDING_MS = DAY_MS // 2  # until payment is authorised
FIRST_RATINGS = 8  # of an account, which stay: of a report that shows few, losing one looks like being cut short


class Place(NamedTuple):
    """What differs by marketplace. `date` is of the feedback report."""

    marketplace_id: str
    channel: str
    zone: str
    charset: str
    date: str
    feedback: tuple[str, ...]
    comment: str


PLACES = {
    "MKT-US": Place(
        "ATVPDKIKX0DER", "Amazon.com", "America/Los_Angeles", "utf-8", "{0.month}/{0.day}/{0:%y}",
        ("Date", "Rating", "Comments", "Your Response", "Order ID", "Rater Email"), "Fine – it’s all good",
    ),
    "MKT-DE": Place(
        "A1PA6795UKMFR9", "Amazon.de", "Europe/Berlin", "cp1252", "{0:%d.%m.%y}",
        ("Datum", "Bewertung", "Kommentare", "Ihre Antwort", "Bestellnummer", "E-Mail von Bewerter"), "Größe passt",
    ),
    "MKT-JP": Place(
        "A1VC38T7YXB528", "Amazon.co.jp", "Asia/Tokyo", "shift_jis", "{0:%y/%m/%d}",
        ("日付", "評価", "コメント", "回答", "注文番号", "評価者のEメール"), "早い表示能力",
    ),
}  # fmt: skip


@dataclass
class Rating:
    """A rating's states, each from an instant on: stars, None once it is gone."""

    at_ms: int
    states: list[tuple[int, int | None]]
    response: str = ""

    def stars(self, now_ms: int) -> int | None:
        """What a report of that instant shows."""
        return next((stars for at, stars in reversed(self.states) if at <= now_ms), None)


@dataclass
class Order:
    """What reports can tell of an order. Times are epoch ms, whole seconds; None: it did not happen."""

    order_id: str
    seller_id: str
    place: Place
    skus: list[str] = field(default_factory=list)
    fulfilment: str = "SELLER"
    placed_ms: int = 0
    shipped_ms: int | None = None
    cancelled_ms: int | None = None
    touched_ms: int | None = None  # updated again, by something that no metric asks for
    returned_ms: int | None = None
    claimed_ms: int | None = None
    rating: Rating | None = None

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.place.zone)

    def day(self, at_ms: int | None) -> datetime:
        """The start of the local day."""
        assert at_ms is not None
        return datetime.combine(datetime.fromtimestamp(at_ms / 1000, self.zone).date(), time(), self.zone)

    def updated_ms(self, now_ms: int) -> int:
        """The last update that a report of that instant tells."""
        times = (self.placed_ms, self.shipped_ms, self.cancelled_ms, self.touched_ms)
        return max((at for at in times if at is not None and at <= now_ms), default=now_ms + 1)

    def status(self, now_ms: int) -> str:
        """As the report of that instant has it."""
        if self.cancelled_ms is not None and self.cancelled_ms <= now_ms:
            return "Cancelled"
        if self.shipped_ms is not None and self.shipped_ms <= now_ms:
            return "Shipped"
        return "Pending" if self.placed_ms > now_ms - PENDING_MS else "Unshipped"


class Year:
    """The orders of a seeded year, and the polls made in it."""

    def __init__(self, *, sellers: int, events: int, seed: int) -> None:
        simulation = Simulation(sellers=sellers, events=events, seed=seed)
        first, last = simulation.first_day, simulation.last_day
        self._draw = Random(seed).random
        self.last_day = last
        self.polls = [day * DAY_MS - 1000 for day in range(last + 1, first, -POLL_DAYS)][::-1]
        self._orders: dict[str, Order] = {}
        for topic, event in simulate(simulation):
            if topic != "surveys":
                self._happen(event)
        end_ms = self.polls[-1]
        self.orders = [each for each in self._orders.values() if each.status(end_ms) != "Pending"]
        self._settle()

    def _happen(self, event: Mapping[str, Any]) -> None:
        at = event["event_time"] // 1000 * 1000
        kind, place = event["kind"], PLACES[event["marketplace_id"]]
        order = self._orders.setdefault(
            event["order_id"], Order(event["order_id"], event["seller_id"], place)
        )  # the PLACED comes first
        if kind == "PLACED":
            order.placed_ms, order.skus = at, sorted(set(event["skus"]))
            order.fulfilment = event["fulfilment"]
        elif kind == "SHIPPED":
            order.shipped_ms = at
            if self._draw() < 0.15:
                order.touched_ms = at + int(POLL_DAYS + 1 + 10 * self._draw()) * DAY_MS
        elif kind == "CANCELLED":
            order.cancelled_ms = at
        elif kind == "RETURNED":
            order.returned_ms = at
        elif kind == "CLAIM_OPENED" and order.fulfilment == "SELLER":
            order.claimed_ms = at
        elif kind == "SUBMITTED" and order.rating is None:
            order.rating = Rating(at, [(at, event["rating"])], "Danke / thanks" if self._draw() < 0.2 else "")
        elif kind in ("SUBMITTED", "REMOVED", "STRUCK") and order.rating:
            order.rating.states.append((at, event["rating"]))

    def _settle(self) -> None:
        """More ratings that buyers change or that are removed; but an account's first ones stay."""
        for ours in self.accounts().values():
            rated = sorted((each.rating for each in ours if each.rating), key=lambda rating: rating.at_ms)
            for number, rating in enumerate(rated):
                chance, at = self._draw(), rating.at_ms + int((3 + 50 * self._draw()) * DAY_MS)
                if number < FIRST_RATINGS:
                    del rating.states[1:]
                elif len(rating.states) == 1 and chance < 0.16:
                    rating.states.append((at, None if chance < 0.06 else 1 + int(5 * self._draw())))

    def accounts(self) -> dict[tuple[str, str], list[Order]]:
        """The orders by account."""
        found: dict[tuple[str, str], list[Order]] = {}
        for each in self.orders:
            found.setdefault((each.seller_id, each.place.marketplace_id), []).append(each)
        return found

    # --- as events ---------------------------------------------------------------------------------------------

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened, up to the last poll: each once."""
        for each in self.orders:
            for number, (topic, kind, at, more) in enumerate(self._story(each)):
                if at <= self.polls[-1]:
                    yield {
                        "topic": topic, "event_id": f"{each.order_id}:{number}", "seller_id": each.seller_id,
                        "marketplace_id": each.place.marketplace_id, "event_time": at, "source": "truth",
                        "order_id": each.order_id, "kind": kind, **more,
                    }  # fmt: skip

    def _story(self, each: Order) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
        yield "orders", "PLACED", each.placed_ms, {"fulfilment": each.fulfilment, "skus": each.skus}
        if each.shipped_ms is not None:
            yield "orders", "SHIPPED", each.shipped_ms, {}
        if each.cancelled_ms is not None:
            yield "orders", "CANCELLED", each.cancelled_ms, {}
        if each.returned_ms is not None and each.returned_ms <= self.polls[-1]:
            by_day = each.fulfilment == "SELLER"
            yield "orders", "RETURNED", _ms(each.day(each.returned_ms)) if by_day else each.returned_ms, {}
        if each.claimed_ms is not None and each.claimed_ms <= self.polls[-1]:
            yield "orders", "CLAIM_OPENED", _ms(each.day(each.claimed_ms)), {}
        if each.rating is not None:
            for kind, at, more in self._told(each, each.rating):
                yield "feedback", kind, at, more

    def _told(self, each: Order, rating: Rating) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """What polls can tell of a rating: it has its day when it is new, and a poll's time for what became of it."""
        shown: int | None = None
        for poll in self.polls:
            stars = rating.stars(poll)
            if stars == shown:
                continue
            at = _ms(each.day(rating.at_ms)) if shown is None else poll
            yield ("REMOVED", at, {}) if stars is None else ("SUBMITTED", at, {"rating": stars})
            shown = stars

    # --- as reports --------------------------------------------------------------------------------------------

    def write(self, folder: Path) -> list[tuple[list[Path], dict[str, Any]]]:
        """Every poll's files, as they came, each with the options that it needs. A file's own time is its poll's."""
        files = []
        for number, poll in enumerate(self.polls):
            for seller_id in sorted({each.seller_id for each in self.orders}):
                mine = [each for each in self.orders if each.seller_id == seller_id]
                ours = [self._all_orders(mine, number, poll), self._fba_returns(mine, poll)]
                name = f"{number:02d}-{seller_id}"
                paths = [_write(folder / f"{name}-{kind}.txt", content, poll) for kind, content in ours]
                files.append((paths, {"seller": seller_id}))
            for (seller_id, marketplace_id), mine in self.accounts().items():
                place = mine[0].place
                name = f"{number:02d}-{seller_id}-{marketplace_id}"
                ours = [self._returns(mine, number, poll), ("feedback", _feedback(mine, place, poll))]
                paths = [_write(folder / f"{name}-{kind}.txt", content, poll) for kind, content in ours]
                told = {"seller": seller_id, "marketplace": marketplace_id, "timezone": place.zone}
                files.append((paths, told))
        return files

    def _all_orders(self, orders: Iterable[Order], number: int, poll: int) -> tuple[str, bytes]:
        updated = [each for each in orders if poll - OVERLAP_DAYS * DAY_MS < each.updated_ms(poll) <= poll]
        columns = ALL_ORDERS[(28, 29, 32)[number % 3]]
        rows = [row for each in updated for row in _item_rows(each, poll)]
        return "orders", table(columns, rows, _charset(updated))

    def _fba_returns(self, orders: Iterable[Order], poll: int) -> tuple[str, bytes]:
        rows = [
            fba_return(return_date=_iso(each.returned_ms, each.zone), order_id=each.order_id, sku=sku)
            for each in orders
            if each.fulfilment == "MARKETPLACE" and _is_recent(each.returned_ms, poll)
            for sku in each.skus
        ]
        return "fba-returns", table(FBA_RETURNS, rows)

    def _returns(self, orders: Iterable[Order], number: int, poll: int) -> tuple[str, bytes]:
        rows = []
        for each in orders:
            if each.fulfilment == "SELLER" and _is_recent(each.returned_ms, poll):
                rows.append(a_return(order_id=each.order_id, date=f"{each.day(each.returned_ms):%d-%b-%Y}"))
            if _is_recent(each.claimed_ms, poll):
                claimed = {"date": f"{each.day(each.claimed_ms):%d-%b-%Y}", "claim": "Y", "status": "Denied"}
                rows.append(a_return(order_id=each.order_id, **claimed))
        return "returns", table(RETURNS[(32, 33)[number % 2]], rows)


def _item_rows(each: Order, poll: int) -> Iterator[dict[str, str]]:
    for number, sku in enumerate(each.skus):
        status = each.status(poll)
        yield order(
            amazon_order_id=each.order_id,
            purchase_date=_iso(each.placed_ms, each.zone),
            last_updated_date=_iso(each.updated_ms(poll), UTC),
            order_status=status,
            fulfillment_channel="Amazon" if each.fulfilment == "MARKETPLACE" else "Merchant",
            sales_channel=each.place.channel,
            product_name=each.place.comment,
            sku=sku,
            item_status="Cancelled" if number or status == "Cancelled" else status,  # of two items one was cancelled
        )


def _feedback(orders: Iterable[Order], place: Place, poll: int) -> bytes:
    """The whole report, the newest row first: every rating that stands, of so many days."""
    rows = []
    for each in orders:
        rating = each.rating
        if rating is None or not poll - FULL * DAY_MS < rating.at_ms <= poll or (stars := rating.stars(poll)) is None:
            continue
        values = (place.date.format(each.day(rating.at_ms)), str(stars), place.comment, rating.response, each.order_id,
                  "buyer@example.com")  # fmt: skip
        rows.append((rating.at_ms, dict(zip(place.feedback, values, strict=True))))
    rows.sort(key=lambda row: -row[0])
    return table(place.feedback, [row for _, row in rows], place.charset)


def _charset(orders: Sequence[Order]) -> str:
    charsets = {each.place.charset for each in orders}
    return charsets.pop() if len(charsets) == 1 else "utf-8"


def _is_recent(at_ms: int | None, poll: int) -> bool:
    return at_ms is not None and poll - OVERLAP_DAYS * DAY_MS < at_ms <= poll


def _iso(at_ms: int | None, zone: Any) -> str:
    assert at_ms is not None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(zone).isoformat()


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def _write(path: Path, content: bytes, poll: int) -> Path:
    path.write_bytes(content)
    os.utime(path, (poll / 1000, poll / 1000))
    return path
