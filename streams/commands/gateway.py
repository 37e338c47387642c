"""`sellerpulse gateway`: events in over HTTP, and the keys of those who may send them.

Place in the flow: its first step, for whoever has no connector of ours. What it does is `streams.gateway`'s.
"""

from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.group(invoke_without_command=True)
@configured("kafka")
@click.pass_context
def command(context: click.Context, settings: "Settings") -> None:
    """Take events over HTTP and send them to Kafka, until SIGTERM or Ctrl-C.

    POST /v1/events takes JSON, NDJSON or an Avro container, also in gzip or zstd, and answers with a verdict on each
    event; 202 once Kafka has acknowledged those that it accepted. Who may send, and of which accounts, is in
    [[gateway.keys]] of the settings: `gateway key` makes one. Listens at http://127.0.0.1:8090 ([gateway]) and speaks
    no TLS: before another address belongs a proxy that does. What it takes is told at /openapi.json, how it is at
    /healthz, /readyz and /metrics.

    \b
    Examples:
      sellerpulse gateway key --name shop --seller A1 --marketplace MKT-DE
      sellerpulse gateway --kafka kafka:9092
      curl http://127.0.0.1:8090/v1/events -H "Authorization: Bearer $KEY" -H "Content-Type: application/x-ndjson" --data-binary @events.jsonl
    """  # noqa: E501  # one command
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from schemas.codec import Codec
    from streams.app import registry
    from streams.gateway.server import serve

    if not settings.gateway.keys:
        raise ConfigurationError(
            "there is no [[gateway.keys]], so nobody may send: `sellerpulse gateway key` makes one"
        )
    asyncio.run(serve(settings, Codec(registry=registry(settings))))


@command.command()
@click.option("--name", required=True, help="Whose it is, for metrics, log and dead letters.")
@click.option(
    "--seller", "sellers", multiple=True, help="A seller of whom it may send events, again for each; else all."
)
@click.option("--marketplace", "marketplaces", multiple=True, help="The same of marketplaces.")
def key(name: str, sellers: tuple[str, ...], marketplaces: tuple[str, ...]) -> None:
    """Make a key, show it once, and the table of the settings that lets it in.

    The key goes to stderr and is kept nowhere; the table, which has its hash alone, goes to stdout.

    \b
    Examples:
      sellerpulse gateway key --name shop --seller A1 --marketplace MKT-DE --marketplace MKT-FR
      sellerpulse gateway key --name everything >> sellerpulse.toml
    """
    import json

    from pydantic import ValidationError

    from streams.gateway.keys import new_key
    from streams.sections import GatewayKey

    secret, hashed = new_key()
    said = {"name": name, "hash": hashed, "sellers": list(sellers) or "*", "marketplaces": list(marketplaces) or "*"}
    try:
        GatewayKey.model_validate(said)
    except ValidationError:
        raise click.BadParameter(
            "a name has letters, digits, . _ - alone, and no seller or marketplace is empty"
        ) from None
    click.echo(f"The key, shown this once: {secret}", err=True)
    click.echo("\n[[gateway.keys]]")
    for field, value in said.items():
        click.echo(f"{field} = {json.dumps(value, ensure_ascii=False)}")
