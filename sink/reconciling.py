"""What the stored events say of the dates of somebody else's report, and what is missing there.

The numbers are those of the one statement that recomputes rows (`sink.recompute`), over the orders that one side
fulfils, with a window of orders that is the report's. Days are numbers since the epoch; blocks for half a second.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from sink.query import SETTINGS, converted, of_accounts
from sink.recompute import recompute
from sink.said import ms
from sink.store import Store
from streams.core.metrics import METRICS, Terms

EDGE_MS = 9 * 3_600_000  # how far, at most, the days of marketplaces begin from those of UTC
_FIRST_METRIC = 3  # in a row of the statement: behind the key and the day


class Window(NamedTuple):
    """Orders placed on the days `first` to `last` by whoever fulfils them, as known at the end of day `known`."""

    first: int
    last: int
    known: int
    fulfilment: str  # SELLER or MARKETPLACE

    @property
    def begin_ms(self) -> int:
        """When it begins."""
        return self.first * MS_A_DAY

    @property
    def end_ms(self) -> int:
        """Its end, which is no part of it."""
        return (self.last + 1) * MS_A_DAY


class Late(NamedTuple):
    """Orders of a window of which something was told after the day that it is known by."""

    claims: int
    chargebacks: int
    negative: int


class Facts(NamedTuple):
    """What is stored, as far as it could explain a difference."""

    first_order_day: int | None  # None: no order event at all
    kinds: frozenset[str]  # of order and feedback events, ever
    unfulfilled: int  # orders of the window, whoever fulfils them, of which nobody told who does
    near_edges: int  # orders placed within hours of the window's begin or end, on either side
    late: Late
    brought: dict[str, dict[int, int]]  # source -> day, until the window's end -> events


def counted(store: Store, account: AccountId, terms: Terms, window: Window) -> dict[str, Any]:
    """Every metric of a row, those of the order defect rate over this window; none without an event until then."""
    terms = replace(terms, odr_days=window.last - window.first + 1, odr_lag_days=window.known - window.last)
    rows = _rows(store, recompute(terms, _orders(account, window), first=window.known, as_of=window.known, epoch=None))
    return {metric.name: row[_FIRST_METRIC + at] for row in rows for at, metric in enumerate(METRICS)}


def facts(store: Store, account: AccountId, window: Window) -> Facts:
    """What is stored of an account, as far as it could explain that a marketplace counts something else."""
    of_account, (begin, end, known) = of_accounts([account]), (window.begin_ms, window.end_ms, _end(window.known))
    told = " UNION ALL ".join(
        f"SELECT '{topic}' AS topic, kind, min({ms('event_time')}) AS first FROM stored_{topic}_events"
        f" WHERE {of_account} GROUP BY kind"
        for topic in ("order", "feedback")
    )
    firsts = {(topic, kind): first for topic, kind, first in _rows(store, told)}
    ((unfulfilled,),) = _rows(
        store,
        f"""SELECT countIf({begin} <= placed AND placed < {end} AND untold) FROM (
            SELECT minIf({ms("event_time")}, kind = 'PLACED') AS placed, countIf(fulfilment IS NOT NULL) = 0 AS untold
            FROM stored_order_events WHERE {of_account} AND {ms("event_time")} < {known} GROUP BY order_id)""",
    )
    stories = " UNION ALL ".join(
        f"SELECT order_id, kind, {ms('event_time')} AS t FROM {table} WHERE {_orders(account, window)}"
        for table in ("stored_order_events", "stored_feedback_events")
    )
    ((near_edges, *late),) = _rows(
        store,
        f"""SELECT countIf(abs(placed - {begin}) < {EDGE_MS} OR abs(placed - {end}) < {EDGE_MS}),
            countIf(within AND hasAny(told, ['CLAIM_OPENED', 'CLAIM_DENIED'])),
            countIf(within AND has(told, 'CHARGEBACK')),
            countIf(within AND hasAny(told, ['SUBMITTED', 'REMOVED', 'STRUCK']))
        FROM (
            SELECT minIf(t, kind = 'PLACED') AS placed, {begin} <= placed AND placed < {end} AS within,
                groupUniqArrayIf(kind, t >= {known}) AS told
            FROM ({stories}) GROUP BY order_id)""",
    )
    first = min((at for (topic, _), at in firsts.items() if topic == "order"), default=None)
    return Facts(
        None if first is None else first // MS_A_DAY, frozenset(kind for _, kind in firsts),
        unfulfilled, near_edges, Late(*late), _brought(store, of_account, window),
    )  # fmt: skip


def _brought(store: Store, of_account: str, window: Window) -> dict[str, dict[int, int]]:
    each = " UNION ALL ".join(
        f"SELECT source, {ms('event_time')} AS t FROM {table} WHERE {of_account}"
        for table in ("stored_order_events", "stored_feedback_events", "stored_survey_events")
    )
    rows = _rows(
        store,
        f"""SELECT source, toInt32(intDiv(t, {MS_A_DAY})) AS day, count() FROM ({each})
        WHERE t < {window.end_ms} GROUP BY source, day""",
    )
    found: dict[str, dict[int, int]] = {}
    for source, day, events in rows:
        found.setdefault(source, {})[day] = events
    return found


def _orders(account: AccountId, window: Window) -> str:
    """The condition that a row is of an order of this account that this side fulfils: by the last event that tells."""
    of_account = of_accounts([account])
    theirs = f"""SELECT order_id FROM stored_order_events FINAL
        WHERE {of_account} AND fulfilment IS NOT NULL AND {ms("event_time")} < {_end(window.known)}
        GROUP BY order_id HAVING argMax(fulfilment, (event_time, event_id)) = 'MARKETPLACE'"""
    return f"{of_account} AND order_id {'IN' if window.fulfilment == 'MARKETPLACE' else 'NOT IN'} ({theirs})"


def _end(day: int) -> int:
    return (day + 1) * MS_A_DAY


def _rows(store: Store, query: str) -> Sequence[Any]:
    with converted():
        return list(store.client.query(query, settings=SETTINGS).result_rows)
