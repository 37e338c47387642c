"""`sellerpulse dlq`: the records that were refused, and why.

Place in the flow: behind it, reading what the workers wrote. The original bytes are in the dead-letter topics alone.
"""

from typing import TYPE_CHECKING

import click

from schemas.events import TOPICS, UNKNOWN_TOPIC
from streams.commands.cli import configured
from streams.commands.sql import count, show

if TYPE_CHECKING:
    from streams.settings import Settings

# A reason may end in what was found: "unknown kind: RETURNED_TWICE".
_REASONS = """SELECT topic, splitByString(': ', reason)[1] AS why, count() AS records, max(time) AS newest
    FROM rejected_events WHERE {topic:String} IN ('', topic) GROUP BY topic, why ORDER BY records DESC, topic, why"""
_COUNT = "SELECT count() FROM rejected_events WHERE {topic:String} IN ('', topic)"
_NEWEST = """SELECT * FROM rejected_events WHERE {topic:String} IN ('', topic)
    ORDER BY time DESC, topic, partition, offset, file, line LIMIT {limit:UInt32}"""


@click.group(no_args_is_help=False)
def command() -> None:
    """Dead letters: the records that were refused. Nothing is dropped in silence.

    A refused record's original bytes go to the topic TOPIC.dlq, with the reason and where it came from in its
    headers; what names no topic goes to unknown.dlq. Here they are counted and listed; nothing shows what is in them.

    \b
    Examples:
      sellerpulse dlq list --db ./pulse
    """


@command.command("list")
@click.option("--topic", type=click.Choice([*TOPICS, UNKNOWN_TOPIC]), help="Only what was meant for this one.")
@click.option("--limit", type=click.IntRange(0, 2**32 - 1), default=20, help="How many of the newest records.")
@click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: a record a line."
)
@configured("db")
def list_(settings: "Settings", topic: str | None, limit: int, output: str) -> None:
    """Count the refused records by reason, then list the newest.

    \b
    Examples:
      sellerpulse dlq list --db ./pulse
      sellerpulse dlq list --topic feedback --limit 100 --db ./pulse
      sellerpulse dlq list --format json --limit 1000000 --db ./pulse | jq -r .reason | sort | uniq -c
    """
    from sink.connect import connect

    asked = {"topic": topic or "", "limit": limit}
    store = connect(settings.clickhouse.url, create=False)
    try:
        if output == "json":
            show(store.client, _NEWEST, "JSONEachRow", asked)
        elif count(store.client, _COUNT, asked):
            show(store.client, _REASONS, parameters=asked)
            if limit:
                show(store.client, _NEWEST, parameters=asked)
        else:
            click.echo("No record was refused.")
    finally:
        store.close()
