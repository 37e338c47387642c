"""`sellerpulse schema`: is the database as this version gives it? And the schemas of events.

Place in the flow: beside it, at the database. What is held against what is said in `sink.schema` and `sink.drift`.
"""

import json
from typing import TYPE_CHECKING

import click

from streams.commands import versions
from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from sink.store import Store
    from streams.settings import Settings


@click.group()
def command() -> None:
    """The schemas of a database (status, upgrade) and of events (list, show, check, register).

    Of a database: its tables and views. A worker, and every command that writes, upgrades it when it opens it; status
    and upgrade are for whoever wants to know, or do it, before. Rights for analysts on a server are in
    deploy/clickhouse/roles.sql.

    Of events: what producers write to the topics, in Avro, each version that was ever released; with a Schema Registry
    (kafka.schema_registry_url) also what is registered there.

    \b
    Examples:
      sellerpulse schema status --db http://localhost:8123/pulse
      sellerpulse schema upgrade --db ./pulse
      sellerpulse schema list
      sellerpulse schema check changed.avsc
    """


@command.command()
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: one object.")
@configured("db")
def status(settings: "Settings", output: str) -> int:
    """List the numbered files, applied or pending, and what drifted: tables, views, columns, comments.

    Exits 1 when a file is pending or something is not what the files give. Drift is looked for once nothing is pending,
    in a database beside this one that is made for it and dropped: on a server that needs the right to do so. A folder
    that a worker holds cannot be looked into.

    \b
    Examples:
      sellerpulse schema status --db ./pulse
      sellerpulse schema status --db ./pulse --format json | jq .drift
    """
    from sink.drift import differences
    from sink.query import converted
    from sink.schema import applied, metrics_missing

    store = _opened(settings)
    try:
        with converted():
            files, missing = applied(store.client), metrics_missing(store.client)
            pending = [name for name, at in files.items() if at is None]
            drift = [] if pending or missing else [each.what for each in differences(store.client)]
    finally:
        store.close()
    if output == "json":
        times = {name: None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in files.items()}
        click.echo(json.dumps({"files": times, "metrics_missing": missing, "drift": drift}, indent=2))
    else:
        for name, at in files.items():
            click.echo(f"{name:26} {'pending' if at is None else f'{at:%Y-%m-%d %H:%M:%S} UTC'}")
        for what in [*(f"metric {name} has no column" for name in missing), *drift]:
            click.echo(f"{'WRONG':26} {what}")
        if pending:
            click.echo("`sellerpulse schema upgrade` applies what is pending")
        elif not missing and not drift:
            click.echo("everything is as the files give it")
    return FAILED if pending or missing or drift else 0


@command.command()
@configured("db")
def upgrade(settings: "Settings") -> int:
    """Apply what is pending, then mend views and comments that drifted; tell what was done.

    No stored row is touched; back up before all the same. What no statement should mend, as a column of another type,
    is told, and the exit is 1. Interrupted, run it again.

    \b
    Examples:
      sellerpulse backup --db ./pulse /backups/pulse
      sellerpulse schema upgrade --db ./pulse
    """
    from sink.drift import differences
    from sink.query import converted
    from sink.schema import applied, metrics_missing, migrate

    store, left = _opened(settings), 0
    try:
        with converted():
            pending = [name for name, at in applied(store.client).items() if at is None]
            missing = metrics_missing(store.client)
            migrate(store.client)
            for what in [*pending, *(f"a column for {name}" for name in missing)]:
                click.echo(f"applied {what}")
            found = differences(store.client)
            for what, statement in found:
                if statement is not None:
                    store.client.command(statement)
                left += statement is None
                click.echo(f"{'LEFT' if statement is None else 'mended'} {what}")
    finally:
        store.close()
    if not (pending or missing or found):
        click.echo("everything was as the files give it")
    return FAILED if left else 0


def _opened(settings: "Settings") -> "Store":
    from streams.credentials import open_store

    return open_store(settings.clickhouse, create=False)


for each in (versions.list_, versions.show, versions.check, versions.register):
    command.add_command(each)
