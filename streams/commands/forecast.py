"""What `sellerpulse outlook` finds of one account, told as tables, as JSON lines, as CSV, or drawn.

Place in the flow: between the core's arithmetic and a reader. Computes nothing that the core does not.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich import box
from rich.console import Console
from rich.table import Table

from streams.commands.describing import printable
from streams.commands.plotting import Curve, as_png, in_terminal
from streams.core.account import Account
from streams.core.metrics import METRIC_BY_NAME, METRICS, Metric, iso
from streams.core.outlook import (
    Breach,
    Course,
    Removal,
    breaches,
    course,
    differing,
    open_ratings,
    quiet_from,
    removal,
    removals,
    still_to_rate,
)
from streams.core.remedies import Remedy, remedies
from streams.core.rules import SEVERITIES, Rule
from streams.core.stories import MS_A_DAY

DAYS = 90
_SHOWN_DAYS = (0, 7, 14, 30, 60, 90, 180, 365)
_SHOWN_CASES = 10
_WEEK = 7


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


def forecast(
    account: Account, rules: Sequence[Rule], as_of: int, days: int | None, by: int, without: str | None
) -> Forecast:
    """What is known of the days after `as_of`; moves the account on."""
    before = after = course(account, as_of)
    days = days or max(1, min(DAYS, quiet_from(before) - as_of))
    cases = [] if without else removals(account, before, rules, open_ratings(account, as_of), days)
    if without is not None:
        account.add(without, removal(as_of))
        after = course(account, as_of)
    found, needed = breaches(rules, after), remedies(rules, after, by)
    to_rate = still_to_rate(account, as_of)
    return Forecast(rules, after, days, by, found, needed, to_rate, cases, without, before)


# --- for programs --------------------------------------------------------------------------------------------


def _as_json(told: Forecast, metric: str | None) -> None:
    for kind, line in _lines(told, metric):
        click.echo(json.dumps({"type": kind} | line, ensure_ascii=False))


def _lines(told: Forecast, metric: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    (seller, marketplace), as_of = told.course.rows.account, told.course.as_of
    yield "account", {
        "seller_id": seller, "marketplace_id": marketplace, "as_of": iso(as_of), "without": told.without,
        "orders_to_rate": told.to_rate.total(), "orders_to_rate_this_week": _this_week(told),
    }  # fmt: skip
    for breach in told.breaches:
        yield "breach", breach._asdict() | {"begins": iso(breach.begins), "ends": breach.ends and iso(breach.ends)}
    for remedy in told.remedies:
        yield "remedy", remedy._asdict() | {"by_day": iso(told.by)}
    for case in told.cases:
        rating = case.rating
        yield "case", {
            "order_id": case.order_id, "feedback_event_id": rating.event_id, "rating": rating.rating,
            "submitted": iso(rating.time_ms // MS_A_DAY), "ends": case.ends,
            "spares": dict(zip(reversed(SEVERITIES), case.spares, strict=True)), "points": case.points,
            "moves": {name: [_null(value) for value in values] for name, values in case.moves.items()},
        }  # fmt: skip
    if told.without is not None:
        today = told.course.today
        yield (
            "removal",
            {
                of.name: [_plain(of, course.columns[of.name][today]) for course in (told.before, told.course)]
                for of in METRICS
            },
        )
    for line in _days(told, metric):
        yield "day", line


def _as_csv(told: Forecast, metric: str | None) -> None:
    lines = list(_days(told, metric))
    writer = csv.DictWriter(sys.stdout, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(line | {"breaches": " ".join(line["breaches"])} for line in lines)


def _days(told: Forecast, metric: str | None) -> Iterator[dict[str, Any]]:
    """Today's and each coming day's metrics, all or one, and the rules that are then in breach."""
    shown = METRICS if metric is None else [METRIC_BY_NAME[metric]]
    for day in range(told.course.as_of, told.course.as_of + told.days + 1):
        row = day - told.course.rows.first
        then = [b.rule for b in told.breaches if b.begins <= day and (b.ends is None or day < b.ends)]
        yield (
            {"day": iso(day)}
            | {of.name: _plain(of, told.course.columns[of.name][row]) for of in shown}
            | {"breaches": then}
        )


def _plain(metric: Metric, value: Any) -> Any:
    """A value as `sql` would tell it in JSON."""
    if metric.type == "Nullable(Date)":
        return None if value < 0 else iso(int(value))
    if metric.type.startswith("DateTime"):
        moment = datetime.fromtimestamp(int(value) / 1000, UTC)
        return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    if metric.type == "Nullable(Float64)":
        return _null(float(value))
    return value if value is None or isinstance(value, str) else int(value)


def _null(value: float) -> float | None:
    return None if isnan(value) else value


# --- for people ----------------------------------------------------------------------------------------------


def _as_tables(told: Forecast, metric: str | None) -> None:
    seller, marketplace = map(printable, told.course.rows.account)
    without = "" if told.without is None else f", without the rating of order {printable(told.without)}"
    click.echo(f"{seller} on {marketplace} as of {iso(told.course.as_of)}, if nothing else happens{without}\n")
    _tell_breaches(told)
    _tell_remedies(told)
    if told.without is not None:
        _tell_difference(told)
    elif metric is None:
        _tell_days(told)
        _tell_cases(told)
    _tell_curve(told, metric)
    if metric is not None:
        _tell_metric(told, METRIC_BY_NAME[metric])


def _table(title: str, *headings: str) -> Table:
    """Headings that begin with > are of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        right = heading.startswith(">")
        table.add_column(heading.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    console = Console(markup=False, highlight=False)
    (console if console.is_terminal else Console(width=140, markup=False, highlight=False)).print(table)


def _tell_breaches(told: Forecast) -> None:
    until, today = told.course.as_of + told.days, told.course.as_of
    with_it = {(b.rule, b.begins): b for b in breaches(told.rules, told.before) if b.begins <= until}
    found = {(b.rule, b.begins): b for b in told.breaches if b.begins <= until}
    if not with_it | found:
        click.echo("No rule is in breach, and by itself none will be.\n")
        return
    also = [] if told.without is None else ["ends with the rating"]
    table = _table("Breaches", "rule", "severity", ">value", ">threshold", "since", "ends by itself", *also)
    for key in found | with_it:
        breach = found.get(key) or with_it[key]
        metric = METRIC_BY_NAME[breach.metric]
        row = [breach.rule, breach.severity, _text(metric, breach.value), _text(metric, breach.threshold)]
        row.append(("" if breach.begins <= today else "from ") + iso(breach.begins))
        row.append(_end(breach) if key in found else "today" if breach.begins <= today else "does not begin")
        table.add_row(*row, *([_end(with_it[key]) if key in with_it else "does not begin"] if also else []))
    _print(table)


def _end(breach: Breach) -> str:
    if breach.ends is None:
        return "never"
    return iso(breach.ends) + (", for too few are left" if breach.fades else "")


def _tell_remedies(told: Forecast) -> None:
    if not told.remedies:
        return
    table = _table("What would end them, and one less would not", "rule", ">today", f">by {iso(told.by)}", "of these")
    now = {breach.rule for breach in told.breaches if breach.begins <= told.course.as_of}
    for rule, good, today, by in told.remedies:
        silenced = "" if rule in now or today == 0 else " (silenced)"
        table.add_row(rule + silenced, _needed(today), _needed(by), good or "only time or removal")
    _print(table)
    if told.to_rate:
        click.echo(
            f"{told.to_rate.total():,} unrated orders can still be rated, {_this_week(told):,} of them "
            f"until {iso(told.course.as_of + _WEEK)} at the latest.\n"
        )


def _needed(n: int | None) -> str:
    return "cannot" if n is None else "over" if n == 0 else f"{n:,}"


def _this_week(told: Forecast) -> int:
    return sum(n for day, n in told.to_rate.items() if day <= told.course.as_of + _WEEK)


def _tell_days(told: Forecast) -> None:
    """The metrics that rules are about, on some days; all of them on all days are for programs."""
    ahead = [day for day in _SHOWN_DAYS if day <= told.days]
    table = _table("Metrics", "metric", *(">" + iso(told.course.as_of + day) for day in ahead))
    for name in _watched(told):
        column = told.course.columns[name][told.course.today :]
        table.add_row(name, *(_text(METRIC_BY_NAME[name], column[day]) for day in ahead))
    _print(table)


def _watched(told: Forecast) -> list[str]:
    return list(dict.fromkeys(condition.metric for rule in told.rules for condition in rule.conditions))


def _tell_difference(told: Forecast) -> None:
    table = _table("Metrics that the rating moves today", "metric", ">with it", ">without it")
    for metric in METRICS:
        one, other = (course.columns[metric.name][told.course.today :][:1] for course in (told.before, told.course))
        if metric.name != "last_event_time" and differing(one, other)[0]:
            table.add_row(metric.name, _text(metric, one[0]), _text(metric, other[0]))
    _print(table)


def _tell_cases(told: Forecast) -> None:
    if not told.cases:
        return
    table = _table("Open cases, by the days in breach that the rating's removal would spare; then by points",
                   "order", "feedback event", "rated", ">stars", *(f">{s}\ndays" for s in reversed(SEVERITIES)),
                   *(">" + name.replace("_", "\n") for name in _MOVES), "ends today")  # fmt: skip
    for case in told.cases[:_SHOWN_CASES]:
        event_id, order = printable(case.rating.event_id), printable(case.order_id)
        moves = [_move(METRIC_BY_NAME[name], *case.moves[name]) if name in case.moves else "-" for name in _MOVES]
        spares = [f"-{days}" if days > 0 else f"+{-days}" if days else "-" for days in case.spares]
        rated = iso(case.rating.time_ms // MS_A_DAY)
        table.add_row(order, event_id, rated, str(case.rating.rating), *spares, *moves, "\n".join(case.ends) or "-")
    _print(table)
    if len(told.cases) > _SHOWN_CASES:
        click.echo(f"and {len(told.cases) - _SHOWN_CASES:,} more (--format json has all)\n")


_MOVES = ("negative_rate_90d", "order_defect_rate_60d", "buy_box_points_90d")


def _move(metric: Metric, now: float, then: float) -> str:
    if isnan(now) or isnan(then):
        return f"{_text(metric, now)} > {_text(metric, then)}"
    return "-" if now == then else f"{100 * (then - now):+.2f} %" if metric.unit == "fraction" else f"{then - now:+.4g}"


def _text(metric: Metric, value: Any) -> str:
    """A value for people: fractions in percent."""
    plain = _plain(metric, value) if metric.type.startswith(("Nullable(Date", "LowC")) else _null(float(value))
    if plain is None or isinstance(plain, str):
        return plain or "-"
    return (
        f"{100 * plain:.2f} %"
        if metric.unit == "fraction"
        else f"{plain:,.0f}"
        if plain == int(plain)
        else f"{plain:,.2f}"
    )


# --- curves --------------------------------------------------------------------------------------------------


def _curve(told: Forecast, course: Course, metric: str | None) -> Curve:
    """Of this metric, or that of the worst breach, or of the first rule; with its worst breach's begin and end."""
    about = [breach for breach in told.breaches if metric in (None, breach.metric)][:1]
    name = metric or next((breach.metric for breach in about), (_watched(told) or ["negative_rate_90d"])[0])
    levels = [rule.marketplaces.get(course.rows.account[1], [level.threshold for level in rule.levels])[0]
              for rule in told.rules if name in [condition.metric for condition in rule.conditions]]  # fmt: skip
    threshold = next((breach.threshold for breach in about), levels[0] if levels else None)
    values = course.columns[name][course.today : course.today + told.days + 1].astype(float).tolist()
    return Curve(name, course.as_of, values, threshold, _marks(about, course.as_of))


def _marks(found: list[Breach], as_of: int) -> dict[int, str]:
    begin = {b.begins: f"{b.rule} begins {iso(b.begins)}" for b in found if b.begins > as_of}
    return begin | {b.ends: f"{b.rule} ends {iso(b.ends)}" for b in found if b.ends is not None}


def _tell_curve(told: Forecast, metric: str | None) -> None:
    curve = _curve(told, told.course, metric)
    of = METRIC_BY_NAME[curve.name]
    lines = in_terminal(curve, lambda value: _text(of, value))
    if lines:
        marks = [text for day, text in sorted(curve.marks.items()) if day <= curve.last]
        click.echo("\n".join([f"{curve.name}{''.join(f', ▲ {mark}' for mark in marks)}", *lines]))


def _tell_metric(told: Forecast, metric: Metric) -> None:
    """The days on which the metric is another than on the day before."""
    table = _table("", "day", f">{metric.name}")
    before: Any = ""
    for line in _days(told, metric.name):
        if line[metric.name] != before:
            before = line[metric.name]
            table.add_row(line["day"], _text(metric, float("nan") if before is None else before))
    _print(table)


def draw(told: Forecast, metric: str | None, path: Path) -> None:
    """The curve as a PNG, and that with the rating if it is without one. Raises ConfigurationError."""
    shown = _curve(told, told.course, metric)
    curves = [shown]
    if told.without is not None:
        curves = [shown._replace(name=f"{shown.name} without it"), _curve(told, told.before, shown.name)]
    as_png(curves, path, METRIC_BY_NAME[shown.name].unit)


TELL: dict[str, Callable[[Forecast, str | None], None]] = {"table": _as_tables, "json": _as_json, "csv": _as_csv}
