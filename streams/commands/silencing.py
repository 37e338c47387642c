"""What people say about alerts: `sellerpulse alerts ack`, and `silence`.

Place in the flow: behind it; the outbox reads it before it tells receivers.
"""

import time
from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured, moment
from streams.commands.sql import COUNT, OUTPUTS, count, formatted, opened, show

if TYPE_CHECKING:
    from streams.settings import Settings

NEEDED = "alert_silences"  # the view that an earlier version's database lacks
_SILENCES = """SELECT silence_id, rule, seller_id, marketplace_id, severity, until, by, comment FROM alert_silences
    WHERE until > now64(3) OR {every:Bool} ORDER BY until, silence_id"""
_FIRING = "SELECT count() FROM alerts WHERE state = 'firing' AND {matches}"

_by = click.option("--by", required=True, metavar="NAME", help="Who says so.")


@click.command()
@click.argument("alert_ids", nargs=-1, required=True, metavar="ALERT_ID...")
@_by
@click.option("--comment", default="", metavar="TEXT", help="What is known.")
@configured("db")
def ack(settings: "Settings", alert_ids: tuple[str, ...], by: str, comment: str) -> None:
    """Acknowledge alerts: somebody knows of them. Receivers hear no more, unless one gets severer or is resolved.

    \b
    Examples:
      sellerpulse alerts ack 3f2a9c... --by ana --db http://localhost:8123/sellerpulse
      sellerpulse alerts ack 3f2a9c... 77b01d... --by ana --comment "courier on strike, refunds are out"
    """
    store = opened(settings, NEEDED, to_write=True)
    from streams.reading.notices import acknowledge

    try:
        known = acknowledge(store, alert_ids, by, comment)
    finally:
        store.close()
    click.echo(f"{by} knows of {len(known)} alert{'s' * (len(known) != 1)}")


@click.group(no_args_is_help=False)
def silence() -> None:
    """Silences: alerts of which receivers are not told, until a time.

    What fires under one is told when the silence ends, unless it is resolved by then.

    \b
    Examples:
      sellerpulse alerts silence add seller=A1 rule=cs_* --until 2025-07-01 --by ana --comment "moving the desk"
      sellerpulse alerts silence list --db ./pulse
      sellerpulse alerts silence expire 5d41402a --db ./pulse
    """


@silence.command()
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--until", required=True, metavar="TIME", callback=moment, help="A day or a time, UTC.")
@click.option("--comment", required=True, metavar="TEXT", help="Why.")
@_by
@configured("db")
def add(settings: "Settings", matchers: tuple[str, ...], until: int, comment: str, by: str) -> None:
    """Silence the alerts that all MATCHERs match: rule=, seller=, marketplace= or severity=, each with a glob.

    \b
    Examples:
      sellerpulse alerts silence add seller=A1 --until 2025-07-01 --by ana --comment "closed for holidays"
      sellerpulse alerts silence add rule=cs_* marketplace=MKT-JP --until 2025-07-01T12:00 --by ana --comment "new desk"
    """
    from streams.reading.notices import GLOBS, silence

    named = [matcher.partition("=")[::2] for matcher in matchers]
    for name, glob in named:
        if name not in GLOBS or not glob or [each for each, _ in named].count(name) > 1:
            raise click.BadParameter(f"{name!r} is not, once, one of rule=, seller=, marketplace=, severity=")
    store = opened(settings, NEEDED, to_write=True)
    from sink.notices import MATCHES

    try:
        made = silence(store, dict(named), until, by, comment)
        globs = {column: getattr(made, column) for column in GLOBS.values()}
        firing = count(store.client, _FIRING.format(matches=MATCHES), globs)
    finally:
        store.close()
    click.echo(f"silence {made.silence_id}: {firing} of the alerts that are firing now")


@silence.command("list")
@click.option("--all", "every", is_flag=True, help="Those that have ended too.")
@formatted
@configured("db")
def list_silences(settings: "Settings", every: bool, output: str) -> None:
    """List the silences, the one that ends first first.

    \b
    Examples:
      sellerpulse alerts silence list --db ./pulse
      sellerpulse alerts silence list --all --format json --db ./pulse
    """
    store = opened(settings, NEEDED)
    asked = {"every": every}
    try:
        if output == "table" and not count(store.client, COUNT.format(query=_SILENCES), asked):
            click.echo("Nothing is silenced.")
        else:
            show(store.client, _SILENCES, OUTPUTS[output], asked)
    finally:
        store.close()


@silence.command()
@click.argument("silence_id")
@configured("db")
def expire(settings: "Settings", silence_id: str) -> None:
    """End a silence now.

    \b
    Examples:
      sellerpulse alerts silence expire 5d41402a --db ./pulse
    """
    store = opened(settings, NEEDED, to_write=True)
    try:
        standing = [each for each in store.silences() if each.silence_id == silence_id]
        if not standing:
            raise SellerpulseError(f"there is no silence {silence_id}, or it has ended")
        store.silence(standing[0]._replace(until=int(time.time() * 1000)))
    finally:
        store.close()
    click.echo(f"silence {silence_id} has ended")
