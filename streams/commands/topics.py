"""`sellerpulse topics`: the Kafka topics, made or checked.

Place in the flow: before it. What they should be, and the talk with Kafka, is `streams.topics`'s.
"""

from typing import TYPE_CHECKING

import click

from streams.commands.cli import FAILED, configured

if TYPE_CHECKING:
    from streams.settings import Settings


@click.group(no_args_is_help=False)
def command() -> None:
    """Create the Kafka topics that Sellerpulse needs, or check them.

    Topics orders, feedback and surveys have the same number of partitions, so that all events of an account meet
    in one worker; alerts is for output; orders.dlq, feedback.dlq, surveys.dlq and unknown.dlq hold what was refused,
    in its original bytes. Numbers come from [kafka] in the settings: partitions, replication, retention_days and
    dlq_retention_days.

    \b
    Examples:
      sellerpulse topics create --kafka localhost:9092
      SELLERPULSE_KAFKA__PARTITIONS=12 sellerpulse topics create
      sellerpulse topics check --kafka localhost:9092
    """


@command.command()
@configured("kafka")
def create(settings: "Settings") -> None:
    """Make the topics that are missing, leave the others alone.

    What exists but differs is told on stderr and not changed: with more partitions accounts move to others, which
    is to be done while producers pause. Again, it does nothing.

    \b
    Examples:
      sellerpulse topics create --kafka localhost:9092
    """
    from streams.topics import ADVICE, Cluster, wanted

    topics = wanted(settings.kafka)
    cluster = Cluster(settings.kafka)
    made = cluster.create(topics)
    for name in made:
        click.echo(f"{name}: created")
    for line in cluster.differences(topic for topic in topics if topic.name not in made):
        click.echo(f"{line}; left as it is", err=True)
    click.echo(ADVICE)


@command.command()
@configured("kafka")
def check(settings: "Settings") -> None:
    """Tell what is missing or differs from the settings, a line each; exits 1 if anything does.

    \b
    Examples:
      sellerpulse topics check --kafka localhost:9092
    """
    from streams.topics import ADVICE, Cluster, wanted

    topics = wanted(settings.kafka)
    if lines := Cluster(settings.kafka).differences(topics):
        click.echo("\n".join(lines))
        raise click.exceptions.Exit(FAILED)
    click.echo(f"{len(topics)} topics are as they should be")
    click.echo(ADVICE)
