"""`sellerpulse replay`: the whole pipeline over event files until drained.

Place in the flow: looks at the input, hands it to `streams.replay`, sums up.
"""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from streams.commands.cli import configured
from streams.commands.files import file_options

if TYPE_CHECKING:
    from streams.connectors.files import Source
    from streams.settings import Settings


@click.command()
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The last day to compute; else the last event's.")
@click.option("--workers", type=click.IntRange(1, 32), default=1, help="Faust worker processes.")
@file_options
@configured("db")
def command(settings: "Settings", sources: "list[Source]", as_of: datetime | None, workers: int) -> int:
    """Compute every table from event files, through a broker and workers of its own, then exit.

    The tables depend on the set of events alone: the same files in another order, twice, in parts, or with more
    workers give the same rows; interrupted, run it again. Refused lines are counted and kept (`dlq list`); they do
    not fail the run, a file that is cut short does. Nobody is notified of alerts.

    \b
    Examples:
      sellerpulse replay events.jsonl.gz --db ./pulse
      sellerpulse replay january/ february/ --db ./pulse --as-of 2025-02-28 --workers 2
      sellerpulse replay feedback.txt --seller A1 --marketplace MKT-DE --timezone Europe/Berlin --db ./pulse
    """
    from streams.commands.watching import sum_up, watching
    from streams.core.metrics import iso
    from streams.replay import parse_day, replaying

    day = parse_day(as_of.date().isoformat()) if as_of else None
    with replaying(settings, workers=workers) as replay, watching() as watch:
        replayed = replay.run(sources, as_of=day, watch=watch)
    sum_up(replayed.fed)
    if day is not None and replayed.as_of > day:
        click.echo(f"the as-of day never moves back: it stays {iso(replayed.as_of)}")
    taken = sum(replayed.seconds.values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in replayed.seconds.items())
    rate = (replayed.fed.accepted + sum(replayed.fed.refused.values())) / taken
    click.echo(f"every row is right as of {iso(replayed.as_of)}; {taken:.1f} s ({stages}), {rate:,.0f} events/s")
    return 1 if replayed.fed.damaged else 0
