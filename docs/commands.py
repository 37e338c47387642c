"""Every command as its own `--help` tells it."""

from collections.abc import Iterator

import click

from docs.markdown import Undocumented, put
from streams.commands.cli import COMMANDS, cli

WIDTH = 100  # of a line of help


def filled(markdown: str) -> str:
    """The page with every command and subcommand."""
    return put(markdown, "\n\n".join(_sections(cli, None, "sellerpulse")))


def _sections(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    context = click.Context(
        command, parent, name, terminal_width=WIDTH, help_option_names=["-h", "--help"], show_default=True
    )
    path = context.command_path
    check(command, path)
    depth = 2 + (parent is not None and parent.parent is not None)
    about = "" if parent is None or name not in COMMANDS or parent.parent is not None else f"{COMMANDS[name]}\n\n"
    yield f"{'#' * depth} `{path}`\n\n{about}```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _sections(found, context, below)


def check(command: click.Command, path: str) -> None:
    """Raises Undocumented."""
    if not command.help:
        raise Undocumented(f"`{path}` has no help: give its function a docstring")
    for option in command.params:
        if isinstance(option, click.Option) and not (option.help or option.hidden):
            raise Undocumented(f"`{path} {option.opts[0]}` has no help: say help= in its click.option")
