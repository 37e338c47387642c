"""The program `sellerpulse`: finds the command, hands it its settings, turns what went wrong into a line and a code.

Place in the flow: above everything. Imports nothing heavy, nor any command before it is called: `--help` answers
at once. A command is a module here with a click command named `command`; it raises a `SellerpulseError` to end
with one line, or `click.exceptions.Exit` to end with a code.
"""

import contextlib
import errno
import functools
import importlib
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from schemas.errors import ConfigurationError, SellerpulseError
from streams.log import FORMATS, configure_logging, without_passwords

if TYPE_CHECKING:
    from streams.settings import Settings

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))  # disks are full without a bug of ours

# Kept here, in the order of a first day's use: listing the commands must not import them.
COMMANDS = {
    "demo": "Everything on this machine, with nothing to install: start here.",
    "replay": "The whole pipeline over event files, until drained.",
    "ingest": "Event files and marketplace reports to Kafka.",
    "gateway": "Events in over HTTP, from whoever has a key.",
    "worker": "A worker on your Kafka and ClickHouse.",
    "sql": "Query the metrics, events and alerts.",
    "simulate": "Write a simulated marketplace's events to a file.",
    "rebuild": "Compute rows anew from the stored events.",
    "verify": "Are the rows what the stored events give? Exits 1 when not.",
    "topics": "Create the Kafka topics, or check them.",
    "schema": "Is the database of this version? And the schemas of events.",
    "clickhouse": "Serve an embedded database to other programs on this machine.",
    "alerts": "Alerts: list, show, acknowledge, silence, check, test, backtest.",
    "cases": "Bad ratings: what to do about them, by when, and what was done.",
    "explain": "The orders and events behind a number, and why it changed.",
    "outlook": "An account's coming days, and what would end a breach.",
    "reconcile": "The marketplace's own account-health report beside our numbers.",
    "dlq": "Records that were refused: list, show, replay, drop.",
    "backup": "Copy an embedded database, also while it is at work.",
    "restore": "Make an embedded database of a backup.",
    "forget": "Remove the ids and comments of an order.",
    "status": "Is everything well? Exits 1 when something is wrong.",
}


class _Commands(click.Group):
    """The commands of `COMMANDS`, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module(f"streams.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def version() -> str:
    """The program's."""
    with contextlib.suppress(metadata.PackageNotFoundError):  # a checkout that was never installed
        return metadata.version("sellerpulse")
    return "unknown"


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"sellerpulse {version()}")
        ctx.exit()


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Marketplace seller metrics that stay true when events come late, twice or out of order.

    Connectors write order, feedback and survey events to Kafka; workers keep every seller's metrics and write
    them to ClickHouse, day by day, where you query them; a breach raises an alert while there is time to act.

    \b
    Examples:
      sellerpulse demo
      sellerpulse simulate --events 50000 -o events.jsonl
      sellerpulse replay events.jsonl --db ./pulse
      sellerpulse sql "SELECT * FROM seller_current" --db ./pulse

    Settings come from flags, then from the environment (SELLERPULSE_KAFKA__BOOTSTRAP), then from sellerpulse.toml.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(WRONG_USAGE)


_OPTIONS = {
    "settings": click.option(
        "--settings", "file", type=click.Path(path_type=Path),
        help="TOML file; else SELLERPULSE_SETTINGS, else ./sellerpulse.toml.",
    ),
    "kafka": click.option("--kafka", metavar="HOST:PORT", help="Kafka's bootstrap address."),
    "db": click.option("--db", metavar="DB", help="A folder, or http[s]://[user[:password]@]host:port/database."),
    "log-format": click.option(
        "--log-format", type=click.Choice(FORMATS), default="text", help="Of the log, on stderr."
    ),
}  # fmt: skip


def configured(*needs: Literal["kafka", "db"]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `--settings`, `--log-format` and the flags it needs; its function is called with `settings`."""
    asked = [_OPTIONS[name] for name in ("settings", *needs, "log-format")]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_settings(
            file: Path | None, log_format: str, kafka: str | None = None, db: str | None = None, **given: Any
        ) -> Any:
            configure_logging(log_format)
            return function(settings=_settings(file, kafka, db), **given)

        return functools.reduce(lambda wrapped, option: option(wrapped), reversed(asked), with_settings)

    return decorate


def moment(_: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """A day or a time, UTC, as epoch ms: the callback of an option."""
    from schemas.events import to_ms

    try:
        return None if text is None else to_ms(text)
    except TypeError:
        raise click.BadParameter("not like 2025-06-30 or 2025-06-30T12:00", param=option) from None


def _settings(file: Path | None, kafka: str | None, db: str | None) -> "Settings":
    from streams.settings import load_settings

    return load_settings(file, {"kafka": {"bootstrap": kafka}, "clickhouse": {"url": db}})


# --- the end -------------------------------------------------------------------------------------------------


def main(args: Sequence[str] | None = None) -> int:
    """Run the program, return its exit code: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    try:
        code = cli.main(args, prog_name="sellerpulse", standalone_mode=False)
    except click.ClickException as wrong:
        context = wrong.ctx if isinstance(wrong, click.UsageError) else None
        see = f" (see {context.command_path} --help)" if context else ""
        return _end(f"{wrong.format_message().rstrip('.')}{see}", wrong.exit_code)
    except ConfigurationError as wrong:
        return _end(str(wrong), WRONG_USAGE)
    except SellerpulseError as failed:
        return _end(str(failed), FAILED)
    except click.Abort as aborted:
        return INTERRUPTED if isinstance(aborted.__cause__, KeyboardInterrupt) else _bug(aborted)
    except SystemExit as ended:  # also click's way out when whoever read our output has gone
        code = ended.code
    except OSError as failed:
        return _end(str(failed), FAILED) if failed.errno in _FULL else _bug(failed)
    except Exception as bug:  # noqa: BLE001  # the last resort: told, then turned into an exit code
        return _bug(bug)
    return code if isinstance(code, int) else 0 if code is None else FAILED


def _end(message: str, code: int) -> int:
    click.echo(f"sellerpulse: {without_passwords(' '.join(message.split()))}", err=True)
    return code


def _bug(error: BaseException) -> int:
    click.echo(without_passwords("".join(traceback.format_exception(error))), err=True)
    return _end(f"{type(error).__name__}: {error}: this is a bug, please report it with the lines above", FAILED)
