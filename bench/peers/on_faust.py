"""Faust as it comes: `python -m bench.peers.on_faust JOB BOOTSTRAP GROUP FOLDER WARM_UP RECORDS SECONDS`.

Jobs: `nothing`, an agent with an empty body; `counter`, `table[key] += 1`; `hopping`, the same on a table of
`hopping(90 days, 1 day)`, by the record's time, never expiring. Values stay bytes: nothing is decoded.

Settings tried here and kept because they were faster: a table in memory, with its changelog on Kafka (RocksDB by
rocksdict took 1.25 times as long); a producer that lingers 0.1 s (the counter: 1.5 times as fast as without); no web
server, no leader topic; up to 10,000 records a poll and a stream buffer of 16,384. It commits by time alone, every
2.8 s as it does by default (every 10 s was no faster). The compiled loops that come with its wheel are in use.
"""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import faust
from faust.worker import Worker

from bench.peers.lap import Lap, lap_from

TOPICS, PARTITIONS = ("orders", "feedback", "surveys"), 4


def app_of(bootstrap: str, group: str, folder: str) -> faust.App:
    """An app with the settings above."""
    return faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        autodiscover=False,
        broker_commit_every=1_000_000,
        broker_max_poll_records=10_000,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        producer_linger=0.1,
        store="memory://",
        stream_buffer_maxsize=16_384,
        stream_wait_empty=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def counter(app: faust.App) -> Any:
    """A number for each key."""
    return app.Table("counts", default=int, partitions=PARTITIONS, key_type=str, value_type=int)


def hopping(app: faust.App) -> Any:
    """A number for each key in each of the 90 windows that a moment is in."""
    table = app.Table("windows", default=int, partitions=PARTITIONS, key_type=str, value_type=int)
    # Faust expires windows by the clock on the wall: those of a year ago would go as they come.
    return table.hopping(timedelta(days=90), timedelta(days=1), expires=timedelta(days=3650)).relative_to_stream()


TABLES: dict[str, Callable[[faust.App], Any]] = {"counter": counter, "hopping": hopping}


def _over(lap: Lap) -> None:
    """Tell, and end at once: how Faust ends is not measured."""
    lap.tell()
    os._exit(0)


def nothing_agent(lap: Lap) -> Callable[[Any], Any]:
    """An agent that does nothing."""

    async def agent(stream: Any) -> None:
        async for _ in stream:
            if lap.tick():
                _over(lap)

    return agent


def table_agent(table: Any, lap: Lap) -> Callable[[Any], Any]:
    """An agent that adds one to its key's number."""

    async def agent(stream: Any) -> None:
        async for key, _ in stream.items():  # noqa: PERF102  # a stream, no dict
            table[key] += 1
            if lap.tick():
                _over(lap)

    return agent


def main(job: str, bootstrap: str, group: str, folder: str, *lap_of: str) -> None:
    """Work until the lap is over."""
    app, lap = app_of(bootstrap, group, folder), lap_from(*lap_of)
    agent = table_agent(TABLES[job](app), lap) if job in TABLES else nothing_agent(lap)
    app.agent(app.topic(*TOPICS, key_type=str, key_serializer="raw", value_type=bytes, value_serializer="raw"))(agent)
    worker = Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
