"""The FILE arguments of a command and what reports do not say of themselves."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def file_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command FILE... and the options of reports; its function is called with `sources`, all looked at."""
    options = [
        click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."),
        click.option(
            "--format", "form", metavar="F", help="jsonl, avro, olist, feedback-report or etsy; else by content."
        ),
        click.option("--seller", help="The seller, where a report does not name it."),
        click.option("--marketplace", help="The marketplace, where a report does not name it."),
        click.option("--timezone", default="UTC", help="Of a report's times, such as Europe/Berlin."),
    ]

    @functools.wraps(function)
    def with_sources(
        files: tuple[Path, ...],
        form: str | None,
        seller: str | None,
        marketplace: str | None,
        timezone: str,
        **given: Any,
    ) -> Any:
        from streams.connectors.files import ReportOptions, find_sources

        sources = find_sources(files, ReportOptions(form, seller, marketplace, timezone))
        return function(sources=sources, **given)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), with_sources)
