"""Quix Streams: `python -m bench.peers.on_quix JOB BOOTSTRAP GROUP FOLDER WARM_UP RECORDS SECONDS`.

Jobs: `counter`, a number for each key; `sliding`, a sum over 90 days; `even`, the same over accounts that all have
equally many events; `hopping`, a sum over 90 days by 1 day, and each by the record's time, its current values not
sent anywhere. Values stay bytes: nothing is decoded.

`even` is there because a sliding window of Quix updates as many windows as its key has records in 90 days: where a
few accounts have most of the events, that is nearly all it does. It is measured after a warm-up of 90 days.

Settings: each topic is a dataframe of its own (concatenated ones are aligned by time, which took 1.5 times as long); a
commit every 5 s, and the last one is waited for; a state folder in memory where there is one, with caches of 1 GB
for reading and 64 MB for writing; logging off; librdkafka's queues as they come, 100,000 records each, and a
producer that lingers 0.1 s.
"""

import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from quixstreams import Application  # type: ignore[import-not-found]  # in the peers' environment only
from quixstreams.models import BytesDeserializer  # type: ignore[import-not-found]
from quixstreams.state.rocksdb import RocksDBOptions  # type: ignore[import-not-found]

from bench.peers.lap import lap_from

TOPICS = ("orders", "feedback", "surveys")
WINDOW, STEP = timedelta(days=90), timedelta(days=1)
ACCOUNTS_A_PARTITION = 750  # 3,000 in 4


class Even(BytesDeserializer):  # type: ignore[misc]
    """Keys by turns, instead of those that the records have."""

    def __init__(self) -> None:
        super().__init__()
        self._number = count()

    def __call__(self, value: bytes, ctx: Any) -> bytes:
        return b"account-%d" % (next(self._number) % ACCOUNTS_A_PARTITION)


def count_up(_: bytes, state: Any) -> None:
    """A number for each key."""
    state.set("count", state.get("count", 0) + 1)


def sliding(dataframe: Any) -> None:
    """A sum over the 90 days up to each record."""
    dataframe.apply(lambda _: 1).sliding_window(WINDOW).sum().current()


def hopping(dataframe: Any) -> None:
    """A sum over each of the 90 windows that a moment is in."""
    dataframe.apply(lambda _: 1).hopping_window(WINDOW, STEP).sum().current()


JOBS: dict[str, Callable[[Any], Any]] = {
    "counter": lambda dataframe: dataframe.update(count_up, stateful=True),
    "sliding": sliding,
    "even": sliding,
    "hopping": hopping,
}


def main(job: str, bootstrap: str, group: str, folder: str, *lap_of: str) -> None:
    """Work until the lap is over, and commit."""
    lap = lap_from(*lap_of)

    def processed(*_: Any) -> None:
        if lap.tick():
            app.stop()

    app = Application(
        bootstrap,
        auto_offset_reset="earliest",
        commit_interval=5.0,
        consumer_group=group,
        consumer_poll_timeout=0.1,
        loglevel=None,
        on_message_processed=processed,
        producer_extra_config={"linger.ms": 100},
        rocksdb_options=RocksDBOptions(block_cache_size=1 << 30, write_buffer_size=64 << 20),
        state_dir=folder,
    )
    for name in TOPICS:
        key = Even() if job == "even" else "bytes"
        JOBS[job](app.dataframe(app.topic(name, key_deserializer=key, value_deserializer="bytes")))
    app.run()
    lap.end()
    lap.tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
