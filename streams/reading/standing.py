"""Where accounts stand, as objects for programs: all of them in a list, one of them whole, one metric over the days.

Place in the flow: behind it, reading. Values are those of the stored rows; what is yet to come is the calendar's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.rows import AccountId, DailyRows
from streams.core.digest import MAIN
from streams.core.metrics import METRIC_BY_NAME, METRICS, Terms, iso
from streams.core.parts import plain
from streams.core.rules import SEVERITIES, Rule
from streams.port import as_of_day
from streams.reading.account import Unknown, events_of, read_account
from streams.reading.answers import Answer, of_value, wanted_since, written
from streams.reading.cases import instant, next_step
from streams.reading.cases import plain as plain_case
from streams.reading.catalogue import bands_of, held_otherwise, levels_of
from streams.reading.forecast import BY_DAYS, Forecast, breaches_of, days_of, forecast, remedies_of

if TYPE_CHECKING:
    from sink.overview import Wanted
    from sink.store import Store

MOST_EVENTS = 200_000  # of an account that is looked into: some seconds of a processor that workers want too
CURVE_DAYS = 365
RESOLVED, CASES, CONTRIBUTIONS = 50, 200, 500  # shown at most
_BEFORE = {"value": 0, "day_before": 1, "week_before": 7}


@dataclass(frozen=True)
class Standards:
    """By what accounts are judged; and how many events one may have whose stories are looked into."""

    terms_of: Callable[[str], Terms]
    rules: Sequence[Rule]
    most_events: int = MOST_EVENTS


def accounts(store: "Store", standards: Standards, wanted: "Wanted") -> Answer:
    """A stretch of all accounts, with the main metrics; freshness is that of all that are wanted."""
    from sink.desk import now_ms
    from sink.overview import marketplaces, overview

    found = overview(store, wanted, MAIN)
    return {
        "as_of": iso(as_of_day(store)),
        "now": instant(now_ms(store)),
        "fresh": {"last_event_time": instant(found.last_event_time), "computed_at": instant(found.computed_at)},
        "total": found.total,
        "in_trouble": found.in_trouble,
        "marketplaces": marketplaces(store),
        "accounts": [_listed(each) | {"held": held} for each, held in _with_held(standards, found.accounts)],
    }


def _listed(account: Mapping[str, Any]) -> Answer:
    told = {name: value for name, value in account.items() if name not in MAIN}
    return told | {
        "rules": [{"rule": r, "severity": SEVERITIES[rank - 1], "since": instant(ms)} for r, rank, ms in told["rules"]],
        "metrics": {name: account[name] for name in MAIN},
        "last_event_time": instant(told["last_event_time"]),
        "computed_at": instant(told["computed_at"]),
    }


def _with_held(
    standards: Standards, accounts: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], Answer]]:
    """Each with what of the main metrics is otherwise for it; that is the same for many."""
    known: dict[object, Answer] = {}
    for account in accounts:
        key = account["seller_id"], account["marketplace_id"]
        alike = key[1], tuple(rule.scope.has(key) for rule in standards.rules)
        if alike not in known:
            known[alike] = held_otherwise(MAIN, standards.rules, standards.terms_of, key)
        yield account, known[alike]


def standing(store: "Store", standards: Standards, key: AccountId) -> Answer:
    """An account at its latest day: every metric, alerts and cases. Raises Unknown for one without a row."""
    from sink.desk import Asked, cases, now_ms
    from sink.overview import alerts_of, computed_at

    rows = _rows(store, key, as_of_day(store) - max(_BEFORE.values()), [metric.name for metric in METRICS])
    days = rows.columns["day"].tolist()
    last, now = days[-1], now_ms(store)
    at = {name: days.index(last - ago) if last - ago in days else None for name, ago in _BEFORE.items()}
    mark = store.marks([key]).get(key)
    return {
        "as_of": iso(last),
        "now": instant(now),
        "seller_id": key[0],
        "marketplace_id": key[1],
        "first_day": None if mark is None else iso(mark.first_day),
        "last_event_time": instant(int(rows.columns["last_event_time"][-1])),
        "computed_at": instant(computed_at(store, key, last)),
        "metrics": {
            metric.name: {
                when: None if row is None else _cell(metric.name, rows.columns[metric.name][row])
                for when, row in at.items()
            }
            for metric in METRICS
        },
        "held": held_otherwise(METRIC_BY_NAME, standards.rules, standards.terms_of, key),
        "alerts": [
            alert
            | {name: instant(alert[name]) for name in ("since", "resolved_at")}
            | {"acked_by": alert["acked_by"] or None, "silenced": bool(alert["silenced"])}
            for alert in alerts_of(store, key, RESOLVED)
        ],
        "cases": [
            plain_case(case) | {"due": instant(case["due"]), "next_step": next_step(case, now)}
            for case in cases(store, Asked(*key), CASES)
        ],
    }


def ahead(store: "Store", standards: Standards, key: AccountId) -> Forecast:
    """An account's coming days, as `sellerpulse outlook` tells them. Raises TooLarge, and as `read_account`."""
    opened = read_account(store, standards.terms_of, *key, most=standards.most_events)
    by = opened.as_of + BY_DAYS
    return forecast(opened.account, standards.rules, opened.as_of, open_cases=(), days=None, by=by, without=None)


def outlook(told: Forecast) -> Answer:
    """What there is to say of the coming days."""
    return {
        "breaches": list(breaches_of(told)),
        "remedies": list(remedies_of(told)),
        "orders_to_rate": told.to_rate.total(),
        "orders_to_rate_this_week": told.to_rate_this_week,
    }


def series(store: "Store", standards: Standards, key: AccountId, name: str, told: Forecast | None) -> Answer:
    """A metric over the last year, and in the coming days if those are `told`, with what it is held against."""
    rows = _rows(store, key, as_of_day(store) - CURVE_DAYS + 1, [name])
    coming = [] if told is None else list(days_of(told, name))[1:]
    return {
        "metric": name,
        "unit": METRIC_BY_NAME[name].unit,
        "days": [iso(day) for day in rows.columns["day"].tolist()],
        "values": [_cell(name, value) for value in rows.columns[name]],
        "outlook_days": [line["day"] for line in coming],
        "outlook": [line[name] for line in coming],
        "lines": [
            {"value": level.threshold, "severity": level.severity, "rule": rule.name}
            for rule, level in levels_of(standards.rules, name, key)
        ],
        "bands": bands_of(name, standards.terms_of(key[1])),
    }


def explained(store: "Store", standards: Standards, key: AccountId, name: str, day: int | None) -> Answer:
    """What counts in a metric at the end of a day, as `sellerpulse explain` tells it; not all of very much."""
    terms = standards.terms_of(key[1])

    def since(last: int) -> int | None:
        return wanted_since([name], terms, last if day is None else min(day, last))

    opened = read_account(store, standards.terms_of, *key, since=since, most=standards.most_events)
    answer = of_value(opened, name, opened.day_of(day, opened.as_of))
    every = answer["contributions"]
    return answer | {"contributions": _telling(every, CONTRIBUTIONS), "contributions_total": len(every)}


def _telling(every: list[Answer], most: int) -> list[Answer]:
    """So many of them, in their order: the rare kinds first, or five defects would be lost among a thousand orders."""
    kinds = [(*each["counters"], *each["brings"].items()) for each in every]
    common = Counter(kinds)
    chosen = sorted(range(len(every)), key=lambda n: common[kinds[n]])[:most]
    return [every[n] for n in sorted(chosen)]


def _rows(store: "Store", key: AccountId, first: int, names: Sequence[str]) -> DailyRows:
    """The account's rows from a day on. Raises Unknown if there are none."""
    rows = store.rows([key], first, names)
    if not rows.sizes:
        events_of(store, key)
        raise Unknown(f"there is no row of {key[0]!r} on {key[1]!r} yet")
    return rows


def _cell(name: str, value: Any) -> Any:
    return written(name, plain(name, value))
