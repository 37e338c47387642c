"""Statements of a store: sent, and what goes wrong said in our own words.

Driver exceptions become `Unavailable` (try again) or `SinkRejected` (our bug) here and nowhere else.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.binding import format_query_value
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, OperationalError
from urllib3.exceptions import HTTPError

from schemas.errors import SinkRejected, Unavailable
from schemas.rows import AccountId

# async_insert is on by default in this version, and batches are ours; lists of accounts are long; what a server's
# profile may have changed would change rows.
SETTINGS = {"max_query_size": 64 << 20, "join_use_nulls": 0}
# What comes twice in an insert is seen by FINAL and by merges all the same: a quarter of its time is saved.
WRITE_SETTINGS = SETTINGS | {"async_insert": 0, "optimize_on_insert": 0}
# Code of an exception that says nothing about our statement: timeouts, memory, too many parts, network, disk full, or
# that the statement was stopped.
_PASSING = frozenset((3, 159, 173, 201, 202, 209, 210, 236, 241, 242, 243, 252, 279, 319, 394, 425, 439, 999))


class Connection:
    """A client, asked and written to in statements. Calls block; the worker makes them from one thread."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def query_arrow(self, query: str) -> pa.Table:
        """The result of a statement as an Arrow table."""
        with converted():
            return self.client.query_arrow(query, settings=SETTINGS, use_strings=True)

    def close(self) -> None:
        """Let go of the connection; an embedded database is free for the next process."""
        self.client.close()

    def _rows(self, query: str, parameters: dict[str, Any] | None = None) -> list[Any]:
        with converted():
            return list(self.client.query(query, parameters, settings=SETTINGS).result_rows)

    def _command(self, statement: str) -> None:
        with converted():
            self.client.command(statement, settings=WRITE_SETTINGS)

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            with converted():
                self.client.insert_arrow(table, rows, settings=WRITE_SETTINGS)


def of_accounts(accounts: Sequence[AccountId]) -> str:
    """The condition that a row is of one of these accounts.

    They are one text to the engine, which looks at every value of a list again and again while it plans: of 4,000
    accounts that took three quarters of a statement's time.
    """
    text = format_query_value("\n".join(json.dumps(account, ensure_ascii=False) for account in accounts))
    these = f"format(JSONCompactEachRow, 'seller_id String, marketplace_id String', {text})"
    return f"(seller_id, marketplace_id) IN (SELECT seller_id, marketplace_id FROM {these})"


# Of an account, where a table does not keep it.
HASH = "bitAnd(kafkaMurmurHash(concat(seller_id, '|', marketplace_id)), 2147483647)"


def of_partitions(partitions: int, owned: Iterable[int], account_hash: str = "account_hash") -> str:
    """The condition that a row is of an account of these partitions, of so many."""
    return f"{account_hash} % {int(partitions)} IN ({', '.join(str(int(p)) for p in owned)})"


_SCOPE = re.compile(r" in scope |: (?:In scope|While) ", re.IGNORECASE)  # from there on the engine quotes the statement
_FAILING = re.compile(r"HTTP status (?:429|5\d\d)")


@contextmanager
def converted() -> Iterator[None]:
    """The driver's exceptions as ours, without the statement: it may hold what no log should."""
    try:
        yield
    except DatabaseError as failed:
        text = str(failed)
        code = getattr(failed, "code", None) or _code_in(text)
        if not code and isinstance(failed, OperationalError):  # the network's
            raise Unavailable("ClickHouse does not answer") from failed
        if not code and (status := _FAILING.search(text)):  # something in front of the engine, or it is going down
            raise Unavailable(f"ClickHouse: {status[0]}") from failed
        what = _SCOPE.split(text.splitlines()[0])[0][:300]
        raise (Unavailable if code in _PASSING else SinkRejected)(f"ClickHouse: {what}") from failed
    except (ClickHouseError, HTTPError, OSError) as failed:
        raise Unavailable(f"ClickHouse: {type(failed).__name__}") from failed


def _code_in(text: str) -> int:
    _, _, after = text.partition("Code: ")
    digits = after.split(".")[0]
    return int(digits) if digits.isdigit() else 0
