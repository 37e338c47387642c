"""`sellerpulse rebuild`: rows computed anew from the stored events.

Place in the flow: opens the database, hands it to `streams.rebuild`, sums up.
"""

from time import perf_counter
from typing import TYPE_CHECKING

import click

from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from streams.settings import Settings

SHOWN = 10


@click.command()
@click.option("--check", is_flag=True, help="Write nothing: name the accounts whose rows are not what they should be.")
@configured("db")
def command(settings: "Settings", check: bool) -> int:
    """Bring all rows up to date with the stored events, after a change of settings or with a new metric.

    Only accounts whose rows lag are computed; interrupted, run it again. Workers may run meanwhile, if they have the
    same settings: restart them with the new ones first. With --check, every row is computed and compared, and the
    exit is 1 if one differs.

    \b
    Examples:
      sellerpulse rebuild --db ./pulse
      sellerpulse rebuild --db http://default@localhost:8123/sellerpulse --settings new.toml
      sellerpulse rebuild --check --db ./pulse
    """
    from streams.commands.watching import counting
    from streams.credentials import open_store
    from streams.rebuild import differing, rebuild

    store = open_store(settings.clickhouse)
    try:
        started = perf_counter()
        with counting("accounts") as progress:
            if check:
                found = differing(store, settings.metrics.terms_of, progress)
            else:
                done = rebuild(store, settings.metrics.terms_of, settings.standard(judged=False), progress)
    finally:
        store.close()
    taken = perf_counter() - started
    if not check:
        click.echo(
            f"{done:,} accounts were behind, and are up to date; {taken:.1f} s" if done else "nothing was behind"
        )
        return 0
    for (seller, marketplace), rows in sorted(found.items())[:SHOWN]:
        click.echo(f"{seller!r} on {marketplace!r}: {rows:,} rows differ from what the stored events give")
    if len(found) > SHOWN:
        click.echo(f"and {len(found) - SHOWN:,} accounts more")
    click.echo(f"{len(found):,} accounts differ; {taken:.1f} s" if found else f"every row is right; {taken:.1f} s")
    return FAILED if found else 0
