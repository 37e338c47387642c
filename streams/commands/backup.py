"""`sellerpulse backup`: a copy of an embedded database, taken while it is at work.

Place in the flow: beside it, asking nobody. How, and why what comes out is whole, is `sink.backup`'s.
"""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from streams.commands.cli import configured, version

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@configured("db")
def command(settings: "Settings", target: Path) -> None:
    """Copy an embedded database to the new folder TARGET, whoever is at work on it meanwhile.

    The copy holds every event that was stored when it began, and is what a crash at one moment would have left: rows
    that lag their events there are brought up to date by the next worker, or by `rebuild`. The engine opens and
    checks it before it gets its name; what an interrupted run leaves is called TARGET.partial. --db may be the
    address at which the folder is served on this machine. A ClickHouse server has its own BACKUP.

    \b
    Examples:
      sellerpulse backup --db ./pulse /backups/pulse-2025-06-30
      sellerpulse backup --db http://localhost:8123/sellerpulse /backups/pulse-monday
    """
    from sink.backup import back_up
    from sink.connect import folder_of
    from streams.commands.watching import counting
    from streams.credentials import login_of

    started = perf_counter()
    folder = folder_of(settings.clickhouse.url, login_of(settings.clickhouse))
    with counting("parts") as progress:
        made = back_up(folder.resolve(), target.resolve(), version(), progress)
    for name, held in made.databases.items():
        click.echo(f"{name}: {held.summary()}")
    click.echo(f"{target} holds all that was stored at {made.moment()}; {perf_counter() - started:.1f} s")
