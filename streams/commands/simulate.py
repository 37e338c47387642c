"""`sellerpulse simulate`: a simulated marketplace's events in a file.

Place in the flow: before it, where no export is at hand. The events themselves are `streams.connectors.simulate`'s.
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.option("--sellers", type=click.IntRange(1), default=200, help="How many; a third sell on two marketplaces.")
@click.option("--days", type=click.IntRange(1), default=365, help="Up to 30 June 2025.")
@click.option("--events", type=click.IntRange(1), default=300_000, help="Exactly so many.")
@click.option("--seed", type=int, default=1, help="The same numbers give the same bytes.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True,
    help="A .jsonl, .jsonl.gz or .jsonl.zst file.",
)  # fmt: skip
@configured()
def command(settings: "Settings", sellers: int, days: int, events: int, seed: int, output: Path) -> None:
    """Write the events of a simulated marketplace: orders, ratings, staff actions and survey answers.

    Rates are like a real marketplace's. Some accounts are in trouble at known places, which are printed, so that
    what the rules find can be held against what was planted. The same numbers give the same file on any machine.

    \b
    Examples:
      sellerpulse simulate -o year.jsonl.gz
      sellerpulse simulate --sellers 20 --days 120 --events 20000 --seed 7 -o small.jsonl
      sellerpulse replay small.jsonl --db ./pulse
    """
    del settings  # every command reads them, so that a wrong file is never overlooked
    from rich.console import Console
    from rich.progress import Progress

    from schemas.events import EPOCH
    from streams.connectors.simulate import Simulation, troubles, write

    simulation = Simulation(sellers=sellers, days=days, events=events, seed=seed)
    people = Console(stderr=True)
    with Progress(console=people, transient=True, disable=not people.is_terminal) as progress:
        task = progress.add_task("writing", total=events)
        written = write(simulation, output, lambda count: progress.update(task, completed=count))
    click.echo(f"{written} events of {sellers} sellers in {days} days written to {output}")
    if planted := troubles(simulation):
        click.echo("Trouble is planted in the orders placed by these accounts on these days:")
    for trouble in planted:
        first, last = ((EPOCH + timedelta(days=day)).date() for day in (trouble.from_day, trouble.to_day))
        click.echo(f"  {trouble.seller_id}  {trouble.marketplace_id}  {first} to {last}  {trouble.what}")
