"""The metrics and rules in force, as objects for programs: what never changes while a worker runs.

Place in the flow: beside it. Adds no meaning: the metrics' is in `core.metrics`, the rules' in `core.rules`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from schemas.rows import AccountId
from streams.core.metrics import METRICS, Metric, Terms
from streams.core.rules import Level, OtherRule, Rule

# What a metric belongs to, by how the words for its source begin.
_GROUPS = {
    "marketplaces' feedback rating": "feedback", "the marketplace's three questions": "questions",
    "Buy Box points": "buy_box", "marketplaces' order defect rate": "order_defects",
    "the weekly Customer Service score": "customer_service", "every topic": "freshness",
}  # fmt: skip
_OTHERS = {
    "negative_feedback": "a case is open that nobody has acted upon",
    "case_target": "no action on a case 3 hours after the rating",
    "case_overdue": "no action on a case 24 hours after the rating",
    "case_closing": "7 days are left to have a rating removed",
    "case_follow_up": "3 days without an answer to a request for removal",
    "source_silent": "a source that usually brings events has brought none for 48 hours",
}
_BAD = ("negative_", "odr_negative_", "odr_claims_", "odr_chargebacks_", "odr_defects_", "order_defect_rate_")
_GOOD = (
    "positive_", "average_stars_", "arrived_on_time_rate_", "item_as_described_rate_", "customer_service_rate_",
    "problem_free_", "buy_box_points_", "feedback_per_", "cs_score", "cs_running_score", "cs_solved",
)  # fmt: skip


def catalogue(rules: Sequence[Rule], others: Sequence[OtherRule], terms: Terms) -> dict[str, Any]:
    """Every metric under these terms with the thresholds that rules hold it against, the rules, and the windows."""
    return {
        "metrics": [
            {
                "name": metric.name,
                "unit": metric.unit,
                "group": group_of(metric),
                "formula": metric.formula_under(terms),
                "about": metric.source,
                "needs_all_ratings": metric.needs_all_ratings,
                "better": better_of(metric.name),
                "thresholds": [
                    {"rule": rule.name, "severity": level.severity, "op": rule.comparison, "value": level.threshold}
                    for rule, level in levels_of(rules, metric.name)
                ],
                "bands": bands_of(metric.name, terms),
            }
            for metric in METRICS
        ],
        "rules": [
            *({"name": r.name, "severity": r.levels[-1].severity, "text": in_words(r)} for r in rules),
            *({"name": r.name, "severity": r.severity, "text": _OTHERS[r.name]} for r in others),
        ],
        "windows": {name: days for name, days in asdict(terms).items() if name.endswith("_days")},
    }


def group_of(metric: Metric) -> str:
    """What the metric belongs to."""
    return next(group for words, group in _GROUPS.items() if metric.source.startswith(words))


def better_of(metric: str) -> str | None:
    """Whether more of it is better, or less; None: neither is."""
    return "down" if metric.startswith(_BAD) else "up" if metric.startswith(_GOOD) else None


def levels_of(rules: Iterable[Rule], metric: str, account: AccountId | None = None) -> Iterator[tuple[Rule, Level]]:
    """The levels of the rules that are about a metric: as everywhere, or as they are for an account."""
    for rule in rules:
        if metric in [c.metric for c in rule.conditions] and (account is None or rule.scope.has(account)):
            there = rule.marketplaces.get(account[1]) if account else None
            for n, level in enumerate(rule.levels):
                yield rule, level if there is None else level._replace(threshold=there[n])


def bands_of(metric: str, terms: Terms) -> list[dict[str, Any]]:
    """The colours of a score: from there, up to but not there."""
    if metric != "cs_score":
        return []
    edges = (0.0, terms.cs_red_below, terms.cs_yellow_below, 10.0)
    colours = ("red", "yellow", "green")
    return [{"from": edges[n], "to": edges[n + 1], "colour": colour} for n, colour in enumerate(colours)]


def in_words(rule: Rule) -> str:
    """When a rule fires.

    >>> from streams.core.rules import DEFAULT_RULES
    >>> in_words(DEFAULT_RULES[0])
    'negative_rate_90d > 0.05, with positive_90d + neutral_90d + negative_90d >= 20'
    """
    edges = " or ".join(f"{rule.comparison} {level.threshold:g}" for level in rule.levels)
    said = f"{' or '.join(condition.metric for condition in rule.conditions)} {edges}"
    least = {f"{text} >= {least:g}" for condition in rule.conditions for text, least in condition.minimum.items()}
    held = f", for {rule.for_days} days" if rule.for_days else ""
    return said + (f", with {', '.join(sorted(least))}" if least else "") + held
