"""`sellerpulse alerts digest`: what an account's digest says.

Place in the flow: behind it, reading what the workers wrote. Sends nothing.
"""

import json
from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError, SellerpulseError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command("digest")
@click.option("--seller", required=True, help="The seller's id.")
@click.option("--marketplace", required=True, help="The marketplace's id.")
@click.option("--day", metavar="DAY", help="Of which day, UTC: YYYY-MM-DD; else of the last that has rows.")
@click.option(
    "--format", "output", type=click.Choice(["text", "json"]), default="text", help="json: as on the topic alerts."
)
@configured("db")
def command(settings: "Settings", seller: str, marketplace: str, day: str | None, output: str) -> None:
    """Print an account's digest: standing, alerts, open cases, what leaves the windows in the next week.

    Workers send each account one a week when settings say so, under [digest]: enabled = true, weekday = "monday",
    hour = 6 (UTC). Of a day that is over it is what is known of its end by now.

    \b
    Examples:
      sellerpulse alerts digest --seller A1 --marketplace MKT-DE --db ./pulse
      sellerpulse alerts digest --seller A1 --marketplace MKT-DE --day 2025-06-30 --format json --db ./pulse
    """
    from schemas.events import MS_A_DAY
    from streams.agents import now_ms
    from streams.core.digest import as_json, text
    from streams.credentials import open_to_read
    from streams.digest import digests_of
    from streams.port import as_of_day
    from streams.replay import parse_day

    store = open_to_read(settings.clickhouse)
    try:
        last = as_of_day(store)
        try:
            of = last if day is None else parse_day(day)
        except ValueError as wrong:
            raise click.BadParameter(f"{day!r} is no day, YYYY-MM-DD", param_hint="--day") from wrong
        if not store.stored([(seller, marketplace)]):
            raise SellerpulseError(f"no event is stored of {seller!r} on {marketplace!r}")
        if of > last:
            raise ConfigurationError(f"--day {day} is after the last day that has rows")
        at = min(now_ms(), (of + 1) * MS_A_DAY - 1)
        (digest,) = digests_of(store, settings.terms_of, [(seller, marketplace)], of, at)
        click.echo(json.dumps(as_json(digest), ensure_ascii=False) if output == "json" else text(digest))
    finally:
        store.close()
