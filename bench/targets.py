"""What must be reached, as figures of the medians; a missed one is told, not an error."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Literal, NamedTuple

from bench import cost, daysend, freshness, questions, rebuild, replays, soak, takeover, widths, worker
from bench.measured import Measured, Unit, written
from bench.peers import subjects as peers

Rows = Mapping[str, list[Measured]]  # a line of the table -> its runs
Figure = Callable[[Rows], float]


class Target(NamedTuple):
    """A figure that is to be at least or at most so much. `figure` raises KeyError where a line was not measured."""

    what: str
    figure: Figure
    unit: Unit
    way: Literal["at least", "at most"]
    bound: float


class Judged(NamedTuple):
    """A target and the figure that was measured."""

    what: str
    measured: str
    target: str
    met: bool


def value(row: str) -> Figure:
    """The median of a line."""
    return lambda rows: median(run.value for run in rows[row])


def ratio(row: str, base: str) -> Figure:
    """So many times as much as another line."""
    return lambda rows: value(row)(rows) / value(base)(rows)


def seconds(row: str) -> Figure:
    """The median time that a line took."""
    return lambda rows: median(run.seconds for run in rows[row])


def peak(row: str) -> Figure:
    """The most memory in any run."""
    return lambda rows: max(run.peak_mb or 0.0 for run in rows[row])


TARGETS = (
    Target("whole job, one worker", value(worker.WHOLE), "events/s", "at least", 60_000),
    Target("whole job: the goal", value(worker.WHOLE), "events/s", "at least", 100_000),
    Target("catching up, until every row is right", value(worker.CATCHING), "events/s", "at least", 80_000),
    Target("catching up: the goal", value(worker.CATCHING), "events/s", "at least", 120_000),
    Target("whole job against Faust's counter", ratio(worker.WHOLE, peers.FAUST_COUNTER), "x", "at least", 10),
    Target("whole job against Faust's hopping", ratio(worker.WHOLE, peers.FAUST_HOPPING), "x", "at least", 400),
    Target("whole job against Quix sliding", ratio(worker.WHOLE, peers.QUIX_SLIDING), "x", "at least", 12),
    Target("whole job against Quix sliding, even accounts", ratio(worker.WHOLE, peers.QUIX_EVEN), "x", "at least", 12),
    Target("replay in order", value(replays.IN_ORDER), "events/s", "at least", 50_000),
    Target("replay in order: memory", peak(replays.IN_ORDER), "MB", "at most", 1_500),
    Target("replay in order against shuffled", ratio(replays.IN_ORDER, replays.SHUFFLED), "x", "at most", 3),
    Target("rebuild", seconds(rebuild.REBUILD), "s", "at most", 10),
    Target("windows of 3,650 days against 30", value(widths.RATIO), "x", "at most", 1.1),
    Target("cases and alerts: the time of a whole job", value(cost.RATIO), "x", "at most", 1.15),
    Target("event to visible row, p50", value(freshness.P50), "s", "at most", 1),
    Target("event to visible row, p99", value(freshness.P99), "s", "at most", 2),
    Target("take-over", value(takeover.TAKE_OVER), "s", "at most", 10),
    Target("end of the day", value(daysend.DAYS_END), "s", "at most", 60),
    Target("100,000 accounts by a metric", value(f"question {questions.STANDING}"), "s", "at most", 0.1),
    Target("one account's year", value(f"question {questions.YEAR}"), "s", "at most", 0.03),
    Target("memory at the peak", value(soak.PEAK), "MB", "at most", 1_500),
    Target("memory: drift", value(soak.DRIFT), "MB", "at most", 50),
)


def judged(rows: Rows) -> list[Judged]:
    """The targets whose lines were all measured."""
    return [found for target in TARGETS if (found := _judge(target, rows)) is not None]


def _judge(target: Target, rows: Rows) -> Judged | None:
    try:
        figure = target.figure(rows)
    except KeyError:
        return None
    met = figure >= target.bound if target.way == "at least" else figure <= target.bound
    bound = f"{target.way} {written(target.bound, target.unit)}"
    return Judged(target.what, written(figure, target.unit), bound, met)
