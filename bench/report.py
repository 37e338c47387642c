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
from bench.growth import grown
from bench.measured import Measured, Unit, written
from bench.targets import Rows, judged

BASE = worker.WHOLE  # what others are held against


class Summary(NamedTuple):
    """A line of the table. Memory is the greatest of all runs; notes are medians.

    `times` is how many times as many events a second the whole job does; None where that makes no sense.
    """

    median: float
    least: float
    most: float
    unit: Unit
    times: float | None
    peak_mb: float | None
    process_mb: float | None
    notes: dict[str, float]


def summaries(rows: Rows) -> dict[str, Summary]:
    """Every line, in the order in which they were first measured."""
    base = median(run.value for run in rows[BASE]) if BASE in rows else None
    return {row: _summary(runs, base) for row, runs in rows.items()}


def _summary(runs: list[Measured], base: float | None) -> Summary:
    values, unit = [run.value for run in runs], runs[0].unit
    middle = median(values)
    times = base / middle if base is not None and unit == "events/s" else None
    peak = max((run.peak_mb for run in runs if run.peak_mb is not None), default=None)
    process = max((run.process_mb for run in runs if run.process_mb is not None), default=None)
    noted = {name: median(run.notes.get(name, 0.0) for run in runs) for name in runs[0].notes}
    return Summary(middle, min(values), max(values), unit, times, peak, process, noted)


def shares(runs: list[Measured]) -> dict[str, float]:
    """By stage, the median of its share of the wall time, the greatest first."""
    stages = dict.fromkeys(stage for run in runs for stage in run.stages)
    found = {stage: median(run.stages.get(stage, 0.0) / run.seconds for run in runs) for stage in stages}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def print_rows(console: Console, rows: Rows) -> None:
    """The table, the targets, then where the time went; nothing if nothing was measured."""
    if not rows:
        return
    caption = "whole job is: so many times as fast. MB: all processes at their peak, and the largest; of the worst run"
    table = Table(caption=caption)
    for column in ("subject", "median", "min - max", "whole job is", "peak MB", "largest", "notes"):
        table.add_column(
            column, justify="left" if column in ("subject", "notes") else "right", no_wrap=column != "notes"
        )
    for row, line in summaries(rows).items():
        table.add_row(
            row, written(line.median, line.unit), _range(line), _number(line.times, ",.2f", " x"),
            _number(line.peak_mb, ",.0f"), _number(line.process_mb, ",.0f"),
            ", ".join(f"{name} {value:,g}" for name, value in line.notes.items()),
        )  # fmt: skip
    console.print(table)
    _print_targets(console, rows)
    _print_growth(console, rows)
    for row in (*worker.ROWS, *replays.ROWS):
        if told := ", ".join(f"{stage} {share:.0%}" for stage, share in shares(rows.get(row, [])).items()):
            console.print(f"{row}, share of the time: {told}", highlight=False)
    if any(row in rows for row in worker.ROWS):
        console.print("A worker's calls of the sink (load, add_...) run beside its decoding: the sum may pass 100%.")


def _print_targets(console: Console, rows: Rows) -> None:
    found = judged(rows)
    if not found:
        return
    table = Table(title="targets")
    for column in ("what", "measured", "target", "met"):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left", no_wrap=True)
    for what, measured, target, met in found:
        table.add_row(what, measured, target, "yes" if met else "no")
    console.print(table)


def _print_growth(console: Console, rows: Rows) -> None:
    found = grown(rows)
    if not found:
        return
    caption = "exponent: of the time over the size, from one size to the next, 1 is linear; x: the last to the first"
    table = Table(title="growth", caption=caption)
    for column in ("over", "sizes", "seconds until every row is right", "growth"):
        table.add_column(column, no_wrap=True)
    for series, line in found.items():
        sizes, seconds = (" / ".join(f"{value:,.{n}f}" for value in values) for n, values in enumerate(line[:2]))
        table.add_row(series, sizes, seconds, line.told(series))
    console.print(table)


def _range(line: Summary) -> str:
    form = ",.0f" if line.unit in ("events/s", "MB") else ",.2f"
    return f"{line.least:{form}} - {line.most:{form}}"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else format(value, form) + unit


def write_results(file: Path, about: Mapping[str, Any], rows: Rows, failures: Mapping[str, str]) -> None:
    """Everything measured, run by run."""
    lines: dict[str, Any] = {
        row: {**line._asdict(), "shares": shares(rows[row]), "runs": [asdict(run) for run in rows[row]]}
        for row, line in summaries(rows).items()
    }
    targets = [found._asdict() for found in judged(rows)]
    series = {name: found._asdict() for name, found in grown(rows).items()}
    told = {**about, "targets": targets, "growth": series, "rows": lines, "failures": dict(failures)}
    file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
