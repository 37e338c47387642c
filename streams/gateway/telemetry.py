"""The gateway's metrics for Prometheus, as those of a worker: counted here, put together when asked for.

Place in the flow: beside it. Names keys by their names, and no seller or account.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streams.gateway.verdicts import Judged
from streams.tally import KINDS_MAX, OTHER
from streams.telemetry import counter, histogram, one

REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # upper ends, inclusive


class Telemetry(Collector):
    """Of one gateway; `waiting` tells the records that Kafka has not acknowledged, `is_ready` what `/readyz` does."""

    def __init__(self, waiting: Callable[[], int], is_ready: Callable[[], bool]) -> None:
        self.under_way = 0  # requests
        self._waiting, self._is_ready = waiting, is_ready
        self._requests: Counter[tuple[str, str]] = Counter()  # by key and status
        self._events: Counter[tuple[str, str]] = Counter()  # by topic and outcome
        self._refused: Counter[tuple[str, str]] = Counter()  # by topic and reason
        self._seconds, self._seconds_sum = [0] * (len(REQUEST_S) + 1), 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def answered(self, key: str, status: int, seconds: float) -> None:
        """A request of this key, "" of none, was answered."""
        self._requests[key, str(status)] += 1
        self._seconds[bisect_left(REQUEST_S, seconds)] += 1
        self._seconds_sum += seconds

    def judged(self, judged: Judged, *, acknowledged: bool) -> None:
        """What became of a request's events; those that Kafka did not acknowledge are `unacknowledged`."""
        for (topic, outcome), count in judged.counts.items():
            is_lost = outcome == "accepted" and not acknowledged
            self._events[topic, "unacknowledged" if is_lost else outcome] += count
        known = {reason for _, reason in self._refused}
        for (topic, reason), count in judged.reasons.items():
            kind = reason if reason in known or len(known) < KINDS_MAX else OTHER
            known.add(kind)
            self._refused[topic, kind] += count

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples."""
        yield counter("gateway_requests", "Requests for events by key and status", self._requests, "key", "status")
        yield counter("gateway_events", "Events by what became of them", self._events, "topic", "outcome")
        yield counter("gateway_refused", "Refused events by kind of reason", self._refused, "topic", "reason")
        about = "Requests by how long they took"
        yield histogram("gateway_request_seconds", about, REQUEST_S, self._seconds, self._seconds_sum)
        yield one("gateway_requests_under_way", "Requests that are worked on", self.under_way)
        yield one("gateway_waiting_records", "Records that Kafka has not acknowledged", self._waiting())
        yield one("gateway_ready", "1 while events are taken, as /readyz", self._is_ready())
