"""`sellerpulse rebuild`: rows computed anew from the stored events.

Place in the flow: opens the database, hands it to `streams.rebuild`, sums up.
"""

from time import perf_counter
from typing import TYPE_CHECKING

import click

from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@configured("db")
def command(settings: "Settings") -> None:
    """Bring all rows up to date with the stored events, after a change of settings or with a new metric.

    Only accounts whose rows lag are computed; interrupted, run it again. Workers may run meanwhile, if they have the
    same settings: restart them with the new ones first. Whether the others are right, `sellerpulse verify` tells.

    \b
    Examples:
      sellerpulse rebuild --db ./pulse
      sellerpulse rebuild --db http://default@localhost:8123/sellerpulse --settings new.toml
    """
    from streams.commands.watching import counting
    from streams.credentials import open_store
    from streams.inforce import in_force
    from streams.rebuild import rebuild

    store = open_store(settings.clickhouse)
    try:
        started = perf_counter()
        store.adopt(in_force(settings))
        with counting("accounts") as progress:
            done = rebuild(store, settings.terms_of, settings.standard(judged=False), progress)
    finally:
        store.close()
    taken = perf_counter() - started
    click.echo(f"{done:,} accounts were behind, and are up to date; {taken:.1f} s" if done else "nothing was behind")
