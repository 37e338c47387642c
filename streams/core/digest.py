"""A digest: what an account's week was and what the next one brings, in lines for people and as JSON.

Place in the flow: at its end, beside alerts. Data in, words out: who is sent one and when is `streams.digest`'s
business.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from schemas.events import iso_time
from schemas.rows import AccountId, AlertRow, CaseClocks
from streams.core.account import Account
from streams.core.clocks import next_due
from streams.core.metrics import METRIC_BY_NAME, iso

DAYS = 7
MAIN = (
    "orders_30d", "positive_rate_90d", "negative_rate_90d", "average_stars_90d", "order_defect_rate_60d",
    "order_defect_rate_seller_60d", "buy_box_points_90d", "buy_box_points_per_order_90d", "cs_score",
    "feedback_per_100_orders_90d",
)  # fmt: skip
PARTIAL = "partial_ratings"  # told if there are any: why others are unknown
# What is better gone: the counters whose decrease a digest tells.
AGEING = ("negative_90d", "neutral_90d", "odr_defects_60d")
_SHOWN = 20  # lines of a kind; the JSON has all


class Standing(NamedTuple):
    """A metric now and a week before; None: nothing to divide by, or no row."""

    metric: str
    value: float | None
    before: float | None


class Leaving(NamedTuple):
    """So many leave a window on a day, if nothing else happens."""

    on: int
    counter: str
    many: int


class Digest(NamedTuple):
    """What there is to say of an account at an instant of `day`, epoch ms."""

    account: AccountId
    day: int
    at: int
    metrics: list[Standing]
    cases: list[CaseClocks]  # open ones, by what is due first
    leaving: list[Leaving]
    alerts: list[AlertRow]  # that fire, the newest first

    @property
    def id(self) -> str:
        """The same whenever the digest of this account and day is made."""
        seller, marketplace = self.account
        return blake2b(f"digest\n{seller}\n{marketplace}\n{self.day}".encode(), digest_size=16).hexdigest()

    @property
    def is_empty(self) -> bool:
        """Whether nothing happens with this account: no order in a month, and nothing to do."""
        return not (self.metrics[0].value or self.cases or self.alerts)


def leaving(account: Account, day: int) -> list[Leaving]:
    """What leaves the windows in the week after a day, of an account that is as of that day.

    It need only have its troubled stories: nothing else is counted.
    """
    found = ((day + n, counter, -account.step(day + n, counter)) for n in range(1, DAYS + 1) for counter in AGEING)
    return [Leaving(*one) for one in found if one[2] > 0]


def as_json(digest: Digest) -> dict[str, Any]:
    """For the topic `alerts` and receivers: `type` is digest; times ISO-8601, rates from 0 to 1."""
    seller, marketplace = digest.account
    return {
        "type": "digest", "id": digest.id, "seller_id": seller, "marketplace_id": marketplace, "day": iso(digest.day),
        "metrics": [one._asdict() for one in digest.metrics],
        "firing": [
            {"alert_id": one.alert_id, "rule": one.rule, "subject": one.subject, "severity": one.severity,
             "since": iso_time(one.since)}
            for one in digest.alerts
        ],
        "cases": [_case(case, digest.at) for case in digest.cases],
        "leaving": [{"day": iso(one.on), "counter": one.counter, "count": one.many} for one in digest.leaving],
        "text": text(digest),
    }  # fmt: skip


def _case(case: CaseClocks, at: int) -> dict[str, Any]:
    due = next_due(case, at)
    return {
        "order_id": case.order_id, "feedback_event_id": case.event_id, "rating": case.rating,
        "status": case.steps[-1][0] if case.steps else "open", "opened_at": iso_time(case.opened_at),
        "due": due and due.rule, "due_at": due and iso_time(due.since),
    }  # fmt: skip


def subject(digest: Digest) -> str:
    """In a line."""
    seller, marketplace = digest.account
    told = [(len(digest.alerts), "alert"), (len(digest.cases), "open case")]
    said = ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in told)
    return f"{seller} on {marketplace}, week to {iso(digest.day)}: {said}"


def text(digest: Digest) -> str:
    """In lines for people, all of them printable whatever ids hold."""
    week = [one for one in digest.metrics if one.value is not None or one.before is not None]
    standing = [f"{one.metric} {_said(one, one.value)}, {_said(one, one.before)}{_unknown(one)}" for one in week]
    alerts = [f"{one.severity}: {one.rule} ({one.subject}) since {iso_time(one.since)[:10]}" for one in digest.alerts]
    cases = [_line(case, digest.at) for case in digest.cases]
    ageing = [f"{iso(one.on)}: {one.many} of {one.counter}" for one in digest.leaving]
    titles = ("Standing, and a week before", "Alerts", "Open cases", "What leaves the windows this week")
    lines = [subject(digest)]
    for title, said in zip(titles, (standing, alerts, cases, ageing), strict=True):
        lines += ["", f"{title}:" if said else f"{title}: none", *(f"  {line}" for line in _first(said))]
    return "\n".join("".join(letter if letter.isprintable() else " " for letter in line) for line in lines)


def _unknown(one: Standing) -> str:
    return (
        ": with ratings of a partial source shares, averages and coverage are unknown" if one.metric == PARTIAL else ""
    )


def _line(case: CaseClocks, at: int) -> str:
    due, status = next_due(case, at), _case(case, at)["status"]
    when = "nothing is due"
    if due is not None:
        when = f"{due.rule} {'since' if due.since <= at else 'at'} {iso_time(due.since)[:16]}"
    return f"order {case.order_id}, {case.rating} of 5 stars, {status}: {when}"


def _first(lines: Sequence[str]) -> Iterable[str]:
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN} more"


def _said(one: Standing, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{100 * value:.2f} %" if METRIC_BY_NAME[one.metric].unit == "fraction" else f"{value:.6g}"
