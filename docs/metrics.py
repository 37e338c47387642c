"""Every metric: formula, unit, window and source from the catalogue, thresholds from the default rules, and an example.

The example is worked out by hand in `examples.toml`, of the events in `example.jsonl`; tests hold the program to it.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from docs.markdown import Undocumented, put, text
from streams.core.metrics import COUNTERS, FOREVER, METRICS, SURVEY_COLUMNS, Metric, Terms, snapshot_sql
from streams.core.rules import DEFAULT_RULES, Condition, Rule

HERE = Path(__file__).parent
EVENTS = HERE / "example.jsonl"
_NAMES: Any = Terms(**{of.name: of.name for of in fields(Terms)})  # type: ignore[arg-type]  # each term its own name


class Example(NamedTuple):
    """What a metric of the example's account is on its last day, and how that comes about."""

    value: str | int
    by_hand: str


def filled(markdown: str) -> str:
    """The page with every metric, those of one source together."""
    shown = examples()
    check(METRICS, shown)
    by_source: dict[str, list[Metric]] = {}
    for metric in METRICS:
        by_source.setdefault(metric.source, []).append(metric)
    parts = []
    for source, metrics in by_source.items():
        title, _, rest = source.partition(":")
        parts.append(f"## {text(title[:1].upper() + title[1:])}\n\n{text(rest.strip()) + '.' if rest else ''}")
        parts += [_told(metric, shown[metric.name]) for metric in metrics]
    return put(markdown, "\n\n".join(parts))


def examples() -> dict[str, Example]:
    """The worked examples, by metric."""
    said = tomllib.loads((HERE / "examples.toml").read_text("utf-8"))
    return {name: Example(**each) for name, each in said.items()}


def check(metrics: Iterable[Metric], shown: Mapping[str, Example]) -> None:
    """Raises Undocumented for a metric without an example, and an example without a metric."""
    names = [metric.name for metric in metrics]
    for name in names:
        if name not in shown:
            raise Undocumented(
                f"{name} has no worked example: add {name} = {{ value = ..., by_hand = ... }} to docs/examples.toml"
            )
    for name in shown:
        if name not in names:
            raise Undocumented(f"docs/examples.toml works out {name}, which is no metric")


def _told(metric: Metric, example: Example) -> str:
    over = window(metric)
    facts = [f"unit: {text(metric.unit)}", f"type: `{metric.type}`", *([f"window: {over}"] if over else [])]
    lines = [f"### `{metric.name}`", f"**{text(metric.formula)}**", " · ".join(facts)]
    lines += [f"Rule {line}." for line in _thresholds(metric.name)]
    return "\n\n".join((*lines, f"*By hand:* `{example.value}`, {text(example.by_hand)}"))


# --- windows -------------------------------------------------------------------------------------------------


def window(metric: Metric) -> str:
    """The days that count, in words with their settings; empty for what has no window."""
    read = set(re.findall(r"\w+", snapshot_sql(Terms())[metric.name]))
    words = {_in_words(counter.days(_NAMES), counter.lag(_NAMES)): None for counter in COUNTERS if counter.name in read}
    weekly = {f"cs_{of}_{what}" for of, those in SURVEY_COLUMNS.items() for what in those}
    if read & weekly:
        words[f"the {Terms().cs_days} days before a Monday (`cs_days`)"] = None
    return "; ".join(words)


def _in_words(days: Any, lag: Any) -> str:
    if days == FOREVER:
        return "everything so far"
    ends = f", which ends `{lag}` ({getattr(Terms(), lag)}) days earlier" if lag else ""
    return f"the {getattr(Terms(), days)} days up to the row's (`{days}`){ends}"


# --- thresholds ----------------------------------------------------------------------------------------------


def _thresholds(name: str) -> Iterator[str]:
    for rule in DEFAULT_RULES:
        for condition in rule.conditions:
            if condition.metric == name:
                yield f"[`{rule.name}`](runbook.md#{rule.name}): {breach(rule)}{sample(condition)}"


def breach(rule: Rule) -> str:
    """When it is a breach, in words: `> 0.05` (warning)."""
    return " or ".join(f"`{rule.comparison} {level.threshold:g}` ({level.severity})" for level in rule.levels)


def sample(condition: Condition) -> str:
    """The minimum that it asks for, in words."""
    least = " and ".join(f"`{columns}` at least {number:g}" for columns, number in condition.minimum.items())
    return f", with {least}" if least else ""
