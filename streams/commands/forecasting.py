"""What `sellerpulse outlook` finds of one account: tables, a curve in the terminal or a picture, JSON lines, CSV."""

import json
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from streams.commands.plotting import Curve, as_png, in_terminal
from streams.commands.telling import printable, tell
from streams.core.metrics import METRIC_BY_NAME, METRICS, Metric, iso
from streams.core.outlook import Breach, Course, breaches, differing
from streams.core.rules import SEVERITIES
from streams.core.stories import MS_A_DAY
from streams.reading.forecast import A_WEEK, Forecast, days_of, lines_of, null, plain

_SHOWN_DAYS = (0, 7, 14, 30, 60, 90, 180, 365)
_SHOWN_CASES = 10


def as_tables(told: Forecast, metric: str | None) -> None:
    """Tables and a curve to stdout; of one metric all days on which it changes."""
    seller, marketplace = map(printable, told.course.rows.account)
    without = "" if told.without is None else f", without the rating of order {printable(told.without)}"
    click.echo(f"{seller} on {marketplace} as of {iso(told.course.as_of)}, if nothing else happens{without}\n")
    if told.partly is not None:
        click.echo(f"Shares, averages and coverage are null: {printable(told.partly.words)}.\n")
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
        row.append(("" if breach.begins <= today else "from ") + iso(breach.begins) + _firing(breach, today))
        row.append(_end(breach) if key in found else "today" if breach.begins <= today else "does not begin")
        table.add_row(*row, *([_end(with_it[key]) if key in with_it else "does not begin"] if also else []))
    _print(table)


def _firing(breach: Breach, today: int) -> str:
    """When a breach fires that does not from the day on that it begins, or today."""
    if breach.fires is None:
        return ", never fires"
    return f", fires {iso(breach.fires)}" if breach.fires > max(breach.begins, today) else ""


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
            f"{told.to_rate.total():,} unrated orders can still be rated, {told.to_rate_this_week:,} of them "
            f"until {iso(told.course.as_of + A_WEEK)} at the latest.\n"
        )


def _needed(n: int | None) -> str:
    return "cannot" if n is None else "over" if n == 0 else f"{n:,}"


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
    if isnan(now) and isnan(then):
        return "-"
    if isnan(now) or isnan(then):
        return f"{_text(metric, now)} > {_text(metric, then)}"
    return "-" if now == then else f"{100 * (then - now):+.2f} %" if metric.unit == "fraction" else f"{then - now:+.4g}"


def _text(metric: Metric, value: Any) -> str:
    """A value for people: fractions in percent."""
    told = plain(metric, value) if metric.type.startswith(("Nullable(Date", "LowC")) else null(float(value))
    if told is None or isinstance(told, str):
        return told or "-"
    return (
        f"{100 * told:.2f} %" if metric.unit == "fraction" else f"{told:,.0f}" if told == int(told) else f"{told:,.2f}"
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
    for line in days_of(told, metric.name):
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


def as_json(told: Forecast, metric: str | None) -> None:
    """An object a line to stdout; of one metric's days, or of all."""
    for kind, line in lines_of(told, metric):
        click.echo(json.dumps({"type": kind} | line, ensure_ascii=False))


def as_csv(told: Forecast, metric: str | None) -> None:
    """A line a day to stdout, of one metric or of all."""
    tell([line | {"breaches": " ".join(line["breaches"])} for line in days_of(told, metric)], "csv")


TELL: dict[str, Callable[[Forecast, str | None], None]] = {"table": as_tables, "json": as_json, "csv": as_csv}
