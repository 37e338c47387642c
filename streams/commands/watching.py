"""Progress of long work, where a person watches, and the words that sum it up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streams.feeder import Fed
from streams.replay import Watch

REASONS_SHOWN = 8


@contextmanager
def counting(*names: str) -> Iterator[Callable[..., None]]:
    """A bar each on a terminal, nothing elsewhere; gives what is told of work done, of how much, and `name=` of which.

    With one name that need not be said.
    """
    people = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=people, transient=True, disable=not people.is_terminal,
    ) as bars:  # fmt: skip
        tasks = {name: bars.add_task(name, total=None, start=False) for name in names}

        def show(done: int, total: int, name: str = names[0]) -> None:
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=done, total=total)

        yield show


@contextmanager
def watching() -> Iterator[Watch]:
    """Bars for the stages of a replay on a terminal, nothing elsewhere."""
    stages = ("reading bytes", "records", "accounts")
    with counting(*stages) as show:
        yield Watch(*(partial(show, name=name) for name in stages))


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
