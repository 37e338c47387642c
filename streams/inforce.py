"""What the database needs of the settings: views show credits, outreach and metrics by it, and rows age by it.

Place in the flow: beside it, written by a worker, replay or rebuild when it starts; `sink.inforce` keeps it.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from schemas.rows import Definition, InForce, Threshold
from streams.core.metrics import METRICS, Terms
from streams.core.rules import Rule
from streams.settings import Settings


def in_force(settings: Settings) -> InForce:
    """What is said of these settings."""
    database, outreach = settings.clickhouse, settings.outreach
    return InForce(
        settings.kafka.partitions, settings.metrics.receipt_days, settings.cases.all_credits, outreach.feedback_days,
        outreach.review, outreach.review_days, list(definitions(settings)), database.keep_rejected_days,
        database.keep_alert_history_days,
    )  # fmt: skip


def definitions(settings: Settings) -> Iterator[Definition]:
    """Every metric, on each marketplace that the settings name and, as "", on any other."""
    rules = settings.alerts.rules
    named = {*settings.metrics.marketplaces, *(marketplace for rule in rules for marketplace in rule.marketplaces)}
    named |= {glob for rule in rules for glob in rule.scope.marketplaces if not set(glob) & set("*?[")}
    for marketplace in ["", *sorted(named)]:
        terms = settings.terms_of(marketplace)
        for metric in METRICS:
            yield Definition(
                metric.name, marketplace, metric.formula_under(terms), metric.unit, window_days(metric.name, terms),
                list(_thresholds(metric.name, marketplace, rules)), metric.source,
            )  # fmt: skip


def window_days(metric: str, terms: Terms) -> int | None:
    """How many days a metric looks back over; None: over all, or it counts nothing.

    >>> [window_days(name, Terms()) for name in ("negative_rate_90d", "cs_score", "orders_lifetime")]
    [90, 28, None]
    """
    if metric.startswith("cs_"):
        return terms.cs_days
    windows = {"30d": terms.short_days, "60d": terms.odr_days, "90d": terms.medium_days, "365d": terms.long_days}
    return windows.get(metric.rpartition("_")[2])


def _thresholds(metric: str, marketplace: str, rules: Iterable[Rule]) -> Iterator[Threshold]:
    """Those of rules on the metric; a rule for some marketplaces is in force on these alone."""
    for rule in rules:
        globs = rule.scope.marketplaces
        here = not globs or any(fnmatchcase(marketplace, glob) for glob in globs)
        if here and metric in (condition.metric for condition in rule.conditions):
            there = rule.marketplaces.get(marketplace, tuple(level.threshold for level in rule.levels))
            for level, threshold in zip(rule.levels, there, strict=True):
                yield Threshold(rule.name, level.severity, rule.comparison, threshold, level.clear)
