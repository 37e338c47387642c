"""What a metric is made of: the counters that its formula reads, on which side of its fraction, and its numbers.

Nothing is defined here: `parts` asks the catalogue's formula what it reads, and which side its words put that on.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from streams.core.account import Account, snapshot_columns
from streams.core.formula import Sql, Value
from streams.core.metrics import (
    COUNTER_INDEX,
    COUNTERS,
    FOREVER,
    METRIC_BY_NAME,
    SURVEY_COLUMNS,
    SURVEY_COUNTERS,
    TERMS_IN_FORMULAS,
    Counter,
    Metric,
    Terms,
    snapshot,
)

VALUE, NUMERATOR, DENOMINATOR = "value", "numerator", "denominator"
SIDES = (VALUE, NUMERATOR, DENOMINATOR)

# --- what a metric is made of --------------------------------------------------------------------------------


class Part(NamedTuple):
    """`weight` x this counter goes into the value, or into that side of its fraction.

    `of` is which evaluation of the survey score counts, the week's or the one on show; None: the row's own day.
    """

    side: str
    counter: Counter
    weight: int
    of: str | None = None


# What the catalogue calls an evaluation's columns -> the running counter that they are, on the day before the Monday.
# Of the Monday on show itself: the answers of which there were enough.
_EVALUATED = {
    f"cs_{of}_{name}": (counter, of)
    for of, names in SURVEY_COLUMNS.items()
    for name, counter in zip(names, COUNTERS[SURVEY_COUNTERS], strict=True)
}


class _Read(dict[str, Value]):
    """Columns of SQL, made as a formula asks for them: afterwards its keys are what it read."""

    def __missing__(self, name: str) -> Value:
        self[name] = Sql(name)
        return self[name]


def inputs(metric: Metric) -> list[str]:
    """The counters and metrics that the metric's formula reads."""
    read = _Read()
    metric.compute(read)
    return [name for name in read if name not in (*TERMS_IN_FORMULAS, "day")]


def parts(metric: Metric, terms: Terms) -> list[Part]:
    """What the metric is made of: parts of its value or, of a fraction, of each side; none of `last_event_time`."""
    read = inputs(metric)
    above, slash, below = metric.words.partition(" / ")
    if slash:
        sides = ((NUMERATOR, _named(above, read)), (DENOMINATOR, _named(below, read)))
        return [part for side, names in sides for name in names for part in _summands(side, name, terms)]
    if read == ["cs_score"]:  # the band of a score is made of what the score is made of
        return parts(METRIC_BY_NAME["cs_score"], terms)
    return _summands(VALUE, metric.name, terms)


def _named(words: str, read: Iterable[str]) -> list[str]:
    """Those of the names that the words name; the score on show leaves out which evaluation it means."""
    named = set(re.findall(r"\w+", words))
    return [name for name in read if not named.isdisjoint((name, name.removeprefix("cs_shown_")))]


def _summands(side: str, name: str, terms: Terms) -> list[Part]:
    """The counters of a sum, each with its weight: what the sum is if the counter is 1 and the others 0."""
    if name in _EVALUATED:
        return [Part(side, _EVALUATED[name][0], 1, _EVALUATED[name][1])]
    metric = METRIC_BY_NAME.get(name)
    read = [] if metric is None else inputs(metric)
    if read in ([], [name]):
        return [Part(side, COUNTERS[COUNTER_INDEX[name]], 1)] if name in COUNTER_INDEX else []
    if metric is None or len(read) == 1:
        return _summands(side, read[0], terms)
    known = {term: getattr(terms, term) for term in TERMS_IN_FORMULAS} | dict.fromkeys(read, 0)
    return [
        part._replace(weight=part.weight * int(metric.compute(known | {each: 1})))
        for each in read
        for part in _summands(side, each, terms)
    ]


def reach(metrics: Iterable[Metric], terms: Terms) -> int | None:
    """So many days before a row's own no order need have an event to count in these metrics; None: all count.

    An order without a delivery counts as received some days after its last event.
    """
    days = 0
    for metric in metrics:
        made_of = parts(metric, terms)
        if not made_of or (metric.needs_all_ratings and terms.partial_sources):
            return None
        for part in made_of:
            days = max(days, part.counter.days(terms) + part.counter.lag(terms))
    return None if days >= FOREVER else days + terms.receipt_days


# --- values --------------------------------------------------------------------------------------------------


def cells(account: Account, day: int) -> dict[str, Any]:
    """Every column of the catalogue's, and every counter, at the end of a day; null is None, no row no column.

    Days are day numbers, times epoch ms. The account is restated to that day or a later one.
    """
    rows = account.rows(day)
    if rows is None or rows.first != day:
        return {}
    one = rows._replace(**{name: getattr(rows, name)[:1] for name in rows._fields[2:]})
    columns = snapshot_columns([one], lambda _: account.terms)
    return {name: plain(name, values[0]) for name, values in (columns | snapshot(columns)).items()}


def series(account: Account, name: str, first: int) -> tuple[int, list[Any]]:
    """The metric on each day from `first`, or the account's first, to the as-of day; that day, and the values."""
    rows = account.rows(first)
    if rows is None:
        return first, []
    return rows.first, [plain(name, v) for v in snapshot(snapshot_columns([rows], lambda _: account.terms))[name]]


def plain(name: str, value: Any) -> Any:
    """A value of a column as Python has it; null is None."""
    if name in ("cs_week", "cs_shown_week"):
        return int(value) if value >= 0 else None
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def with_numbers(metric: Metric, terms: Terms, known: Mapping[str, Any]) -> str:
    """The formula under these terms with the numbers put in for the names that it reads."""
    text, read = metric.words_under(terms), inputs(metric)
    numbers = {name: known[name] for name in read}
    if " / " in text:
        numbers |= {name.removeprefix("cs_shown_"): known[name] for name in read}
    return re.sub(r"[a-z]\w*", lambda word: _number(numbers, word[0]), text)


def _number(numbers: Mapping[str, Any], word: str) -> str:
    if word not in numbers:
        return word
    number = numbers[word]
    return "null" if number is None else f"{number:,}" if isinstance(number, int | float) else str(number)
