"""What a worker tells of itself: metrics, and reasons not to be alive or ready."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.health import STUCK_S, Health
from streams.pipeline import Pipeline
from streams.tally import FLUSH_S, KINDS_MAX, OTHER, Tally, Wait
from streams.telemetry import Telemetry

HOT = type("Hot", (), {"bytes": 7, "budget": 9, "__len__": lambda _: 3})()
PIPELINE = cast(
    "Pipeline",
    SimpleNamespace(
        tenure=SimpleNamespace(owned=frozenset((0, 2))),
        rows=SimpleNamespace(hot=HOT, changed={1}, lagging={2: None, 3: None}),
        differing=0, oldest_s=lambda: 4.5, moved=0.0,
    ),
)  # fmt: skip
NEVER = STUCK_S * 100


class Scene:
    """A worker whose clock, flushes and fetches a test moves by hand."""

    def __init__(self) -> None:
        self.now, self.oldest_s = 1000.0, cast("float | None", None)
        self.tally = Tally()
        self.pipeline: Any = SimpleNamespace(moved=self.now, oldest_s=lambda: self.oldest_s)
        self.consumer: Any = SimpleNamespace(asked=self.now)
        self.health = Health(self.tally, lambda: self.pipeline, lambda: self.consumer, lambda: self.now)


def samples(text: str) -> dict[str, float]:
    """Each sample of ours by its name with labels."""
    return {
        name: float(value) for name, value in re.findall(r"^(sellerpulse_\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


# --- metrics -------------------------------------------------------------------------------------------------


def test_metrics_are_what_was_counted_and_what_is_so() -> None:
    tally = Tally()
    tally.add({("orders", "stored"): 5}, {("orders", "unknown kind: SHIPPD"): 2})
    tally.alerts["firing", "critical"] += 1
    tally.told["webhook", "told"] += 1
    tally.waits["a call"] = Wait(0.0, "ClickHouse does not answer")
    for seconds in (0.01, 0.02, 500.0):
        tally.flushed(seconds)
    health = Health(tally, lambda: PIPELINE, lambda: None)
    told = Telemetry(tally, health, lambda: PIPELINE, lambda: None).text().decode()
    found = samples(told)
    assert found['sellerpulse_events_total{outcome="stored",topic="orders"}'] == 5
    assert found['sellerpulse_refused_total{reason="unknown kind",topic="orders"}'] == 2
    assert found['sellerpulse_alert_changes_total{severity="critical",state="firing"}'] == 1
    assert found['sellerpulse_notifications_total{outcome="told",receiver="webhook"}'] == 1
    assert found['sellerpulse_flush_seconds_bucket{le="0.01"}'] == 1
    assert found['sellerpulse_flush_seconds_bucket{le="120.0"}'] == 2
    assert found['sellerpulse_flush_seconds_bucket{le="+Inf"}'] == found["sellerpulse_flush_seconds_count"] == 3
    assert found["sellerpulse_flush_seconds_sum"] == pytest.approx(500.03)
    assert (found["sellerpulse_healthy"], found["sellerpulse_ready"]) == (1, 0)
    assert found['sellerpulse_lost{what="clickhouse"}'] == 1
    assert found['sellerpulse_lost{what="kafka"}'] == 0
    assert found["sellerpulse_oldest_unflushed_seconds"] == 4.5
    assert found["sellerpulse_accounts_behind"] == 3
    assert found["sellerpulse_hot_accounts"] == 3
    assert found["sellerpulse_partitions"] == 2
    assert "process_resident_memory_bytes" in told


def test_a_worker_without_partitions_has_metrics_too() -> None:
    tally = Tally()
    health = Health(tally, lambda: None, lambda: None)
    found = samples(Telemetry(tally, health, lambda: None, lambda: None).text().decode())
    assert found["sellerpulse_ready"] == 0
    assert "sellerpulse_hot_accounts" not in found


def test_producers_do_not_make_labels_without_end() -> None:
    tally = Tally()
    for n in range(500):
        reasons = f"unknown schema fingerprint {n:016x}", f"unknown schema id {n}", f"unknown kind: {n}"
        tally.add({}, {("orders", reason): 1 for reason in reasons})
    assert set(tally.refused.values()) == {500}
    for n in range(500):
        tally.add({}, {("orders", f"a reason {n}"): 1})
    assert len(tally.refused) == KINDS_MAX + 1
    assert tally.refused.total() == 2000
    assert tally.refused["orders", OTHER] == 500 - (KINDS_MAX - 3)


def test_flushes_fall_into_buckets_by_their_upper_ends() -> None:
    tally = Tally()
    for seconds in FLUSH_S:
        tally.flushed(seconds)
    assert tally.flushes == [1] * len(FLUSH_S) + [0]


# --- health --------------------------------------------------------------------------------------------------


def test_a_worker_that_waits_for_records_is_well() -> None:
    scene = Scene()
    scene.now += NEVER
    scene.consumer.asked = scene.now
    assert scene.health.unready() == []


def test_records_that_wait_while_nothing_goes_on_are_stuck() -> None:
    scene = Scene()
    scene.oldest_s = 1.0
    scene.now = scene.consumer.asked = scene.now + STUCK_S
    assert scene.health.stuck() == []
    scene.now = scene.consumer.asked = scene.now + 1
    assert scene.health.stuck() == ["records wait, and no flush went on for 361 s"] == scene.health.unready()
    scene.pipeline.moved = scene.now
    assert scene.health.stuck() == []


def test_a_consumer_that_asks_no_more_is_stuck_unless_it_is_held_back_by_a_flush() -> None:
    scene = Scene()
    scene.now = scene.pipeline.moved = scene.now + NEVER
    assert scene.health.stuck() == []
    scene.now += STUCK_S + 1
    assert scene.health.stuck() == ["Kafka was not asked for records for 361 s"]


def test_no_partitions_are_a_reason_not_to_be_ready_and_none_to_start_anew() -> None:
    scene = Scene()
    scene.pipeline, scene.now = None, scene.now + NEVER
    assert (scene.health.stuck(), scene.health.unready()) == ([], ["no partitions are assigned"])


@pytest.mark.parametrize(
    "reason, what", [("ClickHouse does not answer", "clickhouse"), ("Schema Registry: no route", "registry")]
)
def test_what_waits_for_a_store_is_not_ready_and_never_stuck(reason: str, what: str) -> None:
    scene = Scene()
    scene.oldest_s = 1.0
    scene.tally.waits |= {"second": Wait(scene.now + 3, reason), "first": Wait(scene.now, reason)}
    scene.now += NEVER
    assert scene.health.lost().keys() == {what}
    assert scene.health.stuck() == []
    assert scene.health.unready() == [f"{reason} (for {NEVER:.0f} s)"]
    scene.tally.waits.clear()
    assert scene.health.unready() == [], "it has only just come back"
    scene.now += STUCK_S + 1
    assert len(scene.health.stuck()) == 2


def test_a_lost_broker_is_a_reason_not_to_be_ready_and_none_to_start_anew() -> None:
    scene = Scene()
    scene.oldest_s, scene.health.no_answer = 1.0, scene.now
    scene.now += NEVER
    assert scene.health.stuck() == []
    assert scene.health.unready() == [f"Kafka does not answer (for {NEVER:.0f} s)"]


def test_a_reason_is_one_line_without_passwords() -> None:
    scene = Scene()
    scene.tally.waits["a call"] = Wait(scene.now, "http://me:hunter2@db:8123/pulse\ndoes not answer " + "x" * 1000)
    (reason,) = scene.health.unready()
    assert reason.startswith("http://me:***@db:8123/pulse does not answer x")
    assert len(reason) < 400
