"""`sellerpulse dlq`: the records that were refused, why, and what is done with them.

Place in the flow: behind it, reading what the workers wrote, and before it again, putting records back. The original
bytes are in the dead-letter topics alone; only `show --bytes` tells what is in them.
"""

import functools
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import SellerpulseError
from schemas.events import TOPICS, UNKNOWN_TOPIC
from schemas.rows import DeadLetter, Rejected, Which
from streams.commands.cli import configured, moment
from streams.commands.sql import count, opened, show

if TYPE_CHECKING:
    from streams.settings import Settings

# A reason may end in what was found: "unknown kind: RETURNED_TWICE".
_REASONS = """SELECT topic, splitByString(': ', reason)[1] AS why, count() AS records, countIf(state = 'open') AS open,
    max(time) AS newest FROM dead_letters WHERE {which} GROUP BY topic, why ORDER BY records DESC, topic, why"""
_COUNT = "SELECT count() FROM dead_letters WHERE {which}"
_NEWEST = "SELECT * FROM dead_letters WHERE {which} ORDER BY {newest} LIMIT {{limit:UInt32}}"


@click.group(no_args_is_help=False)
def command() -> None:
    """Dead letters: the records that were refused. Nothing is dropped in silence.

    A refused record's original bytes go to the topic TOPIC.dlq, with the reason and where it came from in its
    headers; what names no topic goes to unknown.dlq. Here they are listed, looked into, put back on their topics once
    what was wrong is mended, or dropped. Each is open until it is replayed or dropped, and its row stays.

    A RECORD is named by where it came from: orders/2/1057 is topic, partition and offset, orders/events.jsonl:17
    topic, file and line.

    \b
    Examples:
      sellerpulse dlq list --db ./pulse
      sellerpulse dlq show orders/2/1057
      sellerpulse dlq replay --reason "unknown kind" --since 2025-06-30
      sellerpulse dlq drop --topic surveys --until 2025-06-30T12:00
    """


# --- which -----------------------------------------------------------------------------------------------------


def _filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filters; its function is called with `which`."""

    @click.option("--topic", type=click.Choice([*TOPICS, UNKNOWN_TOPIC]), help="Only what was meant for this one.")
    @click.option("--reason", metavar="TEXT", help="Only where the reason holds this, in upper or lower case.")
    @click.option("--since", metavar="TIME", callback=moment, help="Refused from then on: a day or a time, UTC.")
    @click.option("--until", metavar="TIME", callback=moment, help="Refused before then.")
    @functools.wraps(function)
    def with_which(
        topic: str | None, reason: str | None, since: int | None, until: int | None,
        records: tuple[str, ...] = (), **given: Any,
    ) -> Any:  # fmt: skip
        said: dict[str, Any] = {"topic": topic, "reason": reason, "since": since, "until": until, "records": records}
        which = Which(**{name: value for name, value in said.items() if value is not None})
        return function(which=which, **given)

    return with_which


_records = click.argument("records", nargs=-1, metavar="[RECORD]...")


# --- list ------------------------------------------------------------------------------------------------------


@command.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(0, 2**32 - 1), default=20, help="How many of the newest records.")
@click.option(
    "--format", "output", type=click.Choice(["table", "json"]), default="table", help="json: a record a line."
)
@configured("db")
def list_(settings: "Settings", which: Which, limit: int, output: str) -> None:
    """Count the refused records by reason, then list the newest, each with what was done with it.

    \b
    Examples:
      sellerpulse dlq list --db ./pulse
      sellerpulse dlq list --topic feedback --reason rating --limit 100 --db ./pulse
      sellerpulse dlq list --since 2025-06-30T12:00 --until 2025-07-01 --db ./pulse
      sellerpulse dlq list --format json --limit 1000000 --db ./pulse | jq -r .reason | sort | uniq -c
    """
    store = opened(settings, "dead_letters")
    from sink.ledger import NEWEST, WHICH, asked

    parameters = asked(which) | {"limit": limit}
    newest = _NEWEST.format(which=WHICH, newest=NEWEST)
    try:
        if output == "json":
            show(store.client, newest, "JSONEachRow", parameters)
        elif count(store.client, _COUNT.format(which=WHICH), parameters):
            show(store.client, _REASONS.format(which=WHICH), parameters=parameters)
            if limit:
                show(store.client, newest, parameters=parameters)
        else:
            click.echo("No record was refused.")
    finally:
        store.close()


# --- show ------------------------------------------------------------------------------------------------------


@command.command("show")
@_records
@_filtered
@click.option("--limit", type=click.IntRange(1, 1000), default=3, help="How many, the newest first.")
@click.option("--bytes", "is_whole", is_flag=True, help="Also what is in the record; it may be about buyers.")
@configured("kafka", "db")
def show_(settings: "Settings", which: Which, limit: int, is_whole: bool) -> None:
    """Show dead letters one by one: why, when and where from, where they stand, and how large they are.

    With --bytes also the record's own key and headers, and its bytes: as a hex dump, and as JSON where they can be
    read. That may be personal data of buyers; dead letters are the one place where it is kept as it came.

    \b
    Examples:
      sellerpulse dlq show --kafka kafka:9092 --db ./pulse
      sellerpulse dlq show --reason "not decodable" --limit 1
      sellerpulse dlq show orders/2/1057 --bytes
    """
    from schemas.codec import Codec
    from streams.app import registry
    from streams.commands.describing import contents, described
    from streams.commands.watching import counting
    from streams.letters import read

    store = opened(settings, "dead_letters")
    try:
        chosen = store.dead_letters(which, only_open=False, newest=limit)
    finally:
        store.close()
    with counting("records") as progress:
        letters = {letter.record[:5]: letter for letter in read(settings.kafka, _of(chosen), progress)}
    codec = Codec(registry=registry(settings))
    for dead in chosen:
        letter = letters.get(dead.record[:5])
        lines = [*described(dead, letter), *(contents(codec, letter) if is_whole and letter is not None else ())]
        click.echo("\n".join([*lines, ""]))
    if not chosen:
        click.echo("No dead letter is like that.")


def _of(letters: list[DeadLetter]) -> list[Rejected]:
    return [dead.record for dead in letters]


# --- replay and drop -------------------------------------------------------------------------------------------


@command.command()
@_records
@_filtered
@click.option("--dry-run", is_flag=True, help="Tell what would be put back, and do nothing.")
@configured("kafka", "db")
def replay(settings: "Settings", which: Which, dry_run: bool) -> None:
    """Put open dead letters back on the topics they came from: the same key, bytes and headers.

    Once what refused them is mended: a newer version, a schema in the registry, a clock. Each is put back once, then
    it is `replayed`; again, there is nothing left to do. Interrupted, run it again: an event counts once however often
    it comes. What is still bad is refused again, as a new dead letter by its new place. Lines of files cannot be put
    back: correct the file and ingest it again.

    \b
    Examples:
      sellerpulse dlq replay --kafka kafka:9092 --db http://localhost:8123/sellerpulse --dry-run
      sellerpulse dlq replay --topic orders --reason "unknown schema" --since 2025-06-30
      sellerpulse dlq replay orders/2/1057
    """
    from streams.commands.watching import counting
    from streams.credentials import open_store
    from streams.letters import Letter, is_of_a_topic, put_back, read

    done: Counter[str] = Counter()

    def note(letters: list[Letter]) -> None:
        if not dry_run:
            store.settle([letter.record for letter in letters], "replayed")
        done.update(letter.record.topic for letter in letters)

    store = open_store(settings.clickhouse)
    try:
        chosen = _of(store.dead_letters(which, only_open=True))
        records = [record for record in chosen if is_of_a_topic(record)]
        with counting("records") as progress:
            letters = read(settings.kafka, records, progress)
            if dry_run:
                note(list(letters))
            else:
                put_back(settings.kafka, letters, note)
    finally:
        store.close()
    if not chosen:
        click.echo("No open dead letter is like that.")
    if done:
        told = ", ".join(f"{topic} {number:,}" for topic, number in sorted(done.items()))
        click.echo(f"{done.total():,} dead letters {'would be' if dry_run else 'were'} put back: {told}")
    if others := len(chosen) - len(records):
        click.echo(f"{others:,} cannot be put back: they came from files; correct those and ingest them again")
    if gone := len(records) - done.total():
        click.echo(f"{gone:,} are no longer in the dead-letter topics: retention has deleted them")


@command.command()
@_records
@_filtered
@click.option("--all", "every", is_flag=True, help="Every open one, where nothing else says which.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@configured("db")
def drop(settings: "Settings", which: Which, every: bool, yes: bool) -> None:
    """Give open dead letters up: they are `dropped`, and no longer replayed.

    Their rows stay, and their bytes until the retention of the dead-letter topics has deleted them.

    \b
    Examples:
      sellerpulse dlq drop orders/2/1057 --db ./pulse
      sellerpulse dlq drop --topic surveys --until 2025-06-30T12:00 --yes --db ./pulse
      sellerpulse dlq drop --all --db ./pulse
    """
    if every == (which != Which()):
        raise click.UsageError("say which, by RECORD or a filter, or --all")
    from streams.credentials import open_store

    store = open_store(settings.clickhouse)
    try:
        chosen = _of(store.dead_letters(which, only_open=True))
        if chosen and not yes:
            _confirm(f"Give up {len(chosen):,} dead letters?")
        store.settle(chosen, "dropped")
    finally:
        store.close()
    click.echo(f"{len(chosen):,} dead letters were dropped" if chosen else "No open dead letter is like that.")


def _confirm(question: str) -> None:
    """Raises SellerpulseError unless somebody says yes."""
    try:
        if click.confirm(question, err=True):
            return
    except click.Abort:  # nobody is there
        click.echo(err=True)
    raise SellerpulseError("nothing was dropped; --yes drops without asking")
