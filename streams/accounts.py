"""Accounts in memory: what the event tables hold, as stories and calendars. A cache: everything can be loaded again."""

from collections.abc import Callable, Iterable

from schemas.events import TOPICS
from schemas.rows import AccountId, Loaded
from streams.core.calendar import Account
from streams.core.metrics import Terms
from streams.core.stories import FACT_OF_TOPIC, AnyFact


def restore(
    accounts: Iterable[AccountId], loaded: Loaded, terms_of: Callable[[str], Terms]
) -> dict[AccountId, Account]:
    """These accounts with the events that are stored of them, none for a new one; not yet restated.

    `terms_of` gives the terms of a marketplace.
    """
    restored = {account: Account(account, terms_of(account[1])) for account in accounts}
    for topic in TOPICS:
        for seller, marketplace, subject, *fields in loaded.events[topic]:
            restored[seller, marketplace].add(subject, _fact(topic, fields))
    return restored


def _fact(topic: str, fields: list[object]) -> AnyFact:
    if topic == "feedback":
        *first, on_time, as_described, service = fields
        answers = (on_time, as_described, service)
        fields = [*first, answers if answers != (None, None, None) else None]
    return FACT_OF_TOPIC[topic]._make(fields)
