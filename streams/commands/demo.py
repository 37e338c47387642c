"""`sellerpulse demo`: everything on this machine, with no server to install.

Place in the flow: a replay of a simulated marketplace year, or of your files, and a look at what it found.
"""

import logging
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.cli import configured
from streams.commands.files import report_options
from streams.log import without_passwords

if TYPE_CHECKING:
    from sink.store import Store
    from streams.connectors.files import ReportOptions, Source
    from streams.replay import Replay
    from streams.settings import Settings

FOLDER = Path("sellerpulse-demo")
SELLERS, EVENTS, DAYS = 200, 300_000, 365
FOLLOWED_DAYS = 30
SPARE = 9  # ports after web.port that are tried
WORST = """
SELECT a.seller_id, a.marketplace_id, arrayStringConcat(a.rules, '\\n') AS rules, c.negative_rate_90d,
    c.order_defect_rate_60d, c.buy_box_points_per_order_90d, c.cs_score
FROM (
    SELECT seller_id, marketplace_id, arraySort(groupUniqArray(rule)) AS rules,
        countIf(severity = 'critical') AS critical
    FROM alerts WHERE state = 'firing' GROUP BY seller_id, marketplace_id
) AS a JOIN seller_current AS c ON c.seller_id = a.seller_id AND c.marketplace_id = a.marketplace_id
ORDER BY a.critical DESC, length(a.rules) DESC, c.order_defect_rate_60d DESC, a.seller_id LIMIT 12
"""
LATEST = """
SELECT day, state, rule, seller_id, marketplace_id, value FROM alert_history
WHERE day = toDate32('{day}') ORDER BY rule, seller_id
"""


@click.command()
@click.option("--follow", is_flag=True, help=f"Go on with {FOLLOWED_DAYS} more simulated days, one at a time.")
@click.option("--pause", type=click.FloatRange(0), default=2.0, help="Seconds between followed days.")
@click.option(
    "--stay/--no-stay", default=None, show_default="as a person watches",
    help="Go on serving the page and analysts at the end, until Ctrl-C or SIGTERM.",
)  # fmt: skip
@report_options(required=False)
@configured("db")
def command(
    settings: "Settings", files: tuple[Path, ...], options: "ReportOptions", follow: bool, pause: float,
    stay: bool | None,
) -> int:  # fmt: skip
    """See it work: a marketplace year through a broker, a Faust worker and ClickHouse, all started by this program.

    Without files, a year of about 200 sellers and 300,000 events is simulated, with trouble in some accounts; what
    the rules find is shown at the end, and then on a page at http://127.0.0.1:8080, or the next port that is free.
    The database is the folder ./sellerpulse-demo, made anew each time, unless --db says where. As long as the demo
    runs, ClickHouse's HTTP interface to it is at http://127.0.0.1:8123, or likewise, for whoever reads.

    \b
    Examples:
      sellerpulse demo
      sellerpulse demo --follow
      sellerpulse demo events.jsonl.gz --db ./pulse
    """
    from streams.commands.watching import sum_up, watching
    from streams.connectors.files import find_sources
    from streams.connectors.polls import Polls
    from streams.core.metrics import iso
    from streams.replay import replaying

    if follow and files:
        raise click.UsageError("--follow goes on with simulated days, not with files")
    polls = Polls(None)  # files are polls of each other, in their order
    days = [find_sources(files, replace(options, polls=polls))] if files else _simulated(FOLLOWED_DAYS if follow else 0)
    what = "Your files" if files else f"A simulated marketplace year: {SELLERS} sellers, {EVENTS:,} events"
    settings = _placed(settings)
    stay = sys.stdout.isatty() if stay is None else stay
    with polls, replaying(settings, analysts=True) as replay:
        click.echo(f"{what} -> Kafka -> a Faust worker -> ClickHouse, all on this machine")
        with watching() as watch:
            replayed = replay.run(days[0], watch=watch)
        sum_up(replayed.fed)
        taken = sum(replayed.seconds.values())
        click.echo(f"every row is right as of {iso(replayed.as_of)}, after {taken:.0f} s\n")
        _show_worst(replay.store)
        with _page(settings, replay) if (stay or follow) and settings.web.enabled else nullcontext() as page:
            if follow:
                _follow(replay, days[1:], pause, page)
            _say_what_next(settings.clickhouse.url, page if stay else None)
            if stay and (page or replay.analysts):
                _stay(replay.analysts)
    return 1 if replayed.fed.damaged else 0


def _placed(settings: "Settings") -> "Settings":
    """The settings with a database of the demo's own, empty, unless another was asked for."""
    defaults = type(settings.clickhouse)()
    if settings.clickhouse.url != defaults.url:
        return settings
    from sink.embedded import MARKER, Folder

    if (FOLDER / MARKER).is_file():
        Folder(FOLDER).close()  # in use by another demo: its error says so
        shutil.rmtree(FOLDER)
    its_own = type(settings.clickhouse)(url=str(FOLDER), http=settings.clickhouse.http)
    return settings.model_copy(update={"clickhouse": its_own})


def _simulated(followed: int) -> "list[list[Source]]":
    """A simulated year that ends yesterday: first all but the last `followed` days, then each of those."""
    from schemas.events import MS_A_DAY
    from streams.agents import now_ms
    from streams.connectors.files import Source
    from streams.connectors.input import Record
    from streams.connectors.simulate import Simulation, simulate

    last_day = now_ms() // MS_A_DAY - 1
    simulation = Simulation(sellers=SELLERS, days=DAYS, events=EVENTS, last_day=last_day)

    def of_days(first: int, last: int, size: int) -> Source:
        def read(progress: Any, _left_out: Any) -> Any:
            for line, item in enumerate(simulate(simulation), 1):
                if first <= item.event["event_time"] // MS_A_DAY <= last:
                    yield Record(item, b"", line)
                if line % 1000 == 0:
                    progress(min(line, size))

        return Source(Path("simulated"), "simulated", size, read)

    days = [of_days(day, day, 1) for day in range(last_day - followed + 1, last_day + 1)]
    return [[of_days(0, last_day - followed, EVENTS)], *([day] for day in days)]


def _show_worst(store: "Store") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Accounts in the worst shape", title_justify="left")
    for heading in ("seller", "marketplace", "firing alerts"):
        table.add_column(heading, no_wrap=True)
    for heading in ("negative\n90 d", "ODR\n60 d", "points/\norder", "CS\nscore"):
        table.add_column(heading, justify="right")
    for row in store.query_arrow(WORST).to_pylist():
        seller, marketplace, rules, negative, defects, points, score = row.values()
        shares = [_number(negative, "{:.1%}"), _number(defects, "{:.2%}")]
        table.add_row(seller, marketplace, rules, *shares, _number(points, "{:.1f}"), _number(score, "{:.1f}"))
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _follow(replay: "Replay", days: "list[list[Source]]", pause: float, page: str | None) -> None:
    """Feed one day after another and say what changed; until they end or Ctrl-C."""
    from streams.core.metrics import iso
    from streams.replay import QUIET

    click.echo(f"\nfollowing {len(days)} more days (Ctrl-C ends it); query them meanwhile with")
    click.echo(f'  sellerpulse sql "SHOW TABLES" --db {without_passwords(replay.url)}')
    if page:
        click.echo(f"or watch them at {page}")
    for day in days:
        replayed = replay.run(day, watch=QUIET)
        changed = replay.store.query_arrow(LATEST.format(day=iso(replayed.as_of))).to_pylist()
        click.echo(f"{iso(replayed.as_of)}: {replayed.fed.accepted:,} events, {len(changed)} alerts changed")
        for row in changed:
            click.echo(f"  {row['state']:9} {row['rule']} of {row['seller_id']} on {row['marketplace_id']}")
        time.sleep(pause)


@contextmanager
def _page(settings: "Settings", replay: "Replay") -> Iterator[str | None]:
    """Serve the page over what is replayed; its address, None if it cannot be had."""
    from sink.connect import is_server
    from streams.web.page import page_of
    from streams.web.server import Apart, Server

    logging.getLogger("streams.web.server").setLevel(logging.WARNING)  # where it is is told below
    itself = settings.clickhouse
    page = page_of(settings, itself if is_server(itself.url) else type(itself)(url=replay.url))
    server = Server(
        page.routes(), host=settings.web.host, port=settings.web.port, spare=SPARE, around=[page.guard.around]
    )
    with Apart(server, page) as apart:
        yield apart.url


def _say_what_next(db: str, page: str | None) -> None:
    db = without_passwords(db)
    program = sys.argv[0] if "/" in sys.argv[0] else "sellerpulse"
    click.echo(
        f"""
What to try next:{f"{chr(10)}  open {page}" if page else ""}
  {program} alerts list --db {db}
  {program} sql "SELECT * FROM seller_current ORDER BY order_defect_rate_60d DESC LIMIT 1" --db {db} --format Vertical
  {program} sql "SELECT name, comment FROM system.columns WHERE table = 'seller_daily'" --db {db}
  {program} demo --follow"""  # noqa: S608  # printed, not run
    )


def _stay(analysts: str | None) -> None:
    """Until Ctrl-C or SIGTERM; where analysts are served, if they are."""
    if analysts:
        address = analysts.rpartition("/")[0]
        click.echo(f"""
Analysts are served, by ClickHouse's HTTP interface:
  curl '{address}/?query=SELECT+count()+FROM+order_events'
  clickhouse_connect.get_client(host="127.0.0.1", port={address.rpartition(":")[2]})""")
    click.echo("\nThis goes on until Ctrl-C.")
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    with suppress(KeyboardInterrupt):
        told.wait()
    signal.signal(signal.SIGTERM, before)
