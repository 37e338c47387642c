"""`python -m tests.chaos.gateway`: kill -9 of gateway and Kafka under load; is what 202 told in the tables?

Clients send batches until each was answered with 202, as they should: what was told 503, or nothing, they send again.
Exit 0 if every event is in the tables and none is there twice, 1 else.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from confluent_kafka import KafkaException

from tests.chaos.scene import alone
from tests.integration.broker import Broker
from tests.integration.gateway import Gateway
from tests.integration.program import Ground, Identity, sql, stored, succeed, wait_until

CLIENTS = 4
SELLERS = 300
ANSWERED_WITHIN_S = 600.0
AGAIN_S = 0.5
COUNT = """SELECT (SELECT count() FROM order_events) + (SELECT count() FROM feedback_events)
    + (SELECT count() FROM survey_events) AS n"""


class Verdict(NamedTuple):
    """What came of it: events, requests, those that were sent again, kills; events lost and doubled."""

    events: int
    requests: int
    again: int
    gateway_kills: int
    kafka_kills: int
    lost: int
    doubled: int

    @property
    def is_good(self) -> bool:
        """Whether every 202 was true."""
        return not (self.lost or self.doubled)

    def __str__(self) -> str:
        return (
            f"{'GOOD' if self.is_good else 'BAD'}: {self.events:,} events in {self.requests:,} requests, each answered "
            f"with 202, {self.again:,} sent again; kill -9 of the gateway {self.gateway_kills} times, of Kafka "
            f"{self.kafka_kills} times; lost {self.lost:,}, doubled {self.doubled:,}"
        )


class Clients:
    """Send every batch until it is answered with 202. Raises what went wrong from `finish`."""

    def __init__(self, gateway: Gateway, batches: Sequence[bytes]) -> None:
        self.done = self.again = 0
        self._gateway, self._batches, self._next = gateway, batches, iter(batches)
        self._mutex, self._failed = threading.Lock(), list[str]()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._failed:
            with self._mutex:
                batch = next(self._next, None)
            if batch is None:
                return
            self._send(batch)
            with self._mutex:
                self.done += 1

    def _send(self, batch: bytes) -> None:
        until = time.monotonic() + ANSWERED_WITHIN_S
        while time.monotonic() < until:
            with suppress(OSError, http.client.HTTPException):  # killed: it may have been taken or not
                answer = self._gateway.post(batch)
                if answer.status == 202:
                    if answer.json()["accepted"] != batch.count(b"\n"):
                        self._failed.append(f"not all accepted: {answer.body[:200]!r}")
                    return
                if answer.status not in (429, 503):
                    self._failed.append(f"answered with {answer.status}: {answer.body[:200]!r}")
                    return
            with self._mutex:
                self.again += 1
            time.sleep(AGAIN_S)
        self._failed.append("no 202 in time")

    def reach(self, count: int) -> None:
        """Block until so many requests were answered with 202."""
        wait_until(lambda: self.done >= count or self._failed, ANSWERED_WITHIN_S, f"{count} requests answered")

    def finish(self) -> None:
        """Block until all were."""
        for thread in self._threads:
            thread.join()
        assert not self._failed, self._failed[0]
        assert self.done == len(self._batches)


def kill_under_load(ground: Ground, broker: Broker, *, events: int, batch: int, kills: int, seed: int) -> Verdict:
    """Gateway and Kafka are killed in turn, so many times together; then a worker writes what is on the topics."""
    file = ground.folder / f"gateway-{events}-{seed}.jsonl"
    words = ("--sellers", SELLERS, "--events", events, "--seed", seed, "-o", file)
    succeed(ground.folder, "simulate", *map(str, words), within_s=1200)
    lines = file.read_bytes().splitlines(keepends=True)
    batches = [b"".join(lines[at : at + batch]) for at in range(0, len(lines), batch)]
    place = ground.place(f"gateway-{time.monotonic_ns()}")
    with Gateway(ground.folder / place.group, ground.kafka, events_per_s=10_000_000) as gateway:
        gateway.is_ready()
        clients = Clients(gateway, batches)
        for n in range(kills):
            clients.reach((n + 1) * len(batches) // (kills + 1))
            if n % 2:
                broker.kill()
                broker.start()
            else:
                gateway.program.kill()
                gateway.start_again()
        clients.finish()
        assert gateway.program.stop() == 0, gateway.program.log()[-2000:]

    def is_drained() -> bool:
        try:
            return not place.left()
        except KafkaException:
            return False

    with place.worker() as worker:
        wait_until(is_drained, 1800, "a worker that has read everything", worker)
        assert worker.stop() == 0
    wanted, found = {_identity(line) for line in lines}, stored(place.db)
    (counted,) = (json.loads(line)["n"] for line in sql(place.db, COUNT).splitlines())
    doubled = int(counted) - len(found) + len(found - wanted)
    return Verdict(
        len(lines), len(batches), clients.again, (kills + 1) // 2, kills // 2, len(wanted - found), doubled
    )  # fmt: skip


def _identity(line: bytes) -> Identity:
    event = json.loads(line)
    subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
    return event["topic"], event["seller_id"], event["marketplace_id"], subject, event["event_id"]


def main(words: Sequence[str] | None = None) -> int:
    """Run it, print the verdict."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.gateway", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="(default: 1,000,000)")
    parser.add_argument("--batch", type=int, default=1_000, metavar="N", help="events a request (default: 1,000)")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="of gateway and Kafka in turn (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the events")
    asked = parser.parse_args(words)
    with alone() as (ground, broker):
        verdict = kill_under_load(
            ground, broker, events=asked.events, batch=asked.batch, kills=asked.kills, seed=asked.seed
        )
    print(verdict)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
