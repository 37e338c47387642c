"""What a store does to forget an order: ids are replaced by pseudonyms wherever they are, and old parts are removed.

Each step finds what is left of what it is about, so all of them can be made again. What is deleted is deleted by
mutations, which rewrite the parts that hold it, and then the parts before them go. Mutations leave their text behind:
they read ids from the table `forgetting`, which is empty again at the end.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from clickhouse_connect.driver.binding import format_query_value
from fastavro import schemaless_writer

from schemas.codec import Codec, Container
from schemas.events import FIELDS, TOPICS, Topic
from schemas.rows import AccountId, ForgottenOrder
from sink.loading import EVENT_TABLES
from sink.query import WRITE_SETTINGS, Connection, converted, of_accounts

MUTATION = WRITE_SETTINGS | {"mutations_sync": 2}  # returns when all is rewritten
TABLES = (
    *EVENT_TABLES.values(), "stored_cases", "stored_alerts", "stored_alert_history", "stored_notifications",
    "stored_alert_acks", "stored_alert_silences", "forgetting",
)  # fmt: skip
_OF_ALERTS = ("stored_alert_history", "stored_notifications", "stored_alert_acks", "stored_alerts")  # the last tells
_SEEN = {"name": "first_seen_at", "type": {"type": "long", "logicalType": "timestamp-millis"}}


class StoredEvent(NamedTuple):
    """An event as it is stored: times are epoch ms, `rank` its digest as a number, `seen_ms` when it came."""

    topic: Topic
    event: dict[str, Any]
    rank: int
    seen_ms: int


class Renamed(NamedTuple):
    """An id, of an order, a conversation, an alert or what an alert is about (`subject`), and its pseudonym."""

    what: str
    old: str
    new: str


class CaseAlert(NamedTuple):
    """An alert about a case of an order. `since` is epoch ms."""

    alert_id: str
    rule: str
    subject: str
    since: int


class Forgetting(Connection):
    """See `sink.store.Store`, which is this and more."""

    # --- what is known ------------------------------------------------------------------------------------

    def forgotten(self) -> list[ForgottenOrder]:
        """The orders that are forgotten."""
        rows = self._rows(f"SELECT {', '.join(ForgottenOrder._fields)} FROM forgotten_orders FINAL")
        return [ForgottenOrder(*row) for row in rows]

    def note_forgotten(self, order: ForgottenOrder) -> None:
        """From now on this order is forgotten: workers that start know it."""
        with converted():
            self.client.insert(
                "forgotten_orders", [list(order)], column_names=list(ForgottenOrder._fields), settings=WRITE_SETTINGS
            )

    def last_epoch(self) -> int:
        """The fencing epoch of the worker that was given partitions last."""
        return int(self._rows("SELECT max(epoch) FROM epochs")[0][0])

    def holders(self, order_id: str) -> list[AccountId]:
        """The accounts of which anything stored names this order."""
        name = format_query_value(order_id)
        each = [f"SELECT {_ACCOUNT} FROM {t} WHERE order_id = {name}" for t in (*EVENT_TABLES.values(), "stored_cases")]
        each.append(f"SELECT {_ACCOUNT} FROM stored_alerts WHERE has(order_ids, {name})")
        each.append(f"SELECT {_ACCOUNT} FROM forgetting WHERE what = 'order' AND old = {name}")
        rows = self._rows(f"SELECT DISTINCT {_ACCOUNT} FROM ({' UNION ALL '.join(each)}) ORDER BY ALL")
        return [(seller, marketplace) for seller, marketplace in rows]

    def story(self, account: AccountId, order_id: str) -> list[StoredEvent]:
        """All that is stored of an order, and of the conversations that name it, also what no longer stands."""
        found = []
        name, these = format_query_value(order_id), of_accounts([account])
        for topic in TOPICS:
            which = f"order_id = {name}"
            if topic == "surveys":
                which = f"""conversation_id IN (
                    SELECT conversation_id FROM stored_survey_events WHERE {these} AND {which})"""
            names = [field for field, _, _ in FIELDS[topic]]
            fields = ", ".join(
                f"toUnixTimestamp64Milli({f})" if f in ("event_time", "deliver_by") else f for f in names
            )
            rows = self._rows(
                f"""SELECT {fields}, reinterpretAsUInt64(digest), toUnixTimestamp64Milli(first_seen_at)
                FROM {EVENT_TABLES[topic]} WHERE {these} AND {which}
                ORDER BY first_seen_at LIMIT 1 BY {_SUBJECT[topic]}, event_id, digest"""
            )
            found += [StoredEvent(topic, dict(zip(names, row, strict=False)), *row[-2:]) for row in rows]
        return found

    def case_alerts(self, account: AccountId, order_id: str, rules: Iterable[str]) -> list[CaseAlert]:
        """The alerts of these rules that name this order."""
        rows = self._rows(
            f"""SELECT DISTINCT alert_id, rule, subject, toUnixTimestamp64Milli(since) FROM stored_alerts
            WHERE {of_accounts([account])} AND has(order_ids, {format_query_value(order_id)})
                AND rule IN ({", ".join(map(format_query_value, rules))})"""
        )
        return [CaseAlert(*row) for row in rows]

    def naming(self, account: AccountId, order_id: str) -> tuple[int, int]:
        """How many cases and alerts of the account name this order."""
        these, name = of_accounts([account]), format_query_value(order_id)
        (cases,) = self._rows(f"SELECT count() FROM feedback_cases WHERE {these} AND order_id = {name}")[0]
        (alerts,) = self._rows(f"SELECT count() FROM alerts WHERE {these} AND has(order_ids, {name})")[0]
        return cases, alerts

    def being_forgotten(self) -> list[tuple[AccountId, str]]:
        """The order with which a `forget` was interrupted, if one was."""
        rows = self._rows("SELECT DISTINCT seller_id, marketplace_id, old FROM forgetting WHERE what = 'order'")
        return [((seller, marketplace), order_id) for seller, marketplace, order_id in rows]

    # --- what is done ---------------------------------------------------------------------------------------

    def begin_forgetting(self, account: AccountId, ids: Sequence[Renamed]) -> None:
        """These ids of the account are about to be replaced."""
        rows = [[*account, *each] for each in ids]
        if rows:
            columns = ["seller_id", "marketplace_id", *Renamed._fields]
            with converted():
                self.client.insert("forgetting", rows, column_names=columns, settings=WRITE_SETTINGS)

    def add_again(self, topic: Topic, records: Iterable[tuple[bytes, bytes, int]]) -> None:
        """Store events by their pseudonyms: (payload, digest, when it came at first, epoch ms)."""
        newest = Codec().newest[topic]
        container = Container(newest | {"fields": [*newest["fields"], _SEEN]})
        block = container.build((payload + _long(seen_ms), digest) for payload, digest, seen_ms in records)
        columns = [*(field["name"] for field in newest["fields"]), "first_seen_at", "digest"]
        with converted():
            self.client.raw_insert(EVENT_TABLES[topic], columns, block, settings=WRITE_SETTINGS, fmt="Avro")

    def drop_old_events(self, topic: Topic) -> None:
        """Delete the events of what is being forgotten."""
        what = "conversation" if topic == "surveys" else "order"
        self._mutate(EVENT_TABLES[topic], f"DELETE WHERE ({_ACCOUNT}, {_SUBJECT[topic]}) IN ({_ids(what)})")

    def drop_old_cases(self) -> None:
        """Delete the case rows of the order that is being forgotten."""
        self._mutate("stored_cases", "APPLY DELETED MASK")  # rows that are hidden, not gone
        self._mutate("stored_cases", f"DELETE WHERE ({_ACCOUNT}, order_id) IN ({_ids('order')})")

    def rename_alerts(self) -> None:
        """Alerts about cases of the order take other names, in all that is told of them."""
        for table in _OF_ALERTS:
            subject = f", {_renamed('subject', 't.subject')} AS subject" if table == "stored_alerts" else ""
            self._command(
                f"""INSERT INTO {table} SELECT t.* REPLACE ({_renamed("alert", "t.alert_id")} AS alert_id{subject})
                FROM {table} AS t WHERE (t.seller_id, t.marketplace_id, t.alert_id) IN ({_ids("alert")})"""
            )
            self._mutate(table, f"DELETE WHERE ({_ACCOUNT}, alert_id) IN ({_ids('alert')})")

    def replace_names(self) -> None:
        """Alerts, and what people wrote about them, name the order by its pseudonym."""
        old, new = (f"(SELECT any(f.{of}) FROM forgetting AS f WHERE what = 'order')" for of in ("old", "new"))
        at = f"({_ACCOUNT}) IN (SELECT seller_id, marketplace_id FROM forgetting)"
        named = f"order_ids = arrayMap(o -> if(o = {old}, {new}, o), order_ids)"
        self._mutate("stored_alerts", f"UPDATE {named} WHERE {at} AND has(order_ids, {old})")
        word = f"concat('(^|[^A-Za-z0-9])', regexpQuoteMeta({old}), '($|[^A-Za-z0-9])')"
        for table, of in (("stored_alert_acks", at), ("stored_alert_silences", "1")):
            written = f"comment = replaceRegexpAll(comment, {word}, concat('\\\\1', {new}, '\\\\2'))"
            self._mutate(table, f"UPDATE {written} WHERE {of} AND match(comment, {word})")

    def end_forgetting(self) -> None:
        """The ids are nowhere any more."""
        self._command("TRUNCATE TABLE forgetting")

    def old_parts(self) -> int:
        """Remove the files of parts that others took the place of; how many are still there, being read perhaps."""
        for table in TABLES:
            # Of a partition that there is not: what was replaced goes at once, not when the engine gets round to it.
            self._command(f"ALTER TABLE {table} DROP PARTITION ID 'none'")
        names = ", ".join(map(format_query_value, TABLES))
        where = f"database = currentDatabase() AND table IN ({names}) AND NOT active"
        return int(self._rows(f"SELECT count() FROM system.parts WHERE {where}")[0][0])

    def _mutate(self, table: str, what: str) -> None:
        with converted():
            self.client.command(f"ALTER TABLE {table} {what}", settings=MUTATION)


_ACCOUNT = "seller_id, marketplace_id"
_SUBJECT: dict[Topic, str] = {"orders": "order_id", "feedback": "order_id", "surveys": "conversation_id"}


def _ids(what: str) -> str:
    return f"SELECT seller_id, marketplace_id, old FROM forgetting WHERE what = '{what}'"


def _renamed(what: str, column: str) -> str:
    """The column, with a pseudonym for each id of that kind."""
    ids = f"SELECT * FROM forgetting WHERE what = '{what}' ORDER BY old"
    old, new = (f"(SELECT groupArray(f.{of}) FROM ({ids}) AS f)" for of in ("old", "new"))
    return f"arrayElement(arrayConcat({new}, [{column}]), if(has({old}, {column}), indexOf({old}, {column}), -1))"


def _long(value: int) -> bytes:
    stream = BytesIO()
    schemaless_writer(stream, "long", value)
    return stream.getvalue()
