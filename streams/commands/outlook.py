"""`sellerpulse outlook`: the coming days of one account, what would make them better, and what one rating costs.

Place in the flow: behind it, reading: loads the account's events and runs its calendar forward.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from schemas.errors import ConfigurationError
from streams.commands.cli import configured

if TYPE_CHECKING:
    from streams.core.account import Account
    from streams.settings import Settings


@click.command()
@click.option("--seller", required=True, help="Whose account: seller_id.")
@click.option("--marketplace", required=True, help="On which marketplace: marketplace_id.")
@click.option(
    "--days",
    type=click.IntRange(1, 365),
    metavar="N",
    show_default="until nothing changes, at most 90",
    help="How many days to look ahead.",
)
@click.option(
    "--by",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DAY",
    show_default="in a week",
    help="What would end breaches by that day?",
)
@click.option(
    "--without",
    metavar="FEEDBACK_EVENT",
    help="As if this rating were removed now: the event_id of its SUBMITTED, or its order's id.",
)
@click.option("--metric", metavar="METRIC", show_default="that of the worst breach", help="Show this one's days.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    help="json: an object a line; csv: a line a day.",
)
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw the curve here.")
@configured("db")
def command(
    settings: "Settings",
    seller: str,
    marketplace: str,
    days: int | None,
    by: datetime | None,
    without: str | None,
    metric: str | None,
    output: str,
    png: Path | None,
) -> None:
    """Show what the calendar already knows of an account's coming days, if nothing else happens.

    Every metric on each of them, exactly as seller_daily will have it: what is old leaves its window, promised
    deliveries come due, Mondays score the surveys. When a breach begins or ends by that alone; how many 5-star
    ratings, problem-free orders, orders or solved conversations would end it today and by a day, while one less
    would not; which open cases are worth most. Days are UTC; today is the database's as-of day.

    \b
    Examples:
      sellerpulse outlook --seller A1 --marketplace MKT-DE --db ./pulse
      sellerpulse outlook --seller A1 --marketplace MKT-DE --db ./pulse --by 2025-07-31
      sellerpulse outlook --seller A1 --marketplace MKT-DE --db ./pulse --without F-1047
      sellerpulse outlook --seller A1 --marketplace MKT-DE --db ./pulse --metric negative_rate_90d --png rate.png
      sellerpulse outlook --seller A1 --marketplace MKT-DE --db ./pulse --format csv > days.csv
    """
    from sink.desk import open_cases
    from streams.commands.forecasting import TELL, draw
    from streams.core.metrics import iso
    from streams.core.outlook import DAYS_AHEAD
    from streams.core.rules import NUMERIC
    from streams.reading.account import open_account
    from streams.reading.answers import check_metric
    from streams.reading.forecast import BY_DAYS, forecast
    from streams.replay import parse_day

    if metric is not None:
        check_metric(metric, NUMERIC)
    with open_account(settings, seller, marketplace) as (account, as_of, store):
        by_day = as_of + BY_DAYS if by is None else parse_day(by.date().isoformat())
        if not as_of <= by_day <= as_of + DAYS_AHEAD:
            raise ConfigurationError(f"--by {iso(by_day)}: give a day from {iso(as_of)} to {iso(as_of + DAYS_AHEAD)}")
        rated = None if without is None else _rated(account, without, as_of)
        found = forecast(
            account, settings.alerts.rules, as_of,
            open_cases=open_cases(store, account.id), days=days, by=by_day, without=rated,
        )  # fmt: skip
    if png is not None:
        draw(found, metric, png)
    TELL[output](found, metric)


def _rated(account: "Account", named: str, as_of: int) -> str:
    """The order whose rating is named, by its event or by the order. Raises ConfigurationError if none stands."""
    from streams.core.metrics import iso
    from streams.core.outlook import standing_rating
    from streams.core.stories import FeedbackFact

    stories = account.stories[FeedbackFact]
    orders = [named] if named in stories else sorted(order for order, story in stories.items() if named in story)
    standing = [order for order in orders if (rating := standing_rating(account, order, as_of))
                and named in (order, rating.event_id)]  # fmt: skip
    if len(standing) == 1:
        return standing[0]
    if standing:
        raise ConfigurationError(
            f"{named!r} is the event of {len(standing)} ratings: name the order, {standing[0]!r} say"
        )
    said = f"no rating that it names stands as of {iso(as_of)}" if orders else "the account has no such feedback"
    raise ConfigurationError(f"--without {named!r}: {said}")
