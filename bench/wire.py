"""The events as they lie in Kafka: simulated from a seed, encoded by the program's own codec, kept for the next time.

Five kinds and more, in the order in which they happened; record time is event time, so that a peer may build its
windows without decoding a value. They end yesterday: a live worker's rows then go on for a day, not for years.
"""

import time
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import pyarrow as pa

from bench.measured import Step
from schemas import codec as codec_module
from schemas.codec import Codec
from schemas.events import MS_A_DAY, Parsed, Topic, account_key
from schemas.rows import AccountId
from streams.connectors import simulate as simulate_module
from streams.connectors.simulate import Simulation, simulate

DAYS, SEED = 365, 1
YESTERDAY = int(time.time()) * 1000 // MS_A_DAY - 1  # one for a whole bench, also past midnight
MARKETPLACES = ("MKT-US", "MKT-DE", "MKT-JP")
BATCH = 50_000  # records
HEADER_BYTES = 10  # of single-object encoding, before the payload
_SCHEMA = pa.schema([("topic", pa.string()), ("key", pa.binary()), ("value", pa.binary()), ("time_ms", pa.int64())])


class Wire(NamedTuple):
    """A record as it lies in Kafka."""

    topic: Topic
    key: bytes
    value: bytes
    time_ms: int


class Year(NamedTuple):
    """Which events: those of a simulation, and if `even`, dealt to so many accounts of the same size, by order."""

    simulation: Simulation
    even: int = 0

    @property
    def events(self) -> int:
        """How many."""
        return self.simulation.events

    @property
    def last_day(self) -> int:
        """The last one that has events, since the epoch."""
        return self.simulation.last_day


def year_of(accounts: int, events: int, *, days: int = DAYS, even: bool = False) -> Year:
    """So many events of so many accounts in the days up to yesterday. A few accounts have most, unless `even`."""
    sellers = accounts * 3 // 4  # every third sells on two marketplaces
    simulation = Simulation(sellers=sellers, days=days, events=events, seed=SEED, last_day=YESTERDAY)
    return Year(simulation, accounts if even else 0)


def events_of(year: Year) -> Iterator[Parsed]:
    """The events, in the order in which they happened."""
    for topic, event in simulate(year.simulation):
        if year.even:
            deal(event, year.even)
        yield Parsed(topic, event)


def deal(event: dict[str, Any], accounts: int, every: int = 1) -> None:
    """Gives the event to one of so many accounts: all of an order, or all of a conversation, to the same.

    `every`: they are every so-manieth of that many times as many.
    """
    number = crc32((event["order_id"] or event["conversation_id"]).encode()) % accounts
    event["seller_id"], event["marketplace_id"] = account_of(number * every)


def account_of(number: int) -> AccountId:
    """An account of even size."""
    return f"S{number:06d}", MARKETPLACES[number % len(MARKETPLACES)]


def wire_file(year: Year, folder: Path, step: Step) -> Path:
    """The file of these events, made where it is missing; named after all that makes it. Those of other days go."""
    makers = (Path(str(module.__file__)).read_bytes() for module in (simulate_module, codec_module))
    origin = blake2b(b"".join(makers) + repr(year).encode(), digest_size=6).hexdigest()
    file = folder / f"wire-{year.last_day}-{year.events}-{origin}.arrow"
    if not file.exists():
        step(f"simulating {year.events:,} events as Avro")
        for old in set(folder.glob("wire-*.arrow")) - set(folder.glob(f"wire-{year.last_day}-*.arrow")):
            old.unlink()
        partial = file.with_suffix(".partial")  # moved when whole
        _write(year, partial)
        partial.replace(file)
    return file


def _write(year: Year, file: Path) -> None:
    codec, events = Codec(), events_of(year)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        while batch := list(islice(events, BATCH)):
            rows = [(t, account_key(e), codec.encode(t, e), e["event_time"]) for t, e in batch]
            columns = [
                pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def read_wire(file: Path) -> Iterator[Wire]:
    """The records, in the order in which they happened."""
    with pa.memory_map(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for n in range(reader.num_record_batches):
            columns = [column.to_pylist() for column in reader.get_batch(n).columns]
            yield from map(Wire._make, zip(*columns, strict=True))
