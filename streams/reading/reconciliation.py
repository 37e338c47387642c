"""A marketplace's own account-health report beside our numbers, figure by figure, and what explains a difference.

Place in the flow: behind it, reading. Ours are computed from the stored events on the report's own dates, by the same
statement as every row; what came after the report's last day is not counted.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas.rows import AccountId
from sink.reconciling import Facts, Window, counted, facts
from streams.connectors.health_report import Days, Health, Measure
from streams.core.metrics import Terms, iso
from streams.reading.account import Unknown

if TYPE_CHECKING:
    from sink.store import Store

TOLERANCE = 0.01  # of the marketplace's number: a count below 100 must be the same
ROUNDED = 1e-4  # by which rates may differ: reports round them
SILENT_DAYS, MISSED_EVENTS = 2, 10  # what a source that brings 5 events a day has missed after 48 hours

ODR, CANCELLED = "orderDefectRate", "prefulfillmentCancelRate"
_FIGURES = {  # of the report's -> of a row, in the order in which they are told
    ODR: {
        "orderCount": "odr_orders_60d", "orderWithDefects": "odr_defects_60d", "claims": "odr_claims_60d",
        "chargebacks": "odr_chargebacks_60d", "negativeFeedback": "odr_negative_60d", "rate": "order_defect_rate_60d",
    },
    CANCELLED: {"orderCount": "odr_orders_60d"},
}  # fmt: skip
_OTHERWISE = "no event is about such a thing"
_NOT_COMPUTED = {
    CANCELLED: "an event does not say who cancelled, and what the buyer asked for does not count there",
    "lateShipmentRate": "no event carries the day by which an order had to be shipped, only the promised delivery",
    "onTimeDeliveryRate": "no event carries tracking, and only shipments with valid tracking count there",
    "unitOnTimeDeliveryRate": "no event carries tracking nor how many units an order has",
    "validTrackingRate": "no event carries tracking",
    "invoiceDefectRate": "no event is about an invoice",
    "accountHealthRating": "a verdict of the marketplace's, of points that it does not publish",
}


class Line(NamedTuple):
    """One figure of the report beside ours. `agrees` is None where ours cannot be computed; `why` says why.

    Where they differ, `why` is what the stored events have to say about it.
    """

    marketplace_id: str
    metric: str
    fulfilment: str | None
    figure: str | None
    days: Days | None
    theirs: float | None
    ours: float | None
    agrees: bool | None
    status: str | None
    target: str | None
    why: list[str]


def reconciled(
    store: "Store",
    seller: str,
    report: Sequence[Health],
    terms_of: Callable[[str], Terms],
    *,
    tolerance: float = TOLERANCE,
) -> list[Line]:
    """Every figure of the report beside ours.

    Raises Unknown if nothing is stored of the seller on any marketplace of the report.
    """
    accounts = [(seller, health.marketplace_id) for health in report]
    if not store.sizes(among=accounts):
        raise Unknown(f"no event is stored of {seller!r} on {', '.join(repr(market) for _, market in accounts)}")
    return [
        line
        for account, health in zip(accounts, report, strict=True)
        for measure in health.measures
        for line in _lines(store, account, health, measure, terms_of(account[1]), tolerance)
    ]


def _lines(
    store: "Store", account: AccountId, health: Health, measure: Measure, terms: Terms, tolerance: float
) -> Iterator[Line]:  # fmt: skip
    columns, window = _FIGURES.get(measure.metric, {}), None
    row: dict[str, Any] = {}
    found: Facts | None = None
    if columns.keys() & measure.figures.keys() and measure.days is not None and health.last is not None:
        window = Window(*measure.days, known=health.last, fulfilment=measure.fulfilment or "SELLER")
        row = counted(store, account, terms, window)
    if not measure.figures:
        yield _line(account[1], measure, None, None)._replace(why=[_reason(measure, None)])
    for name, theirs in measure.figures.items():
        line = _line(account[1], measure, name, theirs)
        if window is None or name not in columns:
            yield line._replace(why=[_reason(measure, name)])
            continue
        ours = row.get(columns[name], None if name == "rate" else 0)
        if agree(ours, theirs, tolerance, is_rate=name == "rate"):
            yield line._replace(ours=ours, agrees=True)
            continue
        found = found or facts(store, account, window)
        why = list(explained(name, (ours or 0) - theirs, window, found, terms.partial_sources))
        yield line._replace(ours=ours, agrees=False, why=why or ["nothing that is stored explains it"])


def _line(marketplace_id: str, measure: Measure, name: str | None, theirs: float | None) -> Line:
    return Line(
        marketplace_id, measure.metric, measure.fulfilment, name, measure.days, theirs, None, None, measure.status,
        measure.target, [],
    )  # fmt: skip


def _reason(measure: Measure, name: str | None) -> str:
    if measure.metric in _FIGURES and name in _FIGURES[measure.metric]:
        return "its dates cannot be read"
    if measure.metric == ODR:
        return "the report has no number that can be read" if name is None else "not a figure that is known here"
    return _NOT_COMPUTED.get(measure.metric, _OTHERWISE)


def agree(ours: float | None, theirs: float, tolerance: float, *, is_rate: bool) -> bool:
    """Whether two numbers are the same, as far as a tolerance, a share of theirs, and a report's rounding allow.

    A rate of no order is none of ours and 0 of theirs. One claim of 41 is more than a hundredth of them:

    >>> agree(40, 41, 0.01, is_rate=False), agree(995, 1000, 0.01, is_rate=False), agree(None, 0, 0.01, is_rate=True)
    (False, True, True)
    """
    return abs((ours or 0) - theirs) <= max(tolerance * theirs, ROUNDED if is_rate else 0)


# --- what explains a difference ------------------------------------------------------------------------------

_KINDS_OF = {"claims": ("CLAIM_OPENED", "CLAIM_DENIED"), "chargebacks": ("CHARGEBACK", None),
             "negativeFeedback": ("SUBMITTED", ("REMOVED", "STRUCK"))}  # fmt: skip
_NAMES = {"claims": "claim", "chargebacks": "chargeback", "negativeFeedback": "rating"}
_LATE = {"negativeFeedback": "negative"}


def explained(name: str, surplus: float, window: Window, known: Facts, partial: Collection[str] = ()) -> Iterator[str]:
    """Why our figure of this name is so much greater (less, below 0) than the report's, as far as it can be said.

    A rate can be off either way by whatever puts a count off.
    """
    is_rate = name == "rate"
    if surplus < 0 or is_rate:
        yield from _absent(window, known)
    outcomes = _KINDS_OF if name in ("rate", "orderWithDefects") else {name: _KINDS_OF.get(name, (None, None))}
    for of, (bad, good) in outcomes.items():
        yield from _never_told(of, bad, good, surplus, known)
    if known.unfulfilled and (is_rate or (surplus > 0) == (window.fulfilment == "SELLER")):
        yield f"of {_orders(known.unfulfilled)} no source tells who fulfils them: they count as the seller's"
    for of in filter(_NAMES.get, outcomes):
        if late := getattr(known.late, _LATE.get(of, of)):
            yield f"{_orders(late)} had a {_NAMES[of]} told of after {iso(window.known)}, the report's last day"
    if name in ("negativeFeedback", "orderWithDefects", "rate"):
        for source in sorted(known.brought.keys() & set(partial)):
            yield f"{source!r} is declared to bring a part of the ratings only"
    if known.near_edges:
        up_to = f"up to {_orders(known.near_edges)} fall to the other side"
        yield f"days are UTC: where the marketplace's begin at other hours, {up_to} of {_span(window)}"


def _absent(window: Window, known: Facts) -> Iterator[str]:
    if known.first_order_day is None:
        yield "no order event of the account is stored"
    elif known.first_order_day > window.first:
        yield f"orders before {iso(known.first_order_day)} are absent: the first that is stored is of that day"
    for source, brought in sorted(known.brought.items()):
        begin = min(brought)
        usual = sum(brought.values()) / (max(brought) + 1 - begin)
        for first, last in _gaps(brought, max(begin, window.first), window.last):
            days = last + 1 - first
            if days >= SILENT_DAYS and days * usual >= MISSED_EVENTS:
                told = f"{source!r} brought nothing on {days} days, {iso(first)} to {iso(last)}"
                yield f"{told}; else it brings {usual:.1f} events a day"


def _gaps(brought: Mapping[int, int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Stretches of days without an event, both ends counted."""
    there = [first - 1, *(day for day in sorted(brought) if first <= day <= last), last + 1]
    for before, after in pairwise(there):
        if after - before > 1:
            yield before + 1, after - 1


def _never_told(of: str, bad: Any, good: Any, surplus: float, known: Facts) -> Iterator[str]:
    if bad is not None and bad not in known.kinds:
        if surplus < 0:
            yield f"no {_NAMES[of]} was ever stored, from any source"
    elif good is not None and surplus > 0 and not known.kinds.intersection([good] if isinstance(good, str) else good):
        ends = "denied" if of == "claims" else "removed or struck"
        yield f"that a {_NAMES[of]} was {ends} was never told, by any source: all still count"


def _orders(n: int) -> str:
    return f"{n:,} order{'s' if n != 1 else ''}"


def _span(window: Window) -> str:
    return f"{iso(window.first)} to {iso(window.last)}"
