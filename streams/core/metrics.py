"""The catalogue: which facts are counted over which windows, and what every column of `seller_daily` means.

A story says facts; a `Counter` is a fact summed over a window; a `Metric` is a column made of counters. Each metric
is defined once, here: the same line computes a million rows as numpy arrays and writes the SQL that recomputes them
in the database (`streams.core.formula`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, NamedTuple

import numpy as np

from streams.core.formula import Sql, Value, at_least, first_of, flag, is_null, null_if

Array = np.ndarray[Any, np.dtype[Any]]
Columns = Mapping[str, Array]

FOREVER = 1 << 30  # a day that never comes
MONDAY = 4  # 1970-01-05, the first Monday after the epoch


@dataclass(frozen=True, slots=True)
class Terms:
    """How one marketplace judges: every window, weight, minimum and band of SPEC section 4. Days are whole UTC days."""

    short_days: int = 30
    medium_days: int = 90
    long_days: int = 365
    odr_days: int = 60
    odr_lag_days: int = 0
    receipt_days: int = 14
    cs_days: int = 28
    cs_min_responses: int = 40
    cs_red_below: float = 6.0
    cs_yellow_below: float = 8.0
    points_problem_free: int = 100
    points_negative: int = -500
    partial_sources: frozenset[str] = frozenset()  # of events: their ratings are not all that buyers gave


# --- facts and counters --------------------------------------------------------------------------------------

Fact = Literal[
    "orders", "positive", "neutral", "negative", "stars", "partial_ratings",
    "arrived_on_time_answers", "arrived_on_time_yes", "item_as_described_answers", "item_as_described_yes",
    "customer_service_answers", "customer_service_yes",
    "received_orders", "problem_free_orders",
    "odr_negative", "odr_claims", "odr_chargebacks", "odr_defects", "odr_orders_seller", "odr_defects_seller",
    "cs_responses", "cs_running_conversations", "cs_running_solved",
]  # fmt: skip

WINDOWS = ("30d", "90d", "365d", "lifetime")


class Counter(NamedTuple):
    """A fact summed over a window: what is dated in the `days` days that end `lag` days before the row's day."""

    name: str
    fact: Fact
    days: Callable[[Terms], int]
    lag: Callable[[Terms], int] = lambda terms: 0


_DAYS: dict[str, Callable[[Terms], int]] = {
    "30d": lambda terms: terms.short_days,
    "90d": lambda terms: terms.medium_days,
    "365d": lambda terms: terms.long_days,
    "lifetime": lambda terms: FOREVER,
}
_ON_EVERY_WINDOW: tuple[Fact, ...] = ("positive", "neutral", "negative", "stars", "orders")
_ON_90D: tuple[Fact, ...] = (
    "arrived_on_time_answers", "arrived_on_time_yes", "item_as_described_answers", "item_as_described_yes",
    "customer_service_answers", "customer_service_yes", "problem_free_orders", "received_orders",
)  # fmt: skip
_ON_60D: dict[str, Fact] = {  # counter -> fact
    "odr_orders": "orders",
    "odr_negative": "odr_negative",
    "odr_claims": "odr_claims",
    "odr_chargebacks": "odr_chargebacks",
    "odr_defects": "odr_defects",
    "odr_orders_seller": "odr_orders_seller",
    "odr_defects_seller": "odr_defects_seller",
}
_OF_SURVEYS: tuple[Fact, ...] = ("cs_responses", "cs_running_conversations", "cs_running_solved")

COUNTERS: tuple[Counter, ...] = (
    *(Counter(f"{fact}_{window}", fact, _DAYS[window]) for window in WINDOWS for fact in _ON_EVERY_WINDOW),
    *(Counter(f"{fact}_90d", fact, _DAYS["90d"]) for fact in _ON_90D),
    *(
        Counter(f"{name}_60d", fact, lambda terms: terms.odr_days, lambda terms: terms.odr_lag_days)
        for name, fact in _ON_60D.items()
    ),
    Counter("partial_ratings", "partial_ratings", _DAYS["lifetime"]),
    # Last, so that the survey score finds them as one slice.
    *(Counter(fact, fact, lambda terms: terms.cs_days) for fact in _OF_SURVEYS),
)
COUNTER_INDEX: dict[str, int] = {counter.name: i for i, counter in enumerate(COUNTERS)}
SURVEY_COLUMNS = {  # of the evaluation of a row's week, and of the one on show
    "week": ("responses", "conversations", "solved"),
    "shown": ("week", "conversations", "solved"),
}
SURVEY_COUNTERS = slice(len(COUNTERS) - len(_OF_SURVEYS), len(COUNTERS))

Spread = tuple[tuple[int, int, int], ...]  # (counter index, window days, lag days) of each counter of a fact


def spread(terms: Terms) -> dict[Fact, Spread]:
    """Which counters each fact enters, and for how long, under these terms."""
    found: dict[Fact, list[tuple[int, int, int]]] = {}
    for index, counter in enumerate(COUNTERS):
        found.setdefault(counter.fact, []).append((index, counter.days(terms), counter.lag(terms)))
    return {fact: tuple(entries) for fact, entries in found.items()}


# --- formulas ------------------------------------------------------------------------------------------------


def ratio(part: Value, whole: Value, times: int = 1) -> Value:
    """`times` x part / whole, unrounded; null where the whole is 0.

    90 positive of 100 ratings, and none of none:

    >>> ratio(np.array([90, 0]), np.array([100, 0]))
    array([0.9, nan])
    """
    return null_if(whole == 0, times * part / at_least(whole, 1))


def score(solved: Value, conversations: Value) -> Value:
    """10 x solved / conversations, rounded half up to one decimal; null without a conversation.

    Whole numbers until the last division, so that no half is lost to binary fractions. 119 of 200 is 5.95:

    >>> score(np.array([119, 3, 0]), np.array([200, 4, 0]))
    array([6. , 7.5, nan])
    """
    tenths = (200 * solved + conversations) // at_least(2 * conversations, 1)
    return null_if(conversations == 0, tenths / 10)


def band(shown: Value, red_below: Value, yellow_below: Value) -> Value:
    """The colour of a shown (rounded) score; null without one. 5.95 is shown as 6.0, which is yellow.

    >>> band(np.array([5.9, 6.0, 8.0, np.nan]), np.array([6.0]), np.array([8.0]))
    array(['red', 'yellow', 'green', None], dtype=object)
    """
    return first_of([(is_null(shown), None), (shown < red_below, "red"), (shown < yellow_below, "yellow")], "green")


def points(problem_free: Value, negative: Value, per_order: Value, per_negative: Value) -> Value:
    """Buy Box points: so many per problem-free order, so many (less than none) per standing 1-2 star rating.

    Seven problem-free orders and one rating of 1-2 stars, at +100 and -500:

    >>> points(np.array([7]), np.array([1]), np.array([100]), np.array([-500]))
    array([200])
    """
    return problem_free * per_order + negative * per_negative


def monday_of(day: Value) -> Value:
    """The Monday of each day's week, as day numbers.

    >>> monday_of(np.array([4, 10, 11])).tolist()
    [4, 4, 11]
    """
    return day - (day - MONDAY) % 7


# --- the catalogue -------------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """One column of `seller_daily`. `compute` sees all counters and the metrics before it, by name.

    `words` are its formula, with the names of terms in braces where their numbers belong. What `needs_all_ratings` is
    null from the day on that the account has a rating of a partial source: good ratings are missing then, for good.
    """

    name: str
    type: str
    unit: str
    words: str
    source: str
    compute: Callable[[Mapping[str, Value]], Value]
    needs_all_ratings: bool = False

    @property
    def formula(self) -> str:
        """The formula under the default terms, and when it is null under any."""
        return self.words_under(Terms()) + ("; null while partial_ratings > 0" if self.needs_all_ratings else "")

    def formula_under(self, terms: Terms) -> str:
        """The formula with the numbers of these terms, and the sources that make it null.

        >>> METRIC_BY_NAME["negative_rate_90d"].formula_under(Terms(partial_sources=frozenset({"report"})))
        'negative_90d / (positive_90d + neutral_90d + negative_90d); null once a rating is from report'
        """
        names = " or ".join(sorted(terms.partial_sources)) if self.needs_all_ratings else ""
        return self.words_under(terms) + (names and f"; null once a rating is from {names}")

    def words_under(self, terms: Terms) -> str:
        """The words with the numbers of these terms.

        >>> METRIC_BY_NAME["buy_box_points_90d"].words_under(Terms(points_negative=-300))
        '100 x problem_free_orders_90d - 300 x negative_90d'
        """
        return self.words.format_map(asdict(terms)).replace("+ -", "- ")


_FEEDBACK = "marketplaces' feedback rating: 4-5 stars positive, 3 neutral, 1-2 negative"
_ODR = "marketplaces' order defect rate: by order date, an order counts once"
_BUY_BOX = "Buy Box points: +100 for a problem-free order, -500 for a 1-2 star rating"
_CS = "the weekly Customer Service score: 28 days, at least 40 answers"
_QUESTIONS = "the marketplace's three questions beside the stars"


def _count(name: str, formula: str, source: str, unit: str = "count", of: str | None = None) -> Metric:
    return Metric(name, "UInt32", unit, formula, source, lambda c: c[of or name])


def _ratio(name: str, part: str, whole: str, source: str, unit: str = "fraction", times: int = 1) -> Metric:
    formula = f"{times} x {part} / {whole}" if times != 1 else f"{part} / {whole}"
    return Metric(name, "Nullable(Float64)", unit, formula, source, lambda c: ratio(c[part], c[whole], times))


def _rating_share(name: str, part: str, window: str, unit: str = "fraction") -> Metric:
    def compute(c: Mapping[str, Value]) -> Value:
        whole = c[f"positive_{window}"] + c[f"neutral_{window}"] + c[f"negative_{window}"]
        return ratio(c[f"{part}_{window}"], whole)

    formula = f"{part}_{window} / (positive_{window} + neutral_{window} + negative_{window})"
    return Metric(f"{name}_{window}", "Nullable(Float64)", unit, formula, _FEEDBACK, compute, needs_all_ratings=True)


def _of_window(window: str) -> tuple[Metric, ...]:
    dated = f"standing ratings of {{}} stars submitted in the window ({window})"
    return (
        _count(f"positive_{window}", dated.format("4-5"), _FEEDBACK),
        _count(f"neutral_{window}", dated.format("3"), _FEEDBACK),
        _count(f"negative_{window}", dated.format("1-2"), _FEEDBACK),
        _rating_share("positive_rate", "positive", window),
        _rating_share("negative_rate", "negative", window),
        _rating_share("average_stars", "stars", window, unit="stars"),
        _count(f"orders_{window}", f"orders first placed in the window ({window})", _FEEDBACK),
    )


def _of_question(question: str) -> tuple[Metric, ...]:
    answers, yes = f"{question}_answers_90d", f"{question}_yes_90d"
    return (
        _count(answers, f"standing ratings of {{medium_days}} days that answered {question}", _QUESTIONS),
        _ratio(f"{question}_rate_90d", yes, answers, _QUESTIONS)._replace(needs_all_ratings=True),
    )


METRICS: tuple[Metric, ...] = (
    *(metric for window in WINDOWS for metric in _of_window(window)),
    _count("partial_ratings", "ratings so far, standing or not, of sources that the settings declare partial",
           _FEEDBACK),
    *_of_question("arrived_on_time"),
    *_of_question("item_as_described"),
    *_of_question("customer_service"),
    _count("problem_free_orders_90d", "orders received in the window and problem-free", _BUY_BOX),
    Metric("buy_box_points_90d", "Int64", "points",
           "{points_problem_free} x problem_free_orders_90d + {points_negative} x negative_90d", _BUY_BOX,
           lambda c: points(c["problem_free_orders_90d"], c["negative_90d"],
                            c["points_problem_free"], c["points_negative"])),
    _count("received_orders_90d", "orders received in the window, whatever their trouble", _BUY_BOX),
    _ratio("buy_box_points_per_order_90d", "buy_box_points_90d", "received_orders_90d", _BUY_BOX, "points/order"),
    _count("odr_orders_60d", "orders first placed in the window", _ODR),
    _count("odr_negative_60d", "of them, with a standing rating of 1-2 stars", _ODR),
    _count("odr_claims_60d", "of them, with a claim that was not denied", _ODR),
    _count("odr_chargebacks_60d", "of them, with a chargeback", _ODR),
    _count("odr_defects_60d", "of them, with any of the three; an order counts once", _ODR),
    _ratio("order_defect_rate_60d", "odr_defects_60d", "odr_orders_60d", _ODR),
    _count("odr_orders_seller_60d", "odr_orders_60d without the orders that the marketplace fulfils", _ODR),
    _count("odr_defects_seller_60d", "odr_defects_60d without the orders that the marketplace fulfils", _ODR),
    _ratio("order_defect_rate_seller_60d", "odr_defects_seller_60d", "odr_orders_seller_60d", _ODR),
    _ratio("negative_feedback_rate_60d", "odr_negative_60d", "odr_orders_60d", _ODR),
    Metric("feedback_per_100_orders_90d", "Nullable(Float64)", "ratings/100 orders",
           "100 x (positive_90d + neutral_90d + negative_90d) / orders_90d", _FEEDBACK,
           lambda c: ratio(c["positive_90d"] + c["neutral_90d"] + c["negative_90d"], c["orders_90d"], 100),
           needs_all_ratings=True),
    _count("cs_responses", "survey answers in the {cs_days} days before the week's Monday", _CS,
           of="cs_week_responses"),
    _count("cs_conversations", "conversations answered in them", _CS, of="cs_week_conversations"),
    _count("cs_solved", "of those, solved by their latest answer before the Monday", _CS, of="cs_week_solved"),
    Metric("cs_score", "Nullable(Float64)", "0-10",
           "10 x solved / conversations of the last Monday with {cs_min_responses} answers, half up to one decimal",
           _CS, lambda c: score(c["cs_shown_solved"], c["cs_shown_conversations"])),
    Metric("cs_week", "Nullable(Date)", "day", "the Monday that cs_score comes from", _CS,
           lambda c: c["cs_shown_week"]),
    Metric("cs_is_current", "UInt8", "0/1", "1 if cs_week is the Monday of the row's week", _CS,
           lambda c: flag(c["cs_shown_week"] == monday_of(c["day"]))),
    Metric("cs_band", "LowCardinality(Nullable(String))", "colour",
           "red < {cs_red_below}, yellow < {cs_yellow_below}, green: of cs_score", _CS,
           lambda c: band(c["cs_score"], c["cs_red_below"], c["cs_yellow_below"])),
    _count("cs_running_conversations", "conversations answered in the {cs_days} days that end with the row's day", _CS),
    _count("cs_running_solved", "of those, solved by their latest answer", _CS),
    Metric("cs_running_score", "Nullable(Float64)", "0-10",
           "10 x cs_running_solved / cs_running_conversations, half up to one decimal", _CS,
           lambda c: score(c["cs_running_solved"], c["cs_running_conversations"])),
    Metric("last_event_time", "DateTime64(3, 'UTC')", "time", "the account's greatest event_time so far",
           "every topic", lambda c: c["last_event_time"]),
)  # fmt: skip
METRIC_BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}


TERMS_IN_FORMULAS = ("points_problem_free", "points_negative", "cs_red_below", "cs_yellow_below")


def snapshot(columns: dict[str, Array]) -> dict[str, Array]:
    """Every metric of rows given by their counters, their terms and their survey weeks; n values each.

    `columns` holds the counters by name, `day`, `last_event_time` (ms), the `cs_week_*` and `cs_shown_*` of
    `streams.core.account`, and the `TERMS_IN_FORMULAS`. NaN and None stand for null; `cs_week` is a day number, -1
    for null.
    """
    partly = columns["partial_ratings"] > 0
    return _computed(columns, partly if partly.any() else None)


def snapshot_sql(terms: Terms) -> dict[str, str]:
    """Every metric as an expression over columns named and typed as those of `snapshot`, under these terms."""
    names = [counter.name for counter in COUNTERS]
    names += [f"cs_{of}_{n}" for of, those in SURVEY_COLUMNS.items() for n in those]
    columns: dict[str, Value] = {name: Sql(name) for name in (*names, "day", "last_event_time")}
    columns |= {name: Sql(repr(getattr(terms, name))) for name in TERMS_IN_FORMULAS}
    partly = columns["partial_ratings"] > 0 if terms.partial_sources else None
    return {name: expression.text for name, expression in _computed(columns, partly).items()}


def _computed(columns: dict[str, Value], partly: Value | None) -> dict[str, Value]:
    """`partly`: in which rows some ratings are of partial sources; None: in no row."""
    known = dict(columns)
    for metric in METRICS:
        value = metric.compute(known)
        known[metric.name] = null_if(partly, value) if metric.needs_all_ratings and partly is not None else value
    return {metric.name: known[metric.name] for metric in METRICS}


def iso(day: int) -> str:
    """A day number as YYYY-MM-DD."""
    return date.fromordinal(day + date(1970, 1, 1).toordinal()).isoformat()
