"""What `sellerpulse outlook` and the page find of an account's coming days, as objects for programs.

Place in the flow: between the core's arithmetic and a reader. Computes nothing that the core does not.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan
from typing import Any, NamedTuple

from streams.core.account import Account
from streams.core.explain import Partly, partly
from streams.core.metrics import METRIC_BY_NAME, METRICS, Metric, iso
from streams.core.outlook import (
    Breach,
    Course,
    Removal,
    breaches,
    course,
    quiet_from,
    removal,
    removals,
    standing_ratings,
    still_to_rate,
)
from streams.core.remedies import Remedy, remedies
from streams.core.rules import SEVERITIES, Rule
from streams.core.stories import MS_A_DAY

DAYS = 90
A_WEEK = BY_DAYS = 7


class Forecast(NamedTuple):
    """An account's coming days. `without`: an order without whose rating they are; `before` is then with it."""

    rules: Sequence[Rule]
    course: Course
    days: int
    by: int
    breaches: list[Breach]
    remedies: list[Remedy]
    to_rate: Counter[int]
    cases: list[Removal]
    without: str | None
    before: Course
    partly: Partly | None  # why shares, averages and coverage are null

    @property
    def to_rate_this_week(self) -> int:
        """Of the orders that can still be rated those for which it is this week or never."""
        return sum(n for day, n in self.to_rate.items() if day <= self.course.as_of + A_WEEK)


def forecast(
    account: Account,
    rules: Sequence[Rule],
    as_of: int,
    *,
    open_cases: Iterable[tuple[str, str]],
    days: int | None,
    by: int,
    without: str | None,
) -> Forecast:
    """What is known of the days after `as_of`; moves the account on.

    `open_cases` are ranked: orders, each with the event of its rating.
    """
    before = after = course(account, as_of)
    days = days or max(1, min(DAYS, quiet_from(before) - as_of))
    rated = standing_ratings(account, open_cases, as_of)
    cases = [] if without else removals(account, before, rules, rated, days)
    if without is not None:
        account.add(without, removal(as_of))
        after = course(account, as_of)
    found, needed = breaches(rules, after), remedies(rules, after, by)
    to_rate = still_to_rate(account, as_of)
    some = partly(account, as_of)
    return Forecast(rules, after, days, by, found, needed, to_rate, cases, without, before, some)


def lines_of(told: Forecast, metric: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything, each object with what it is: an account, a breach, a remedy, a case, a day (of one metric or all)."""
    (seller, marketplace), as_of = told.course.rows.account, told.course.as_of
    yield "account", {
        "seller_id": seller, "marketplace_id": marketplace, "as_of": iso(as_of), "without": told.without,
        "orders_to_rate": told.to_rate.total(), "orders_to_rate_this_week": told.to_rate_this_week,
        "partial_sources": told.partly.sources if told.partly else [],
    }  # fmt: skip
    yield from (("breach", line) for line in breaches_of(told))
    yield from (("remedy", line) for line in remedies_of(told))
    for case in told.cases:
        rating = case.rating
        yield "case", {
            "order_id": case.order_id, "feedback_event_id": rating.event_id, "rating": rating.rating,
            "submitted": iso(rating.time_ms // MS_A_DAY), "ends": case.ends,
            "spares": dict(zip(reversed(SEVERITIES), case.spares, strict=True)), "points": case.points,
            "moves": {name: [null(value) for value in values] for name, values in case.moves.items()},
        }  # fmt: skip
    if told.without is not None:
        today = told.course.today
        yield (
            "removal",
            {
                of.name: [plain(of, course.columns[of.name][today]) for course in (told.before, told.course)]
                for of in METRICS
            },
        )
    for line in days_of(told, metric):
        yield "day", line


def breaches_of(told: Forecast) -> Iterator[dict[str, Any]]:
    """The breaches of today and to come."""
    for breach in told.breaches:
        days = {"begins": breach.begins, "fires": breach.fires, "ends": breach.ends}
        yield breach._asdict() | {name: None if day is None else iso(day) for name, day in days.items()}


def remedies_of(told: Forecast) -> Iterator[dict[str, Any]]:
    """What would end them."""
    return (remedy._asdict() | {"by_day": iso(told.by)} for remedy in told.remedies)


def days_of(told: Forecast, metric: str | None) -> Iterator[dict[str, Any]]:
    """Today's and each coming day's metrics, all or one, and the rules that are then in breach."""
    shown = METRICS if metric is None else [METRIC_BY_NAME[metric]]
    for day in range(told.course.as_of, told.course.as_of + told.days + 1):
        row = day - told.course.rows.first
        then = [b.rule for b in told.breaches if b.begins <= day and (b.ends is None or day < b.ends)]
        yield (
            {"day": iso(day)}
            | {of.name: plain(of, told.course.columns[of.name][row]) for of in shown}
            | {"breaches": then}
        )


def plain(metric: Metric, value: Any) -> Any:
    """A value as `sql` would tell it in JSON."""
    if metric.type == "Nullable(Date)":
        return None if value < 0 else iso(int(value))
    if metric.type.startswith("DateTime"):
        moment = datetime.fromtimestamp(int(value) / 1000, UTC)
        return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    if metric.type == "Nullable(Float64)":
        return null(float(value))
    return value if value is None or isinstance(value, str) else int(value)


def null(value: float) -> float | None:
    """A number, None if there is none."""
    return None if isnan(value) else value
