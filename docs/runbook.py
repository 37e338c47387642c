"""The runbook: its entries are written by hand, one for each rule and alert; when each fires is what the program says.

An entry is a heading with the rule's or alert's name; below it come these words, each with what is to be known.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from docs.markdown import Undocumented, text
from docs.metrics import breach, sample
from streams.core.rules import DEFAULT_RULES, OFF_BY_DEFAULT, OTHER_RULES, OtherRule, Rule

ALERTS = Path(__file__).parents[1] / "deploy" / "prometheus" / "sellerpulse.rules.yml"
WORDS = ("Means", "Matters", "Look", "Do", "Ends")
_LABEL, _VALUE = re.compile(r"\{\{ \$labels\.(\w+) \}\}"), re.compile(r"\{\{ \$value[^}]*\}\}")
_ENTRY = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def filled(markdown: str) -> str:
    """The page, each entry with when it fires. Raises Undocumented."""
    fires = known()
    check(markdown, fires)
    return _ENTRY.sub(lambda entry: f"### `{entry[1]}`\n\n{fires[entry[1]]}\n{entry[2]}", markdown)


def known() -> dict[str, str]:
    """When each rule and alert fires, by name."""
    found = {rule.name: _of_rule(rule) for rule in DEFAULT_RULES}
    found |= {rule.name: _of_other(rule) for rule in OTHER_RULES.values()}
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return found | {alert["alert"]: _of_alert(alert) for group in groups for alert in group["rules"]}


def check(markdown: str, names: Iterable[str]) -> None:
    """Raises Undocumented for what has no entry, or not all words, and for an entry of what is no more."""
    entries = dict(_ENTRY.findall(markdown))
    for name in names:
        if name not in entries:
            raise Undocumented(f"docs/runbook.md has no entry ### `{name}`")
        for word in WORDS:
            if f"**{word}.**" not in entries[name]:
                raise Undocumented(f"docs/runbook.md: the entry {name} does not say **{word}.**")
    for name in entries:
        if name not in names:
            raise Undocumented(f"docs/runbook.md has an entry {name}, which is no rule or alert")


# --- when they fire ------------------------------------------------------------------------------------------


def _of_rule(rule: Rule) -> str:
    metrics = [f"[`{each.metric}`](metrics.md#{each.metric}) {breach(rule)}{sample(each)}" for each in rule.conditions]
    silences = ", ".join(f"[`{name}`](#{name})" for name in rule.silences)
    held = f", once it has held for {rule.for_days} days" if rule.for_days else ""
    return f"> Fires when {'; or '.join(metrics)}{held}." + (f" Silences {silences}." if silences else "")


def _of_other(rule: OtherRule) -> str:
    off = " Off unless a table `[[alerts.rules]]` says `enabled = true`." if rule.name in OFF_BY_DEFAULT else ""
    return f"> By the clock: {rule.severity}.{off}"


def _of_alert(alert: dict[str, Any]) -> str:
    held = f", for {alert['for']}" if "for" in alert else ""
    says = f"{alert['annotations']['summary']}. {alert['annotations']['description']}"
    says = _LABEL.sub(r"`\1`", _VALUE.sub("N", says))
    return f"> {alert['labels']['severity']}{held}. {text(says)}\n\n```promql\n{alert['expr'].strip()}\n```"
