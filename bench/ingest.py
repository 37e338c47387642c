"""Subject: `sellerpulse ingest` of JSON Lines into an empty broker, from before its start until after its end."""

from pathlib import Path

from bench import kafka
from bench.measured import Run, Step, rate
from bench.program import run
from bench.workload import Workload

INGEST = "ingest to Kafka"


def ingest(work: Workload, folder: Path, step: Step) -> Run:
    """All events, acknowledged by Kafka."""
    ordered = work.ordered
    work.brokers.close()
    with kafka.empty(folder) as bootstrap:
        step(INGEST)
        sent = run("ingest", str(ordered), "--kafka", bootstrap, folder=folder)
    yield rate(INGEST, work.events, sent.seconds, peak_mb=sent.peak_mb, process_mb=sent.process_mb)
