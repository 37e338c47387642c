"""Subjects: what fetching and decoding alone take, in a process that does nothing else; no worker can be faster.

`python -m bench.ceilings fetch BOOTSTRAP` and `python -m bench.ceilings decode FILE` are those processes. `fetch` reads
every record from the broker by aiokafka's `getmany` and looks at none; `decode` times loops over all records of the
file: fastavro alone and the codec one record a call, the program's own check a batch a call.
"""

import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from fastavro import schemaless_reader

from bench.measured import Run, Step, SubjectFailed, rate
from bench.wire import HEADER_BYTES, Wire, read_wire
from bench.workload import Workload
from schemas.batch import BatchReader
from schemas.codec import Codec
from schemas.events import TOPICS, Refusal, Topic
from streams.settings import Settings

FETCH, DECODE = "aiokafka getmany, nothing done", "fastavro, an event a call"
CODEC, BATCH = "our check, an event a call", "our check, a batch a call"
ROWS = (FETCH, DECODE, CODEC, BATCH)
ROOT = Path(__file__).parents[1]
BATCH_RECORDS = 2_000  # a fetch of one partition brings some thousands
SLICE = 200_000  # records in memory at a time


def ceilings(work: Workload, folder: Path, step: Step) -> Run:
    """Each loop over all events."""
    del folder
    bootstrap = work.brokers.holding(work.year())
    step("fetch ceiling")
    yield from _loops(work, "fetch", bootstrap)
    step("decode ceilings")
    yield from _loops(work, "decode", str(work.wire))


def _loops(work: Workload, *words: str) -> Run:
    command = [sys.executable, "-m", "bench.ceilings", *words]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SubjectFailed(finished.stderr.strip().splitlines()[-1])
    for row, seconds in json.loads(finished.stdout).items():
        yield rate(row, work.events, seconds)


# --- fetch -----------------------------------------------------------------------------------------------------


async def _fetch(bootstrap: str) -> float:
    """Seconds from the assignment of all partitions to the last batch."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for topic in TOPICS for n in range(Settings().kafka.partitions)]
        left = sum((await consumer.end_offsets(partitions)).values())
        started = time.perf_counter()
        consumer.assign(partitions)
        while left > 0:
            fetched = await consumer.getmany(timeout_ms=1000)
            left -= sum(len(records) for records in fetched.values())
        return time.perf_counter() - started
    finally:
        await consumer.stop()


# --- decode ----------------------------------------------------------------------------------------------------


def _decoding(file: Path) -> dict[str, float]:
    """Seconds of each loop. Slice by slice, so that the collector never has millions of records to look at."""
    codec = Codec()
    loops: dict[str, Callable[[list[Wire]], float]] = {
        DECODE: lambda records: _decode(records, codec),
        CODEC: lambda records: _accept(records, codec),
    }
    reader = BatchReader(codec)
    loops[BATCH] = lambda records: _accept_batches(records, reader)
    seconds = dict.fromkeys(loops, 0.0)
    for records in _slices(file):
        gc.freeze()
        for name, loop in loops.items():
            seconds[name] += loop(records)
    return seconds


def _slices(file: Path) -> Iterator[list[Wire]]:
    records: list[Wire] = []
    for record in read_wire(file):
        records.append(record)
        if len(records) == SLICE:
            yield records
            records = []
    if records:
        yield records


def _decode(records: list[Wire], codec: Codec) -> float:
    """fastavro alone, on schemas without logical types, as the codec uses it."""
    schemas, read = codec._readers, schemaless_reader
    bare = [(record.topic, record.value[HEADER_BYTES:]) for record in records]
    started = time.perf_counter()
    for topic, payload in bare:
        read(BytesIO(payload), schemas[topic], None)
    return time.perf_counter() - started


def _accept(records: list[Wire], codec: Codec) -> float:
    """All that a record is held against before it is an event."""
    accept, now_ms = codec.accept, time.time_ns() // 1_000_000
    started = time.perf_counter()
    for topic, key, value, _ in records:
        found = accept(topic, key, value, now_ms)
        if isinstance(found, Refusal):
            raise SubjectFailed(f"refused: {found.reason}")
    return time.perf_counter() - started


def _accept_batches(records: list[Wire], reader: BatchReader) -> float:
    """The same of records that lie together, as fetches bring them."""
    batches, now_ms = list(_batches(records)), time.time_ns() // 1_000_000
    started = time.perf_counter()
    for topic, keys, values in batches:
        if any(isinstance(found, Refusal) for found in reader.accept(topic, keys, values, now_ms)):
            raise SubjectFailed("a record is refused")
    return time.perf_counter() - started


def _batches(records: list[Wire]) -> Iterator[tuple[Topic, list[bytes | None], list[bytes | None]]]:
    for topic in TOPICS:
        of_topic = [record for record in records if record.topic == topic]
        for at in range(0, len(of_topic), BATCH_RECORDS):
            batch = of_topic[at : at + BATCH_RECORDS]
            yield topic, [record.key for record in batch], [record.value for record in batch]


def main(loop: str, where: str) -> None:
    """Print each loop's seconds as JSON."""
    print(json.dumps({FETCH: asyncio.run(_fetch(where))} if loop == "fetch" else _decoding(Path(where))))


if __name__ == "__main__":
    main(*sys.argv[1:])
