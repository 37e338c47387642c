"""Cases as the staff see them: the ones that fall due first, with what was done and what to name of the order."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas.errors import SellerpulseError
from schemas.rows import AccountId, OrderId
from sink.query import converted
from sink.store import Store

OPEN = ("open", "acted", "removal_requested", "removal_denied")
CLOSED = ("removed", "struck", "revised", "replaced", "expired")
TIMES = (
    "opened_at", "closed_at", "respond_target_at", "respond_by", "first_action_at", "reviewed_at", "remove_by",
    "follow_up_at",
)  # fmt: skip
COLUMNS = (
    "seller_id", "marketplace_id", "order_id", "feedback_event_id", "opened_at", "rating", "comment", "skus", "agent",
    "status", "closed_at", "respond_target_at", "respond_by", "first_action_at", "reviewed_at", "remove_by",
    "removal_grounds", "follow_up_at", "root_causes",
)  # fmt: skip

Case = dict[str, Any]  # columns of `feedback_cases`, times as epoch ms; and `due`, and what was `done` since the rating


class Asked(NamedTuple):
    """Which cases: all that each of these says is true of; "" says nothing."""

    seller: str = ""
    marketplace: str = ""
    order: str = ""
    case: str = ""
    statuses: Sequence[str] = (*OPEN, *CLOSED)


def now_ms(store: Store) -> int:
    """The clock's instant, or the end of the as-of day if that is before: cases know of nothing later.

    Raises SellerpulseError if there is no case that can be looked at.
    """
    _check(store)
    end = "toDateTime64(max(day) + 1, 3, 'UTC')"
    return int(_rows(store, f"SELECT toUnixTimestamp64Milli(least(now64(3, 'UTC'), {end})) FROM as_of_days")[0][0])


def cases(store: Store, asked: Asked, limit: int) -> list[Case]:
    """Cases, what falls due first at the top, closed ones last."""
    shown = [f"toUnixTimestamp64Milli({name})" if name in TIMES else name for name in COLUMNS]
    parameters = asked._asdict() | {"statuses": list(asked.statuses)}
    rows = _rows(
        store,
        f"""SELECT {", ".join(shown)}, toUnixTimestamp64Milli({_DUE}) AS due FROM feedback_cases AS c WHERE {_ASKED}
        ORDER BY due IS NULL, due, c.opened_at DESC, {_ORDER}, feedback_event_id LIMIT {int(limit)}""",
        parameters,
    )
    found: list[Case] = [dict(zip((*COLUMNS, "due"), row, strict=True)) for row in rows]
    facts = {tuple(order): events for *order, events in _rows(store, _FACTS, parameters)}
    for case in found:
        opened = case["opened_at"], case["feedback_event_id"]
        case["done"] = {kind for at, event_id, kind in facts.get(order_of(case), ()) if (at, event_id) > opened}
    return found


def open_cases(store: Store, account: AccountId) -> list[tuple[str, str]]:
    """An account's orders with a case that is open, each with the event of its rating.

    Raises SellerpulseError if there is no case that can be looked at.
    """
    _check(store)
    query = f"SELECT order_id, feedback_event_id FROM feedback_cases WHERE {_ASKED} ORDER BY ALL"
    return _rows(store, query, Asked(*account)._asdict() | {"statuses": list(OPEN)})


def history(store: Store, case: Mapping[str, Any]) -> list[tuple[int, str, str | None]]:
    """Since when it has had which status, and by whom."""
    query = f"""SELECT toUnixTimestamp64Milli(h.at), status, agent FROM case_history AS h WHERE {_OF_ORDER}
        AND feedback_event_id = {{case:String}} ORDER BY h.at, status"""
    return _rows(store, query, _named(case))


def order_told(store: Store, case: Mapping[str, Any]) -> dict[str, Any]:
    """Of the case's order: when it was `placed`, `shipped`, `delivered`, promised (`deliver_by`), and who fulfilled it.

    None for what was not told.
    """
    times = "toUnixTimestamp64Milli(event_time), toUnixTimestamp64Milli(deliver_by)"
    query = f"SELECT kind, {times}, fulfilment FROM order_events WHERE {_OF_ORDER} ORDER BY event_time, event_id"
    told: dict[str, Any] = dict.fromkeys(("placed", "shipped", "delivered", "deliver_by", "fulfilment"))
    for kind, at, deliver_by, fulfilment in _rows(store, query, _named(case)):
        if kind.lower() in ("placed", "shipped", "delivered") and told[kind.lower()] is None:
            told[kind.lower()] = at
        told["deliver_by"] = deliver_by if deliver_by is not None else told["deliver_by"]
        told["fulfilment"] = fulfilment or told["fulfilment"]
    return told


def given_back(store: Store, case: Mapping[str, Any], currency: str) -> float:
    """How much was given back for the order so far, in this currency, named in capitals."""
    query = f"""SELECT sum(ifNull(amount, 0)) FROM feedback_events
        WHERE {_OF_ORDER} AND kind = 'REFUNDED' AND upper(currency) = {{currency:String}}"""
    return float(_rows(store, query, _named(case) | {"currency": currency})[0][0])


def order_of(case: Mapping[str, Any]) -> OrderId:
    """Whose case it is."""
    return case["seller_id"], case["marketplace_id"], case["order_id"]


_ORDER = "seller_id, marketplace_id, order_id"
# What nobody has answered is due to be; then what nobody was told of; then the end of the buyer's time.
_DUE = """multiIf(closed_at IS NOT NULL, NULL, first_action_at IS NULL AND respond_by IS NOT NULL, respond_by,
    follow_up_at IS NOT NULL, follow_up_at, remove_by)"""
_ASKED = """({seller:String} = '' OR seller_id = {seller:String})
    AND ({marketplace:String} = '' OR marketplace_id = {marketplace:String})
    AND ({order:String} = '' OR order_id = {order:String})
    AND ({case:String} = '' OR feedback_event_id = {case:String}) AND has({statuses:Array(String)}, status)"""
_OF_ORDER = "seller_id = {seller:String} AND marketplace_id = {marketplace:String} AND order_id = {order:String}"
_FACTS = f"""SELECT {_ORDER}, groupArray((toUnixTimestamp64Milli(event_time), event_id, kind)) FROM feedback_events
    WHERE ({_ORDER}) IN (SELECT {_ORDER} FROM feedback_cases WHERE {_ASKED}) GROUP BY {_ORDER}"""


def _check(store: Store) -> None:
    there = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'feedback_cases'"
    if not _rows(store, there)[0][0]:
        raise SellerpulseError("the database is of an earlier version: a worker brings it up to date when it starts")


def _named(case: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(("seller", "marketplace", "order"), order_of(case), strict=True)) | {
        "case": case["feedback_event_id"]
    }


def _rows(store: Store, query: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    with converted():
        return list(store.client.query(query, parameters).result_rows)
