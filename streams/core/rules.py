"""Rules: what is a breach, how severe, of which accounts; the default ones, and their alerts' names.

Rows are held against them in `verdicts`, the orders behind a breach found in `evidence`; what is done about it is said
in `streams.alerts`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from schemas.rows import AccountId
from streams.core.metrics import METRICS

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Comparison = Literal["<", "<=", ">", ">="]
# A threshold met exactly is told right: a rate is one division of whole numbers, rounded as its literal is.
BEYOND: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip

# What a rule can be about: every metric that is a number.
NUMERIC = tuple(m.name for m in METRICS if m.type in ("UInt32", "UInt8", "Int64", "Nullable(Float64)"))


class Level(NamedTuple):
    """Beyond this threshold, that severity; an alert that fires keeps it until the value is at `clear` or better.

    Without `clear` until it is no longer beyond the threshold.
    """

    threshold: float
    severity: Severity
    clear: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric, and the minimum sample without which it says nothing: column -> at least.

    Columns can be added up in a minimum: `{"positive_90d + negative_90d": 20}`.
    """

    metric: str
    minimum: Mapping[str, float] = field(default_factory=dict)

    def columns(self) -> set[str]:
        """The columns it reads."""
        return {self.metric}.union(*(addends(text) for text in self.minimum))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which accounts a rule is about: globs, in which case counts; none are all."""

    sellers: tuple[str, ...] = ()
    marketplaces: tuple[str, ...] = ()

    def has(self, account: AccountId) -> bool:
        """Whether it is about this account."""
        return all(
            not globs or any(fnmatchcase(name, glob) for glob in globs)
            for name, globs in zip(account, (self.sellers, self.marketplaces), strict=True)
        )


EVERYWHERE = Scope()


@dataclass(frozen=True, slots=True)
class Rule:
    """In breach where any condition's metric lies beyond a level's threshold; of several levels the severest.

    `levels` go from mild to severe. A breach fires when it has held for `for_days`: 1, when the day after is in breach
    too. `silences` names rules that say less in the same row. `marketplaces` gives other thresholds, one a level.
    Raises ValueError for levels out of order, and where `clear` is not on the good side of a threshold.
    """

    name: str
    conditions: tuple[Condition, ...]
    comparison: Comparison
    levels: tuple[Level, ...]
    silences: tuple[str, ...] = ()
    marketplaces: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    for_days: int = 0
    scope: Scope = EVERYWHERE

    def __post_init__(self) -> None:
        ranks = self.ranks
        if not self.conditions or not ranks or any(b <= a for a, b in pairwise(ranks)):
            raise ValueError("needs a metric, and levels from mild to severe")
        severer = BEYOND[self.comparison[0]]
        for thresholds in ([level.threshold for level in self.levels], *self.marketplaces.values()):
            if len(thresholds) != len(ranks) or not all(severer(b, a) for a, b in pairwise(thresholds)):
                raise ValueError(f"needs {len(ranks)} thresholds, the severer one harder to reach by {self.comparison}")
            clears = [level.clear for level in self.levels]
            for clear, threshold in zip(clears, thresholds, strict=True):
                if clear is not None and not severer(threshold, clear):
                    better = "above" if self.comparison[0] == "<" else "below"
                    raise ValueError(f"needs clear {better} the threshold {threshold:g}, it is {clear:g}")
            ends = [edge if clear is None else clear for clear, edge in zip(clears, thresholds, strict=True)]
            if any(severer(a, b) for a, b in pairwise(ends)):
                raise ValueError("needs the severer severity to clear no later than the milder one")

    @property
    def ranks(self) -> list[int]:
        """The levels' severities, as an index of SEVERITIES."""
        return [SEVERITIES.index(level.severity) for level in self.levels]

    @property
    def is_memoryless(self) -> bool:
        """Whether a row alone tells what fires: nothing has to hold, and nothing is kept until it clears."""
        return self.for_days == 0 and all(level.clear is None for level in self.levels)

    @property
    def subject(self) -> str:
        """What its alerts are about."""
        return self.conditions[0].metric

    def columns(self) -> set[str]:
        """The columns it reads."""
        return set[str]().union(*(condition.columns() for condition in self.conditions))


def addends(text: str) -> list[str]:
    """The columns of a minimum.

    >>> addends("positive_90d + negative_90d")
    ['positive_90d', 'negative_90d']
    """
    return [term.strip() for term in text.split("+")]


def columns_of(rules: Iterable[Rule]) -> list[str]:
    """The columns that rules look at."""
    found: dict[str, None] = {}
    for condition in (condition for rule in rules for condition in rule.conditions):
        found |= dict.fromkeys((condition.metric, *(column for text in condition.minimum for column in addends(text))))
    return list(found)


def _rule(
    name: str, metric: str, comparison: Comparison, threshold: float, severity: Severity, **minimum: float
) -> Rule:
    return Rule(name, (Condition(metric, minimum),), comparison, (Level(threshold, severity),))


def _of_ratings(name: str, comparison: Comparison, threshold: float, *silences: str) -> Rule:
    enough = {"positive_90d + neutral_90d + negative_90d": 20}
    levels = (Level(threshold, "warning"),)
    return Rule(name, (Condition(f"{name}_90d", enough),), comparison, levels, silences)


def _of_defects(name: str, threshold: float, severity: Severity, **minimum: float) -> Rule:
    """Either of the two rates: without the orders that the marketplace fulfils, and over all."""
    conditions = tuple(
        Condition(f"order_defect_rate{of}_60d", {f"odr_{fact}{of}_60d": n for fact, n in minimum.items()})
        for of in ("_seller", "")
    )
    return Rule(name, conditions, ">=", (Level(threshold, severity),))


DEFAULT_RULES: tuple[Rule, ...] = (
    _of_ratings("negative_rate", ">", 0.05, "positive_rate", "average_stars"),
    _of_ratings("positive_rate", "<", 0.95),
    _of_ratings("average_stars", "<", 4.5),
    _of_defects("order_defect_rate", 0.01, "critical", orders=30, defects=2),
    _of_defects("order_defect_rate_near", 0.005, "warning", orders=200),
    Rule("cs_score", (Condition("cs_score", {"cs_is_current": 1}),), "<", (Level(8.0, "info"), Level(6.0, "warning"))),
    _rule("cs_running_score", "cs_running_score", "<", 6.0, "warning", cs_running_conversations=10),
    _rule("buy_box_points", "buy_box_points_per_order_90d", "<", 94, "warning", received_orders_90d=50),
    _rule("buy_box_points_negative", "buy_box_points_90d", "<", 0, "critical", received_orders_90d=20),
    _rule("feedback_coverage", "feedback_per_100_orders_90d", "<", 1, "info", orders_90d=500),
)


@dataclass(frozen=True, slots=True)
class OtherRule:
    """A rule about cases or sources and their clocks: what it means is fixed, and not said here."""

    name: str
    severity: Severity = "warning"
    scope: Scope = EVERYWHERE


OTHER_RULES: dict[str, OtherRule] = {
    rule.name: rule
    for rule in (
        OtherRule("negative_feedback"), OtherRule("case_target"), OtherRule("case_overdue"), OtherRule("case_closing"),
        OtherRule("case_follow_up"), OtherRule("source_silent", "critical"),
    )
}  # fmt: skip
OFF_BY_DEFAULT = frozenset(("case_target",))  # three hours are a target, not a duty


def alert_id(rule: str, seller_id: str, marketplace_id: str, subject: str, first_breach_day: int) -> str:
    """16 hexadecimal digits, the same wherever and whenever the alert is found."""
    words = json.dumps([rule, seller_id, marketplace_id, subject, first_breach_day])
    return hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
