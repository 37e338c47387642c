"""`sellerpulse forget`: an order's ids and comments leave the database.

Place in the flow: beside it. Makes sure that no worker is at work, hands the order to `streams.forget`, tells what
changed and what is kept elsewhere.
"""

from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError, SellerpulseError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings

NUMBERS = """\
What that does to the numbers: every row of seller_daily is as it was. Cases of the order have no comment any more:
removal grounds are gone, so is a case of 3 stars, which was there for them, and root causes are those of the buyer's
three answers and of a supervisor's verdict, else unknown; case_credits and negative_monthly follow."""
ELSEWHERE = """\
What is kept elsewhere: topics {retention_days:g} days (records that are read again get pseudonyms), dead letters
{dlq_retention_days:g} days, backups and files, which are not looked at, what connectors know of polled reports (ids,
no comments), receivers that were told, a server's query_log, and the marketplace."""


@click.command()
@click.option("--order", "order_id", metavar="ID", required=True, help="The order's id, as the marketplace has it.")
@click.option("--seller", metavar="S", help="Of this seller; with --marketplace. Else of every account that has it.")
@click.option("--marketplace", metavar="M", help="On this marketplace.")
@configured("kafka", "db")
def command(settings: "Settings", order_id: str, seller: str | None, marketplace: str | None) -> None:
    """Remove the ids and comments of an order from the database, and from what is read into it again.

    Its events stay, by pseudonyms: keyed hashes of the ids of the order, its events, conversations and messages, made
    with a secret of this database. So every count stays what it is, and the same events that come again, from Kafka
    or from files, are the same rows. Named by --seller and --marketplace an order can be forgotten before it comes.

    All workers of the database stop first: a folder that is in use is refused, and so is a server while the group
    kafka.group has members. Replays onto a server are not seen: let them end. Interrupted, give the command again.

    \b
    Examples:
      sellerpulse forget --order 105-5880207-7148202 --db ./pulse
      sellerpulse forget --order 105-5880207-7148202 --seller SELLER-0001 --marketplace MKT-DE \\
        --kafka kafka:9092 --db http://default@localhost:8123/sellerpulse
    """
    from sink.connect import is_server
    from streams.credentials import open_store
    from streams.forget import accounts_with, forget

    if (seller is None) != (marketplace is None):
        raise ConfigurationError("--seller and --marketplace go together")
    if is_server(settings.clickhouse.url):
        _refuse_workers(settings)
    open_store(settings.clickhouse, create=False).close()  # no database is an error, and not made
    store = open_store(settings.clickhouse)
    try:
        accounts = accounts_with(store, order_id) if seller is None or marketplace is None else [(seller, marketplace)]
        if not accounts:
            raise SellerpulseError("nothing is stored of this order: give --seller and --marketplace, should it come")
        standard = settings.standard(judged=False)
        asked = [(account, order_id) for account in accounts]
        for account, order in dict.fromkeys([*store.being_forgotten(), *asked]):  # one that was interrupted first
            forgot = forget(store, account, order, terms_of=settings.terms_of, standard=standard)
            click.echo(
                f"{account[0]} on {account[1]}: {forgot.events:,} events by pseudonyms, of order {forgot.pseudonym};"
                f" {forgot.comments:,} comments removed; {forgot.cases:,} cases and {forgot.alerts:,} alerts named it"
            )
        left = store.old_parts()
    finally:
        store.close()
    if left:
        click.echo(f"{left} replaced parts are still on the disk: the engine removes them within minutes of being open")
    click.echo(NUMBERS)
    click.echo(ELSEWHERE.format(**settings.kafka.model_dump()))


def _refuse_workers(settings: "Settings") -> None:
    from streams.topics import Cluster

    group = settings.kafka.group
    if members := Cluster(settings.kafka).members(group):
        raise SellerpulseError(f"{members} worker{'s' * (members > 1)} of group {group} run: stop them first")
