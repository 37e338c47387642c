"""`sellerpulse sql`: an analyst's query, its result as a table or byte for byte in a format of ClickHouse's.

Place in the flow: beside it, reading. Writes nothing: `sink.statement` lets no other statement through, and where
the engine can it is told so as well.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from schemas.errors import ConfigurationError, SellerpulseError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from sink.statement import Statement
    from sink.store import Store
    from streams.settings import Settings

TABLE = "PrettyCompactMonoBlock"
OUTPUTS = {"table": None, "json": "JSONEachRow", "csv": "CSVWithNames"}  # of commands that list, as `show` takes them
formatted = click.option(
    "--format", "output", type=click.Choice([*OUTPUTS]), default="table", help="json: an object a line."
)
COUNT = "SELECT count() FROM ({query})"
_IS_THERE = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
_BLOCK = 1 << 20
_FOR_PEOPLE = (TABLE, "Vertical")
_READ_ONLY = 164  # ClickHouse's number for what would write
# For the session, where the engine knows them: servers differ in age.
_SETTINGS = {
    "output_format_json_quote_64bit_integers": "0",
    "output_format_pretty_color": "0",
    "output_format_pretty_row_numbers": "0",
    "output_format_pretty_max_rows": "10000",  # a table of more is for no reader; it says so where it ends
    "output_format_pretty_single_large_number_tip_threshold": "0",
    "readonly": "2",
}


@click.command()
@click.argument("query")
@click.option("--format", "output", metavar="FORMAT", help="Any of ClickHouse's output formats; else a table.")
@configured("db")
def command(settings: "Settings", query: str, output: str | None) -> None:
    """Query the metrics, events and alerts in ClickHouse's SQL; QUERY - is read from stdin.

    The tables explain themselves: SHOW TABLES lists them, DESCRIBE TABLE seller_daily tells what each column
    means. Days are UTC, rates go from 0 to 1, null means there was nothing to divide by. One reading statement a
    call; times are UTC, numbers in JSON are never quoted.

    \b
    Examples:
      sellerpulse sql "SHOW TABLES" --db ./pulse
      sellerpulse sql "SELECT seller_id, day, order_defect_rate_60d FROM seller_current
                       ORDER BY order_defect_rate_60d DESC LIMIT 10" --db ./pulse
      sellerpulse sql "SELECT * FROM seller_daily" --db ./pulse --format CSVWithNames > daily.csv
      sellerpulse sql "SELECT * FROM order_events" --db ./pulse --format Parquet > orders.parquet
      sellerpulse sql - --db http://localhost:8123/sellerpulse --format JSONEachRow < query.sql

    Formats: PrettyCompact, Vertical, JSONEachRow, JSON, CSVWithNames, TSV, TSVWithNames, Markdown, Parquet, Arrow
    and all others of ClickHouse's.
    """
    from streams.credentials import open_to_read

    text = sys.stdin.read() if query == "-" else query
    store = open_to_read(settings.clickhouse)
    try:
        show(store.client, text, output)
    finally:
        store.close()


def show(client: "Client", query: str, output: str | None = None, parameters: dict[str, Any] | None = None) -> None:
    """Write what the query gives to stdout: as a table, or in this format, or in the one it names itself.

    Raises SellerpulseError, in the engine's words, for a query that is wrong; ConfigurationError for one that
    would write or is several.
    """
    from sink.statement import Refused, parse
    from streams.commands.telling import harmless

    statement = parse(query.strip().rstrip(";").encode(), b"")
    if statement.format and output:
        raise ConfigurationError(f"the query names the format {statement.format} itself, --format {output} another")
    wanted = None if statement.format else output or TABLE
    with _in_the_engines_words(), _interruptible():
        _prepare(client)
        try:
            statement.check(read_only=True)
        except Refused as refused:
            if refused.code == _READ_ONLY:  # or misspelt: then the engine knows better what to say
                client.query("SELECT formatQuery({query:String})", {"query": query})
                raise ConfigurationError("sql only reads: give a SELECT, SHOW, DESCRIBE or EXPLAIN") from refused
            raise ConfigurationError(str(refused).partition("DB::Exception: ")[2]) from refused
        blocks = _blocks(client, statement, wanted, parameters)
        for block in harmless(blocks) if wanted in _FOR_PEOPLE or sys.stdout.isatty() else blocks:
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()


def opened(settings: "Settings", table: str, *, to_write: bool = False) -> "Store":
    """The store, to read from or `to_write`, which has this table of a later version. Raises SellerpulseError."""
    from streams.credentials import open_store, open_to_read

    store = open_store(settings.clickhouse, create=False) if to_write else open_to_read(settings.clickhouse)
    if not count(store.client, _IS_THERE, {"table": table}):
        store.close()
        raise SellerpulseError("the database is of an earlier version: a worker brings it up to date when it starts")
    return store


def count(client: "Client", query: str, parameters: dict[str, Any] | None = None) -> int:
    """The number that the query gives. Raises SellerpulseError."""
    with _in_the_engines_words():
        return int(client.query(query, parameters).result_rows[0][0])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: Python's own handler would wait for the embedded engine, hours maybe."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _in_the_engines_words() -> Iterator[None]:
    from clickhouse_connect.driver.exceptions import ClickHouseError
    from urllib3.exceptions import HTTPError

    from sink.connect import message_of

    try:
        yield
    except (ClickHouseError, HTTPError) as failed:
        raise SellerpulseError(message_of(failed)) from failed


def _blocks(
    client: "Client", statement: "Statement", wanted: str | None, parameters: dict[str, Any] | None
) -> Iterator[bytes]:
    """The result as it comes; over HTTP only after its end, so that an error is an error and no row of data."""
    sql, wait = statement.sql.decode(), {"wait_end_of_query": 1}
    if statement.verb not in (b"SELECT", b"WITH"):  # chDB streams no other
        yield client.raw_query(sql, parameters, wait, wanted)
        return
    result = cast("BinaryIO", client.raw_stream(sql, parameters, wait, wanted))
    while block := result.read(_BLOCK):
        yield block


def _prepare(client: "Client") -> None:
    for name, value in _SETTINGS.items():
        offered = client.server_settings.get(name)
        if offered is not None and not offered.readonly and client.get_client_setting(name) != value:
            client.set_client_setting(name, value)
