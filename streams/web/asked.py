"""What requests say, checked: parameters of a query, and words of a body. What is wrong is a ConfigurationError."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from schemas.errors import ConfigurationError
from schemas.events import MS_A_DAY, to_ms
from schemas.rows import AccountId
from streams.core.rules import NUMERIC
from streams.reading.answers import check_metric

if TYPE_CHECKING:
    from sink.overview import Wanted

CHARS = 256  # of an id, as events have them
WORDS = 2_000  # characters of a comment
_LIMIT, _OFFSET = 500, 10_000_000

Query = Mapping[str, str]


def wanted_of(query: Query) -> "Wanted":
    """Which accounts: q, marketplace, sort, order, offset, limit."""
    from sink.overview import TROUBLE, Wanted

    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ConfigurationError("order is asc or desc")
    sort = text_of(query, "sort", TROUBLE)
    check_metric(sort, (TROUBLE, *NUMERIC))
    return Wanted(
        text_of(query, "q", ""), text_of(query, "marketplace", ""), sort, order == "desc",
        _number(query, "offset", 0, 0, _OFFSET), _number(query, "limit", 100, 1, _LIMIT),
    )  # fmt: skip


def account_of(query: Query) -> AccountId:
    """Whose."""
    return text_of(query, "seller"), text_of(query, "marketplace")


def text_of(query: Query, name: str, default: str | None = None) -> str:
    """A parameter of the query; one without a default must be there."""
    text = query.get(name) or default
    if text is None or len(text) > CHARS:
        raise ConfigurationError(f"{name} is missing" if text is None else f"{name} is longer than {CHARS} characters")
    if not text.isprintable() and any("\ud800" <= each <= "\udfff" for each in text):
        raise ConfigurationError(f"{name} is no text")
    return text


def metric_of(query: Query, known: Iterable[str]) -> str:
    """Which metric, of these."""
    name = text_of(query, "metric")
    check_metric(name, known)
    return name


def day_of(query: Query) -> int | None:
    """The day number of `day`, None if it is not said."""
    day = text_of(query, "day", "")
    try:
        return to_ms(f"{day}T00:00:00Z") // MS_A_DAY if day else None
    except TypeError:
        raise ConfigurationError("day is not like 2025-06-30") from None


def _number(query: Query, name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and least <= int(text) <= most):
        raise ConfigurationError(f"{name} is a number from {least} to {most}")
    return int(text)


def said(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text of a body; one without a default must say something."""
    text = body.get(name, default)
    if not isinstance(text, str) or len(text) > WORDS or (default is None and not text.strip()):
        raise ConfigurationError(f"{name} is a text, of {WORDS} characters at most")
    return text


def moment_of(body: Mapping[str, Any]) -> int:
    """The instant `until`, epoch ms."""
    try:
        return to_ms(said(body, "until"))
    except TypeError:
        raise ConfigurationError("until is not like 2025-06-30 or 2025-06-30T12:00") from None
