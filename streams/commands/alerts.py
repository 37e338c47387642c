"""`sellerpulse alerts`: what is in breach, and what was.

Place in the flow: behind it, reading what the workers wrote.
"""

from typing import TYPE_CHECKING

import click

from streams.commands.cli import configured
from streams.commands.sql import count, show

if TYPE_CHECKING:
    from streams.settings import Settings

_TABLE = """SELECT severity, state, rule, seller_id, marketplace_id, subject, round(value, 4) AS value, threshold,
        toDate(since) AS since, order_count AS orders
    FROM alerts WHERE state = 'firing' OR {every:Bool}
    ORDER BY indexOf(['critical', 'warning', 'info'], severity), since DESC, seller_id, marketplace_id, alert_id"""
_OBJECTS = """SELECT * FROM alerts WHERE state = 'firing' OR {every:Bool}
    ORDER BY indexOf(['critical', 'warning', 'info'], severity), since DESC, seller_id, marketplace_id, alert_id"""
_COUNT = "SELECT count() FROM alerts WHERE state = 'firing' OR {every:Bool}"


@click.group(no_args_is_help=False)
def command() -> None:
    """Alerts: thresholds in breach, cases that fall due, sources gone silent.

    Rules are in the settings, under [[alerts.rules]]; those that marketplaces publish are there from the start. An
    alert is pending until it has held for as long as its rule asks, then firing, then resolved.

    \b
    Examples:
      sellerpulse alerts list --db ./pulse
      sellerpulse sql "SELECT * FROM alert_history ORDER BY changed_at DESC LIMIT 20" --db ./pulse
    """


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Pending and resolved ones too.")
@click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: an object a line."
)
@configured("db")
def list_(settings: "Settings", every: bool, output: str) -> None:
    """List the alerts that are firing, the most severe first.

    \b
    Examples:
      sellerpulse alerts list --db ./pulse
      sellerpulse alerts list --all --db http://localhost:8123/sellerpulse
      sellerpulse alerts list --format json --db ./pulse | jq -r .order_ids[]
    """
    from streams.credentials import open_to_read

    asked = {"every": every}
    store = open_to_read(settings.clickhouse)
    try:
        if output == "json":
            show(store.client, _OBJECTS, "JSONEachRow", asked)
        elif count(store.client, _COUNT, asked):
            show(store.client, _TABLE, parameters=asked)
        else:
            click.echo("There was no alert yet." if every else "No alert is firing.")
    finally:
        store.close()
