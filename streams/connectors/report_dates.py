"""How a marketplace's reports write dates: which of day, month and year comes first. The separator does not matter."""

import re
from collections.abc import Collection
from datetime import date

_COUNTRIES = {  # of Amazon's marketplace ids
    "A2VIGQ35RCS4UG": "AE",
    "A39IBJ37TRP1C6": "AU",
    "AMEN7PMS3EDWL": "BE",
    "A2Q3Y263D00KWC": "BR",
    "A2EUQ1WTGCTBG2": "CA",
    "A1PA6795UKMFR9": "DE",
    "ARBP9OOSHTCHU": "EG",
    "A1RKKUPIHCS9HS": "ES",
    "A13V1IB3VIYZZH": "FR",
    "A28R8C7NBKEWEA": "IE",
    "A21TJRUUN4KGV": "IN",
    "APJ6JRA9NG5V4": "IT",
    "A1VC38T7YXB528": "JP",
    "A1AM78C64UM0Y8": "MX",
    "A1805IZSGTT6HS": "NL",
    "A1C3SOZRARQ6R3": "PL",
    "A17E79C6D8DWNP": "SA",
    "A2NODRKZP88ZB9": "SE",
    "A19VAU5U5O7RUS": "SG",
    "A33AVAJ2PDY3EV": "TR",
    "A1F83G8C2ARO7P": "UK",
    "ATVPDKIKX0DER": "US",
}
_ALIASES = {"COM": "US", "GB": "UK"}  # amazon.com, ISO 3166
_DAY_FIRST, _MONTH_FIRST, _YEAR_FIRST = "dmy", "mdy", "ymd"
_NOT_DAY_FIRST = {"US": _MONTH_FIRST, "JP": _YEAR_FIRST, "SE": _YEAR_FIRST}
_DATE = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})")


def country_of(marketplace_id: str) -> str | None:
    """The country of Amazon's marketplace id, or that a name ends with.

    >>> country_of("A1PA6795UKMFR9"), country_of("amazon.co.uk"), country_of("shop-br"), country_of("bazaar")
    ('DE', 'UK', 'BR', None)
    """
    if (country := _COUNTRIES.get(marketplace_id)) is not None:
        return country
    last = re.split(r"[^A-Za-z]", marketplace_id)[-1].upper()
    last = _ALIASES.get(last, last)
    return last if last in _COUNTRIES.values() else None


def marketplace_of(channel: str) -> str | None:
    """Amazon's marketplace id of the name that a sales channel has.

    >>> marketplace_of("Amazon.it"), marketplace_of("Amazon.com"), marketplace_of("Non-Amazon")
    ('APJ6JRA9NG5V4', 'ATVPDKIKX0DER', None)
    """
    country = country_of(channel)
    return next((marketplace_id for marketplace_id, its in _COUNTRIES.items() if its == country), None)


def date_order(dates: Collection[str], country: str | None) -> str | None:
    """The order of a country, or the one that fits most of the dates; None if several fit and say different days.

    >>> date_order({"7/3/11"}, "US"), date_order({"7/3/11", "7/13/11"}, None), date_order({"7/3/11"}, None)
    ('mdy', 'mdy', None)
    """
    if country is not None:
        return _NOT_DAY_FIRST.get(country, _DAY_FIRST)
    readings = {order: [day_of(text, order) for text in dates] for order in (_DAY_FIRST, _MONTH_FIRST, _YEAR_FIRST)}
    missed = {order: days.count(None) for order, days in readings.items()}
    best = [order for order in readings if missed[order] == min(missed.values())]
    return best[0] if all(readings[order] == readings[best[0]] for order in best) else None


def day_of(text: str, order: str) -> date | None:
    """The day that a date names, None if none. Two digits are a year of this century; four may lead in any order.

    >>> day_of("7/3/11", "mdy"), day_of("03.07.2011", "dmy"), day_of("2011-07-03", "dmy"), day_of("31/31/11", "dmy")
    (datetime.date(2011, 7, 3), datetime.date(2011, 7, 3), datetime.date(2011, 7, 3), None)
    """
    if (found := _DATE.fullmatch(text)) is None:
        return None
    parts = dict(zip("ymd" if len(found[1]) == 4 else order, found.groups(), strict=True))
    if len(parts["y"]) not in (2, 4) or len(parts["m"]) > 2 or len(parts["d"]) > 2:
        return None
    century = 2000 if len(parts["y"]) == 2 else 0
    try:
        return date(century + int(parts["y"]), int(parts["m"]), int(parts["d"]))
    except ValueError:
        return None
