"""A worker's own metrics for Prometheus. All of it is put together when it is asked for; nothing is kept here.

Place in the flow: beside it, over what `tally` counts, the pipeline of the present tenure and the consumer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streams.health import Health
from streams.pipeline import Pipeline
from streams.tally import FLUSH_S, Tally
from streams.transport import Consumer

L = TypeVar("L", tuple[str], tuple[str, str])  # a sample's labels


class Telemetry(Collector):
    """Of one worker, whose pipeline and consumer these give, as far as there are any at present."""

    def __init__(
        self,
        tally: Tally,
        health: Health,
        pipeline: Callable[[], Pipeline | None],
        consumer: Callable[[], Consumer | None],
    ) -> None:
        self._tally, self._health, self._pipeline, self._consumer = tally, health, pipeline, consumer
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every metric with its samples."""
        yield from self._counted()
        yield from self._present()

    def _counted(self) -> Iterator[Metric]:
        """What only grows while the worker runs."""
        tally = self._tally
        yield counter("events", "Durable records by what became of them", tally.records, "topic", "outcome")
        yield counter("refused", "Durable refused records by kind of reason", tally.refused, "topic", "reason")
        yield counter("rows", "Rows of seller_daily written, by what computed them", _keyed(tally.rows), "by")
        yield counter("accounts_touched", "Accounts that flushes touched", _keyed(tally.accounts), "outcome")
        yield counter("alert_changes", "Changes of alerts by new state", tally.alerts, "state", "severity")
        yield counter("notifications", "Changes told, by receiver and outcome", tally.told, "receiver", "outcome")
        yield histogram("flush_seconds", "Flushes by how long they took", FLUSH_S, tally.flushes, tally.flush_s)

    def _present(self) -> Iterator[Metric]:
        """What is so at this moment."""
        pipeline, consumer, health = self._pipeline(), self._consumer(), self._health
        lag = consumer.lag() if consumer is not None else {}
        named = {(tp.topic, str(tp.partition)): count for tp, count in lag.items()}
        yield gauge("lag_records", "Records of this worker's partitions not durable yet", named, "topic", "partition")
        lost = health.lost()
        is_lost = {(what,): what in lost for what in ("kafka", "clickhouse", "registry")}
        yield gauge("lost", "1 while the worker waits for it", is_lost, "what")
        yield one("healthy", "1 unless the worker is stuck, as /healthz", not health.stuck())
        yield one("ready", "1 while the worker does its work, as /readyz", not health.unready())
        oldest_s = (pipeline.oldest_s() if pipeline is not None else None) or 0
        yield one("oldest_unflushed_seconds", "Age of the oldest record that was taken and is not durable", oldest_s)
        if pipeline is not None:
            rows = pipeline.rows
            yield one("partitions", "Partitions of events that this worker has", len(pipeline.tenure.owned))
            yield one("hot_accounts", "Accounts in memory", len(rows.hot))
            yield one("hot_bytes", "What they take of memory", rows.hot.bytes)
            yield one("hot_bytes_limit", "What they may take of memory", rows.hot.budget)
            behind = len(rows.changed) + len(rows.lagging)
            yield one("accounts_behind", "Accounts whose rows are behind their events", behind)
            yield one("differing_rows", "Rows that checks of this tenure found wrong", pipeline.differing)


def _keyed(counts: Mapping[str, int]) -> Mapping[tuple[str], int]:
    return {(name,): count for name, count in counts.items()}


def counter(name: str, about: str, counts: Mapping[L, float], *labels: str) -> Metric:
    """What only grows, by its labels."""
    family = CounterMetricFamily(f"sellerpulse_{name}", about, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def gauge(name: str, about: str, values: Mapping[L, float], *labels: str) -> Metric:
    """What is so at present, by its labels."""
    family = GaugeMetricFamily(f"sellerpulse_{name}", about, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def histogram(name: str, about: str, ends: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    """How many there were up to each of these ends, inclusive, and beyond: one count more; and their sum."""
    family = HistogramMetricFamily(f"sellerpulse_{name}", about)
    named = [*map(str, ends), "+Inf"]
    family.add_metric([], list(zip(named, accumulate(counts), strict=True)), total)
    return family


def one(name: str, about: str, value: float) -> Metric:
    """The same without labels."""
    return GaugeMetricFamily(f"sellerpulse_{name}", about, value=value)
