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

    What Kafka brought after the backup is not in it. With the workers stopped, set their group back, to before what
    they had not stored when the backup began; with --to-earliest to all that Kafka still has, which is always right:
    what is read again changes nothing.

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
        f"Kafka's events since then are not in it: before a worker starts, set its group back, as in\n"
        f"  kafka-consumer-groups.sh --bootstrap-server {settings.kafka.bootstrap} --group {settings.kafka.group}"
        " --all-topics --reset-offsets --to-earliest --execute"
    )
