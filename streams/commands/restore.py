"""`sellerpulse restore`: an embedded database made of a backup.

Place in the flow: before it, in a folder that nobody has yet.
"""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@configured("db")
def command(settings: "Settings", source: Path) -> None:
    """Make the database of the backup SOURCE in a new or empty folder, and check all that is in it.

    Interrupted, it leaves no database but a folder named DB.partial: remove that and run it again. A backup by an
    older version is brought to this one's tables when it is next worked on; one by a newer version is refused.

    What Kafka brought after the backup is not in it, and workers do not read it again by themselves: before one starts
    here, set their group back, with all of its workers stopped, or give it another name (kafka.group), which begins at
    the earliest that Kafka has. What is read again changes no table.

    \b
    Examples:
      sellerpulse restore /backups/pulse-2025-06-30 --db ./pulse
      kafka-consumer-groups.sh --bootstrap-server kafka:9092 --group sellerpulse --all-topics \\
        --reset-offsets --to-earliest --execute
    """
    from sink.backup import restore
    from sink.connect import is_server

    if is_server(settings.clickhouse.url):
        raise ConfigurationError("restore makes a folder: give --db DIR; a server has its own RESTORE")
    started = perf_counter()
    folder = Path(settings.clickhouse.url).expanduser()
    made = restore(source.resolve(), folder.resolve())
    for name, held in made.databases.items():
        click.echo(f"{name}: {held.summary()}")
    click.echo(f"{folder} is as it was at {made.moment()}; {perf_counter() - started:.1f} s")
    click.echo(
        "What Kafka brought since is not in it. Before a worker starts, give it another kafka.group or set this back:\n"
        f"  kafka-consumer-groups.sh --bootstrap-server {settings.kafka.bootstrap} --group {settings.kafka.group}"
        " --all-topics --reset-offsets --to-earliest --execute"
    )
