"""Brute-force reading of SPEC section 4: what every row of `seller_daily` must say, computed the slow way.

Its place in the flow: none. It stands beside the product and shares nothing with it, so that a test may
compare the two. For each account and each day it takes the events before the end of that day, orders them
into stories and asks each definition of the SPEC anew; the docstrings quote the sentence that is read. No
windows as deltas, no calendar, no running sums: do not make it clever. Events are valid, complete and
normalised: `topic`, every field of that topic (nullable ones None), `event_time` and `deliver_by` as integer
epoch milliseconds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

Event = Mapping[str, Any]
Story = Sequence[Event]  # the events of one order or conversation, in story order
Row = dict[str, Any]

DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1)
EPOCH_DAY_AFTER_MONDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, kw_only=True)
class ReferenceSettings:
    """Windows, points, the 40, the bands, the 60 and the 14 days: settings whose defaults are these."""

    short_days: int = 30
    medium_days: int = 90
    long_days: int = 365
    odr_days: int = 60
    odr_lag_days: int = 0
    cs_days: int = 28
    cs_minimum: int = 40
    cs_yellow_from: float = 6.0
    cs_green_from: float = 8.0
    problem_free_points: int = 100
    negative_points: int = -500
    receipt_fallback_days: int = 14
    partial_sources: frozenset[str] = frozenset()


DEFAULTS = ReferenceSettings()


def seller_daily(
    events: Iterable[Event], as_of: int | None = None, settings: ReferenceSettings = DEFAULTS
) -> list[Row]:
    """One row per account and day, from the account's first event day to the as-of day. Quiet days are there.

    `as_of` is a day number since the epoch; left out, it is the day of the last event of the whole input. An
    account whose first event is later has no row. Rows are sorted by seller_id, marketplace_id, day.
    """
    accepted = deduplicated(events)
    if as_of is None:
        as_of = max((day_of(event["event_time"]) for event in accepted), default=0)
    accounts: dict[tuple[str, str], list[Event]] = {}
    for event in accepted:
        accounts.setdefault((event["seller_id"], event["marketplace_id"]), []).append(event)
    return [row for account in sorted(accounts) for row in account_rows(accounts[account], as_of, settings)]


def account_rows(events: Sequence[Event], as_of: int, settings: ReferenceSettings) -> list[Row]:
    """Rows of one account: "feedback earned on one marketplace never counts on another"."""
    first_day = min(day_of(event["event_time"]) for event in events)
    return [account_row(events, day, settings) for day in range(first_day, as_of + 1)]


def account_row(events: Sequence[Event], day: int, settings: ReferenceSettings) -> Row:
    """The row of day *t* is the value at the end of *t*, from all events with `event_time` before that."""
    end_ms = end_of(day)
    known = [event for event in events if event["event_time"] < end_ms]
    order_stories = stories(known, "order_id", "orders", "feedback")
    orders = [order_facts(story, end_ms, settings) for story in order_stories]
    conversations = stories(known, "conversation_id", "surveys")
    row = {
        "seller_id": known[0]["seller_id"],
        "marketplace_id": known[0]["marketplace_id"],
        "day": iso(day),
        **feedback_columns(orders, day, settings),
        "partial_ratings": len(partial_ratings(known, settings)),
        **answer_columns(orders, day, settings),
        **buy_box_columns(orders, day, settings),
        **order_defect_columns(orders, day, settings),
        **coverage_column(orders, day, settings),
        # "the account's greatest `event_time` before the end of the day"
        "last_event_time": max(event["event_time"] for event in known),
        **customer_service_columns(conversations, day, settings),
    }
    return row if not partial_ratings(known, settings) else row | dict.fromkeys(OVER_ALL_RATINGS)


# What is null where a source says but a part of the ratings: shares, averages and coverage.
OVER_ALL_RATINGS = (
    *(f"{name}_{w}" for name in ("positive_rate", "negative_rate", "average_stars")
      for w in ("30d", "90d", "365d", "lifetime")),
    *("arrived_on_time_rate_90d", "item_as_described_rate_90d", "customer_service_rate_90d"),
    "feedback_per_100_orders_90d",
)  # fmt: skip


def partial_ratings(known: Iterable[Event], settings: ReferenceSettings) -> list[Event]:
    """Every SUBMITTED of a source that the settings declare partial, whether the rating stands or not, for good."""
    return [
        event
        for event in known
        if event["topic"] == "feedback" and event["kind"] == "SUBMITTED" and event["source"] in settings.partial_sources
    ]


# --- events, stories, days


def deduplicated(events: Iterable[Event]) -> list[Event]:
    """`event_id` names one event for ever among its order's (or conversation's) events on a topic.

    Reused for other content, one of the two stands, the same one in whatever order they come: here the
    smaller as JSON text.
    """
    kept: dict[tuple[str, ...], Event] = {}
    for event in sorted(events, key=lambda event: json.dumps(event, sort_keys=True)):
        subject = event["conversation_id" if event["topic"] == "surveys" else "order_id"]
        identity = (event["seller_id"], event["marketplace_id"], event["topic"], subject, event["event_id"])
        kept.setdefault(identity, event)
    return list(kept.values())


def stories(known: Iterable[Event], subject: str, *topics: str) -> list[Story]:
    """What is known of one subject: its set of events, ordered by (`event_time`, `event_id`).

    "Ids compare by their UTF-8 bytes, never as numbers."
    """
    found: dict[str, list[Event]] = {}
    for event in known:
        if event["topic"] in topics:
            found.setdefault(event[subject], []).append(event)
    return [
        sorted(story, key=lambda event: (event["event_time"], event["event_id"].encode())) for story in found.values()
    ]


def day_of(instant_ms: int) -> int:
    """All days are UTC."""
    return instant_ms // DAY_MS


def start_of(day: int) -> int:
    """The first instant of a day."""
    return day * DAY_MS


def end_of(day: int) -> int:
    """The end of a day is the first instant of the next, and no part of the day itself."""
    return start_of(day + 1)


def iso(day: int) -> str:
    """A day as it is written in ClickHouse."""
    return (EPOCH + timedelta(days=day)).isoformat()


def in_window(dated: int | None, day: int, days: int | None) -> bool:
    """A W-day window at day *t* holds what is dated in the days *t-W+1 ... t*.

    `days` None is the lifetime; what has no date is in no window.
    """
    return dated is not None and dated <= day and (days is None or dated >= day - days + 1)


def rate(part: int, whole: int) -> float | None:
    """Rates are fractions from 0 to 1, null where the denominator is 0."""
    return part / whole if whole else None


# --- what one order's story says at the end of the day


def first_ms(story: Story, kind: str) -> int | None:
    """When the order's first event of this kind happened."""
    return next((event["event_time"] for event in story if event["kind"] == kind), None)


def happened(story: Story, kind: str) -> bool:
    """Whether the order has an event of this kind."""
    return first_ms(story, kind) is not None


def placed_day(story: Story) -> int | None:
    """Orders dated by their first PLACED, cancelled ones among them."""
    placed = first_ms(story, "PLACED")
    return None if placed is None else day_of(placed)


def standing_rating(story: Story) -> Event | None:
    """A rating stands from SUBMITTED until REMOVED or STRUCK. A second SUBMITTED replaces the first.

    "One rating per order stands at a time. The staff's actions change no metric."
    """
    standing: Event | None = None
    for event in story:
        if event["kind"] == "SUBMITTED":
            standing = event
        elif event["kind"] in ("REMOVED", "STRUCK"):
            standing = None
    return standing


def last_told(story: Story, field: str) -> Any:
    """The one on the last event of the story, in story order, that carries one, of whatever kind."""
    told = [event[field] for event in story if event["topic"] == "orders" and event[field] is not None]
    return told[-1] if told else None


def marketplace_fulfils(story: Story) -> bool:
    """An order's `fulfilment` likewise (never told: the seller's)."""
    return bool(last_told(story, "fulfilment") == "MARKETPLACE")


def received_ms(story: Story, end_ms: int, settings: ReferenceSettings) -> int | None:
    """At the first DELIVERED; or, shipped but not reported delivered, when the promise stands in for it.

    "at the later of `deliver_by` and the first SHIPPED, or, with no `deliver_by` known, 14 days after the
    first SHIPPED: once that instant has passed" at the end of the day, `end_ms`, which is no part of the day.
    """
    delivered, shipped = first_ms(story, "DELIVERED"), first_ms(story, "SHIPPED")
    deliver_by: int | None = last_told(story, "deliver_by")
    if delivered is not None:
        return delivered
    if shipped is None:
        return None
    if deliver_by is None:
        stand_in = shipped + settings.receipt_fallback_days * DAY_MS
    else:
        stand_in = max(deliver_by, shipped)
    return stand_in if stand_in < end_ms else None


def is_late(story: Story, received: int | None) -> bool:
    """Received after `deliver_by`, unless the marketplace fulfils the order."""
    deliver_by: int | None = last_told(story, "deliver_by")
    if received is None or deliver_by is None or marketplace_fulfils(story):
        return False
    return received > deliver_by


def claim_is_open(story: Story) -> bool:
    """An order has one claim state: that of its last CLAIM_OPENED or CLAIM_DENIED."""
    states = [event["kind"] for event in story if event["kind"] in ("CLAIM_OPENED", "CLAIM_DENIED")]
    return bool(states) and states[-1] == "CLAIM_OPENED"


def has_negative(story: Story) -> bool:
    """A standing rating of 1-2 stars, whenever that was submitted."""
    rating = standing_rating(story)
    return rating is not None and rating["rating"] in (1, 2)


def is_problem_free(story: Story, received: int | None) -> bool:
    """Received, not late, not cancelled, not returned, no open claim, no chargeback, no 1-2 stars."""
    return (
        received is not None
        and not is_late(story, received)
        and not happened(story, "CANCELLED")
        and not happened(story, "RETURNED")
        and not claim_is_open(story)
        and not happened(story, "CHARGEBACK")
        and not has_negative(story)
    )


@dataclass(frozen=True, kw_only=True)
class OrderFacts:
    """The answers above for one order, so that the columns need not ask the story again for every window."""

    placed_day: int | None
    received_day: int | None
    problem_free: bool
    marketplace_fulfils: bool
    claim: bool
    chargeback: bool
    negative: bool
    rating: Event | None
    rating_day: int | None


def order_facts(story: Story, end_ms: int, settings: ReferenceSettings) -> OrderFacts:
    """What one order's events, as far as they are known at the end of the day, say."""
    received, rating = received_ms(story, end_ms, settings), standing_rating(story)
    return OrderFacts(
        placed_day=placed_day(story),
        received_day=None if received is None else day_of(received),
        problem_free=is_problem_free(story, received),
        marketplace_fulfils=marketplace_fulfils(story),
        claim=claim_is_open(story),
        chargeback=happened(story, "CHARGEBACK"),
        negative=has_negative(story),
        rating=rating,
        rating_day=None if rating is None else day_of(rating["event_time"]),
    )


# --- columns


def ratings_in(orders: Iterable[OrderFacts], day: int, days: int | None) -> list[Event]:
    """Standing ratings, dated by the day they were submitted."""
    return [o.rating for o in orders if o.rating is not None and in_window(o.rating_day, day, days)]


def placed_in(orders: Iterable[OrderFacts], day: int, days: int | None) -> list[OrderFacts]:
    """Orders dated by their first PLACED."""
    return [order for order in orders if in_window(order.placed_day, day, days)]


def with_stars(ratings: Iterable[Event], *stars: int) -> int:
    """How many ratings have one of these numbers of stars."""
    return sum(1 for rating in ratings if rating["rating"] in stars)


def feedback_columns(orders: Sequence[OrderFacts], day: int, settings: ReferenceSettings) -> Row:
    """Standing ratings of 4-5, 3, 1-2 stars, by the day they were submitted; their rates; orders placed."""
    windows = {
        "30d": settings.short_days,
        "90d": settings.medium_days,
        "365d": settings.long_days,
        "lifetime": None,
    }
    row: Row = {}
    for name, days in windows.items():
        ratings = ratings_in(orders, day, days)
        row[f"positive_{name}"] = with_stars(ratings, 4, 5)
        row[f"neutral_{name}"] = with_stars(ratings, 3)
        row[f"negative_{name}"] = with_stars(ratings, 1, 2)
        row[f"positive_rate_{name}"] = rate(with_stars(ratings, 4, 5), len(ratings))
        row[f"negative_rate_{name}"] = rate(with_stars(ratings, 1, 2), len(ratings))
        row[f"average_stars_{name}"] = rate(sum(rating["rating"] for rating in ratings), len(ratings))
        row[f"orders_{name}"] = len(placed_in(orders, day, days))
    return row


def answer_columns(orders: Sequence[OrderFacts], day: int, settings: ReferenceSettings) -> Row:
    """Share of yes among the standing ratings that answered."""
    row: Row = {}
    for question in ("arrived_on_time", "item_as_described", "customer_service"):
        ratings = ratings_in(orders, day, settings.medium_days)
        answers = [rating[question] for rating in ratings if rating[question] is not None]
        row[f"{question}_answers_90d"] = len(answers)
        row[f"{question}_rate_90d"] = rate(answers.count(True), len(answers))
    return row


def buy_box_columns(orders: Sequence[OrderFacts], day: int, settings: ReferenceSettings) -> Row:
    """+100 for each problem-free order received, -500 for each standing rating of 1-2 stars, in the window.

    "orders received in the window, whatever their trouble; points / those"
    """
    received = [order for order in orders if in_window(order.received_day, day, settings.medium_days)]
    problem_free = sum(1 for order in received if order.problem_free)
    negative = with_stars(ratings_in(orders, day, settings.medium_days), 1, 2)
    points = settings.problem_free_points * problem_free + settings.negative_points * negative
    return {
        "problem_free_orders_90d": problem_free,
        "buy_box_points_90d": points,
        "received_orders_90d": len(received),
        "buy_box_points_per_order_90d": rate(points, len(received)),
    }


def order_defect_columns(orders: Sequence[OrderFacts], day: int, settings: ReferenceSettings) -> Row:
    """By **order date**: of the orders placed in the window, those with trouble.

    "those with a standing 1-2 star rating, a claim that was not denied, a chargeback; `defects` counts an
    order once". The window ends `odr_lag_days` before *t*; what became of them is as known at the end of *t*.
    """
    placed = placed_in(orders, day - settings.odr_lag_days, settings.odr_days)
    defects = [order for order in placed if order.negative or order.claim or order.chargeback]
    # "the same without the orders that the marketplace fulfils"
    seller_placed = [order for order in placed if not order.marketplace_fulfils]
    seller_defects = [order for order in defects if not order.marketplace_fulfils]
    negative = sum(1 for order in placed if order.negative)
    return {
        "odr_orders_60d": len(placed),
        "odr_negative_60d": negative,
        "odr_claims_60d": sum(1 for order in placed if order.claim),
        "odr_chargebacks_60d": sum(1 for order in placed if order.chargeback),
        "odr_defects_60d": len(defects),
        "order_defect_rate_60d": rate(len(defects), len(placed)),
        "odr_orders_seller_60d": len(seller_placed),
        "odr_defects_seller_60d": len(seller_defects),
        "order_defect_rate_seller_60d": rate(len(seller_defects), len(seller_placed)),
        "negative_feedback_rate_60d": rate(negative, len(placed)),
    }


def coverage_column(orders: Sequence[OrderFacts], day: int, settings: ReferenceSettings) -> Row:
    """100 x (positive + neutral + negative, 90 d) / `orders_90d`."""
    ratings = ratings_in(orders, day, settings.medium_days)
    placed = placed_in(orders, day, settings.medium_days)
    return {"feedback_per_100_orders_90d": rate(100 * len(ratings), len(placed))}


# --- Customer Service score


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """`cs_responses`, `cs_conversations`, `cs_solved` of one stretch of days."""

    responses: int
    conversations: int
    solved: int


def evaluate(conversations: Iterable[Story], first_day: int, end_day: int) -> Evaluation:
    """Over the days [first_day, end_day): answers in them, and conversations by their latest answer.

    "each conversation counts once, by its latest answer before the evaluation, if that lies in the 28 days"
    """
    responses, latest_answers = 0, []
    for story in conversations:
        before = [answer for answer in story if answer["event_time"] < start_of(end_day)]
        inside = [answer for answer in before if answer["event_time"] >= start_of(first_day)]
        responses += len(inside)
        if inside:  # story order: the latest of all before the evaluation is then the latest inside
            latest_answers.append(before[-1])
    solved = sum(1 for answer in latest_answers if answer["solved"])
    return Evaluation(responses=responses, conversations=len(latest_answers), solved=solved)


def score(evaluation: Evaluation) -> float | None:
    """10 x solved / conversations, rounded half up to one decimal (null without a conversation)."""
    if evaluation.conversations == 0:
        return None
    # tenths = floor(100 x solved / conversations + 1/2), in whole numbers
    return (200 * evaluation.solved + evaluation.conversations) // (2 * evaluation.conversations) / 10


def monday_of(day: int) -> int:
    """The Monday of *t*'s week."""
    return day - (day + EPOCH_DAY_AFTER_MONDAY) % 7


def last_shown(conversations: Sequence[Story], monday: int, settings: ReferenceSettings) -> tuple[int, float] | None:
    """The last evaluation that had enough stays on show, for ever if need be: its Monday and its score."""
    first_day = min((day_of(story[0]["event_time"]) for story in conversations), default=monday)
    while monday > first_day:  # an evaluation at or before the first answer's midnight has no answers
        evaluation = evaluate(conversations, monday - settings.cs_days, monday)
        shown = score(evaluation)
        if shown is not None and evaluation.responses >= settings.cs_minimum:
            return monday, shown
        monday -= 7
    return None


def band(shown: float | None, settings: ReferenceSettings) -> str | None:
    """From the shown, rounded score: `red` < 6.0, `yellow` < 8.0, `green`."""
    if shown is None:
        return None
    if shown < settings.cs_yellow_from:
        return "red"
    return "yellow" if shown < settings.cs_green_from else "green"


def customer_service_columns(conversations: Sequence[Story], day: int, settings: ReferenceSettings) -> Row:
    """Evaluated each Monday 00:00 UTC over the 28 days before it; running, over those that end with *t*."""
    monday = monday_of(day)
    latest = evaluate(conversations, monday - settings.cs_days, monday)
    running = evaluate(conversations, day - settings.cs_days + 1, day + 1)
    week, shown = last_shown(conversations, monday, settings) or (None, None)
    return {
        "cs_responses": latest.responses,
        "cs_conversations": latest.conversations,
        "cs_solved": latest.solved,
        "cs_score": shown,
        "cs_week": None if week is None else iso(week),
        "cs_is_current": 1 if week == monday else 0,
        "cs_band": band(shown, settings),
        "cs_running_conversations": running.conversations,
        "cs_running_solved": running.solved,
        "cs_running_score": score(running),
    }
