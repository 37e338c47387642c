"""Accounts as a page lists them, sorted, searched and cut by the engine; and which of them changed since a look.

Place in the flow: behind it, reading.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from schemas.rows import EPOCH_BITS, AccountId
from sink.desk import OPEN
from sink.notices import LISTED, WORST_FIRST
from sink.query import SETTINGS, converted
from sink.store import Store

TROUBLE = "trouble"
ALERTS_A_STATE = 200


class Wanted(NamedTuple):
    """Which accounts: `text` is any part of seller or marketplace, "" any; sorted by trouble or by this metric."""

    text: str = ""
    marketplace: str = ""
    sort: str = TROUBLE
    descending: bool = True
    offset: int = 0
    limit: int = 100


class Overview(NamedTuple):
    """A stretch of the accounts that are wanted, and of all of those: how many, how fresh. Times are epoch ms."""

    accounts: list[dict[str, Any]]
    total: int
    in_trouble: int
    last_event_time: int | None
    computed_at: int | None


def overview(store: Store, wanted: Wanted, metrics: Sequence[str]) -> Overview:
    """The wanted accounts at their latest day, with these metrics, which are names of the catalogue's.

    With each the rules that fire, once each: name, severity, since. `critical` and `warning` count rules, not alerts.
    """
    named = {"text": wanted.text, "marketplace": wanted.marketplace, "open": list(OPEN)}
    rows = _rows(store, _overview(wanted, metrics), named)
    if not rows:  # there is no row that could tell how many there are before it
        first = wanted._replace(offset=0, limit=1)
        return (
            overview(store, first, metrics)._replace(accounts=[]) if wanted.offset else Overview([], 0, 0, None, None)
        )
    columns = (*_COLUMNS, *metrics)
    accounts = [dict(zip(columns, row[4:], strict=True)) for row in rows]
    return Overview(accounts, *rows[0][:4])


def marketplaces(store: Store) -> list[str]:
    """All that accounts are on."""
    return [name for (name,) in _rows(store, "SELECT DISTINCT marketplace_id FROM account_marks ORDER BY 1")]


def computed_at(store: Store, account: AccountId, day: int) -> int:
    """When the account's row of that day was written, epoch ms."""
    query = f"""SELECT toUnixTimestamp64Milli(computed_at) FROM seller_daily
        WHERE {_OF} AND day = toDate({int(day)})"""
    return int(_rows(store, query, _named(account))[0][0])


def alerts_of(store: Store, account: AccountId, resolved: int) -> list[dict[str, Any]]:
    """An account's alerts: open ones, the most severe at the top, then so many resolved ones, the latest first."""
    query = f"""SELECT {", ".join(_ALERTS.values())} FROM ({LISTED.format(which=_OF)})
        ORDER BY state = 'resolved', if(state = 'resolved', resolved_at, NULL) DESC, {WORST_FIRST}
        LIMIT {ALERTS_A_STATE} BY state"""
    rows = _rows(store, query, _named(account) | {"every": True})
    found = [dict(zip(_ALERTS, row, strict=True)) for row in rows]
    open_ones = [alert for alert in found if alert["state"] != "resolved"]
    return open_ones + [alert for alert in found if alert["state"] == "resolved"][:resolved]


_COLUMNS = (
    "seller_id", "marketplace_id", "critical", "warning", "rules", "open_cases", "last_event_time", "computed_at",
)  # fmt: skip
_ALERTS = {
    name: f"toUnixTimestamp64Milli({name})" if name in ("since", "resolved_at") else name
    for name in (
        "alert_id", "rule", "subject", "severity", "state", "value", "threshold", "since", "resolved_at", "order_ids",
        "order_count", "acked_by", "silenced",
    )
}  # fmt: skip
_KEY = "seller_id, marketplace_id"
_OF = "seller_id = {seller:String} AND marketplace_id = {of_marketplace:String}"
_FIRING = f"""SELECT {_KEY}, countIf(rank = 3) AS critical, countIf(rank = 2) AS warning,
        arraySort(each -> (-each.2, each.1), groupArray((rule, rank, since))) AS rules
    FROM (SELECT {_KEY}, rule, max(indexOf(['info', 'warning', 'critical'], severity)) AS rank,
            toUnixTimestamp64Milli(min(alerts.since)) AS since
        FROM alerts WHERE state = 'firing' GROUP BY {_KEY}, rule)
    GROUP BY {_KEY}"""
_OPEN_CASES = f"""SELECT {_KEY}, count() AS open_cases FROM feedback_cases
    WHERE has({{open:Array(String)}}, status) GROUP BY {_KEY}"""


def _overview(wanted: Wanted, metrics: Sequence[str]) -> str:
    way = "DESC" if wanted.descending else "ASC"
    by = ("critical", "warning", "order_defect_rate_60d") if wanted.sort == TROUBLE else (wanted.sort,)
    read = ", ".join(dict.fromkeys((*metrics, by[-1])))
    order = ", ".join(f"{name} {way} NULLS LAST" for name in by)
    return f"""SELECT count() OVER () AS total, countIf(critical + warning > 0) OVER () AS in_trouble,
        max(event_ms) OVER () AS last, max(computed_ms) OVER () AS computed,
        {_KEY}, critical, warning, rules, open_cases, event_ms, computed_ms{"".join(f", {name}" for name in metrics)}
    FROM (SELECT {_KEY}, toUnixTimestamp64Milli(last_event_time) AS event_ms,
            toUnixTimestamp64Milli(computed_at) AS computed_ms, {read}
        FROM seller_current
        WHERE ({{marketplace:String}} = '' OR marketplace_id = {{marketplace:String}})
            AND positionCaseInsensitiveUTF8(concat(seller_id, ' ', marketplace_id), {{text:String}}) > 0) AS c
    LEFT JOIN ({_FIRING}) AS a USING ({_KEY})
    LEFT JOIN ({_OPEN_CASES}) AS o USING ({_KEY})
    ORDER BY {order}, {_KEY} LIMIT {int(wanted.limit)} OFFSET {int(wanted.offset)}"""


# --- what changed --------------------------------------------------------------------------------------------

Look = Mapping[tuple[str, int], int]  # table and fencing epoch (0 where it has none) -> the greatest version or time

_TABLES = {  # what grows with every change of an account in it
    "account_marks": "version", "stored_cases": "version", "stored_alert_history": "changed_at",
    "stored_alert_acks": "acked_at",
}  # fmt: skip
_OF_ALL = {
    "as_of_days": "toUInt64(max(day))",
    "stored_alert_silences": "toUInt64(toUnixTimestamp64Milli(max(made_at)))",
}


def look(store: Store) -> Look:
    """How far everything is that accounts have; cheap enough for every second."""
    each = [
        f"SELECT '{table}', {_epoch(column)} AS epoch, toUInt64(max({_stamp(column)})) FROM {table} GROUP BY epoch"
        for table, column in _TABLES.items()
    ]
    each += [f"SELECT '{table}', toUInt64(0), {stamp} FROM {table}" for table, stamp in _OF_ALL.items()]
    return {(table, epoch): stamp for table, epoch, stamp in _rows(store, " UNION ALL ".join(each))}


def changed(store: Store, before: Look, after: Look, most: int) -> list[AccountId] | None:
    """The accounts that changed between two looks; None: more than so many, or all did."""
    grown = [(*at, stamp) for at, stamp in after.items() if stamp != before.get(at, 0)]
    if any(table in _OF_ALL for table, _, _ in grown):
        return None
    each = " UNION ALL ".join(
        f"""SELECT {_KEY} FROM {table} WHERE {_epoch(_TABLES[table])} = {epoch}
            AND {_stamp(_TABLES[table])} > {before.get((table, epoch), 0)}"""
        for table, epoch, _ in grown
    )
    if not each:
        return []
    rows = _rows(store, f"SELECT DISTINCT {_KEY} FROM ({each}) LIMIT {most + 1}")
    return [(seller, marketplace) for seller, marketplace in rows] if len(rows) <= most else None


def _epoch(column: str) -> str:
    """Versions grow within an epoch: who slept through losing an account may still write under an earlier one."""
    return f"bitShiftRight({column}, {EPOCH_BITS})" if column == "version" else "toUInt64(0)"


def _stamp(column: str) -> str:
    return column if column == "version" else f"toUnixTimestamp64Milli({column})"


def _named(account: AccountId) -> dict[str, Any]:
    return dict(zip(("seller", "of_marketplace"), account, strict=True))


def _rows(store: Store, query: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    with converted():
        return list(store.client.query(query, parameters, settings=SETTINGS).result_rows)
