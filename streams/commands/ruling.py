"""`sellerpulse alerts check` and `alerts test`: are the rules good, and do they do what they should?

Place in the flow: beside it. Reads files and writes nothing; connects to nothing.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.cli import FAILED, configured
from streams.commands.telling import Output, output_option, tell

if TYPE_CHECKING:
    from streams.core.rules import OtherRule, Rule
    from streams.settings import Settings

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("rules", type=_FILE)
@output_option
def check(rules: Path, output: Output) -> None:
    """Check the rules of a settings file, and print the rules in force with it: its own and the default ones.

    A bad rule is named with the file, the line and the reason, and the exit is 2, as it is for a worker that is to
    start with it. Rules on cases and sources are at the end.

    \b
    Examples:
      sellerpulse alerts check sellerpulse.toml
      sellerpulse alerts check sellerpulse.toml --format json | jq -r .rule
    """
    from streams.settings import load_settings

    alerts = load_settings(rules, {}, {}).alerts
    told = [*map(_told, alerts.rules), *map(_told_of_other, alerts.other_rules)]
    if output == "table":  # without the columns that say nothing
        names = [name for name in told[0] if any(one[name] for one in told)]
        told = [{name: one[name] for name in names} for one in told]
    tell(told, output)


def _told(rule: "Rule") -> dict[str, Any]:
    samples = {f"{text} >= {least:g}" for condition in rule.conditions for text, least in condition.minimum.items()}
    clears = [f"{level.clear:g} ({level.severity})" for level in rule.levels if level.clear is not None]
    there = [f"{name}: {', '.join(f'{edge:g}' for edge in edges)}" for name, edges in rule.marketplaces.items()]
    return {
        "rule": rule.name,
        "fires when": " or ".join(condition.metric for condition in rule.conditions),
        "is": "; ".join(
            [", ".join(f"{rule.comparison} {level.threshold:g} ({level.severity})" for level in rule.levels), *there]
        ),
        "with at least": ", ".join(sorted(samples)),
        "for": f"{rule.for_days} d" if rule.for_days else "",
        "clears at": ", ".join(clears),
        "silences": ", ".join(rule.silences),
        "only": _scope(rule),
    }


def _told_of_other(rule: "OtherRule") -> dict[str, Any]:
    """As above; what it is about is no metric."""
    nothing = dict.fromkeys(("with at least", "for", "clears at", "silences"), "")
    return {"rule": rule.name, "fires when": "", "is": f"({rule.severity})"} | nothing | {"only": _scope(rule)}


def _scope(rule: "Rule | OtherRule") -> str:
    return " ".join([*rule.scope.sellers, *(f"on {glob}" for glob in rule.scope.marketplaces)])


@click.command()
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
@configured()
def test(settings: "Settings", files: Iterable[Path]) -> int:
    """Run rule tests: events, and the alerts that the rules should give on them at some times.

    The events go through the same stories, rows and rules as a worker's, in memory. What an expectation does not say
    may be anything; `none` is no alert at all. Exits 1 when one is not met. The rules are those of the file that
    `settings` names, from where the test is, or else of --settings.

    \b
    A test of six bad ratings in a hundred, and of their end by ageing:
      settings = "sellerpulse.toml"
      [[tests]]
      name = "six in a hundred"
      start = 2025-01-06            # day 0; the default, a Monday
      events = [
        { at = "0d", count = 94, order_id = "good-{n}", rating = 5 },
        { at = "1d12h", count = 6, order_id = "bad-{n}", rating = 1 },
      ]
      expect = [
        { at = "0d", rule = "negative_rate", state = "none" },
        { at = "1d", rule = "negative_rate", state = "firing", severity = "warning", value = 0.06, orders = 6 },
        { at = "91d", rule = "negative_rate", state = "resolved" },
      ]

    Times count from the start; rules on metrics are judged at the end of the day. An event has the fields of its topic
    (kind, fulfilment, deliver_by = "5d", solved, seller_id, ...); what it leaves out is filled in.

    \b
    Examples:
      sellerpulse alerts test rules_test.toml
      sellerpulse alerts test tests/*.toml --settings sellerpulse.toml
    """
    from streams.ruletests import run

    tests = expectations = failed = 0
    for path, one, failures in run(list(files), settings):
        tests += 1
        expectations += len(one.expect)
        failed += len(failures)
        for failure in failures:
            click.echo(f"{path}: {failure.test}\n  expected {failure.expected}\n  got      {failure.got}")
    click.echo(f"{tests:,} tests with {expectations:,} expectations: {f'{failed:,} not met' if failed else 'all met'}")
    return FAILED if failed else 0
