"""`sellerpulse schema list | show | check | register`: schemas of the events on the topics, and a registry.

Place in the flow: beside it, before producers. What may follow a released version is said in `schemas.compatibility`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ConfigurationError, Unavailable
from schemas.events import TOPICS
from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from schemas.versions import Version
    from streams.settings import Settings

_NOT_FOUND = 404


@click.command("list")
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: an array.")
@configured()
def list_(settings: "Settings", output: str) -> None:
    """List every released version of the events' schemas: fingerprint, the fields it added, its id in the registry.

    \b
    Examples:
      sellerpulse schema list
      sellerpulse schema list --format json | jq '.[] | select(.topic == "feedback")'
    """
    from schemas.versions import released

    client = _client(settings)
    rows: list[dict[str, Any]] = []
    for versions in released().values():
        before: set[str] = set()
        for version in versions:
            names = [field["name"] for field in version.schema["fields"]]
            rows.append(
                {"topic": version.topic, "version": version.number, "fingerprint": version.fingerprint,
                 "added": [name for name in names if name not in before], "id": client and _id_of(client, version)}
            )  # fmt: skip
            before.update(names)
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        new = f"{len(row['added'])} fields" if row["version"] == 1 else ", ".join(row["added"]) or "none"
        told = "" if client is None else f"  id {row['id']}" if row["id"] is not None else "  not registered"
        click.echo(f"{row['topic']:9} {row['version']:3}  {row['fingerprint']}{told}  {new}")


@click.command()
@click.argument("topic", type=click.Choice(TOPICS))
@click.option("--version", "number", type=click.IntRange(1), help="Which; else the newest.")
def show(topic: Any, number: int | None) -> None:
    """Show a version's Avro text, as producers need it.

    \b
    Examples:
      sellerpulse schema show feedback > feedback.avsc
      sellerpulse schema show orders --version 1 | jq -r '.fields[].name'
    """
    from schemas.versions import released

    versions = released()[topic]
    if number is not None and number > len(versions):
        raise ConfigurationError(f"{topic} has no version {number}: the newest is {len(versions)}")
    click.echo(versions[(number or len(versions)) - 1].text, nl=False)


@click.command()
@click.argument("changed", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@configured()
def check(settings: "Settings", changed: Path) -> int:
    """May this changed schema follow all released ones? Exits 1 when not, with what to do.

    Every version must read what any other wrote (FULL_TRANSITIVE), by Apache avro's checker and by what it does not
    see: defaults, logical types, names. With a registry in the settings, that is asked as well.

    \b
    Examples:
      sellerpulse schema show feedback > changed.avsc
      sellerpulse schema check changed.avsc
    """
    from schemas.compatibility import faults, topic_of
    from schemas.versions import released

    try:
        schema = json.loads(changed.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{changed} is not JSON") from None
    topic = topic_of(schema)
    found = faults(schema, released()[topic] if topic else [])
    client = _client(settings)
    if client is not None and topic and not found and not _registry_takes(client, topic, schema):
        found.append("the registry says that it is not compatible with a version registered there")
    for fault in found:
        click.echo(fault)
    if not found:
        click.echo(f"fits every released version of {topic}")
    return FAILED if found else 0


@click.command()
@configured()
def register(settings: "Settings") -> None:
    """Register every released version, oldest first, and set the subjects to FULL_TRANSITIVE.

    The subjects are orders-value, feedback-value and surveys-value. Run again, it changes nothing.

    \b
    Examples:
      SELLERPULSE_KAFKA__SCHEMA_REGISTRY_URL=http://registry:8081 sellerpulse schema register
    """
    from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

    from schemas.versions import released

    client = _client(settings)
    if client is None:
        raise ConfigurationError("no Schema Registry is configured: set kafka.schema_registry_url")
    for topic, versions in released().items():
        with _asking():
            for version in versions:
                number = client.register_schema(f"{topic}-value", _registrable(version.schema))
                click.echo(f"{topic:9} {version.number:3}  {version.fingerprint}  id {number}")
            client.set_config(f"{topic}-value", ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE))


# --- the registry ------------------------------------------------------------------------------------------------


def _client(settings: "Settings") -> Any:
    from streams.app import registry

    return registry(settings)


@contextmanager
def _asking() -> Iterator[None]:
    """Raises Unavailable for whatever the client raises."""
    from schemas.codec import unanswered

    try:
        yield
    except Exception as failed:  # the client raises its own tree and that of its HTTP library
        raise Unavailable(f"Schema Registry: {unanswered(failed)}") from failed


def _registrable(schema: Any) -> Any:
    """The very text that the codec registers: a registry tells versions apart by their text."""
    from confluent_kafka.schema_registry import Schema

    return Schema(json.dumps(schema), "AVRO")


def _id_of(client: Any, version: "Version") -> int | None:
    with _asking():
        try:
            found: int = client.lookup_schema(f"{version.topic}-value", _registrable(version.schema)).schema_id
        except Exception as failed:
            if _is_absent(failed):
                return None
            raise
    return found


def _registry_takes(client: Any, topic: str, schema: Any) -> bool:
    with _asking():
        try:
            takes: bool = client.test_compatibility(f"{topic}-value", _registrable(schema))
        except Exception as failed:
            if _is_absent(failed):  # nothing is registered yet
                return True
            raise
    return takes


def _is_absent(failed: Exception) -> bool:
    return getattr(failed, "http_status_code", None) == _NOT_FOUND
