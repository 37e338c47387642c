"""Progress of long work, where a person watches, and the words that sum it up."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streams.feeder import Fed
from streams.replay import Watch

REASONS_SHOWN = 8


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars for the stages of a replay on a terminal, nothing elsewhere."""
    people = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=people, transient=True, disable=not people.is_terminal,
    ) as bars:  # fmt: skip
        tasks = {
            name: bars.add_task(name, total=None, start=False) for name in ("reading bytes", "records", "accounts")
        }

        def show(name: str, done: int, total: int) -> None:
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=done, total=total)

        yield Watch(*(lambda done, total, name=name: show(name, done, total) for name in tasks))


def sum_up(fed: Fed) -> None:
    """What became of the input, in lines for people."""
    refused = sum(fed.refused.values())
    click.echo(f"{fed.accepted:,} events accepted, {refused:,} records refused")
    for reason, count in fed.refused.most_common(REASONS_SHOWN):
        click.echo(f"  {count:,} refused: {reason}")
    if len(fed.refused) > REASONS_SHOWN:
        click.echo(f"  and for {len(fed.refused) - REASONS_SHOWN} more reasons: see `sellerpulse dlq list`")
    for why, count in fed.left_out.most_common():
        click.echo(f"  {count:,} rows left out: {why}")
    for damaged in fed.damaged:
        click.echo(f"sellerpulse: {damaged}; its good part was kept", err=True)
