"""The product's pure core, driven by hand: events in, rows of `seller_daily` out, as the reference gives them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from schemas.codec import Codec, digest_of
from schemas.events import MS_A_DAY
from schemas.rows import AccountId
from streams.core.account import Account, snapshot_columns
from streams.core.metrics import METRICS, Terms, iso, snapshot
from streams.core.stories import fact_of

CODEC = Codec()


def add(accounts: dict[AccountId, Account], event: Mapping[str, Any], terms: Terms) -> None:
    """One event, as the worker takes it: decoded from its payload, ranked by its digest."""
    topic = event["topic"]
    digest = digest_of(CODEC.payload(topic, event))
    key = event["seller_id"], event["marketplace_id"]
    if key not in accounts:
        accounts[key] = Account(key, terms)
    accounts[key].add(*fact_of(topic, event, digest))


def rows_of(accounts: Iterable[Account], terms: Terms, first: int = -(1 << 30)) -> list[dict[str, Any]]:
    """The rows of restated accounts from `first` on, sorted, nulls as None."""
    blocks = [
        rows for account in sorted(accounts, key=lambda a: a.id) if account.count and (rows := account.rows(first))
    ]
    if not blocks:
        return []
    columns = snapshot_columns(blocks, lambda account: terms)
    metrics = snapshot(columns)
    keys = [b.account for b in blocks for _ in range(len(b.last_event_time))]
    result = []
    for i, (seller, marketplace) in enumerate(keys):
        row: dict[str, Any] = {"seller_id": seller, "marketplace_id": marketplace, "day": iso(int(columns["day"][i]))}
        for metric in METRICS:
            row[metric.name] = _plain(metric.type, metrics[metric.name][i])
        result.append(row)
    return result


def _plain(kind: str, value: Any) -> Any:
    if kind == "Nullable(Float64)":
        return None if math.isnan(value) else float(value)
    if kind == "Nullable(Date)":
        return None if value < 0 else iso(int(value))
    return value if value is None or isinstance(value, str) else int(value)


def fold(
    batches: Sequence[Sequence[Mapping[str, Any]]], as_of: int | None = None, terms: Terms | None = None
) -> list[dict[str, Any]]:
    """Rows after these batches, the calendar brought up to date after each."""
    terms = terms or Terms()
    accounts: dict[AccountId, Account] = {}
    times = [event["event_time"] for batch in batches for event in batch]
    last = as_of if as_of is not None else max(times, default=0) // MS_A_DAY
    for batch in batches:
        for event in batch:
            add(accounts, event, terms)
        for account in accounts.values():
            account.restate(last)
    return rows_of(accounts.values(), terms)
