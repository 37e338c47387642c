"""`sellerpulse ingest`: a connector, from files to topics.

Place in the flow: its first step, on your Kafka.
"""

import logging
import signal
import threading
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import SellerpulseError, Unavailable
from streams.commands.cli import configured
from streams.commands.files import report_options
from streams.failpoints import reach

if TYPE_CHECKING:
    from streams.connectors.files import ReportOptions, Source
    from streams.connectors.folder import Folder
    from streams.connectors.polls import Polls
    from streams.feeder import Feeder
    from streams.settings import Settings

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
PATIENCE_S = 20.0  # with Kafka, until a watcher says that it waits


@click.command()
@click.option("--state", type=click.Path(path_type=Path), help="What reports last said; else connectors.state.")
@click.option("--watch", type=click.Path(path_type=Path), metavar="DIR", help="Files as they appear and grow there.")
@click.option("--move-to", type=click.Path(path_type=Path), metavar="DIR", help="Where watched files go when done.")
@report_options(required=False)
@configured("kafka")
def command(
    settings: "Settings", files: tuple[Path, ...], options: "ReportOptions", state: Path | None,
    watch: Path | None, move_to: Path | None,
) -> int:  # fmt: skip
    """Send the events of files and marketplace reports to Kafka.

    Ends when Kafka has acknowledged all of them. Ids are derived from what a row says where it has none, so the same
    file sent again changes nothing. Lines that are refused go to the dead-letter topics with file and line.

    A report is held against what it said when it was last polled, which is in the state file: what is new is sent,
    and a rating that changed or vanished meanwhile.

    With --watch it goes on until SIGTERM or Ctrl-C, and killed at any moment goes on where it was: growing .jsonl is
    read to its last whole line, anything else once it no longer changes. Nothing is moved unless --move-to says where.

    \b
    Examples:
      sellerpulse ingest events.jsonl --kafka kafka:9092
      sellerpulse ingest feedback.txt --seller A1 --marketplace MKT-DE --timezone Europe/Berlin
      sellerpulse ingest --watch ./incoming --move-to ./done --kafka kafka:9092
    """
    from streams.connectors.files import find_sources
    from streams.connectors.folder import Folder
    from streams.connectors.polls import Polls
    from streams.feeder import FLUSH_S

    if bool(files) == bool(watch):
        raise click.UsageError("give either FILE... or --watch DIR")
    if move_to and not watch:
        raise click.UsageError("--move-to goes with --watch")
    with Polls(state or Path(settings.connectors.state)) as polls:
        if watch:
            options = replace(options, polls=polls)
            return _watch(settings, Folder(watch, options, polls, warn=log.warning, move_to=move_to), polls)
        sources = find_sources(files, replace(options, polls=polls))
        return _ingest(_feeder(settings, FLUSH_S), sources, polls)


def _ingest(feeder: "Feeder", sources: "list[Source]", polls: "Polls") -> int:
    from streams.commands.watching import sum_up, watching
    from streams.connectors.files import owed_source

    if polls.is_open and (owed := owed_source(polls)):
        click.echo(f"{owed.size:,} events that an earlier run may not have sent are sent again")
        sources.insert(0, owed)
    with watching() as watch:
        fed = feeder.feed(sources, watch.fed)
    reach("acknowledged")
    polls.keep()
    sum_up(fed)
    return 1 if fed.damaged else 0


class _Stopped(BaseException):
    """SIGTERM came."""


def _watch(settings: "Settings", folder: "Folder", polls: "Polls") -> int:
    """Feed what comes to a folder until SIGTERM; while Kafka is gone, wait."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        raise _Stopped

    before = signal.signal(signal.SIGTERM, stop)
    feeder, waits = None, ""
    try:
        while not stopped.is_set():
            try:
                feeder = feeder or _feeder(settings, PATIENCE_S)
                _look(feeder, folder, polls)
                waits = ""
            except Unavailable as gone:
                feeder = None
                polls.drop()
                if str(gone) != waits:
                    waits = str(gone)
                    log.warning("%s: waiting for it", waits)
            stopped.wait(LOOK_EVERY_S)
    except _Stopped:
        log.info("stopped: what Kafka acknowledged is kept")
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _look(feeder: "Feeder", folder: "Folder", polls: "Polls") -> None:
    """Feed what is new in the folder, keeping each portion; first what an earlier run owes."""
    from streams.commands.watching import watching
    from streams.connectors.files import owed_source
    from streams.connectors.folder import Portion

    owed = owed_source(polls)
    portions = chain([Portion(owed, lambda _: None)] if owed else [], folder.look())
    for portion in portions:
        with watching() as watch:
            fed = feeder.feed([portion.source], watch.fed)
        portion.learn(bool(fed.damaged))
        reach("acknowledged")
        polls.keep()
        refused = "; ".join(f"{count:,} refused: {reason}" for reason, count in fed.refused.most_common(3))
        log.info("%s: %s events%s", portion.source.path, f"{fed.accepted:,}", refused and f"; {refused}")
        for why, count in fed.left_out.items():
            log.info("%s: %s left out: %s", portion.source.path, f"{count:,}", why)
        for damaged in fed.damaged:
            log.warning("%s; its good part was kept", damaged)


def _feeder(settings: "Settings", patience_s: float) -> "Feeder":
    """Raises SellerpulseError if Kafka is out of reach or has not our topics."""
    from schemas.codec import Codec
    from streams.agents import now_ms
    from streams.app import registry
    from streams.feeder import Feeder
    from streams.topics import Cluster, wanted

    present = Cluster(settings.kafka).replicas()
    if absent := [topic.name for topic in wanted(settings.kafka) if topic.name not in present]:
        raise SellerpulseError(f"Kafka has no topic {', '.join(absent)}: run `sellerpulse topics create`")
    return Feeder(settings.kafka, Codec(registry=registry(settings)), clock=now_ms, patience_s=patience_s)
