"""What a store keeps of telling people: which receiver has which change, who knows of an alert, what is silenced."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from schemas.rows import EPOCH_BITS, AccountId, Ack, AlertChange, Due, Notices, Notification, Silence
from sink.query import Connection, of_accounts

_KEY = "seller_id, marketplace_id, alert_id"
_RECENT_DAYS = 30  # what was to be told before that is not looked at any more
_BELOW = (1 << EPOCH_BITS) - 1
_OF_EPOCH = f"bitAnd(version, {_BELOW})"
_MS = pa.timestamp("ms", "UTC")
_GLOB = "rule, seller_id, marketplace_id, severity"

# A glob as a pattern of LIKE.
_PATTERN = r"replaceAll(replaceAll(replaceRegexpAll({0}, '[\\\\%_]', '\\\\\\0'), '*', '%'), '?', '_')"
_PATTERNS = ", ".join(_PATTERN.format(name) for name in _GLOB.split(", "))
# Of a row that has these columns: whether globs match it, which are parameters of the same names.
MATCHES = " AND ".join(f"{name} LIKE {_PATTERN.format(f'{{{name}:String}}')}" for name in _GLOB.split(", "))
# Of a row of `alerts`: whether a silence is over it.
SILENCED = f"""arrayExists(
    s -> rule LIKE s.1 AND seller_id LIKE s.2 AND marketplace_id LIKE s.3 AND severity LIKE s.4,
    (SELECT groupArray(({_PATTERNS})) FROM stored_alert_silences FINAL WHERE until > now64(3)))"""

# Alerts that fire, or `every` one, which a condition on a row of `alerts` holds of; with who knows of each.
LISTED = f"""SELECT a.*, k.by AS acked_by FROM (
        SELECT *, {SILENCED} AS silenced FROM alerts
        WHERE (state = 'firing' OR {{{{every:Bool}}}}) AND {{which}}
    ) AS a LEFT JOIN (SELECT * FROM alert_acks) AS k USING (seller_id, marketplace_id, alert_id)"""
WORST_FIRST = """indexOf(['firing', 'pending', 'resolved'], state), indexOf(['critical', 'warning', 'info'], severity),
    since DESC, seller_id, marketplace_id, alert_id"""


class Noticeboard(Connection):
    """See `sink.store.Store`, which is this and more."""

    def introduce(self, receivers: Sequence[str]) -> None:
        """These are told of what changes from now on; those that were there already, from then on."""
        known = {row[0] for row in self._rows("SELECT DISTINCT receiver FROM receivers")}
        if fresh := [name for name in receivers if name not in known]:
            self._insert("receivers", pa.table({"receiver": fresh}))

    def due(self, receiver: str, partitions: int = 1, owned: Iterable[int] = (0,)) -> list[Due]:
        """What is yet to be told to a receiver of the alerts of these partitions, of so many, in its order.

        Changes that are muted, too old, or came before it was introduced are never due. One that another owner found
        again is the same change: of its version only the epoch is another.
        """
        who, mine = {"receiver": receiver}, _mine(partitions, owned)
        # Mostly nothing is due: that is told by rows as they lie there, in a tenth of the time that FINAL takes.
        accounts = [(seller, marketplace) for seller, marketplace in self._rows(_CANDIDATES.format(mine=mine), who)]
        if not accounts:
            return []
        rows = self._rows(_DUE.format(mine=mine, these=of_accounts(accounts)), who)
        return [Due(AlertChange(*change), *rest) for *change, rest in ((*row[:8], row[8:]) for row in rows)]

    def notices(self, accounts: Sequence[AccountId]) -> dict[str, Notices]:
        """What people say about the alerts of these accounts, where they do; by alert."""
        if not accounts:
            return {}
        query = f"""SELECT alert_id, {SILENCED} AS silenced, k.severity FROM
                (SELECT * FROM stored_alerts FINAL WHERE {of_accounts(accounts)}) AS a
            LEFT JOIN (SELECT {_KEY}, severity FROM stored_alert_acks FINAL) AS k USING ({_KEY})
            WHERE silenced OR k.severity != ''"""
        return {alert_id: Notices(bool(silenced), acked) for alert_id, silenced, acked in self._rows(query)}

    def told_firing(self, receiver: str, partitions: int = 1, owned: Iterable[int] = (0,)) -> set[str]:
        """The alerts of these partitions of which the receiver was told that they fire, and they do."""
        query = f"""SELECT alert_id FROM stored_alerts FINAL
            WHERE state = 'firing' AND gone = 0 AND {_mine(partitions, owned)} AND ({_KEY}) IN ({_TOLD})"""
        return {row[0] for row in self._rows(query, {"receiver": receiver})}

    def notify(self, notifications: Sequence[Notification]) -> None:
        """Note what came of telling; of a change and receiver the last note stands."""
        columns = dict(zip(Notification._fields, map(list, zip(*notifications, strict=True)), strict=True))
        types = {"day": pa.date32(), "told_at": _MS, "next_at": _MS}
        self._insert("stored_notifications", _table(columns, types))

    def notification(self, receiver: str, account: AccountId, alert_id: str) -> Notification | None:
        """What came of telling a receiver of something that is no change of an alert."""
        where = "(seller_id, marketplace_id, alert_id) = ({seller:String}, {marketplace:String}, {id:String})"
        rows = self._rows(
            f"SELECT {_NOTIFICATION} FROM stored_notifications FINAL WHERE {where} AND receiver = {{receiver:String}}",
            {"seller": account[0], "marketplace": account[1], "id": alert_id, "receiver": receiver},
        )
        return Notification(*rows[0]) if rows else None

    def acknowledge(self, acks: Sequence[Ack]) -> None:
        """Somebody knows of these alerts."""
        columns = dict(zip(Ack._fields, map(list, zip(*acks, strict=True)), strict=True))
        self._insert("stored_alert_acks", _table(columns, {}))

    def silence(self, silence: Silence) -> None:
        """Add a silence, or change one: of a name the last stands."""
        columns = {name: [value] for name, value in silence._asdict().items()}
        self._insert("stored_alert_silences", _table(columns, {"until": _MS}))

    def silences(self) -> list[Silence]:
        """Those that have not ended, the one that ends first first."""
        fields = f"silence_id, {_GLOB}, toUnixTimestamp64Milli(until), by, comment"
        where = "until > now64(3) ORDER BY until, silence_id"
        return [Silence(*row) for row in self._rows(f"SELECT {fields} FROM stored_alert_silences FINAL WHERE {where}")]


_TOLD = f"""SELECT {_KEY} FROM stored_notifications FINAL
    WHERE receiver = {{receiver:String}} AND state = 'firing' AND told_at IS NOT NULL"""
_TO_BE_TOLD = f"""muted = 0 AND gone = 0 AND state IN ('firing', 'resolved') AND {{mine}}
    AND changed_at >= (SELECT min(since) FROM receivers WHERE receiver = {{{{receiver:String}}}})
    AND changed_at >= now64(3) - INTERVAL {_RECENT_DAYS} DAY"""
_CHANGE = f"{_KEY}, day, state, {_OF_EPOCH}"
_CANDIDATES = f"""SELECT DISTINCT seller_id, marketplace_id FROM stored_alert_history
    WHERE {_TO_BE_TOLD} AND ({_CHANGE}) NOT IN (SELECT {_CHANGE} FROM stored_notifications
        WHERE receiver = {{{{receiver:String}}}} AND outcome != 'retrying'
            AND noted_at >= now64(3) - INTERVAL {_RECENT_DAYS} DAY)"""
_DUE = f"""SELECT h.alert_id, toInt32(h.day), h.rule, h.seller_id, h.marketplace_id, h.state, h.value, h.version,
        toUnixTimestamp64Milli(h.changed_at), n.attempts, toUnixTimestamp64Milli(n.next_at),
        toUnixTimestamp64Milli(n.told_at),
        (h.seller_id, h.marketplace_id, h.alert_id) IN ({_TOLD.replace("{", "{{").replace("}", "}}")} AND {{these}})
    FROM (SELECT * FROM stored_alert_history FINAL WHERE {_TO_BE_TOLD} AND {{these}}) AS h
    LEFT JOIN (SELECT * FROM stored_notifications FINAL WHERE receiver = {{{{receiver:String}}}} AND {{these}}) AS n
    ON h.seller_id = n.seller_id AND h.marketplace_id = n.marketplace_id AND h.alert_id = n.alert_id
        AND h.day = n.day AND h.state = n.state
    WHERE n.outcome IN ('', 'retrying') OR bitAnd(n.version, {_BELOW}) != bitAnd(h.version, {_BELOW})
    ORDER BY h.changed_at, h.version, h.alert_id"""
_NOTIFICATION = (
    "receiver, seller_id, marketplace_id, alert_id, toInt32(day), state, version, outcome, "
    "toUnixTimestamp64Milli(told_at), attempts, toUnixTimestamp64Milli(next_at), last_error"
)


def _mine(partitions: int, owned: Iterable[int]) -> str:
    """The condition that an account's records are in these partitions, as the event tables' `account_hash` has it."""
    account_hash = "bitAnd(kafkaMurmurHash(concat(seller_id, '|', marketplace_id)), 2147483647)"
    return f"{account_hash} % {int(partitions)} IN ({', '.join(str(int(each)) for each in owned) or 'NULL'})"


def _table(columns: dict[str, list[Any]], types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
