"""`sellerpulse explain`: the orders, conversations and events behind a number.

Place in the flow: behind it. Reads one account's events, folds them as a worker does, asks `streams.core.explain`.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured, moment

if TYPE_CHECKING:
    from rich.status import Status

    from streams.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--seller", required=True, help="The seller.")
@click.option("--marketplace", required=True, help="The marketplace.")
@click.option("--metric", help="A column of seller_daily; else all that rules watch, a line each.")
@click.option("--day", type=_DAY, help="The day whose end is meant, UTC.", show_default="the as-of day")
@click.option("--from", "since", type=_DAY, help="What came and went between the ends of this day and --day.")
@click.option(
    "--seen-since", metavar="TIME", callback=moment, help="What the events changed that arrived since then, UTC."
)
@click.option("--all", "every", is_flag=True, help="Every order and event in the table, not the newest 20.")
@click.option("--format", "output", type=click.Choice(["table", "json", "csv"]), default="table",
              help="json: an object; csv: a line for each order or event.")  # fmt: skip
@configured("db")
def command(
    settings: "Settings", seller: str, marketplace: str, metric: str | None, day: datetime | None,
    since: datetime | None, seen_since: int | None, every: bool, output: str,
) -> None:  # fmt: skip
    """Explain a number: its formula with the numbers put in, and the orders and events that count.

    Each order or conversation is told with what it brings, and the day on which it leaves the window: by age, or
    because of an event such as a feedback's removal. What is told always adds up to the number.

    With --from, what made it another than it was: what came in between, what left, and which event or age did it.
    With --seen-since, why a day that is over shows another number than it did: the events that arrived late, and what
    each of them changed.

    \b
    Examples:
      sellerpulse explain --seller A1 --marketplace MKT-DE --db ./pulse
      sellerpulse explain --seller A1 --marketplace MKT-DE --metric order_defect_rate_60d --day 2025-06-30 --db ./pulse
      sellerpulse explain --seller A1 --marketplace MKT-DE --metric cs_score --from 2025-06-01 --db ./pulse
      sellerpulse explain --seller A1 --marketplace MKT-DE --metric negative_90d --day 2025-06-29
                          --seen-since 2025-06-30T08:00 --db ./pulse
      sellerpulse explain --seller A1 --marketplace MKT-DE --metric buy_box_points_90d --format csv --db ./pulse
    """
    _check(metric, since, seen_since)
    from streams.commands.explaining import show
    from streams.reading import answers
    from streams.reading.account import open_account

    names = answers.watched(settings.alerts.rules) if metric is None else [metric]
    terms = settings.terms_of(marketplace)
    of, to = (None if each is None else _number_of(each) for each in (since, day))

    def wanted_since(last: int) -> int | None:
        days = [number for number in (last, to, of) if number is not None]
        return answers.wanted_since(names, terms, min(days))

    with _patience(), open_account(settings, seller, marketplace, since=wanted_since) as opened:
        asked = opened.day_of(to, opened.as_of)
        if metric is None:
            answer = answers.of_all(opened, names, asked)
        elif of is not None:
            answer = answers.of_change(opened, metric, opened.day_of(of, asked), asked)
        elif seen_since is not None:
            answer = answers.of_arrivals(opened, metric, asked, seen_since)
        else:
            answer = answers.of_value(opened, metric, asked)
    show(answer, output, every)


def _patience() -> "Status":
    """A sign of life on a terminal: an account of a million orders takes a minute."""
    from rich.console import Console

    return Console(stderr=True).status("reading the account's events")


def _number_of(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp()) // 86_400


def _check(metric: str | None, since: datetime | None, seen_since: int | None) -> None:
    """What can be said before anything is opened. Raises ConfigurationError."""
    from streams.reading.answers import check_metric

    if metric is not None:
        check_metric(metric)
    if metric is None and (since or seen_since is not None):
        raise ConfigurationError("say of which --metric")
    if since and seen_since is not None:
        raise ConfigurationError("--from and --seen-since are two questions: ask one")
