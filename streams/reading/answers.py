"""What `explain` answers: the object that it writes as JSON, of which its tables and lines are made too.

Place in the flow: between `streams.core.explain`, which counts in day numbers, and people, who read dates.
"""

from collections.abc import Iterable
from math import isclose
from typing import Any

from schemas.errors import ConfigurationError
from schemas.events import iso_time
from streams.core.changes import arrivals, changes
from streams.core.explain import Explained, Partly, explain, partly
from streams.core.metrics import FOREVER, METRIC_BY_NAME, Metric, Terms, iso, monday_of
from streams.core.parts import cells, parts, plain, reach, series, with_numbers
from streams.core.rules import Rule
from streams.core.stories import FACT_OF_TOPIC, AnyFact, FeedbackFact, SurveyFact
from streams.reading.account import Opened
from streams.ruletables import unknown

Answer = dict[str, Any]

DAYS_BEFORE, DAYS_AFTER = 60, 15  # of a curve, around the days that are asked for


def check_metric(name: str, known: Iterable[str] = METRIC_BY_NAME) -> None:
    """Raises ConfigurationError, with what was perhaps meant, for what is none of these metrics."""
    if name not in known:
        raise ConfigurationError(f'metric "{name}" is {unknown(name, known)}')


def watched(rules: Iterable[Rule]) -> list[str]:
    """The metrics of these rules."""
    return list(dict.fromkeys(condition.metric for rule in rules for condition in rule.conditions))


def wanted_since(names: Iterable[str], terms: Terms, day: int) -> int | None:
    """The day from which on orders matter to answers about these metrics on that day or later; None: all matter."""
    days = reach((METRIC_BY_NAME[name] for name in names), terms)
    return None if days is None else day - DAYS_BEFORE - days


def of_all(opened: Opened, names: Iterable[str], day: int) -> Answer:
    """These metrics, each with its numbers and its value of the day before."""
    known, before = cells(opened.account, day), cells(opened.account, day - 1)
    some, metrics = partly(opened.account, day), []
    for name in names:
        metric, terms = METRIC_BY_NAME[name], opened.account.terms
        metrics.append(
            {
                "metric": name,
                "value": known[name],
                "day_before": before.get(name),
                "formula": metric.formula_under(terms),
                "working": with_numbers(metric, terms, known),
                "note": _why_null(metric, some),
            }
        )
    return {**_account(opened), "day": iso(day), "metrics": metrics}


def of_value(opened: Opened, name: str, day: int) -> Answer:
    """Everything that counts in a metric at the end of a day."""
    found = explain(opened.account, name, day)
    contributions = [
        {
            **_subject(each.subject, each.counters, each.events),
            "counters": list(each.counters),
            "brings": each.brings,
            "dated": iso(each.dated),
            "enters": iso(each.enters),
            "leaves": iso(each.leaves) if each.leaves < FOREVER else None,
            "leaves_by": None if each.leaves >= FOREVER else "age" if each.ages else "event",
            "events": [_event(event) for event in each.events],
        }
        for each in found.contributions
    ]
    return {
        **_account(opened),
        "metric": name,
        "unit": found.metric.unit,
        "day": iso(day),
        "value": written(name, found.value),
        **_stored(opened, name, day, found.value),
        "formula": found.formula,
        "working": found.working,
        "note": _note(opened, found),
        "totals": found.totals,
        "windows": {
            counter: {"first": None if first is None else iso(first), "last": iso(last)}
            for counter, (first, last) in found.windows.items()
        },
        "curve": _curve(opened, name, day, day),
        "contributions": contributions,
    }


def of_change(opened: Opened, name: str, since: int, day: int) -> Answer:
    """What entered a metric between the ends of two days and what left it."""
    moves = [
        {
            **_subject(each.subject, each.counters, each.events),
            "counters": list(each.counters),
            "day": iso(each.day),
            "entered": each.entered,
            "brings": each.brings,
            "dated": iso(each.dated),
            "by": "event" if each.events else "time" if each.entered else "age",
            "events": [_event(event) for event in each.events],
        }
        for each in changes(opened.account, name, since, day)
    ]
    before, after = explain(opened.account, name, since), explain(opened.account, name, day)
    return {
        **_account(opened),
        "metric": name,
        "unit": after.metric.unit,
        "from": iso(since),
        "day": iso(day),
        "before": written(name, before.value),
        "value": written(name, after.value),
        **_stored(opened, name, day, after.value),
        "formula": after.formula,
        "working_before": before.working,
        "working": after.working,
        "note": _why_null(after.metric, partly(opened.account, day)),
        "totals_before": before.totals,
        "totals": after.totals,
        "curve": _curve(opened, name, since, day),
        "moves": moves,
    }


def of_arrivals(opened: Opened, name: str, day: int, since_ms: int) -> Answer:
    """What the events changed that arrived then or later, each in its turn."""
    rows = opened.store.seen_since(opened.account.id, since_ms)
    seen = {(FACT_OF_TOPIC[topic], *rest): seen_ms for topic, *rest, seen_ms in rows}
    found = arrivals(opened.account, name, day, seen)  # type: ignore[arg-type]  # a tuple put together of two
    value = cells(opened.account, day)[name]
    arrived = [
        {
            "first_seen_at": _moment(each.seen_ms),
            **_subject(each.subject, (), (each.event,)),
            **_event(each.event),
            "before": written(name, each.before),
            "after": written(name, each.after),
            "change": None
            if isinstance(each.after, str) or None in (each.before, each.after) or name in _IN_TIME
            else each.after - each.before,
        }
        for each in found
    ]
    return {
        **_account(opened),
        "metric": name,
        "unit": METRIC_BY_NAME[name].unit,
        "day": iso(day),
        "seen_since": _moment(since_ms),
        "without": arrived[0]["before"] if arrived else written(name, value),
        "value": written(name, value),
        "note": _why_null(METRIC_BY_NAME[name], partly(opened.account, day)),
        **_stored(opened, name, day, value),
        "arrivals": arrived,
    }


def _why_null(metric: Metric, some: Partly | None) -> str | None:
    return f"null: {some.words}" if some is not None and metric.needs_all_ratings else None


def _note(opened: Opened, found: Explained) -> str | None:
    """Why it is null where some ratings are missing; which Monday's evaluation the shown score is of, and why."""
    if found.metric.needs_all_ratings:
        return _why_null(found.metric, partly(opened.account, found.day))
    if not any(part.of == "shown" for part in parts(found.metric, opened.account.terms)):
        return None
    known, monday = cells(opened.account, found.day), iso(int(monday_of(found.day)))
    week, had = known["cs_week"], f"{known['cs_responses']:,} answers"
    if week is None:
        return f"no Monday has had {opened.account.terms.cs_min_responses} answers; {monday} had {had}"
    return f"of {monday}, which had {had}" if iso(week) == monday else f"of {iso(week)}; {monday} had but {had}"


_IN_TIME = ("cs_week", "last_event_time")  # of which a difference is no number


def _account(opened: Opened) -> Answer:
    return {"seller_id": opened.account.id[0], "marketplace_id": opened.account.id[1]}


def _subject(subject: str, counters: Iterable[str], events: Iterable[AnyFact]) -> Answer:
    of_surveys = any(name.startswith("cs_") for name in counters) or any(isinstance(e, SurveyFact) for e in events)
    return {"conversation_id" if of_surveys else "order_id": subject}


def _event(event: AnyFact) -> Answer:
    return {"event_id": event.event_id, "time": _moment(event.time_ms), "what": what(event)}


def what(event: AnyFact) -> str:
    """An event in words."""
    if isinstance(event, SurveyFact):
        return "solved" if event.solved else "not solved"
    if isinstance(event, FeedbackFact):
        stars = f", {event.rating} star{'' if event.rating == 1 else 's'}"
        return event.kind + (stars if event.kind == "SUBMITTED" else "")
    promised = "" if event.deliver_by is None else f", promised by {_moment(event.deliver_by)[:10]}"
    return event.kind + (", fulfilled by the marketplace" if event.fulfilment == "MARKETPLACE" else "") + promised


def _moment(ms: int) -> str:
    return iso_time(ms, "milliseconds")


def written(name: str, value: Any) -> Any:
    """A value of the core's as it is written: a day and a time as text."""
    if value is None or name not in _IN_TIME:
        return value
    return iso(value) if name == "cs_week" else _moment(value)


def _stored(opened: Opened, name: str, day: int, value: Any) -> Answer:
    """What the stored row says, None also where there is none, and whether it is late: it may lag its events."""
    rows = opened.store.rows([opened.account.id], day, [name])
    if not rows.sizes or rows.columns["day"][0] != day:
        return {"stored": None, "is_late": True}
    stored = plain(name, rows.columns[name][0])
    same = isclose(stored, value, rel_tol=1e-9) if isinstance(stored, float) and value is not None else stored == value
    return {"stored": written(name, stored), "is_late": not same}


def _curve(opened: Opened, name: str, since: int, day: int) -> Answer:
    """The metric day by day around what was asked for."""
    first, values = series(opened.account, name, since - DAYS_BEFORE)
    return {"first": iso(first), "values": [written(name, value) for value in values[: day + DAYS_AFTER + 1 - first]]}
