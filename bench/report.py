"""What was measured, for people and for programs: medians of the runs, held against the targets."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench import replays, worker
from bench.measured import Measured

Rows = dict[str, list[Measured]]  # a line of the table -> its runs
BASE = replays.IN_ORDER  # what others are held against


class Target(NamedTuple):
    """At least so many events a second, or such a share of `BASE`; at most so much memory, in 10^6 bytes."""

    rate: float | None = None
    share: float | None = None
    peak_mb: float | None = None

    def __str__(self) -> str:
        parts = [
            f"{self.rate:,.0f}/s" if self.rate is not None else "",
            f"{self.share:.2f} x {BASE}" if self.share is not None else "",
            f"{self.peak_mb:,.0f} MB" if self.peak_mb is not None else "",
        ]
        return ", ".join(part for part in parts if part)


TARGETS = {
    replays.IN_ORDER: Target(rate=25_000, peak_mb=2_500),
    replays.SHUFFLED: Target(share=1 / 3),
    worker.COMMITTED: Target(rate=20_000),
    worker.ROWS: Target(rate=20_000),
}


class Summary(NamedTuple):
    """A line of the table. Memory is the greatest of all runs; `met` is None where there is no target."""

    rate: float
    slowest: float
    fastest: float
    ratio: float | None
    peak_mb: float | None
    process_mb: float | None
    target: str
    met: bool | None


def summaries(rows: Rows) -> dict[str, Summary]:
    """Every line, in the order in which they were first measured."""
    base = median(run.rate for run in rows[BASE]) if BASE in rows else None
    return {row: _summary(runs, base, TARGETS.get(row)) for row, runs in rows.items()}


def _summary(runs: list[Measured], base: float | None, target: Target | None) -> Summary:
    rates = [run.rate for run in runs]
    rate = median(rates)
    ratio = rate / base if base is not None else None
    peak = max((run.peak_mb for run in runs if run.peak_mb is not None), default=None)
    process = max((run.process_mb for run in runs if run.process_mb is not None), default=None)
    met = _is_met(target, rate, ratio, peak) if target is not None else None
    return Summary(rate, min(rates), max(rates), ratio, peak, process, str(target or ""), met)


def _is_met(target: Target, rate: float, ratio: float | None, peak_mb: float | None) -> bool | None:
    """None where the share of a line that was not measured is asked for."""
    if target.share is not None and ratio is None:
        return None
    is_fast = rate >= (target.rate or 0) and (ratio or 0) >= (target.share or 0)
    return is_fast and (target.peak_mb is None or (peak_mb is not None and peak_mb <= target.peak_mb))


def shares(runs: list[Measured]) -> dict[str, float]:
    """By stage, the median of its share of the wall time, the greatest first."""
    stages = dict.fromkeys(stage for run in runs for stage in run.stages)
    found = {stage: median(run.stages.get(stage, 0.0) / run.seconds for run in runs) for stage in stages}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def print_rows(console: Console, rows: Rows) -> None:
    """The table, then where the time went."""
    table = Table(caption="MB: the sum of all processes at their peak, and the largest process; of the worst run")
    for column in ("subject", "events/s", "min - max", "ratio", "peak MB", "largest", "target", "met"):
        table.add_column(column, justify="left" if column in ("subject", "target", "met") else "right", no_wrap=True)
    for row, line in summaries(rows).items():
        table.add_row(
            row, f"{line.rate:,.0f}", f"{line.slowest:,.0f} - {line.fastest:,.0f}", _number(line.ratio, ".2f"),
            _number(line.peak_mb, ",.0f"), _number(line.process_mb, ",.0f"), line.target,
            "" if line.met is None else "yes" if line.met else "no",
        )  # fmt: skip
    console.print(table)
    for row, runs in rows.items():
        if told := ", ".join(f"{stage} {share:.0%}" for stage, share in shares(runs).items()):
            console.print(f"{row}, share of the time: {told}", highlight=False)
    if worker.ROWS in rows:
        console.print("A worker's calls of the sink (load, add_...) run beside its decoding: the sum may pass 100%.")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def write_results(file: Path, machine: Mapping[str, str], events: int, rows: Rows, failures: Mapping[str, str]) -> None:
    """Everything measured, run by run."""
    lines: dict[str, Any] = {
        row: {
            **line._asdict(),
            "shares": shares(rows[row]),
            "runs": [asdict(run) | {"rate": run.rate} for run in rows[row]],
        }
        for row, line in summaries(rows).items()
    }
    told = {"machine": dict(machine), "events": events, "rows": lines, "failures": dict(failures)}
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
