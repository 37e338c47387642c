"""What a store keeps of the settings for views, and of workers' lag; and for how long it keeps rows.

Accepted events are kept for ever: everything else can be made anew from them.
"""

import re
from collections.abc import Mapping

import pyarrow as pa

from schemas.rows import InForce
from sink.query import Connection, converted

_SAID = InForce._fields[: InForce._fields.index("keep_rejected_days")]
_TTL = re.compile(r"\bTTL (.+?)(?: SETTINGS |$)")


class Governed(Connection):
    """See `sink.store.Store`, which is this and the rest."""

    def adopt(self, said: InForce) -> None:
        """From now on views show, and rows age, by these settings."""
        with converted():
            self.client.insert("settings_in_force", [[getattr(said, name) for name in _SAID]], column_names=_SAID)
        self._keep("stored_rejected_events", "time", said.keep_rejected_days)
        self._keep("stored_alert_history", "changed_at", said.keep_alert_history_days)

    def _keep(self, table: str, since: str, days: int | None) -> None:
        """Remove rows so many days old, now and then; None: none."""
        wanted = None if days is None else f"toDateTime({since}) + toIntervalDay({days})"
        query = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
        found = _TTL.search(self._rows(query, {"table": table})[0][0])
        if wanted is None and found:
            self._command(f"ALTER TABLE {table} REMOVE TTL")
        elif wanted is not None and (found is None or found[1] != wanted):
            self._command(f"ALTER TABLE {table} MODIFY TTL {wanted}")

    def add_lags(self, lags: Mapping[tuple[str, int], int]) -> None:
        """So many records of each topic and partition are not durable yet."""
        topics, partitions = zip(*lags, strict=True) if lags else ((), ())
        columns = {"topic": pa.array(topics, pa.string()), "partition": pa.array(partitions, pa.int32())}
        self._insert("consumer_lags", pa.table(columns | {"lag": pa.array(lags.values(), pa.uint64())}))
