"""`sellerpulse alerts backtest`: what rules would have done on the stored history.

Place in the flow: behind it, reading. Draws what `streams.backtest` finds.
"""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured
from streams.commands.plotting import check_that_it_can, save
from streams.commands.telling import Output, output_option, tell
from streams.core.metrics import iso

if TYPE_CHECKING:
    from sink.store import Store
    from streams.backtest import Fired, Span, Tally
    from streams.ruletables import Alerts
    from streams.settings import Settings

_WIDEST = 60  # bars of a line
_BARS = " ▁▂▃▄▅▆▇█"


@click.command("backtest")
@click.option("--since", metavar="DAY", required=True, help="From this day on, UTC: YYYY-MM-DD.")
@click.option("--rules", "tried", type=click.Path(path_type=Path), help="A settings file with the rules to try.")
@click.option("--by", type=click.Choice(["rule", "account", "alert"]), default="rule", help="What a line is about.")
@output_option
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw the weeks there too; needs matplotlib."
)
@configured("db")
def command(settings: "Settings", since: str, tried: Path | None, by: str, output: Output, png: Path | None) -> None:
    """Tell when each rule would have fired on the stored history, and for how long.

    Try a threshold before it is in force: --rules takes a file with [[alerts.rules]] as in the settings, of which
    nothing else is read, and changes nothing. Days are held against the rules as a replay does it; on the first one
    rules that ask a breach to hold, or to clear, begin anew. An alert that fires still is as long as it is by now.
    The bars are weeks: how many accounts had the rule fire, of the most in any week.

    \b
    Examples:
      sellerpulse alerts backtest --since 2025-01-01 --db ./pulse
      sellerpulse alerts backtest --since 2025-01-01 --rules stricter.toml --db ./pulse
      sellerpulse alerts backtest --since 2025-01-01 --by account --format csv --db ./pulse > accounts.csv
      sellerpulse alerts backtest --since 2025-01-01 --png weeks.png --db ./pulse
    """
    from streams.backtest import Span
    from streams.credentials import open_to_read
    from streams.port import as_of_day
    from streams.settings import load_settings

    alerts = settings.alerts if tried is None else load_settings(tried, {}, {}).alerts
    first = _day(since)
    if png is not None:
        check_that_it_can()
    store = open_to_read(settings.clickhouse)
    try:
        span = Span(first, as_of_day(store))
        if span.last < first:
            raise ConfigurationError(f"--since {since} is after the last day that has rows, {iso(span.last)}")
        weeks = -(-(span.last + 1 - first) // (7 * _WIDEST))
        tallies = _try(store, alerts, span, 7 * weeks, by, _Writer(output))
    finally:
        store.close()
    if output == "table":
        _draw(tallies, span, weeks)
    if png is not None:
        _paint(png, tallies, span, 7 * weeks)


def _try(
    store: "Store", alerts: "Alerts", span: "Span", days_a_bar: int, by: str, writer: "_Writer"
) -> dict[str, "Tally"]:
    """What each rule gives, by its name; the lines are written."""
    from streams.backtest import Tally, backtest
    from streams.commands.watching import counting

    severities = {rule.name: rule.levels[-1].severity for rule in alerts.rules}
    severities |= {rule.name: rule.severity for rule in alerts.other_rules}
    tallies = {name: Tally(span, days_a_bar) for name in severities}
    accounts = 0
    with counting("accounts") as progress:

        def count(done: int, total: int) -> None:
            nonlocal accounts
            accounts = total
            progress(done, total)

        for fired in backtest(store, alerts.rules, alerts.other_rules, span, count):
            for name, tally in tallies.items():
                tally.add(one for one in fired if one.alert.rule == name)
            if by != "rule":
                writer.write(_by_account(fired) if by == "account" else map(_told, fired))
    if by == "rule":
        writer.write(_told_of_rule(name, severities[name], tally, accounts) for name, tally in tallies.items())
    writer.close()
    return tallies


# --- lines -----------------------------------------------------------------------------------------------------


def _told_of_rule(name: str, severity: str, tally: "Tally", accounts: int) -> dict[str, Any]:
    days = tally.days
    return {
        "rule": name, "severity": severity, "alerts": len(days), "firing": tally.firing, "accounts": tally.accounts,
        "share": round(tally.accounts / accounts, 4) if accounts else 0.0, "days": round(sum(days), 1),
        "median_days": round(median(days), 1) if days else None, "longest_days": round(max(days), 1) if days else None,
    }  # fmt: skip


def _by_account(fired: list["Fired"]) -> Iterator[dict[str, Any]]:
    of: dict[tuple[str, str, str], list[Fired]] = {}
    for one in fired:
        of.setdefault((one.alert.seller_id, one.alert.marketplace_id, one.alert.rule), []).append(one)
    for (seller, marketplace, rule), alerts in sorted(of.items()):
        days = [one.days for one in alerts]
        yield {
            "seller_id": seller, "marketplace_id": marketplace, "rule": rule, "alerts": len(alerts),
            "firing": sum(one.until is None for one in alerts), "days": round(sum(days), 1),
            "longest_days": round(max(days), 1), "first": _moment(min(one.since for one in alerts)),
        }  # fmt: skip


def _told(one: "Fired") -> dict[str, Any]:
    alert = one.alert
    return {
        "seller_id": alert.seller_id, "marketplace_id": alert.marketplace_id, "rule": alert.rule,
        "subject": alert.subject, "severity": alert.severity, "since": _moment(one.since),
        "until": None if one.until is None else _moment(one.until), "days": round(one.days, 1),
    }  # fmt: skip


class _Writer:
    """Lines of one shape, to stdout as they come; a table when its widths are known."""

    def __init__(self, output: Output) -> None:
        self._output, self._rows = output, list[Mapping[str, Any]]()
        self._csv: csv.DictWriter[str] | None = None

    def write(self, rows: Iterator[dict[str, Any]]) -> None:
        for row in rows:
            if self._output == "json":
                click.echo(json.dumps(row, ensure_ascii=False))
            elif self._output == "csv":
                self._write_csv(row)
            else:
                self._rows.append(row)

    def _write_csv(self, row: dict[str, Any]) -> None:
        if self._csv is None:
            self._csv = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            self._csv.writeheader()
        self._csv.writerow(row)

    def close(self) -> None:
        """What has waited for its widths."""
        if self._rows:
            tell(self._rows, "table")
        elif self._output == "table":
            click.echo("No rule would have fired.")


# --- pictures --------------------------------------------------------------------------------------------------


def _draw(tallies: Mapping[str, "Tally"], span: "Span", weeks: int) -> None:
    """A line of bars for each rule that fired."""
    shown = {name: tally for name, tally in tallies.items() if tally.days}
    if not shown:
        return
    every = "week" if weeks == 1 else f"{weeks} weeks"
    click.echo(f"accounts with an alert, a bar for each {every} from {iso(span.first)} to {iso(span.last)}")
    width = max(map(len, shown))
    for name, tally in shown.items():
        most = max(tally.bars)
        bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in tally.bars)
        click.echo(f"{name:{width}} {bars} at most {most:,}")


def _paint(png: Path, tallies: Mapping[str, "Tally"], span: "Span", days_a_bar: int) -> None:
    from matplotlib.figure import Figure

    shown = {name: tally for name, tally in tallies.items() if tally.days}
    figure = Figure(figsize=(9, 1 + 1.1 * max(len(shown), 1)), layout="constrained")
    panels = figure.subplots(max(len(shown), 1), sharex=True, squeeze=False)[:, 0]
    for axes, (name, tally) in zip(panels, shown.items(), strict=False):
        starts = [datetime.fromtimestamp((span.first + n * days_a_bar) * 86_400, UTC) for n in range(len(tally.bars))]
        axes.bar(starts, tally.bars, width=0.9 * days_a_bar, align="edge")
        axes.set_title(name, loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
    figure.supylabel("accounts with an alert", fontsize=9)
    save(figure, png)


# --- days ------------------------------------------------------------------------------------------------------


def _day(text: str) -> int:
    from streams.replay import parse_day

    try:
        return parse_day(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} is no day, YYYY-MM-DD", param_hint="--since") from wrong


def _moment(days: float) -> str:
    """A day, and what of it is over where that is told: cases fall due at any time."""
    moment = datetime.fromtimestamp(round(days * 86_400), UTC)
    return moment.date().isoformat() if days == int(days) else f"{moment:%Y-%m-%d %H:%M}"
