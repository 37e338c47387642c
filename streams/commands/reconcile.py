"""`sellerpulse reconcile`: the marketplace's own account-health report beside our numbers.

Place in the flow: behind it. Reads the report, opens the database, asks `streams.reading.reconciliation`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from streams.connectors.health_report import Health
    from streams.reading.reconciliation import Line
    from streams.settings import Settings

_FULFILMENTS = {"SELLER": "mfn", "MARKETPLACE": "afn"}


@click.command()
@click.argument("report", type=click.Path(path_type=Path), metavar="REPORT.json")
@click.option("--seller", required=True, help="Whose report it is: seller_id. It does not say.")
@click.option("--marketplace", metavar="M", help="Only this one of its marketplaces.", show_default="all of them")
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.01,
    metavar="T",
    help="The share of the marketplace's number by which ours may differ: counts below 1/T must be the same.",
)
@click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: a line a figure."
)
@configured("db")
def command(
    settings: "Settings", report: Path, seller: str, marketplace: str | None, tolerance: float, output: str
) -> int:
    """Hold the marketplace's account-health report (Amazon's JSON) beside what the stored events give.

    Figure by figure: the order defect rate of the orders that the seller fulfils (mfn) and the marketplace does (afn),
    with its orders, defects, claims, chargebacks and negative ratings, on the report's own dates and as known by its
    last day; of everything else in the report, why it cannot be computed. A difference is explained by what is missing
    here, as far as the events tell. Exits 1 if a figure differs by more than the tolerance.

    \b
    Examples:
      sellerpulse reconcile health.json --seller A1 --db ./pulse
      sellerpulse reconcile health.json --seller A1 --marketplace ATVPDKIKX0DER --tolerance 0.05 --db ./pulse
      sellerpulse reconcile health.json --seller A1 --format json --db ./pulse
    """
    from streams.connectors.health_report import read_health_report
    from streams.credentials import open_to_read
    from streams.reading.reconciliation import reconciled

    asked = _asked(report, read_health_report(report), marketplace)
    store = open_to_read(settings.clickhouse)
    try:
        lines = reconciled(store, seller, asked, settings.terms_of, tolerance=tolerance)
    finally:
        store.close()
    (_tell_json if output == "json" else _tell)(seller, asked, lines)
    return FAILED if any(line.agrees is False for line in lines) else 0


def _asked(path: Path, report: "list[Health]", marketplace: str | None) -> "list[Health]":
    if marketplace is None:
        return report
    if found := [health for health in report if health.marketplace_id == marketplace]:
        return found
    has = ", ".join(repr(health.marketplace_id) for health in report)
    raise ConfigurationError(f"{path}: nothing of marketplace {marketplace!r}: it has {has}")


def _tell_json(seller: str, report: "Sequence[Health]", lines: "Sequence[Line]") -> None:
    from streams.core.metrics import iso

    for health in report:
        about = {"seller_id": seller, "marketplace_id": health.marketplace_id, "account_status": health.status}
        for line in lines:
            if line.marketplace_id != health.marketplace_id:
                continue
            told = line._asdict()
            first, last = map(iso, told.pop("days") or ()) if line.days else (None, None)
            click.echo(json.dumps(about | {"first_day": first, "last_day": last} | told, ensure_ascii=False))


def _tell(seller: str, report: "Sequence[Health]", lines: "Sequence[Line]") -> None:
    from streams.commands.telling import printable, tell
    from streams.core.metrics import iso

    for health in report:
        known = "" if health.last is None else f", as known at the end of {iso(health.last)}"
        status = f": the account is {health.status}" if health.status else ""
        click.echo(printable(f"{seller} on {health.marketplace_id}{status}{known}"))
        mine = [line for line in lines if line.marketplace_id == health.marketplace_id]
        tell([_row(line) for line in mine if line.agrees is not None], "table")
        explained: dict[tuple[str, str], list[str]] = {}  # each explanation once, with all that it may explain
        for line in mine:
            for why in line.why if line.agrees is False else ():
                explained.setdefault((_of(line), why), []).append(line.figure or "")
        for (what, why), figures in explained.items():
            click.echo(printable(f"  {what}: {why} ({', '.join(figures)})"))
        click.echo("not compared:")
        for metric, why in dict.fromkeys((_judged(line), line.why[0]) for line in mine if line.agrees is None):
            click.echo(printable(f"  {metric}: {why}"))
        differ = sum(line.agrees is False for line in mine)
        click.echo(f"{differ} of {sum(line.agrees is not None for line in mine)} figures differ\n")


def _of(line: "Line") -> str:
    return " ".join(filter(None, (line.metric, _FULFILMENTS.get(line.fulfilment or ""))))


def _judged(line: "Line") -> str:
    """A metric that is not compared, with what the marketplace makes of it."""
    said = ", ".join(filter(None, (line.status, f"target {line.target}" if line.target else None)))
    return f"{_of(line)}{f' ({said})' if said else ''}"


def _row(line: "Line") -> dict[str, Any]:
    from streams.core.metrics import iso

    is_rate = line.figure == "rate"
    return {
        "metric": _of(line),
        "figure": line.figure or "",
        "days": " to ".join(map(iso, line.days)) if line.days else "",
        "theirs": _text(line.theirs, is_rate),
        "ours": _text(line.ours, is_rate),
        "": "same" if line.agrees else "differs",
        "status": line.status or "",
        "target": line.target or "",
    }


def _text(value: float | None, is_rate: bool) -> str:
    return "none" if value is None else f"{100 * value:.3f} %" if is_rate else f"{value:,g}"
