"""Subject: `sellerpulse gateway` taking NDJSON in batches of 1,000, from some clients at once, into an empty broker.

From the first request to the last 202, which Kafka's acknowledgement precedes. The clients share the machine's
processors with gateway and broker.
"""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import quantiles

from bench import kafka
from bench.measured import Measured, Run, Step, SubjectFailed, rate
from bench.memory import Memory
from bench.program import READY_WITHIN_S, Program
from bench.workload import Workload
from streams.gateway.keys import new_key

GATEWAY, P50, P99 = "gateway, NDJSON batches", "gateway request, p50", "gateway request, p99"
BATCH, CLIENTS = 1_000, 4
_AT = r"taken at http://127\.0\.0\.1:(\d+)/"


def gateway(work: Workload, folder: Path, step: Step) -> Run:
    """All events, acknowledged by Kafka and answered with 202."""
    ordered = work.ordered
    work.brokers.close()
    key, hashed = new_key()
    scope = 'sellers = "*"\nmarketplaces = "*"\n'
    limits = f"port = 0\nevents_per_s = 10_000_000\nrequests_at_once = {CLIENTS}\n"
    (folder / "sellerpulse.toml").write_text(
        f'[gateway]\n{limits}[[gateway.keys]]\nname = "bench"\nhash = "{hashed}"\n{scope}'
    )
    with kafka.empty(folder) as bootstrap, Program("gateway", "--kafka", bootstrap, folder=folder) as program:
        port = _port(program)
        step(GATEWAY)
        with Memory(program.pid) as memory:
            started = time.monotonic()
            latencies = _send(port, key, _batches(ordered))
            seconds = time.monotonic() - started
    cuts = quantiles(latencies, n=100)
    notes: dict[str, float] = {"requests": len(latencies), "clients": CLIENTS}
    yield rate(GATEWAY, work.events, seconds, peak_mb=memory.peak_mb, process_mb=memory.process_mb, notes=notes)
    yield Measured(P50, cuts[49], "s", events=work.events)
    yield Measured(P99, cuts[98], "s", events=work.events)


def _port(program: Program) -> int:
    deadline = time.monotonic() + READY_WITHIN_S
    while (found := re.search(_AT, program.log)) is None:
        program.check()
        if time.monotonic() > deadline:
            raise SubjectFailed("the gateway is not ready")
        time.sleep(0.05)
    return int(found[1])


def _batches(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        while batch := b"".join(islice(lines, BATCH)):
            yield batch


def _send(port: int, key: str, batches: Iterator[bytes]) -> list[float]:
    """The seconds that each request took. Raises SubjectFailed for an answer that is not 202."""
    latencies: list[float] = []
    failed: list[str] = []
    next_one = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        while not failed:
            with next_one:
                batch = next(batches, None)
            if batch is None:
                break
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/events", batch, headers)
                answer = connection.getresponse()
                answer.read()
            except OSError as wrong:
                failed.append(f"no answer: {wrong}")
                break
            latencies.append(time.monotonic() - began)
            if answer.status != 202:
                failed.append(f"answered with {answer.status}")
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    if failed:
        raise SubjectFailed(f"the gateway {failed[0]}")
    return latencies
