"""`sellerpulse ingest`: a connector, from files to topics.

Place in the flow: its first step, on your Kafka.
"""

from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured
from streams.commands.files import file_options

if TYPE_CHECKING:
    from streams.connectors.files import Source
    from streams.settings import Settings


@click.command()
@file_options
@configured("kafka")
def command(settings: "Settings", sources: "list[Source]") -> int:
    """Send the events of files and marketplace reports to Kafka.

    Ends when Kafka has acknowledged all of them. Ids are derived from what a row says where it has none, so the same
    file sent again changes nothing. Lines that are refused go to the dead-letter topics with file and line.

    \b
    Examples:
      sellerpulse ingest events.jsonl --kafka kafka:9092
      sellerpulse ingest feedback.txt --seller A1 --marketplace MKT-DE --timezone Europe/Berlin
    """
    from schemas.codec import Codec
    from streams.agents import now_ms
    from streams.app import registry
    from streams.commands.watching import sum_up, watching
    from streams.feeder import Feeder
    from streams.topics import Cluster, wanted

    present = Cluster(settings.kafka).replicas()
    if absent := [topic.name for topic in wanted(settings.kafka) if topic.name not in present]:
        raise SellerpulseError(f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`")
    feeder = Feeder(settings.kafka, Codec(registry=registry(settings)), clock=now_ms)
    with watching() as watch:
        fed = feeder.feed(sources, watch.fed)
    sum_up(fed)
    return 1 if fed.damaged else 0
