"""An order is forgotten: its ids become pseudonyms in all tables, its comments go, its account is restated.

First it is noted as forgotten, with what its pseudonyms need; the rest finds what is left to do, so that whoever was
killed can be told again what to forget. Place in the flow: beside it, while no worker is at work on the database.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from schemas.codec import Codec
from schemas.errors import SellerpulseError
from schemas.events import MS_A_DAY, TOPICS
from schemas.rows import AccountId, Standard
from sink.forgetting import Renamed, StoredEvent
from sink.store import Store
from streams.core.metrics import Terms
from streams.core.pseudonyms import SALT_BYTES, Known, Pseudonyms, pseudonyms_of
from streams.core.rules import OTHER_RULES, alert_id
from streams.failpoints import reach
from streams.rebuild import restate


class Forgot(NamedTuple):
    """What was found of an order, and is so no more. `pseudonym`: what stands for its id now."""

    account: AccountId
    pseudonym: str
    events: int
    comments: int
    cases: int
    alerts: int


def accounts_with(store: Store, order_id: str) -> list[AccountId]:
    """Whose order it is, as far as anything is stored of it, also if it is forgotten."""
    orders = store.forgotten()
    names = pseudonyms_of(orders)
    noted = {(order.seller_id, order.marketplace_id) for order in orders}
    known = {account for account in noted if names is not None and names.knows(account, order_id)}
    return sorted(known.union(store.holders(order_id)))


def forget(
    store: Store,
    account: AccountId,
    order_id: str,
    *,
    terms_of: Callable[[str], Terms],
    standard: Standard,
) -> Forgot:
    """Forget an order of an account, in what is stored and in what comes. May be repeated.

    Raises SellerpulseError if a worker came to the database meanwhile.
    """
    epoch = store.last_epoch()
    story = store.story(account, order_id)
    names = _noted(store, account, order_id, story)
    reach("forget_noted")
    cases, alerts = store.naming(account, order_id)
    store.begin_forgetting(account, _ids(store, names, account, order_id, story))
    _replace_events(store, names, story)
    store.drop_old_cases()
    store.rename_alerts()
    reach("forget_renamed")
    store.replace_names()
    reach("forget_replaced")
    _restate(store, account, terms_of, standard)
    store.end_forgetting()
    if store.last_epoch() != epoch:
        raise SellerpulseError("a worker started meanwhile and may have stored what was forgotten: stop it, and repeat")
    comments = sum(known.event.get("comment") is not None for known in story)
    return Forgot(account, names.of("order", account, order_id), len(story), comments, cases, alerts)


def _noted(store: Store, account: AccountId, order_id: str, story: Sequence[StoredEvent]) -> Pseudonyms:
    """All pseudonyms, those of this order among them: noted, if they were not, before anything changes."""
    names = pseudonyms_of(store.forgotten()) or Pseudonyms(secrets.token_hex(SALT_BYTES))
    if not names.knows(account, order_id):
        order = names.order(account, order_id, [Known(known.topic, known.event, known.rank) for known in story])
        store.note_forgotten(order)
        names.add(order)
    return names


def _ids(
    store: Store, names: Pseudonyms, account: AccountId, order_id: str, story: Sequence[StoredEvent]
) -> list[Renamed]:
    """What is to be replaced where it is stored, and by what."""
    order = names.of("order", account, order_id)
    found = [Renamed("order", order_id, order)]
    talks = {known.event["conversation_id"] for known in story if known.topic == "surveys"}
    found += [Renamed("conversation", talk, names.of("conversation", account, talk)) for talk in sorted(talks)]
    for alert in store.case_alerts(account, order_id, OTHER_RULES):
        day = alert.since // MS_A_DAY
        if alert.alert_id == alert_id(alert.rule, *account, f"{order} {alert.subject}", day):
            continue  # it was renamed before we were interrupted
        subject = names.of_event("feedback", account, order_id, alert.subject)
        found.append(Renamed("subject", alert.subject, subject))
        found.append(Renamed("alert", alert.alert_id, alert_id(alert.rule, *account, f"{order} {subject}", day)))
    return found


def _replace_events(store: Store, names: Pseudonyms, story: Sequence[StoredEvent]) -> None:
    """Events are there by their pseudonyms before they are no more by their ids: at no time is one missing."""
    codec = Codec()
    for topic in TOPICS:
        records = []
        for known in story:
            event = dict(known.event)
            if known.topic == topic and names.give(topic, event):
                records.append((*codec.restated(topic, event), known.seen_ms))
        if records:
            store.add_again(topic, records)
            reach("forget_added")
        store.drop_old_events(topic)
        reach("forget_dropped")


def _restate(store: Store, account: AccountId, terms_of: Callable[[str], Terms], standard: Standard) -> None:
    """Rows and cases as the events give them by their pseudonyms; by now they differ in nothing but cases."""
    stored = store.stored([account])
    if stored and store.as_of() is not None:
        restate(store, {account: stored[account].first_day}, terms_of, standard, lambda _done, _total: None)
