"""The tables `[[alerts.rules]]`: what is said of rules, merged by name over the default rules.

Place in the flow: read by `settings`. A rule is checked here against the catalogue, with a hint where a name is
misspelt; what it means is in `core.rules`.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from math import isfinite
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PlainValidator, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from streams.core.rules import (
    DEFAULT_RULES,
    NUMERIC,
    OFF_BY_DEFAULT,
    OTHER_RULES,
    SEVERITIES,
    Comparison,
    Condition,
    Level,
    OtherRule,
    Rule,
    Scope,
    Severity,
    addends,
)  # fmt: skip
from streams.sections import Lag, Section, Text


def unknown(word: str, known: Iterable[str]) -> str:
    """ "unknown", and the known word that was perhaps meant."""
    close = get_close_matches(word, list(known), n=1)
    return f'unknown, did you mean "{close[0]}"?' if close else "unknown"


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _metric(name: str) -> str:
    if name not in NUMERIC:
        raise ValueError(f'metric "{name}" is {unknown(name, NUMERIC)}')
    return name


def _sum(text: str) -> str:
    return " + ".join(_metric(name) for name in addends(text))


def _thresholds(value: Any) -> dict[Severity, float] | float:
    numbers = value.values() if isinstance(value, dict) and value.keys() <= set(SEVERITIES) else (value,)
    if not numbers or not all(type(number) in (int, float) and isfinite(number) for number in numbers):
        raise ValueError("must be a number, or numbers by severity: { info = 8.0, warning = 6.0 }")
    thresholds: dict[Severity, float] | float = value
    return thresholds


Number = Annotated[float, AfterValidator(_finite)]
MetricName = Annotated[str, AfterValidator(_metric)]
Minimum = dict[Annotated[str, AfterValidator(_sum)], Number]
Thresholds = Annotated[
    dict[Severity, float] | float, PlainValidator(_thresholds, json_schema_input_type=float | dict[Severity, float])
]

_DEFAULTS = {rule.name: rule for rule in DEFAULT_RULES}
# What can be said of a rule about cases or sources.
_OF_OTHERS = frozenset(("name", "enabled", "severity", "only_sellers", "only_marketplaces"))


class ConditionTable(Section):
    """One of the conditions of a rule that has several."""

    metric: MetricName
    """Any metric that is a number."""
    minimum: Minimum = Field(default_factory=dict)
    """The sample without which it says nothing: column, or columns with + between, and at least how many."""


class RuleTable(Section):
    """What is said of a rule; what is not said stays as in the default rule of that name.

    A rule of one condition says `metric` and `minimum`, one of several `conditions`. A threshold is a number, or
    one for each severity: { info = 8.0, warning = 6.0 }; so are those of `marketplaces`, by marketplace, and `clear`,
    where an alert that fires ends. `for`: days that a breach must hold. `only_...`: globs. Of a rule about cases or
    sources only `enabled`, `severity` and `only_...` can be said.
    """

    name: Text
    """Of a default rule, or a new one, which needs metric, comparison and threshold."""
    enabled: bool | None = None
    """false switches it off; true switches on what is off by default."""
    metric: MetricName | None = None
    """What it is about, where it has one condition."""
    minimum: Minimum | None = None
    """The sample without which the metric says nothing, where it has one condition."""
    conditions: tuple[ConditionTable, ...] | None = None
    comparison: Comparison | None = None
    """Beyond the threshold is a breach."""
    threshold: Thresholds | None = None
    """A number, or one for each severity: { info = 8.0, warning = 6.0 }."""
    clear: Thresholds | None = None
    """The value at which, or better, an alert that fires ends, or falls to a milder severity; else the threshold."""
    severity: Severity | None = None
    """Of a rule with one threshold; not said: warning."""
    for_days: Lag | None = Field(default=None, alias="for")
    """Days that the threshold must be passed before the alert fires; 1: on the day after, too."""
    only_sellers: tuple[Text, ...] | None = None
    """Globs; the rule is about these sellers alone."""
    only_marketplaces: tuple[Text, ...] | None = None
    """Globs; and about these marketplaces."""
    silences: tuple[str, ...] | None = None
    """Rules that say less, and are quiet while this one is in breach."""
    marketplaces: dict[Text, Thresholds] = Field(default_factory=dict)
    """Other thresholds there: { MKT-JP = 0.05 }."""
    _rule: Rule | OtherRule = PrivateAttr()

    @model_validator(mode="after")
    def _put_together(self) -> Self:
        try:
            other = OTHER_RULES.get(self.name)
            self._rule = self._over(_DEFAULTS.get(self.name)) if other is None else self._over_other(other)
        except ValueError as wrong:
            raise ValueError(f'rule "{self.name}" {wrong}') from wrong
        return self

    @property
    def rule(self) -> Rule | OtherRule:
        """What was said, over the default rule of that name."""
        return self._rule

    def _over(self, base: Rule | None) -> Rule:
        comparison = self.comparison or (base.comparison if base else None)
        if comparison is None or (base is None and (self.threshold is None or not (self.metric or self.conditions))):
            said = unknown(self.name, _DEFAULTS)
            raise ValueError(f"is {said} (one of your own needs metric, comparison and threshold)")
        levels = self._levels(base.levels if base else ())
        silences = self.silences if self.silences is not None else base.silences if base else ()
        there = {name: _by_level(given, levels) for name, given in self.marketplaces.items()}
        for_days = self.for_days if self.for_days is not None else base.for_days if base else 0
        conditions = self._conditions(base.conditions if base else ())
        return Rule(self.name, conditions, comparison, levels, silences, there, for_days, self._scope())

    def _over_other(self, base: OtherRule) -> OtherRule:
        if surplus := sorted(self.model_fields_set - _OF_OTHERS):
            key = type(self).model_fields[surplus[0]].alias or surplus[0]
            raise ValueError(f"is about cases or sources, not about a metric: it has no {key}")
        return OtherRule(self.name, self.severity or base.severity, self._scope())

    def _scope(self) -> Scope:
        return Scope(self.only_sellers or (), self.only_marketplaces or ())

    def _conditions(self, before: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if self.conditions is not None and (self.metric, self.minimum) == (None, None):
            return tuple(Condition(each.metric, each.minimum) for each in self.conditions)
        if self.conditions is not None or (self.metric is None and self.minimum is not None and len(before) > 1):
            raise ValueError("has several conditions: say conditions = [{ metric = ..., minimum = { ... } }, ...]")
        if self.metric is None and self.minimum is None:
            return before
        base = before[0] if len(before) == 1 else Condition("")
        return (Condition(self.metric or base.metric, base.minimum if self.minimum is None else self.minimum),)

    def _levels(self, before: tuple[Level, ...]) -> tuple[Level, ...]:
        levels = self._thresholds(before)
        if self.clear is None:
            return levels
        severities = {level.severity for level in levels}
        clears = self.clear if isinstance(self.clear, dict) else dict.fromkeys(severities, self.clear)
        if (len(levels) > 1 and not isinstance(self.clear, dict)) or not clears.keys() <= severities:
            raise ValueError(f"has the severities {_list(levels)}: clear says one number for each")
        return tuple(level._replace(clear=clears.get(level.severity, level.clear)) for level in levels)

    def _thresholds(self, before: tuple[Level, ...]) -> tuple[Level, ...]:
        if isinstance(self.threshold, dict) and self.severity is None:
            return tuple(Level(self.threshold[s], s) for s in SEVERITIES if s in self.threshold)
        if self.threshold is None and self.severity is None:
            return before
        if isinstance(self.threshold, dict) or len(before) > 1:
            raise ValueError("has several severities: say threshold = { info = ..., warning = ... } without severity")
        base = before[0] if before else Level(0.0, "warning")
        if self.threshold is None:
            return (base._replace(severity=self.severity or base.severity),)
        return (Level(self.threshold, self.severity or base.severity),)


def _list(levels: Iterable[Level]) -> str:
    return ", ".join(level.severity for level in levels)


def _by_level(given: dict[Severity, float] | float, levels: tuple[Level, ...]) -> tuple[float, ...]:
    """A marketplace's thresholds, one a level; a severity that it does not say has the threshold of elsewhere."""
    severities = [level.severity for level in levels]
    by_severity = given if isinstance(given, dict) else dict.fromkeys(severities[:1], given)
    if (len(levels) > 1 and not isinstance(given, dict)) or not by_severity.keys() <= set(severities):
        raise ValueError(f"has the severities {_list(levels)}: marketplaces say one threshold for each")
    return tuple(by_severity.get(level.severity, level.threshold) for level in levels)


def _at(place: int, reason: str) -> PydanticCustomError:
    """What is wrong with the rule in this place among the tables."""
    return PydanticCustomError("rule", "{reason}", {"reason": reason, "at": ("rules", place)})


class Alerts(Section):
    """The rules in force: the default ones as changed, then others, without those that are off."""

    tables: tuple[RuleTable, ...] = Field(default=(), alias="rules")
    _rules: tuple[Rule, ...] = PrivateAttr()
    _others: tuple[OtherRule, ...] = PrivateAttr()

    @model_validator(mode="after")
    def _put_together(self) -> Self:
        places = {table.name: place for place, table in enumerate(self.tables)}
        for place, table in enumerate(self.tables):
            if places[table.name] != place:
                raise _at(places[table.name], f'rule "{table.name}" is there twice')
        said = {table.name: table.rule for table in self.tables}
        rules = _DEFAULTS | {name: rule for name, rule in said.items() if isinstance(rule, Rule)}
        for rule in rules.values():
            for name in rule.silences:
                if name not in rules:
                    raise _at(
                        places[rule.name], f'rule "{rule.name}" silences "{name}", which is {unknown(name, rules)}'
                    )
        try:
            TopologicalSorter({rule.name: rule.silences for rule in rules.values()}).prepare()
        except CycleError as wrong:
            circle = wrong.args[1]
            place = max(places.get(name, -1) for name in circle)
            raise _at(place, f"rules silence each other: {', '.join(circle)}") from wrong
        off = {table.name for table in self.tables if table.enabled is False}
        off |= OFF_BY_DEFAULT - {table.name for table in self.tables if table.enabled}
        others = OTHER_RULES | {name: rule for name, rule in said.items() if isinstance(rule, OtherRule)}
        self._rules = tuple(rule for name, rule in rules.items() if name not in off)
        self._others = tuple(rule for name, rule in others.items() if name not in off)
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules on metrics that are in force."""
        return self._rules

    @property
    def other_rules(self) -> tuple[OtherRule, ...]:
        """The rules on cases and sources that are in force."""
        return self._others
