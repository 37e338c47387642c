"""The FILE arguments of a command and what reports do not say of themselves."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from streams.commands.cli import moment


def report_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command FILE... and the options of reports; its function is called with `files` and `options`."""
    options = [
        click.argument(
            "files", nargs=-1, required=required, type=click.Path(path_type=Path),
            metavar="FILE..." if required else "[FILE...]",
        ),
        click.option(
            "--format", "form", metavar="F", help="jsonl, avro, olist, feedback-report or etsy; else by content."
        ),
        click.option("--seller", help="The seller, where a report does not name it."),
        click.option("--marketplace", help="The marketplace, where a report does not name it."),
        click.option("--timezone", default="UTC", help="Of a report's times, such as Europe/Berlin."),
        click.option("--source", metavar="NAME", help="The source of a report's events; else the format's name."),
        click.option(
            "--polled-at", "polled_ms", metavar="TIME", callback=moment,
            help="When a report was made, UTC; else the time of its file.",
        ),
        click.option("--accept-removals", is_flag=True, help="However many ratings vanished from a report: removed."),
    ]  # fmt: skip

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_options(
            form: str | None,
            seller: str | None,
            marketplace: str | None,
            timezone: str,
            source: str | None,
            polled_ms: int | None,
            accept_removals: bool,
            **given: Any,
        ) -> Any:
            from streams.connectors.files import ReportOptions

            options = ReportOptions(form, seller, marketplace, timezone, source, polled_ms, accept_removals)
            return function(options=options, **given)

        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), with_options)

    return decorate


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command FILE... and the options of reports; its function is called with `sources`, all looked at.

    Reports among them are polls of each other, in their order, and of none before.
    """

    @report_options(required=True)
    @functools.wraps(function)
    def with_sources(files: tuple[Path, ...], options: Any, **given: Any) -> Any:
        from streams.connectors.files import find_sources
        from streams.connectors.polls import Polls

        with Polls(None) as polls:
            return function(sources=find_sources(files, replace(options, polls=polls)), **given)

    return with_sources
