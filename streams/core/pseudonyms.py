"""Pseudonyms: what becomes of the events of an order that is forgotten, wherever and whenever they come again.

Its place in the flow: the worker gives them at intake, before anything is stored, and `forget` to what is stored
already, both by this. They are keyed hashes, so that whoever has a database but not its salt cannot try ids out, and
functions of the id alone, so that events that come again are the events that are there. Comments go. What the metrics
are made of stays: accounts, kinds, times, ratings, answers, skus, agents, amounts.

Events of one story and one instant are ordered by their ids: those that were stored when the order was forgotten keep
their order by their place in it; one that comes later, and was not known, is the last of its instant.
"""

import hmac
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.events import Topic
from schemas.rows import AccountId, ForgottenOrder

PREFIX = "forgotten-"
SALT_BYTES = 32
_SHOWN = 32  # hexadecimal digits of a hash in a pseudonym


class Known(NamedTuple):
    """An event as it is stored. `rank` is its digest as a number."""

    topic: Topic
    event: dict[str, Any]
    rank: int


class Pseudonyms:
    """Of the orders that are forgotten in a database, whose salt this is, hexadecimal."""

    def __init__(self, salt: str, orders: Iterable[ForgottenOrder] = ()) -> None:
        self._salt = bytes.fromhex(salt)
        self.accounts: set[AccountId] = set()  # that have such orders: events of others need no look
        self._marks: set[str] = set()
        self._conversations: set[str] = set()
        self._places: dict[str, int] = {}  # of events in the story of their order
        for order in orders:
            self.add(order)

    def add(self, order: ForgottenOrder) -> None:
        """This order is forgotten too."""
        self.accounts.add((order.seller_id, order.marketplace_id))
        self._marks.add(order.mark)
        self._conversations.update(order.conversations)
        self._places |= {event: place for place, event in enumerate(order.events)}

    def order(self, account: AccountId, order_id: str, story: Sequence[Known]) -> ForgottenOrder:
        """What is kept of an order that is to be forgotten, of which these events are stored."""
        in_order = sorted(story, key=lambda known: (known.event["event_time"], known.event["event_id"], known.rank))
        talks = {known.event["conversation_id"] for known in story if known.topic == "surveys"}
        return ForgottenOrder(
            *account, self._hash("order", account, order_id), self._salt.hex(),
            list(dict.fromkeys(self._event(known.topic, known.event) for known in in_order)),
            [self._hash("conversation", account, talk) for talk in sorted(talks)],
        )  # fmt: skip

    def knows(self, account: AccountId, order_id: str) -> bool:
        """Whether this order is forgotten."""
        return self._hash("order", account, order_id) in self._marks

    def of(self, what: str, account: AccountId, known: str) -> str:
        """The pseudonym of the id of an `order`, a `conversation` or a `message`."""
        return PREFIX + self._hash(what, account, known)[:_SHOWN]

    def of_event(self, topic: Topic, account: AccountId, subject: str, event_id: str) -> str:
        """The pseudonym of an event's id, the subject's before it had one itself."""
        mark = self._hash(topic, account, subject, event_id)
        place = self._places.get(mark)
        return f"{PREFIX}{'x' if place is None else format(place, '06d')}-{mark[:_SHOWN]}"

    def give(self, topic: Topic, event: dict[str, Any]) -> bool:
        """Put pseudonyms in the event, and its comment away, if it is of a forgotten order. Returns whether it is."""
        account = event["seller_id"], event["marketplace_id"]
        if account not in self.accounts:
            return False
        order_id, is_talk = event["order_id"], topic == "surveys"
        is_named = order_id is not None and self.knows(account, order_id)
        if not is_named and not (is_talk and self._is_about_it(account, event["conversation_id"])):
            return False
        subject = event["conversation_id"] if is_talk else order_id
        event["event_id"] = self.of_event(topic, account, subject, event["event_id"])
        if is_named:
            event["order_id"] = self.of("order", account, order_id)
        if is_talk:
            event["conversation_id"] = self.of("conversation", account, event["conversation_id"])
            event["message_id"] = self.of("message", account, event["message_id"])
        if topic != "orders":
            event["comment"] = None
        return True

    def _is_about_it(self, account: AccountId, conversation_id: str) -> bool:
        return self._hash("conversation", account, conversation_id) in self._conversations

    def _event(self, topic: Topic, event: dict[str, Any]) -> str:
        account = event["seller_id"], event["marketplace_id"]
        subject = event["conversation_id"] if topic == "surveys" else event["order_id"]
        return self._hash(topic, account, subject, event["event_id"])

    def _hash(self, what: str, account: AccountId, *words: str) -> str:
        return hmac.digest(self._salt, json.dumps([what, *account, *words]).encode(), "sha256").hex()


def pseudonyms_of(orders: Sequence[ForgottenOrder]) -> Pseudonyms | None:
    """Those of a database in which these orders are forgotten; None: none is."""
    return Pseudonyms(orders[0].salt, orders) if orders else None
