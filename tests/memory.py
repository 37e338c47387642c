"""A store in memory: what `sink.store` does, without a database. For tests of what writes to a store.

Its place in the flow: none, it stands where a store stands. It reads the containers that ClickHouse would be sent and
keeps what the tables would show: of versions the greatest, of equal ones the last, and no row that is gone. One
contract suite (tests/contract) holds both stores to the same behaviour.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any, NamedTuple

import fastavro
import numpy as np
import numpy.typing as npt
from aiokafka.partitioner import murmur2

from schemas.codec import Codec, Container
from schemas.events import MS_A_DAY, TOPICS, Topic, account_key, to_ms
from schemas.rows import (
    CELLS_SHOWN,
    EPOCH_BITS,
    SILENT_MS,
    USUAL_DAYS,
    USUAL_EVENTS,
    USUAL_OF_DAYS,
    AccountId,
    AlertChange,
    AlertRow,
    CaseClocks,
    CaseRow,
    CaseStories,
    Cell,
    DailyRows,
    ForgottenOrder,
    Loaded,
    Mark,
    OrderId,
    Rejected,
    SelfCheck,
    SourceGap,
    Standard,
    Stored,
    Transition,
    Wrong,
)
from streams.accounts import restore
from streams.core.account import snapshot_columns
from streams.core.metrics import METRICS, Terms, iso, snapshot

Array = npt.NDArray[Any]
Event = dict[str, Any]
Table = dict[Any, tuple[int, Any]]  # key -> version and row; None: gone

_SUBJECT: dict[Topic, str] = {"orders": "order_id", "feedback": "order_id", "surveys": "conversation_id"}
_FACT: dict[Topic, tuple[str, ...]] = {
    "orders": ("kind", "fulfilment", "deliver_by"),
    "feedback": ("kind", "rating", "arrived_on_time", "item_as_described", "customer_service", "source"),
    "surveys": ("solved", "order_id"),
}
_CASE_PART: dict[Topic, tuple[str, ...]] = {
    "orders": ("fulfilment", "skus"),
    "feedback": (
        "kind", "rating", "comment", "agent", "root_cause", "date_only", "arrived_on_time", "item_as_described",
        "customer_service",
    ),
}  # fmt: skip
_CASE_COLUMNS = CaseRow._fields[: CaseRow._fields.index("expires_at")]
_NO_MARK = Mark(("", ""), 0, Standard(0), 0, 0, 0)


class _Stored(NamedTuple):
    """An event that stands, and the rank of its content."""

    rank: int
    event: Event


class MemoryStore:
    """The store of `sink.store`, method by method, and readers of what its tables would show."""

    def __init__(self) -> None:
        self._containers = {topic: Container(schema) for topic, schema in Codec().newest.items()}
        self._events: dict[Topic, dict[tuple[str, ...], _Stored]] = {topic: {} for topic in TOPICS}
        self._daily: Table = {}
        self._marks: Table = {}
        self._cases: Table = {}
        self._alerts: Table = {}
        self._history: Table = {}
        self._digests: dict[tuple[int, AccountId], bool] = {}
        self._rejected: dict[tuple[Any, ...], Rejected] = {}
        self._misplaced: dict[tuple[str, int, int], int] = {}
        self.self_checks: dict[int, SelfCheck] = {}  # by epoch
        self._as_of: int | None = None
        self._epoch = 0
        self.forgotten_orders: list[ForgottenOrder] = []

    # --- events ------------------------------------------------------------------------------------------

    def add_events(self, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (payload, digest) pairs of accepted events."""
        stored = self._events[topic]
        for record in fastavro.reader(BytesIO(self._containers[topic].build(records))):
            event = dict(record) if isinstance(record, dict) else {}
            rank = int.from_bytes(event.pop("digest"), "little")
            for name in ("event_time", "deliver_by"):
                if event.get(name) is not None:
                    event[name] = to_ms(event[name])
            key = (event["seller_id"], event["marketplace_id"], event[_SUBJECT[topic]], event["event_id"])
            if key not in stored or rank <= stored[key].rank:
                stored[key] = _Stored(rank, event)

    def forgotten(self) -> list[ForgottenOrder]:
        """The orders that are forgotten."""
        return self.forgotten_orders

    def load(self, accounts: Sequence[AccountId], *, troubled: bool = False, since_ms: int | None = None) -> Loaded:
        """All that is stored of these accounts; if only what is `troubled` or late, that too: it may be more."""
        wanted = set(accounts)
        events: dict[Topic, list[tuple[Any, ...]]] = {topic: [] for topic in TOPICS}
        for topic, stored in self._events.items():
            for (*account, subject, event_id), (rank, event) in stored.items():
                if tuple(account) in wanted:
                    fact = (event[name] for name in _FACT[topic])
                    events[topic].append((*account, subject, event["event_time"], event_id, rank, *fact))
        return Loaded(events, {account: mark for account, (_, mark) in self._marks.items() if account in wanted})

    def stored(self, accounts: Sequence[AccountId]) -> dict[AccountId, Stored]:
        """How much is stored of these accounts, as far as anything is."""
        return {
            account: Stored(len(events), _checksum(events), _first_day(events))
            for account, events in self._of_partitions(1, (0,)).items()
            if account in accounts
        }

    def sizes(
        self, partitions: int = 1, owned: Iterable[int] = (0,), *, among: Sequence[AccountId] | None = None
    ) -> dict[AccountId, tuple[int, int]]:
        """How many events accounts of these partitions have, and the first's day; of those `among` these."""
        return {
            account: (len(events), _first_day(events))
            for account, events in self._of_partitions(partitions, owned).items()
            if among is None or account in among
        }

    def marks(self, accounts: Sequence[AccountId]) -> dict[AccountId, Mark]:
        """The marks of these accounts, as far as they have one."""
        return {account: mark for account, (_, mark) in self._marks.items() if account in accounts}

    # --- rows --------------------------------------------------------------------------------------------

    def recompute(self, accounts: Sequence[AccountId], terms: Terms, *, first: int, as_of: int, epoch: int) -> None:
        """Write the rows of these accounts from day `first` to `as_of` as the fold gives them."""
        for account in restore(accounts, self.load(accounts), lambda _: terms).values():
            account.restate(as_of)
            if (rows := account.rows(first)) is not None:
                columns = snapshot_columns([rows], lambda _: terms)
                versions = np.full(len(columns["day"]), epoch << 40 | account.count, dtype=np.uint64)
                written = snapshot(columns) | {"day": columns["day"], "version": versions}
                self.add_rows([account.id], [len(versions)], written)

    def differing(self, accounts: Sequence[AccountId], terms: Terms, *, as_of: int) -> dict[AccountId, Wrong]:
        """Of these accounts those with rows other than their stored events give, and what is wrong with them."""
        right = MemoryStore()
        right._events = self._events
        right.recompute([*self.stored(accounts)], terms, first=0, as_of=as_of, epoch=0)
        ours, theirs = self._shown(accounts), right._shown(accounts)
        found: dict[AccountId, list[list[Cell]]] = {}
        for key in sorted(ours.keys() | theirs.keys()):
            if cells := _cells(key[2], ours.get(key), theirs.get(key)):
                found.setdefault(key[:2], []).append(cells)
        return {account: _wrong(rows) for account, rows in found.items()}

    def _shown(self, accounts: Sequence[AccountId]) -> dict[Any, Event]:
        rows = {(row["seller_id"], row["marketplace_id"], row["day"]): row for row in self.seller_daily()}
        return {key: row for key, row in rows.items() if key[:2] in accounts}

    def drop_rows(self, versions: Mapping[AccountId, int]) -> None:
        """Of each account remove the rows of that version or a greater one, and those of days after the as-of day."""
        last = self._as_of if self._as_of is not None else 0
        for key, (version, _) in list(self._daily.items()):
            if key[:2] in versions and (version >= versions[key[:2]] or key[2] > last):
                del self._daily[key]

    def strays(self) -> list[AccountId]:
        """Accounts that have rows or cases, and no event."""
        return sorted({key[:2] for key in (*self._daily, *self._cases)} - self._of_partitions(1, (0,)).keys())

    def rows(self, accounts: Sequence[AccountId], first: int, columns: Iterable[str]) -> DailyRows:
        """These columns of the rows of these accounts from day `first` on, values as `snapshot` gives them."""
        wanted = set(accounts)
        shown = [
            (key, *row)
            for key, (_, row) in sorted(self._daily.items(), key=lambda item: item[0])
            if row is not None and key[:2] in wanted and key[2] >= first
        ]
        known = {name: np.array([written[name][i] for _, written, i in shown]) for name in ("day", *columns)}
        return DailyRows.of([key[0] for key, *_ in shown], [key[1] for key, *_ in shown], known)

    def add_rows(self, accounts: Sequence[AccountId], sizes: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Write rows of `seller_daily`, `sizes[i]` of `accounts[i]`, with `day`, `version` and every metric."""
        days, versions = columns["day"].tolist(), columns["version"].tolist()
        owners = np.repeat(np.arange(len(accounts)), sizes).tolist()
        for i, (owner, day, version) in enumerate(zip(owners, days, versions, strict=True)):
            _put(self._daily, (*accounts[owner], day), version, (columns, i))

    def add_gone(self, account: AccountId, days: range, version: int) -> None:
        """The account has no rows of these days any more."""
        for day in days:
            _put(self._daily, (*account, day), version, None)

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Write how far accounts' rows are."""
        for mark in marks:
            _put(self._marks, mark.account, mark.version, mark)

    # --- cases -------------------------------------------------------------------------------------------

    def stale_orders(self, accounts: Sequence[AccountId], until_ms: int, reading: int) -> list[OrderId]:
        """Orders whose case rows are not of this reading and of their events before `until_ms`."""
        rows: dict[OrderId, list[CaseRow]] = {}
        for _, row in self._cases.values():
            rows.setdefault(row.order, []).append(row)
        low = {
            (seller, market, order)
            for (seller, market, order, _), (_, event) in self._events["feedback"].items()
            if event["kind"] == "SUBMITTED" and event["rating"] <= 3 and event["event_time"] < until_ms
        }
        asked = {key for key in low | rows.keys() if key[:2] in accounts}
        told = dict.fromkeys(asked, 0)
        for topic in ("orders", "feedback") if asked else ():
            for (seller, market, order, _), (rank, event) in self._events[topic].items():
                if (key := (seller, market, order)) in asked and event["event_time"] < until_ms:
                    told[key] = (told[key] + rank) % (1 << 64)
        return sorted(
            key for key in asked if {(row.checksum, row.reading) for row in rows.get(key, ())} != {(told[key], reading)}
        )

    def case_stories(self, orders: Sequence[OrderId], until_ms: int) -> CaseStories:
        """What is stored of these orders that happened before `until_ms`, and their case rows, gone ones too."""
        found: dict[Topic, list[tuple[Any, ...]]] = {"orders": [], "feedback": []}
        for topic, rows in found.items():
            for (*order, event_id), (rank, event) in self._events[topic].items():
                if tuple(order) in orders and event["event_time"] < until_ms:
                    part = (event[name] for name in _CASE_PART[topic])
                    rows.append((*order, event["event_time"], event_id, rank, *part))
        return CaseStories(
            found["orders"], found["feedback"], [row for _, row in self._cases.values() if row.order in orders]
        )

    def add_cases(self, rows: Sequence[CaseRow]) -> None:
        """Write cases, but not of an account that a later epoch has marked."""
        for row in rows:
            _, mark = self._marks.get((row.seller_id, row.marketplace_id), (0, _NO_MARK))
            if mark.version >> EPOCH_BITS <= row.version >> EPOCH_BITS:
                _put(self._cases, (*row.order, row.feedback_event_id), row.version, row)

    def cases(self, accounts: Sequence[AccountId]) -> list[CaseRow]:
        """The cases of these accounts as their events tell them."""
        return [row for row in _standing(self._cases, accounts) if not row.gone]

    def drop_cases(self, accounts: Sequence[AccountId]) -> None:
        """Remove all case rows of these accounts."""
        for key in [key for key in self._cases if key[:2] in accounts]:
            del self._cases[key]

    # --- accounts ----------------------------------------------------------------------------------------

    def accounts(self, partitions: int = 1, owned: Iterable[int] = (0,)) -> dict[AccountId, int | None]:
        """The accounts of these partitions, of so many, that have events, each with its first day that has a row."""
        found = dict.fromkeys(self._of_partitions(partitions, owned))
        marks = self.marks(list(found))
        return {
            key: mark.first_day if (mark := marks.get(key)) and mark.first_day <= mark.as_of else None for key in found
        }

    def behind(
        self,
        as_of: int,
        standard: Standard,
        partitions: int = 1,
        owned: Iterable[int] = (0,),
        *,
        thorough: bool = True,
    ) -> dict[AccountId, int]:
        """The accounts of these partitions, of so many, whose rows lag their events, the settings or the as-of day.

        Each with the day of its first event. Only a `thorough` look finds rows that lag events alone.
        """
        lagging = {}
        for account, events in self._of_partitions(partitions, owned).items():
            _, mark = self._marks.get(account, (0, _NO_MARK))
            is_old = thorough and _checksum(events) != mark.checksum
            is_other = mark.standard.formula != standard.formula or standard.rules not in (0, mark.standard.rules)
            first_day = _first_day(events)
            if is_old or is_other or (mark.as_of < as_of and first_day <= as_of):
                lagging[account] = first_day
        return lagging

    def _of_partitions(self, partitions: int, owned: Iterable[int]) -> dict[AccountId, list[_Stored]]:
        mine = set(owned)
        found: dict[AccountId, list[_Stored]] = {}
        for stored in self._events.values():
            for one in stored.values():
                if _hash(one.event["seller_id"], one.event["marketplace_id"]) % partitions in mine:
                    found.setdefault((one.event["seller_id"], one.event["marketplace_id"]), []).append(one)
        return found

    # --- the as-of day and epochs ------------------------------------------------------------------------

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""
        return self._as_of

    def first_day(self) -> int | None:
        """The day of the first event, None if there is none."""
        times = [event["event_time"] for stored in self._events.values() for _, event in stored.values()]
        return min(times) // MS_A_DAY if times else None

    def move_as_of(self, day: int) -> int:
        """Move the as-of day forward, never back; what it is then."""
        self._as_of = day if self._as_of is None else max(self._as_of, day)
        return self._as_of

    def next_epoch(self) -> int:
        """A fencing epoch greater than any taken before."""
        self._epoch += 1
        return self._epoch

    # --- refused records and alerts ----------------------------------------------------------------------

    def add_rejected(self, rejected: Sequence[Rejected]) -> None:
        """Write refused records; each is one row however often it comes."""
        self._rejected |= {record[:5]: record for record in rejected}

    def add_misplaced(self, offsets: Mapping[tuple[str, int], int], counts: Mapping[tuple[str, int], int]) -> None:
        """Note how many records of a batch, which ended there, were found outside their account's partition."""
        self._misplaced |= {(*at, offsets[at]): count for at, count in counts.items()}

    def add_alerts(self, alerts: Sequence[AlertRow], changes: Sequence[AlertChange]) -> None:
        """Write what changed, then the new state of alerts: until that is stored the change is found again."""
        for alert in alerts:
            key = alert.seller_id, alert.marketplace_id, alert.alert_id
            _put(self._alerts, key, alert.version, None if alert.gone else alert)
        for change in changes:
            key = change.seller_id, change.marketplace_id, change.alert_id
            _put(self._history, (*key, change.day, change.state), change.version, None if change.gone else change)

    def add_self_check(self, check: SelfCheck) -> None:
        """Note what came of holding rows against their events."""
        self.self_checks[check.epoch] = check

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state, of these accounts or of all; the open ones are pending or firing."""
        return [alert for alert in _standing(self._alerts, accounts) if not only_open or alert.state != "resolved"]

    def alert_changes(self, accounts: Sequence[AccountId]) -> list[AlertChange]:
        """Every change of the alerts of these accounts."""
        return _standing(self._history, accounts)

    # --- clocks ------------------------------------------------------------------------------------------

    def firing(self, rules: Iterable[str], partitions: int = 1, owned: Iterable[int] = (0,)) -> list[AlertRow]:
        """Alerts of these rules on accounts of these partitions that are firing."""
        wanted, mine = set(rules), set(owned)
        return [
            alert
            for alert in self.alerts(None, True)
            if alert.rule in wanted and _hash(alert.seller_id, alert.marketplace_id) % partitions in mine
        ]

    def open_cases(self, partitions: int, owned: Iterable[int], now: int) -> list[CaseClocks]:
        """Cases of accounts of these partitions that are open at `now`."""
        mine = [account for account in {case[:2] for case in self._cases} if _hash(*account) % partitions in {*owned}]
        return [case for case in self.case_clocks(mine) if case.closed_at is None or case.closed_at > now]

    def case_clocks(self, accounts: Sequence[AccountId]) -> list[CaseClocks]:
        """All cases of these accounts, as far as rules go."""
        return [
            CaseClocks(
                case.order[:2], case.order_id, case.feedback_event_id, case.rating, case.opened_at,
                case.expires_at if case.closed_at is None else case.closed_at, case.respond_target_at,
                case.respond_by, case.remove_by, case.first_action_at, case.follow_up_at,
                [(step.status, step.at) for step in case.transitions],
            )
            for case in self.cases(accounts)
        ]  # fmt: skip

    def undigested(self, day: int, partitions: int, owned: Iterable[int]) -> dict[AccountId, bool]:
        """Accounts of these partitions whose digest of that day is not all done, and whether it is on its topic."""
        mine = set(owned)
        return {
            key: (day, key) in self._digests
            for key, (_, mark) in sorted(self._marks.items())
            if mark.first_day <= mark.as_of and mark.as_of >= day and _hash(*key) % partitions in mine
            and not self._digests.get((day, key), False)
        }  # fmt: skip

    def add_digests(self, day: int, told: Mapping[AccountId, bool]) -> None:
        """The digests of that day are on their topic; whether receivers have them as well."""
        for key, is_told in told.items():
            self._digests[day, key] = is_told or self._digests.get((day, key), False)

    def quiet(self, partitions: int, owned: Iterable[int], now: int) -> list[AccountId]:
        """Accounts of these partitions with a source that has fallen silent; whoever else is asked in vain."""
        return [*self._of_partitions(partitions, owned)]

    def source_gaps(self, accounts: Sequence[AccountId], now: int) -> list[SourceGap]:
        """Each time that a source of these accounts was silent."""
        times: dict[tuple[AccountId, str], list[int]] = {}
        for account, events in self._of_partitions(1, (0,)).items():
            for _, event in events:
                if account in accounts and event["event_time"] <= now:
                    times.setdefault((account, event["source"]), []).append(event["event_time"])
        found = []
        for (account, source), each in sorted(times.items()):
            each.sort()
            days = Counter(time // MS_A_DAY for time in each)
            for last, after in pairwise([*each, now + 1]):
                before = range(last // MS_A_DAY - USUAL_OF_DAYS, last // MS_A_DAY)
                is_busy = sum(days[day] >= USUAL_EVENTS for day in before) >= USUAL_DAYS
                if after - last > SILENT_MS and is_busy:
                    found.append(SourceGap(account, source, last, after if after <= now else None))
        return found

    def close(self) -> None:
        """There is nothing to let go of."""

    # --- what the tables would show ----------------------------------------------------------------------

    def events(self, topic: Topic) -> list[Event]:
        """The rows of the topic's event table, times as epoch ms."""
        return [dict(event) for _, (_, event) in sorted(self._events[topic].items())]

    def seller_daily(self) -> list[Event]:
        """The rows of `seller_daily` without `computed_at`: days as YYYY-MM-DD, times as epoch ms, null as None."""
        rows = []
        for (seller, marketplace, day), (_, found) in sorted(self._daily.items(), key=lambda item: item[0]):
            if found is not None:
                columns, i = found
                row = {"seller_id": seller, "marketplace_id": marketplace, "day": iso(day)}
                rows.append(row | {m.name: _SHOWN[m.type](columns[m.name][i]) for m in METRICS})
        return rows

    def feedback_cases(self) -> list[Event]:
        """The rows of `feedback_cases`, times as epoch ms."""
        return [
            {name: getattr(case, name) for name in _CASE_COLUMNS}
            | ({"status": "expired", "closed_at": case.expires_at} if self._is_expired(case) else {})
            for case in self._all_cases()
        ]

    def case_history(self) -> list[Event]:
        """The rows of `case_history`, times as epoch ms."""
        return [
            {name: getattr(case, name) for name in _CASE_COLUMNS[:4]} | step._asdict()
            for case in self._all_cases()
            for step in sorted(
                [*case.transitions, Transition("expired", case.expires_at or 0, "", None)][
                    : len(case.transitions) + self._is_expired(case)
                ],
                key=lambda step: (step.at, step.status),
            )
        ]

    def _all_cases(self) -> list[CaseRow]:
        return [row for _, (_, row) in sorted(self._cases.items(), key=lambda item: item[0]) if not row.gone]

    def _is_expired(self, case: CaseRow) -> bool:
        return case.expires_at is not None and case.expires_at <= ((self._as_of or 0) + 1) * MS_A_DAY

    def rejected_events(self) -> list[Event]:
        """The rows of `rejected_events`; coordinates that do not apply are None."""
        coordinates = ("partition", "offset", "file", "line")
        return [
            {
                name: None if name in coordinates and value in (-1, "") else value
                for name, value in record._asdict().items()
            }
            for _, record in sorted(self._rejected.items())
        ]

    def misplaced(self) -> dict[tuple[str, int, int], int]:
        """How many records were misplaced, by topic, partition and last offset of their batch."""
        return dict(self._misplaced)


def _hash(seller: str, marketplace: str) -> int:
    key = account_key({"seller_id": seller, "marketplace_id": marketplace})
    return int(murmur2(key) & 0x7FFFFFFF)


def _cells(day: str, stored: Event | None, right: Event | None) -> list[Cell]:
    """Where two rows of a day differ."""
    number = int(np.datetime64(day, "D").astype(int))
    if stored is None or right is None:
        told = ("missing", "there") if stored is None else ("there", "none")
        return [Cell(number, "row", *told)]
    names = [name for name in stored if stored[name] != right[name]]
    return [Cell(number, name, _text(stored[name]), _text(right[name])) for name in names]


def _wrong(rows: list[list[Cell]]) -> Wrong:
    kinds = Counter(cells[0].stored if cells[0].column == "row" else "" for cells in rows)
    examples = sorted(cell for cells in rows for cell in cells)[:CELLS_SHOWN]
    count = sum(len(cells) for cells in rows if cells[0].column != "row")
    return Wrong(kinds[""], kinds["missing"], kinds["there"], count, examples)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _checksum(events: Iterable[_Stored]) -> int:
    return sum(rank for rank, _ in events) % (1 << 64)


def _first_day(events: Iterable[_Stored]) -> int:
    first: int = min(event["event_time"] for _, event in events) // MS_A_DAY
    return first


def _put(table: Table, key: Any, version: int, row: Any) -> None:
    if key not in table or version >= table[key][0]:
        table[key] = version, row


def _standing(table: Table, accounts: Sequence[AccountId] | None) -> list[Any]:
    wanted = None if accounts is None else set(accounts)
    return [row for key, (_, row) in table.items() if row is not None and (wanted is None or key[:2] in wanted)]


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "UInt32": int,
    "UInt8": int,
    "Int64": int,
    "DateTime64(3, 'UTC')": int,
    "Nullable(Float64)": _number,
    "Nullable(Date)": lambda day: None if day < 0 else iso(int(day)),
    "LowCardinality(Nullable(String))": lambda text: text,
}
