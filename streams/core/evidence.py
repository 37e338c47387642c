"""The orders behind a breach: what the stories say that makes a metric bad, on any day.

Data first: which facts are behind which metric; then the search for them. Reads an account, changes nothing.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from streams.core.account import Account
from streams.core.metrics import COUNTER_INDEX, COUNTERS, FOREVER, MONDAY, WINDOWS, Fact, Terms
from streams.core.rules import Rule
from streams.core.stories import MS_A_DAY, FeedbackFact, OrderFact, Span, SurveyFact


class Behind(NamedTuple):
    """Orders behind a metric: of which the fact of `counter` holds in its window, `but_not` this one.

    `weekly`: as the latest Monday's evaluation saw it, not as of the day.
    """

    counter: str
    but_not: Fact | None = None
    weekly: bool = False


def _each(behind: tuple[Behind, ...], *metrics: str) -> dict[str, tuple[Behind, ...]]:
    return dict.fromkeys(metrics, behind)


def _of_window(window: str) -> dict[str, tuple[Behind, ...]]:
    negative, neutral = Behind(f"negative_{window}"), Behind(f"neutral_{window}")
    return {
        **_each((negative,), f"negative_{window}", f"negative_rate_{window}"),
        **_each((neutral,), f"neutral_{window}"),
        **_each((negative, neutral), f"positive_rate_{window}", f"average_stars_{window}"),
    }


_UNSOLVED = Behind("cs_running_conversations", but_not="cs_running_solved")
# Metric -> the orders that make it bad. A metric that is not here (a mere count of good things) has none.
BEHIND: dict[str, tuple[Behind, ...]] = {
    **{metric: behind for window in WINDOWS for metric, behind in _of_window(window).items()},
    "arrived_on_time_rate_90d": (Behind("arrived_on_time_answers_90d", but_not="arrived_on_time_yes"),),
    "item_as_described_rate_90d": (Behind("item_as_described_answers_90d", but_not="item_as_described_yes"),),
    "customer_service_rate_90d": (Behind("customer_service_answers_90d", but_not="customer_service_yes"),),
    **_each((Behind("negative_90d"), Behind("received_orders_90d", but_not="problem_free_orders")),
            "problem_free_orders_90d", "buy_box_points_90d", "buy_box_points_per_order_90d"),
    **_each((Behind("odr_negative_60d"),), "odr_negative_60d", "negative_feedback_rate_60d"),
    **_each((Behind("odr_claims_60d"),), "odr_claims_60d"),
    **_each((Behind("odr_chargebacks_60d"),), "odr_chargebacks_60d"),
    **_each((Behind("odr_defects_60d"),), "odr_defects_60d", "order_defect_rate_60d"),
    **_each((Behind("odr_defects_seller_60d"),), "odr_defects_seller_60d", "order_defect_rate_seller_60d"),
    **_each((_UNSOLVED,), "cs_running_conversations", "cs_running_solved", "cs_running_score"),
    **_each((_UNSOLVED._replace(weekly=True),), "cs_responses", "cs_conversations", "cs_solved", "cs_score"),
}  # fmt: skip


_UNTROUBLED = frozenset(("PLACED", "SHIPPED", "DELIVERED"))
_NEVER_MS = FOREVER * MS_A_DAY


class Evidence:
    """What an account's stories say, read once for any number of questions. The account must not change meanwhile."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._said: dict[bool, dict[Fact, list[tuple[str, Span]]]] = {}

    def orders_behind(self, rule: Rule, day: int) -> list[str]:
        """Ids of all orders behind the rule's metrics at the end of the day, newest first by what dates them."""
        dated: dict[str, int] = {}
        for behind in {behind: None for c in rule.conditions for behind in BEHIND.get(c.metric, ())}:
            at = day - (day - MONDAY) % 7 - 1 if behind.weekly else day
            for order, on in self._orders(behind, at):
                dated[order] = max(on, dated.get(order, on))
        return sorted(dated, key=lambda order: (-dated[order], order))

    def _orders(self, behind: Behind, day: int) -> Iterable[tuple[str, int]]:
        counter = COUNTERS[COUNTER_INDEX[behind.counter]]
        found = self._holding(counter.fact, day)
        if behind.but_not is not None:
            excepted = self._holding(behind.but_not, day).keys()
            found = {subject: on for subject, on in found.items() if subject not in excepted}
        newest = day - counter.lag(self._account.terms)
        oldest = newest - counter.days(self._account.terms) + 1
        of_window = ((subject, on) for subject, on in found.items() if oldest <= on <= newest)
        if not counter.fact.startswith("cs_"):
            return of_window
        return ((order, on) for talk, on in of_window if (order := self._order_of(talk, day)) is not None)

    def _holding(self, fact: Fact, day: int) -> dict[str, int]:
        """Subject -> the day it is dated, of the spans of a fact that hold on a day."""
        spans = self._spans(fact.startswith("cs_")).get(fact, ())
        return {subject: span.dated for subject, span in spans if span.start <= day < span.end}

    def _spans(self, conversations: bool) -> dict[Fact, list[tuple[str, Span]]]:
        if conversations not in self._said:
            said = self._said[conversations] = {}
            for subject in self._account.stories[SurveyFact] if conversations else _troubled(self._account):
                for span in self._account.says(conversations, subject):
                    said.setdefault(span.fact, []).append((subject, span))
        return self._said[conversations]

    def _order_of(self, conversation: str, day: int) -> str | None:
        """The order that a conversation's answers named last, of those up to the end of the day."""
        answers: Iterable[SurveyFact] = self._account.stories[SurveyFact][conversation].values()
        told = [a for a in answers if a.order_id is not None and a.time_ms < (day + 1) * MS_A_DAY]
        return max(told, key=lambda answer: answer[:2]).order_id if told else None


def has_evidence(rule: Rule) -> bool:
    """Whether there are orders behind any of the rule's metrics."""
    return any(condition.metric in BEHIND for condition in rule.conditions)


def evidence_since(rule: Rule, terms: Terms, day: int) -> int:
    """The day, or 0, from which on an order has an event, or a promise, if it is behind the rule on `day`."""
    longest = 0
    for behind in {behind for condition in rule.conditions for behind in BEHIND.get(condition.metric, ())}:
        counter = COUNTERS[COUNTER_INDEX[behind.counter]]
        longest = max(longest, counter.lag(terms) + counter.days(terms) + 7 * behind.weekly)
    return max(day - longest - terms.receipt_days, 0)  # one that is only shipped counts as received so much later


def _troubled(account: Account) -> Iterator[str]:
    """The orders that can be behind anything. Nine of ten cannot, and reading their stories is what takes time."""
    for order in account.orders():
        rated, events = account.stories[FeedbackFact][order].values(), account.stories[OrderFact][order].values()
        promised = min((event.deliver_by for event in events if event.deliver_by is not None), default=_NEVER_MS)
        if any((event.rating or 5) <= 3 or False in (event.answers or ()) for event in rated) or any(
            event.kind not in _UNTROUBLED or event.time_ms > promised for event in events
        ):
            yield order


def orders_behind(account: Account, rule: Rule, day: int) -> list[str]:
    """Ids of all orders behind a rule on one account at the end of a day, newest first; see `Evidence`."""
    return Evidence(account).orders_behind(rule, day)
