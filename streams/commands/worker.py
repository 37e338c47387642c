"""`sellerpulse worker`: a Faust worker on the configured Kafka and ClickHouse.

Place in the flow: starts it and waits for the end.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured
from streams.refusals import LIMIT

if TYPE_CHECKING:
    from sink.analysts import Desk
    from streams.settings import Settings

log = logging.getLogger(__name__)


@contextmanager
def serving(folder: str, desk: "Desk") -> Iterator[None]:
    """Analysts are served from the folder for a `with` block. Raises as `sink.analysts.Analysts`."""
    from sink.analysts import Analysts  # and the engine with it, which is 200 MB where there is a server

    with Analysts(folder, desk) as analysts:
        log.info("analysts are served at %s", analysts.url)
        yield


@click.command()
@click.option(
    "--dlq-limit", metavar="SHARE", type=click.FloatRange(0, 1, min_open=True), default=LIMIT,
    help="Stop when more of a topic's records are refused; 1: never.",
)  # fmt: skip
@configured("kafka", "db")
def command(settings: "Settings", dlq_limit: float) -> int:
    """Keep the metrics of the accounts whose events arrive, until SIGTERM or Ctrl-C.

    Start as many as there are partitions to share; a worker that ends or dies is taken over by the others within 15
    seconds, and nothing is lost or counted twice. Workers on one embedded folder need it served: see `clickhouse`.
    One worker alone on a folder serves it to analysts, who only read, at http://127.0.0.1:8123 or the next port that
    is free ([clickhouse.http] in the settings says where, by which password, or not at all).
    It shows the page at http://127.0.0.1:8080, and there its metrics and its health at /metrics, /healthz and /readyz
    (settings [web]). Who shows the token of web.token_file may acknowledge and silence alerts by the page, nobody else.
    A password in --db shows in `ps`; SELLERPULSE_CLICKHOUSE__PASSWORD, or password_file in the settings, does not.

    A worker that refuses more than --dlq-limit of a topic's last 10,000 records, and at least 100 of them, exits 1
    before the batch that was too much is sent to the dead-letter topics or committed: a bad deploy of a producer
    must not drain a topic. Started again it reads that batch again. Correct the producer first; for what it left on
    the topic start with --dlq-limit 1, and look at it with `dlq`.

    \b
    Examples:
      sellerpulse worker --kafka kafka:9092 --db https://pulse@clickhouse:8443/pulse
      sellerpulse worker --db ./pulse --log-format json
      sellerpulse worker --dlq-limit 1
    """
    from streams.credentials import desk_of, open_store
    from streams.run import run_worker
    from streams.topics import Cluster, wanted

    present = Cluster(settings.kafka).replicas()
    if absent := [topic.name for topic in wanted(settings.kafka) if topic.name not in present]:
        raise SellerpulseError(f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`")
    open_store(settings.clickhouse).close()  # a wrong address is one line here, and a retry later
    desk = desk_of(settings.clickhouse)
    try:
        with serving(settings.clickhouse.url, desk) if desk else nullcontext():
            run_worker(settings, dlq_limit=dlq_limit)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
