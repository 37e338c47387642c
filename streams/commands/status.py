"""`sellerpulse status`: is everything well, and if not, what is wrong.

Place in the flow: beside it, asking Kafka and the database. Changes nothing, makes nothing.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import SellerpulseError
from schemas.events import EPOCH
from streams.commands.cli import FAILED, configured
from streams.log import without_passwords

if TYPE_CHECKING:
    from streams.sections import Kafka
    from streams.settings import Settings

_NUMBERS = """SELECT (SELECT count() FROM account_marks FINAL) AS accounts,
    (SELECT count() FROM rejected_events) AS rejected,
    (SELECT maxOrNull(last) FROM (
        SELECT maxOrNull(event_time) AS last FROM stored_order_events
        UNION ALL SELECT maxOrNull(event_time) FROM stored_feedback_events
        UNION ALL SELECT maxOrNull(event_time) FROM stored_survey_events)) AS last_event_time"""
# Once all accounts were verified and right, what was found before is mended.
_CHECKS = """WITH greatest(now64(3) - INTERVAL 1 DAY,
        (SELECT max(checked_at) FROM self_checks FINAL WHERE epoch = 0 AND differing = 0)) AS since
    SELECT sum(rows) AS rows_checked, sumIf(differing, differed_at > since) AS rows_differing FROM self_checks FINAL"""
_HELD = " is in use by "  # of a folder: then its holder is alive, and nobody else can look into it


@dataclass
class Report:
    """What was found: by part, name and value, None where nothing is known; and what is wrong, a line each."""

    kafka: dict[str, Any] = field(default_factory=dict)
    database: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@click.command()
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: one object.")
@configured("kafka", "db")
def command(settings: "Settings", output: str) -> None:
    """Tell how Kafka, the workers and the database are; exits 1 when something is wrong.

    Wrong is: Kafka or the database cannot be reached; a topic is missing or not as the settings say; records wait
    and no worker runs; rows are behind their events and no worker brings them up to date; the as-of day stands still
    although workers run; a check found rows in the last day that are not what their events give, and no `verify` since
    found all of them right. Lag alone is not: it tells how much is still to come. An embedded database that another
    process holds cannot be looked into.

    \b
    Examples:
      sellerpulse status
      sellerpulse status --kafka localhost:9092 --db http://localhost:8123/sellerpulse
      sellerpulse status --format json | jq .problems
    """
    report = Report()
    ask_kafka(settings.kafka, report)
    ask_database(settings, report)
    judge(report, datetime.now(UTC).date())
    if output == "json":
        told = {"healthy": not report.problems, "problems": report.problems}
        told |= {"kafka": report.kafka, "database": report.database}
        click.echo(json.dumps(told, indent=2, default=lambda moment: moment.isoformat(), ensure_ascii=False))
    else:
        for part, found in (("kafka", report.kafka), ("database", report.database)):
            for name, value in found.items():
                click.echo(f"{part if name == 'address' else name.replace('_', ' '):16} {_shown(value)}")
        click.echo("\n".join(f"{'WRONG':16} {problem}" for problem in report.problems) or "All is well.")
    if report.problems:
        raise click.exceptions.Exit(FAILED)


def ask_kafka(kafka: "Kafka", report: Report) -> None:
    """Topics, workers and lag. Kafka out of reach is no problem where nobody said that there is one."""
    from streams.topics import Cluster, wanted

    said = "bootstrap" in kafka.model_fields_set
    report.kafka = {"address": kafka.bootstrap}
    try:
        cluster = Cluster(kafka) if said else Cluster(kafka, within_s=2)
        differences = cluster.differences(wanted(kafka))
        lag = cluster.lag(kafka.group)
        report.kafka["workers"] = cluster.members(kafka.group)
    except SellerpulseError as failed:
        report.kafka["error"] = str(failed) if said else "not configured, and nothing answers there"
        report.problems += [str(failed)] if said else []
        return
    report.kafka["topics"] = differences
    report.kafka["lag"] = {topic.topic: topic.records for topic in lag}
    report.problems += [f"topic {line}" for line in differences]


def ask_database(settings: "Settings", report: Report) -> None:
    """The as-of day, accounts and events."""
    from streams.credentials import open_to_read

    report.database = {"address": without_passwords(settings.clickhouse.url)}
    try:
        store = open_to_read(settings.clickhouse)
        try:
            as_of = store.as_of()
            report.database["as_of"] = None if as_of is None else (EPOCH + timedelta(days=as_of)).date()
            report.database |= store.query_arrow(_NUMBERS).to_pylist()[0]
            if store.query_arrow("EXISTS TABLE self_checks").to_pylist()[0]["result"]:  # no worker of ours ran yet
                report.database |= store.query_arrow(_CHECKS).to_pylist()[0]
            report.database["accounts_behind"] = (
                None if as_of is None else len(store.behind(as_of, settings.standard(judged=False)))
            )
        finally:
            store.close()
    except SellerpulseError as failed:
        report.database["error"] = str(failed)
        report.problems += [] if _HELD in str(failed) else [str(failed)]


def judge(report: Report, today: date) -> None:
    """Add what only the parts together show to be wrong."""
    workers, waiting = report.kafka.get("workers"), sum(report.kafka.get("lag", {}).values())
    behind, as_of = report.database.get("accounts_behind"), report.database.get("as_of")
    if workers == 0 and waiting:
        report.problems.append(f"records that wait while no worker runs: {waiting}")
    if not workers and behind:
        report.problems.append(
            f"accounts whose rows are behind their events: {behind}; a worker or replay restates them"
        )
    if differing := report.database.get("rows_differing"):
        report.problems.append(
            f"rows that a check found to be other than their events give: {differing}; `sellerpulse verify` tells which"
        )
    if workers and as_of is not None and as_of < today - timedelta(days=1):
        report.problems.append(f"the as-of day is still {as_of} although a worker runs")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    if isinstance(value, list):
        return f"{len(value)} things not as they should be" if value else "as they should be"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return "none yet" if value is None else str(value)
