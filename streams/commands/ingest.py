"""`sellerpulse ingest`: a connector, from files to topics.

Place in the flow: its first step, on your Kafka.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured
from streams.commands.files import report_options

if TYPE_CHECKING:
    from streams.connectors.files import ReportOptions, Source
    from streams.connectors.polls import Polls
    from streams.feeder import Feeder
    from streams.settings import Settings


@click.command()
@click.option("--state", type=click.Path(path_type=Path), help="What reports last said; else connectors.state.")
@report_options(required=True)
@configured("kafka")
def command(settings: "Settings", files: tuple[Path, ...], options: "ReportOptions", state: Path | None) -> int:
    """Send the events of files and marketplace reports to Kafka.

    Ends when Kafka has acknowledged all of them. Ids are derived from what a row says where it has none, so the same
    file sent again changes nothing. Lines that are refused go to the dead-letter topics with file and line.

    A report is held against what it said when it was last polled, which is in the state file: what is new is sent,
    and a rating that changed or vanished meanwhile.

    \b
    Examples:
      sellerpulse ingest events.jsonl --kafka kafka:9092
      sellerpulse ingest feedback.txt --seller A1 --marketplace MKT-DE --timezone Europe/Berlin
    """
    from streams.connectors.files import find_sources
    from streams.connectors.polls import Polls

    with Polls(state or Path(settings.connectors.state)) as polls:
        sources = find_sources(files, replace(options, polls=polls))
        return _ingest(_feeder(settings), sources, polls)


def _ingest(feeder: "Feeder", sources: "list[Source]", polls: "Polls") -> int:
    from streams.commands.watching import sum_up, watching
    from streams.connectors.files import owed_source
    from streams.failpoints import reach

    if polls.is_open and (owed := owed_source(polls)):
        click.echo(f"{owed.size:,} events that an earlier run may not have sent are sent again")
        sources.insert(0, owed)
    with watching() as watch:
        fed = feeder.feed(sources, watch.fed)
    reach("acknowledged")
    polls.keep()
    sum_up(fed)
    return 1 if fed.damaged else 0


def _feeder(settings: "Settings") -> "Feeder":
    """Raises SellerpulseError if Kafka is out of reach or has not our topics."""
    from schemas.codec import Codec
    from streams.agents import now_ms
    from streams.app import registry
    from streams.feeder import Feeder
    from streams.topics import Cluster, wanted

    present = Cluster(settings.kafka).replicas()
    if absent := [topic.name for topic in wanted(settings.kafka) if topic.name not in present]:
        raise SellerpulseError(f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`")
    return Feeder(settings.kafka, Codec(registry=registry(settings)), clock=now_ms)
