"""Amazon's account-health report: what the marketplace itself counts, of one seller on one or several marketplaces.

Its place in the flow: none of the events'; `reconcile` holds it beside our numbers. The published example breaks the
published schema, so everything is read leniently: what cannot be read is left out with a reason, the rest is used.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import ConfigurationError
from schemas.events import MS_A_DAY, YEAR_2000_MS, YEAR_2201_MS, to_ms
from streams.connectors.input import chunks

LARGEST = 16 << 20  # bytes; a report has some KB
FULFILMENTS = {"mfn": "SELLER", "afn": "MARKETPLACE"}
_COMPARISONS = {"LESS_THAN": "<", "GREATER_THAN": ">", "EQUALS": "="}


class Days(NamedTuple):
    """Day numbers, UTC, both counted."""

    first: int
    last: int


class Measure(NamedTuple):
    """One metric of the report: its figures by name, as far as they are numbers, over days of its own.

    `fulfilment` is SELLER, MARKETPLACE or None: not told apart. `days` is None where the report's cannot be read.
    """

    metric: str
    fulfilment: str | None
    days: Days | None
    figures: Mapping[str, float]
    status: str | None
    target: str | None


class Health(NamedTuple):
    """What a report says of one marketplace. `last` is its latest day of all: nothing that came after can be in it."""

    marketplace_id: str
    status: str | None
    last: int | None
    measures: list[Measure]


def read_health_report(path: Path) -> list[Health]:
    """The marketplaces of a report, each once. Raises ConfigurationError for what is no such report, FileDamaged."""
    report = _document(path)
    told = report.get("performanceMetrics") if isinstance(report, dict) else None
    sections = [section for section in (told if isinstance(told, list) else [told]) if isinstance(section, dict)]
    by_marketplace = {name: section for section in sections if (name := _text(section.get("marketplaceId")))}
    if not by_marketplace:
        raise ConfigurationError(f"{path}: no account-health report: it has no performanceMetrics of a marketplaceId")
    accounts = report.get("accountStatuses")
    statuses = {
        _text(each.get("marketplaceId")): _text(each.get("status"))
        for each in (accounts if isinstance(accounts, list) else ())
        if isinstance(each, dict)
    }
    return [_health(name, statuses.get(name), section) for name, section in by_marketplace.items()]


def _document(path: Path) -> Any:
    content = b""
    try:
        path.open("rb").close()
        for chunk, _ in chunks(path):
            content += chunk
            if len(content) > LARGEST:
                raise ConfigurationError(f"{path}: no account-health report: over {LARGEST >> 20} MiB")
        return json.loads(content.decode("utf-8-sig"))
    except OSError as wrong:
        raise ConfigurationError(f"{path}: {wrong.strerror}") from wrong
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: no account-health report: not UTF-8") from None
    except (ValueError, RecursionError) as wrong:
        raise ConfigurationError(f"{path}: no account-health report: not JSON: {wrong}") from None


def _health(marketplace_id: str, status: str | None, section: Mapping[str, Any]) -> Health:
    measures = list(_measures(section))
    last = max((measure.days.last for measure in measures if measure.days), default=None)
    return Health(marketplace_id, status, last, measures)


def _measures(section: Mapping[str, Any]) -> Iterator[Measure]:
    for metric, told in section.items():
        if isinstance(told, list):  # warnings, without a number
            yield Measure(metric, None, None, {}, None, None)
        if not isinstance(told, dict):
            continue
        for key, fulfilment in FULFILMENTS.items():
            if isinstance(told.get(key), dict):
                yield _measure(metric, fulfilment, told[key])
        if not FULFILMENTS.keys() & told.keys():
            yield _measure(metric, FULFILMENTS.get(_text(told.get("fulfillmentType")) or ""), told)


def _measure(metric: str, fulfilment: str | None, told: Mapping[str, Any]) -> Measure:
    figures = {}
    for name, value in told.items():
        number = _number(value.get("count") if isinstance(value, dict) else value)
        if number is not None and name != "targetValue":
            figures[name] = number
    target = _number(told.get("targetValue"))
    comparison = _COMPARISONS.get(_text(told.get("targetCondition")) or "", "")
    shown = None if target is None else f"{comparison} {target:g}".strip()
    status = _text(told.get("status")) or _text(told.get("ahrStatus"))
    return Measure(metric, fulfilment, _days(told.get("reportingDateRange")), figures, status, shown)


def _days(told: Any) -> Days | None:
    """The days of a range of instants: an end at midnight is the end of the day before, one without a time its own."""
    if not isinstance(told, dict):
        return None
    begin, end = told.get("reportingDateFrom"), told.get("reportingDateTo")
    try:
        begin_ms, end_ms = to_ms(begin), to_ms(end)
    except TypeError:
        return None
    if isinstance(end, str) and len(end) > len("2020-11-04"):
        end_ms -= 1
    if not YEAR_2000_MS <= begin_ms <= end_ms < YEAR_2201_MS:
        return None
    return Days(begin_ms // MS_A_DAY, end_ms // MS_A_DAY)


def _number(value: Any) -> float | None:
    """A number as reports have them: none is below 0, infinite or not a number."""
    return value if type(value) in (int, float) and 0 <= value < 1 << 53 else None


def _text(value: Any) -> str | None:
    return value[:256] if isinstance(value, str) and value else None
