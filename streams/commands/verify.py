"""`sellerpulse verify`: are the rows what the stored events give?

Place in the flow: opens the database, hands it to `streams.verify`, tells what it found.
"""

import random
from itertools import islice
from time import perf_counter, time
from typing import TYPE_CHECKING

import click

from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.verify import Verified

SHOWN = 20


@click.command()
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Only N accounts, chosen at random.")
@click.option("--seed", type=int, help="Choose the same sample as the run that told this seed.", show_default="random")
@click.option("--repair", is_flag=True, help="Write all rows of the accounts that differ anew.")
@configured("db")
def command(settings: "Settings", sample: int | None, seed: int | None, repair: bool) -> int:
    """Compute the rows of all accounts anew from the stored events, and name the cells that differ.

    Exits 1 if one does, or a row is missing or should not be there. Workers may run meanwhile: an account whose rows
    lag its events, the settings or the as-of day is late and not wrong, and is only counted. With --repair the exit is
    0 if afterwards everything is right. `status` tells what came of the last run over all accounts.

    \b
    Examples:
      sellerpulse verify --db ./pulse
      sellerpulse verify --sample 100 --db http://default@localhost:8123/sellerpulse
      sellerpulse verify --repair --db ./pulse
    """
    from streams.commands.watching import counting
    from streams.credentials import open_store
    from streams.verify import Sample
    from streams.verify import repair as write_anew
    from streams.verify import verify as hold_against_events

    terms_of, standard = settings.terms_of, settings.standard(judged=False)
    chosen = None if sample is None else Sample(sample, random.getrandbits(32) if seed is None else seed)
    store = open_store(settings.clickhouse)

    def look() -> "Verified":
        with counting("accounts") as progress:
            now_ms = int(time() * 1000)
            return hold_against_events(store, terms_of, standard, progress, sample=chosen, now_ms=now_ms)

    try:
        if chosen is not None:
            click.echo(f"a sample of {chosen.size:,} accounts, by --seed {chosen.seed}")
        started = perf_counter()
        found = look()
        _tell(found, perf_counter() - started)
        if found.wrong and repair:
            with counting("accounts") as progress:
                write_anew(store, found.wrong, terms_of, standard, progress)
            click.echo(f"wrote all rows of {len(found.wrong):,} accounts anew, and look again")
            started, found = perf_counter(), look()
            _tell(found, perf_counter() - started)
    finally:
        store.close()
    return FAILED if found.wrong else 0


def _tell(found: "Verified", taken_s: float) -> None:
    """The first cells that differ, a line each, then how many there are."""
    from streams.core.metrics import iso

    lines = (
        f"{seller!r} on {marketplace!r}, {iso(cell.day)}: {cell.column} is {cell.stored}, should be {cell.right}"
        for (seller, marketplace), wrong in sorted(found.wrong.items())
        for cell in wrong.examples
    )
    for line in islice(lines, SHOWN):
        click.echo(line)
    rows = f"{found.rows:,} rows of {found.accounts:,} accounts"
    if found.wrong:
        _, missing, surplus, cells = (sum(column) for column in list(zip(*found.wrong.values(), strict=True))[:4])
        differ = found.differing - missing - surplus
        click.echo(
            f"{cells:,} cells in {differ:,} rows differ, {missing:,} rows are missing and {surplus:,} too many, "
            f"in {len(found.wrong):,} accounts; of {rows}; {taken_s:.1f} s"
        )
    else:
        click.echo(f"every row is right: {rows}; {taken_s:.1f} s")
    if found.late:
        click.echo(f"{found.late:,} accounts are behind, a worker or `sellerpulse rebuild` restates them")
