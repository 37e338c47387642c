"""`sellerpulse alerts`: what is in breach, what was, who was told, and what people say about it.

Place in the flow: behind it, reading what the workers wrote; acknowledgements and silences are what they read.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import SellerpulseError
from streams.commands import backtest, digest, ruling
from streams.commands.cli import configured, moment
from streams.commands.silencing import NEEDED, ack, silence
from streams.commands.sql import COUNT, OUTPUTS, count, formatted, opened, show

if TYPE_CHECKING:
    from streams.settings import Settings

_TABLE = """SELECT severity, state, rule, seller_id, marketplace_id, subject, round(value, 4) AS value, threshold,
        toDate(since) AS since, order_count AS orders,
        arrayStringConcat(arrayFilter(x -> x != '',
            [if(silenced, 'silenced', ''), if(acked_by = '', '', concat('acked by ', acked_by))]), ', ') AS noted,
        alert_id
    FROM ({listed}) ORDER BY {order}"""
_HISTORY = """SELECT changed_at, day, state, rule, seller_id, marketplace_id, round(value, 4) AS value, alert_id
    FROM (SELECT * FROM alert_history AS h
        LEFT JOIN (SELECT seller_id, marketplace_id, alert_id, severity FROM alerts) AS a
        USING (seller_id, marketplace_id, alert_id))
    WHERE changed_at >= fromUnixTimestamp64Milli({{since:Int64}}) AND {matches}
    ORDER BY changed_at DESC, alert_id, state LIMIT {{limit:UInt32}}"""
_ALL_OF = "SELECT * FROM ({query}) ORDER BY {order}"
_ONE = "SELECT *, {silenced} AS silenced FROM alerts WHERE alert_id = {{alert_id:String}}"
_ABOUT_IT = {
    "acknowledged": "SELECT by, acked_at, severity, comment FROM alert_acks WHERE alert_id = {alert_id:String}",
    "history": """SELECT changed_at, day, state, value FROM alert_history WHERE alert_id = {alert_id:String}
        ORDER BY changed_at""",
    "notifications": """SELECT receiver, state, day, outcome, told_at, attempts, next_at, last_error FROM notifications
        WHERE alert_id = {alert_id:String} ORDER BY receiver, day, state""",
}
_OBJECTS = """(SELECT groupArray(tuple({names})) FROM ({query}) SETTINGS enable_named_columns_in_function_tuple = 1)
    AS {name}"""


@click.group(no_args_is_help=False)
def command() -> None:
    """Alerts: thresholds in breach, cases that fall due, sources gone silent.

    Rules are in the settings, under [[alerts.rules]]; those that marketplaces publish are there from the start. An
    alert is pending until it has held for as long as its rule asks, then firing, then resolved. Whoever stands under
    [receivers] is told when it fires and when it is resolved.

    \b
    Examples:
      sellerpulse alerts list --db ./pulse
      sellerpulse alerts check sellerpulse.toml
      sellerpulse alerts show 3f2a9c... --db ./pulse
      sellerpulse alerts ack 3f2a9c... --by ana --comment "courier on strike"
      sellerpulse alerts silence add seller=A1 rule=cs_* --until 2025-07-01 --by ana --comment "moving the desk"
      sellerpulse alerts check sellerpulse.toml
    """


command.add_command(ruling.check)
command.add_command(ruling.test)


def _filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filters; its function is called with `globs`, by column."""

    @click.option("--rule", metavar="GLOB", default="*", help="Only of this rule: cs_* for all that begin so.")
    @click.option("--severity", metavar="GLOB", default="*", help="Only of this one: critical, warning, info.")
    @click.option("--seller", metavar="GLOB", default="*", help="Only of this seller.")
    @click.option("--marketplace", metavar="GLOB", default="*", help="Only on this marketplace.")
    @functools.wraps(function)
    def with_globs(rule: str, severity: str, seller: str, marketplace: str, **given: Any) -> Any:
        globs = {"rule": rule, "severity": severity, "seller_id": seller, "marketplace_id": marketplace}
        return function(globs=globs, **given)

    return with_globs


# --- look ------------------------------------------------------------------------------------------------------


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Pending and resolved ones too.")
@_filtered
@formatted
@configured("db")
def list_(settings: "Settings", every: bool, globs: dict[str, str], output: str) -> None:
    """List the alerts that are firing, the most severe first; which are silenced, and which somebody knows of.

    \b
    Examples:
      sellerpulse alerts list --db ./pulse
      sellerpulse alerts list --severity critical --seller "A1*" --db ./pulse
      sellerpulse alerts list --all --db http://localhost:8123/sellerpulse
      sellerpulse alerts list --format json --db ./pulse | jq -r .order_ids[]
      sellerpulse alerts list --all --format csv --db ./pulse > alerts.csv
    """
    store = opened(settings, NEEDED)
    from sink.notices import LISTED, MATCHES, WORST_FIRST

    listed = LISTED.format(which=MATCHES)
    asked = globs | {"every": every}
    try:
        if output != "table":
            show(store.client, _ALL_OF.format(query=listed, order=WORST_FIRST), OUTPUTS[output], asked)
        elif count(store.client, COUNT.format(query=listed), asked):
            show(store.client, _TABLE.format(listed=listed, order=WORST_FIRST), parameters=asked)
        elif set(globs.values()) != {"*"}:
            click.echo("No alert is like that.")
        else:
            click.echo("There was no alert yet." if every else "No alert is firing.")
    finally:
        store.close()


@command.command("show")
@click.argument("alert_id")
@formatted
@configured("db")
def show_(settings: "Settings", alert_id: str, output: str) -> None:
    """Show all that there is about one alert: the orders behind it, its changes, who was told of each.

    A notification is told, retrying or given_up, or else it says why nobody is to be told: silenced, acknowledged,
    unknown (nobody was told that it fires, so nobody is told that it is resolved), too_old.

    \b
    Examples:
      sellerpulse alerts show 3f2a9c... --db ./pulse
      sellerpulse alerts show 3f2a9c... --format json --db ./pulse | jq .notifications
    """
    store = opened(settings, NEEDED)
    from sink.notices import SILENCED

    asked, alert = {"alert_id": alert_id}, _ONE.format(silenced=SILENCED)
    try:
        if not count(store.client, COUNT.format(query=alert), asked):
            raise SellerpulseError(f"there is no alert {alert_id}")
        if output == "csv":
            show(store.client, alert, OUTPUTS[output], asked)
        elif output == "json":
            more = [_objects(name, query) for name, query in _ABOUT_IT.items()]
            show(
                store.client, alert.replace(" FROM alerts", f", {', '.join(more)} FROM alerts"), OUTPUTS[output], asked
            )
        else:
            show(store.client, alert, "Vertical", asked)
            for query in _ABOUT_IT.values():
                if count(store.client, COUNT.format(query=query), asked):
                    click.echo()
                    show(store.client, query, parameters=asked)
    finally:
        store.close()


def _objects(name: str, query: str) -> str:
    """The rows of a query as one array of objects, of that name."""
    return _OBJECTS.format(names=query.partition("SELECT ")[2].partition(" FROM ")[0], query=query, name=name)


@command.command()
@_filtered
@click.option("--since", metavar="TIME", callback=moment, help="Noticed from then on: a day or a time, UTC.")
@click.option("--limit", type=click.IntRange(1, 2**32 - 1), default=50, help="How many, the newest first.")
@formatted
@configured("db")
def history(settings: "Settings", globs: dict[str, str], since: int | None, limit: int, output: str) -> None:
    """List the changes of alerts, the newest first.

    \b
    Examples:
      sellerpulse alerts history --db ./pulse
      sellerpulse alerts history --rule order_defect_rate --since 2025-06-01 --db ./pulse
      sellerpulse alerts history --limit 1000000 --format csv --db ./pulse > history.csv
    """
    store = opened(settings, NEEDED)
    from sink.notices import MATCHES

    asked = globs | {"since": since or 0, "limit": limit}
    try:
        show(store.client, _HISTORY.format(matches=MATCHES), OUTPUTS[output], asked)
    finally:
        store.close()


for each in (ack, silence, ruling.check, ruling.test, backtest.command, digest.command):
    command.add_command(each)
