"""`sellerpulse clickhouse`: the embedded database, served to other programs on this machine.

Place in the flow: under it, in a process of its own. What is served and how is `sink.serve`'s.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8123, help="0: a free one.")
@click.option(
    "--password-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Its first line is the password that user `default` needs; else none is asked.",
)  # fmt: skip
@configured("db")
def command(settings: "Settings", port: int, password_file: Path | None) -> None:
    """Serve an embedded database by ClickHouse's HTTP interface, on loopback, until told to stop.

    An embedded database is held by one process. This one holds it for others on this machine: several workers,
    `sellerpulse sql` while workers run, notebooks, dashboards, curl, any ClickHouse client that speaks HTTP.
    Without a password every user of this machine may connect, and then do and read what you may.

    \b
    Examples:
      sellerpulse clickhouse --db ./pulse
      sellerpulse sql "SELECT * FROM seller_current" --db http://localhost:8123/sellerpulse
      curl 'http://localhost:8123/?query=SELECT+count()+FROM+order_events'
    """
    from sink.connect import connect, is_server
    from sink.embedded import DATABASE
    from sink.serve import Server

    folder = settings.clickhouse.url
    if is_server(folder):
        raise ConfigurationError("clickhouse serves a folder: give --db DIR")
    password = _first_line(password_file) if password_file else None
    store = connect(folder)  # makes the tables, so that who connects first finds them
    try:
        server = Server(Path(folder).expanduser(), port, password=password)
        server.start()
    finally:
        store.close()
    click.echo(f"{folder} is served at {server.url}/{DATABASE}")
    server.serve_forever()


def _first_line(file: Path) -> str:
    try:
        line = file.read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as failed:
        raise ConfigurationError(f"{file} cannot be read as a password") from failed
    if not line:
        raise ConfigurationError(f"{file} holds no password in its first line")
    return line
