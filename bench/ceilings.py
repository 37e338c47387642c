"""Subject: what decoding alone takes, in a process that does nothing else; no worker can be faster.

`python -m bench.ceilings FILE` is that process: it reads the events, encodes them as they lie in Kafka, and then
times two loops over all of them, one call a record.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from fastavro import schemaless_reader

from bench.measured import Measured, Run, Step, SubjectFailed
from bench.workload import Workload
from schemas.codec import Codec
from schemas.events import Refusal, Topic, account_key
from streams.connectors.files import ReportOptions, find_sources

DECODE, CODEC = "decode ceiling", "codec ceiling"
ROOT = Path(__file__).parents[1]
HEADER_BYTES = 10  # of single-object encoding


class Wire(NamedTuple):
    """A record as it lies in Kafka."""

    topic: Topic
    key: bytes
    value: bytes


def ceilings(work: Workload, folder: Path, step: Step) -> Run:
    """Both loops, in a process of their own."""
    del folder
    step("decode and codec ceilings")
    command = [sys.executable, "-m", "bench.ceilings", str(work.ordered)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SubjectFailed(finished.stderr.strip().splitlines()[-1])
    for row, seconds in json.loads(finished.stdout).items():
        yield Measured(row, work.events, seconds)


def main(file: Path) -> None:
    """Print each loop's seconds as JSON."""
    codec = Codec()
    records = list(_records(file, codec))
    bare = [(record.topic, record.value[HEADER_BYTES:]) for record in records]
    gc.freeze()  # else the collector walks all of them while we measure
    print(json.dumps({DECODE: _decode(bare, codec), CODEC: _accept(records, codec)}))


def _records(file: Path, codec: Codec) -> Iterator[Wire]:
    (source,) = find_sources([file], ReportOptions())
    for record in source.read(lambda _: None):
        if isinstance(record.item, Refusal):
            raise SubjectFailed(f"line {record.line} is refused: {record.item.reason}")
        topic, event = record.item
        yield Wire(topic, account_key(event), codec.encode(topic, event))


def _decode(records: list[tuple[Topic, bytes]], codec: Codec) -> float:
    """fastavro alone, on schemas without logical types, as the codec uses it."""
    schemas, read = codec._readers, schemaless_reader
    started = time.perf_counter()
    for topic, payload in records:
        read(BytesIO(payload), schemas[topic], None)
    return time.perf_counter() - started


def _accept(records: list[Wire], codec: Codec) -> float:
    """All that a record is held against before it is an event."""
    accept, now_ms = codec.accept, time.time_ns() // 1_000_000
    started = time.perf_counter()
    for topic, key, value in records:
        found = accept(topic, key, value, now_ms)
        if isinstance(found, Refusal):
            raise SubjectFailed(f"refused: {found.reason}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main(Path(sys.argv[1]))
