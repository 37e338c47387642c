"""`sellerpulse worker`: a Faust worker on the configured Kafka and ClickHouse.

Place in the flow: starts it and waits for the end.
"""

from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.command()
@configured("kafka", "db")
def command(settings: "Settings") -> int:
    """Keep the metrics of the accounts whose events arrive, until SIGTERM or Ctrl-C.

    Start as many as there are partitions to share; a worker that ends or dies is taken over by the others within 15
    seconds, and nothing is lost or counted twice. Workers on one embedded folder need it served: see `clickhouse`.

    \b
    Examples:
      sellerpulse worker --kafka kafka:9092 --db https://pulse:secret@clickhouse:8443/pulse
      sellerpulse worker --db ./pulse --log-format json
    """
    from sink.connect import connect
    from streams.run import run_worker
    from streams.topics import Cluster, wanted

    present = Cluster(settings.kafka.bootstrap).replicas()
    if absent := [topic.name for topic in wanted(settings.kafka) if topic.name not in present]:
        raise SellerpulseError(f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`")
    connect(settings.clickhouse.url).close()  # a wrong address is one line here, and a retry later
    try:
        run_worker(settings)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
