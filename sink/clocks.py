"""What rules on cases and sources ask of a store: which cases are open, which sources have brought nothing for long.

What is due when is the business of `streams.core.clocks`; here is what it looks at.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from schemas.rows import SILENT_MS, USUAL_DAYS, USUAL_EVENTS, USUAL_OF_DAYS, AccountId, CaseClocks, SourceGap
from sink.query import HASH, Connection, of_accounts, of_partitions

_KEY = "seller_id, marketplace_id"
_A_DAY = 86_400_000
_TABLES = ("stored_order_events", "stored_feedback_events", "stored_survey_events")
# A silence that began longer ago is no news; days that tell whether a source was a busy one lie before it.
_NEWS_MS = SILENT_MS + 48 * 3_600_000


class Clocked(Connection):
    """See `sink.store.Store`, which is this and the rest."""

    def open_cases(self, partitions: int, owned: Iterable[int], now: int) -> list[CaseClocks]:
        """Cases of accounts of these partitions that are open at `now`, epoch ms, or were opened later."""
        over = f"ifNull(ifNull(closed_at, expires_at) > {_moment(now)}, true)"
        return self._clocks(f"{of_partitions(partitions, owned, HASH)} AND {over}")

    def case_clocks(self, accounts: Sequence[AccountId]) -> list[CaseClocks]:
        """All cases of these accounts, as far as rules go."""
        return self._clocks(of_accounts(accounts)) if accounts else []

    def _clocks(self, which: str) -> list[CaseClocks]:
        rows = self._rows(f"SELECT {_CLOCKS} FROM stored_cases FINAL WHERE {which} AND NOT gone")
        return [CaseClocks((seller, marketplace), *rest) for seller, marketplace, *rest in rows]

    def source_gaps(self, accounts: Sequence[AccountId], now: int) -> list[SourceGap]:
        """Each time that a source of these accounts was silent, of events up to `now`, epoch ms."""
        if not accounts:
            return []
        rows = self._rows(_gaps(of_accounts(accounts), now))
        return [
            SourceGap((seller, market), source, last, after or None) for seller, market, source, last, after in rows
        ]

    def quiet(self, partitions: int, owned: Iterable[int], now: int) -> list[AccountId]:
        """Accounts of these partitions with a source that has just fallen silent, or nearly so.

        Reads the times of all events: a tenth of a second of processor time for a million.
        """
        each = " UNION ALL ".join(
            f"""SELECT {_KEY}, source, count() AS events, max(event_time) AS last FROM {table}
            WHERE {of_partitions(partitions, owned)} AND event_time <= {_moment(now)}
                AND event_time > {_moment(now - _NEWS_MS - (USUAL_OF_DAYS + 1) * _A_DAY)}
            GROUP BY {_KEY}, source"""
            for table in _TABLES
        )
        rows = self._rows(
            f"""SELECT DISTINCT {_KEY} FROM (
                SELECT {_KEY}, source, sum(events) AS events, max(last) AS last FROM ({each}) GROUP BY {_KEY}, source
            ) WHERE events > {USUAL_EVENTS * USUAL_DAYS}
                AND last <= {_moment(now - SILENT_MS)} AND last > {_moment(now - _NEWS_MS)}"""
        )
        return [(seller, marketplace) for seller, marketplace in rows]


_INSTANTS = ", ".join(
    f"toUnixTimestamp64Milli({at})"
    for at in ("respond_target_at", "respond_by", "remove_by", "first_action_at", "follow_up_at")
)
# What closes a case by the clock alone is known before.
_CLOCKS = f"""{_KEY}, order_id, feedback_event_id, rating, toUnixTimestamp64Milli(opened_at),
    toUnixTimestamp64Milli(ifNull(closed_at, expires_at)), {_INSTANTS},
    arrayMap(step -> (step.1, toUnixTimestamp64Milli(step.2)), transitions)"""

# --- digests -------------------------------------------------------------------------------------------------


class Digested(Connection):
    """See `sink.store.Store`, which is this and the rest."""

    def undigested(self, day: int, partitions: int, owned: Iterable[int]) -> dict[AccountId, bool]:
        """Accounts of these partitions that have a row of that day and whose digest of that day is not all done.

        Each with whether it is on its topic.
        """
        done = f"SELECT {_KEY}, told FROM digests FINAL WHERE day = toDate32({int(day)})"
        rows = self._rows(
            f"""SELECT m.seller_id, m.marketplace_id, d.seller_id = m.seller_id AND d.marketplace_id = m.marketplace_id
            FROM (SELECT * FROM account_marks FINAL WHERE {of_partitions(partitions, owned, HASH)}) AS m
            LEFT JOIN ({done}) AS d ON d.seller_id = m.seller_id AND d.marketplace_id = m.marketplace_id
            WHERE m.first_day <= m.as_of AND m.as_of >= toDate32({int(day)}) AND d.told = 0
            ORDER BY m.seller_id, m.marketplace_id"""
        )
        return {(seller, marketplace): bool(is_sent) for seller, marketplace, is_sent in rows}

    def add_digests(self, day: int, told: Mapping[AccountId, bool]) -> None:
        """The digests of that day of these accounts are on their topic; whether receivers have them as well."""
        columns: dict[str, Any] = {"seller_id": [key[0] for key in told], "marketplace_id": [key[1] for key in told]}
        columns |= {
            "day": pa.array([day] * len(told), pa.date32()),
            "told": pa.array(map(int, told.values()), pa.uint8()),
        }
        self._insert("digests", pa.table(columns))


def _moment(time_ms: int) -> str:
    return f"fromUnixTimestamp64Milli({int(time_ms)}, 'UTC')"


def _gaps(which: str, now: int) -> str:
    """Account, source, its last event before a silence and the first one after, 0 for none."""
    each = " UNION ALL ".join(
        f"SELECT {_KEY}, source, toUnixTimestamp64Milli(event_time) AS t FROM {table} FINAL WHERE {which}"
        for table in _TABLES
    )
    # Days are (day, events, first, last); a gap is the day before it and the first event after.
    return f"""
SELECT {_KEY}, source, gap.1.4 AS last, gap.2 AS next FROM (
    SELECT {_KEY}, source, arraySort(groupArray((day, events, first, last))) AS days,
        arrayFilter(gap -> if(gap.2 = 0, {int(now)} + 1, gap.2) - gap.1.4 > {SILENT_MS},
            arrayZip(days, arrayPushBack(arrayPopFront(days.3), 0))) AS gaps
    FROM (
        SELECT {_KEY}, source, toInt32(intDiv(t, {_A_DAY})) AS day, count() AS events, min(t) AS first, max(t) AS last
        FROM ({each}) WHERE t <= {int(now)} GROUP BY {_KEY}, source, day
    ) GROUP BY {_KEY}, source HAVING countIf(events >= {USUAL_EVENTS}) >= {USUAL_DAYS}
) ARRAY JOIN gaps AS gap
WHERE arrayCount(of -> of.2 >= {USUAL_EVENTS} AND of.1 >= gap.1.1 - {USUAL_OF_DAYS} AND of.1 < gap.1.1, days)
    >= {USUAL_DAYS}
ORDER BY {_KEY}, source, last"""
