"""`sellerpulse cases`: bad ratings, what is due about them by when, and what was done.

Place in the flow: behind it, reading what the workers wrote, and before it again: what the staff did is an event.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import SellerpulseError
from streams.commands.cli import configured
from streams.commands.telling import Output, moment, output_option, printable, tell, until

if TYPE_CHECKING:
    from sink.desk import Asked, Case
    from sink.store import Store
    from streams.settings import Settings

OPEN = ("open", "acted", "removal_requested", "removal_denied")  # as in `sink.desk`, which only its users import
CLOSED = ("removed", "struck", "revised", "replaced", "expired")
PATIENCE_S = 10.0  # that a person has for a Kafka that does not answer
KINDS = ("RESPONDED", "CONTACTED", "REFUNDED", "REPLACED", "REMOVAL_REQUESTED", "REMOVAL_DENIED", "REVIEWED")


@click.group(no_args_is_help=False)
def command() -> None:
    """Cases: what to do about bad ratings, by when, and what became of it.

    Each rating of 1 or 2 stars opens one, and one of 3 that the marketplace's rules would remove. Answer within 3
    hours, at the latest within 24; for 60 days the buyer can take the rating back. A CASE is named by the id of the
    rating's event.

    \b
    Examples:
      sellerpulse cases list --db ./pulse
      sellerpulse cases show f-1057 --db ./pulse
      sellerpulse cases act f-1057 RESPONDED --agent Ana
      sellerpulse sql "SELECT status, count() FROM feedback_cases GROUP BY status" --db ./pulse
    """


def _narrowed(function: Any) -> Any:
    for option in (
        click.option("--order", default="", metavar="ID", help="Of this order."),
        click.option("--marketplace", default="", metavar="ID", help="On this marketplace."),
        click.option("--seller", default="", metavar="ID", help="Of this seller."),
    ):
        function = option(function)
    return function


# --- list ------------------------------------------------------------------------------------------------------


@command.command("list")
@_narrowed
@click.option("--status", "statuses", multiple=True, type=click.Choice([*OPEN, *CLOSED]), help="Any of these.")
@click.option("--all", "every", is_flag=True, help="Closed ones too.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, help="How many, what falls due first.")
@output_option
@configured("db")
def list_(
    settings: "Settings", seller: str, marketplace: str, order: str, statuses: tuple[str, ...], every: bool,
    limit: int, output: Output,
) -> None:  # fmt: skip
    """List the open cases, what falls due first at the top, each with the next step.

    Times are held against the clock, of a replay against the end of its last day. In csv a comment that a spreadsheet
    would take for a formula begins with '.

    \b
    Examples:
      sellerpulse cases list --db ./pulse
      sellerpulse cases list --seller A1 --marketplace MKT-DE --status open --db ./pulse
      sellerpulse cases list --all --limit 100000 --format csv --db ./pulse > cases.csv
    """
    from sink.desk import Asked, cases, now_ms
    from streams.reading.cases import instant, next_step, plain

    asked = Asked(seller, marketplace, order, statuses=statuses or (OPEN + CLOSED if every else OPEN))
    with _opened(settings) as store:
        now, found = now_ms(store), cases(store, asked, limit)
    rows = []
    for case in found:
        due = "" if case["due"] is None else until(case["due"], now)
        if output == "table":
            shown = ("status", "rating", "seller_id", "marketplace_id", "order_id", "feedback_event_id")
            rows.append({"due": due, "next": next_step(case, now)} | {name: case[name] for name in shown})
        else:
            rows.append(plain(case) | {"due": instant(case["due"]), "due_in_words": due, "next": next_step(case, now)})
    if rows or output != "table":
        tell(rows, output)
    else:
        click.echo("There is no case like that." if every or statuses else "No case is open.")


# --- show ------------------------------------------------------------------------------------------------------


@command.command("show")
@click.argument("case", metavar="CASE")
@_narrowed
@output_option
@configured("db")
def show_(settings: "Settings", case: str, seller: str, marketplace: str, order: str, output: Output) -> None:
    """Show a case: what was said, what was done, and what to do next with all that it needs, ready to paste.

    \b
    Examples:
      sellerpulse cases show f-1057 --db ./pulse
      sellerpulse cases show f-1057 --seller A1 --marketplace MKT-DE --format json --db ./pulse
    """
    from sink.desk import Asked, history, now_ms, order_told
    from streams.core.playbook import steps
    from streams.reading.cases import plain

    with _opened(settings) as store:
        now, found = now_ms(store), _the_case(store, Asked(seller, marketplace, order, case))
        limit = settings.cases.limit_of(found["root_causes"])
        words, steps_so_far = _words(found, order_told(store, found), limit, now), history(store, found)
    next_steps = steps(found, found["done"], now, words)
    if output != "table":
        told = [step._asdict() for step in next_steps]
        tell([plain(found) | {"steps": told if output == "json" else [step.title for step in next_steps]}], output)
        return
    for line in _lines(found, steps_so_far, now):
        click.echo(line)
    for step in next_steps:
        click.echo(f"\n{step.title}{f'  (cases act {case} {step.act})' if step.act else ''}")
        for line in step.says.splitlines():
            click.echo(f"  {printable(line)}")


def _lines(case: "Case", history: Iterable[Any], now_ms: int) -> Iterable[str]:
    told = {
        "case": f"{case['feedback_event_id']} of order {case['order_id']}",
        "account": f"{case['seller_id']} on {case['marketplace_id']}",
        "rating": f"{case['rating']} star{'s' * (case['rating'] != 1)}",
        "comment": case["comment"] or "none",
        "skus": ", ".join(case["skus"]) or "none reported",
        "root causes": ", ".join(case["root_causes"]),
        "grounds": ", ".join(case["removal_grounds"]) or "none for removal",
        "agent": case["agent"] or "nobody yet",
    }
    for name in ("opened_at", "first_action_at", "reviewed_at", "respond_by", "follow_up_at", "remove_by", "closed_at"):
        if case[name] is not None:
            told[name.replace("_", " ").removesuffix(" at")] = f"{moment(case[name])}, {until(case[name], now_ms)}"
    for name, value in told.items():
        yield f"{name:12} {printable(value)}"
    for at, status, agent in history:
        yield f"{'':12} {moment(at)}  {status}{f' by {printable(agent)}' if agent else ''}"


def _words(case: "Case", order: Mapping[str, Any], limit: float, now_ms: int) -> dict[str, str]:
    """What the playbook's texts name of the order and of the case's times."""
    told = {name: moment(order[name]) for name in ("placed", "shipped", "delivered", "deliver_by")}
    told |= {
        name: "" if case[name] is None else f"{moment(case[name])} ({until(case[name], now_ms)})"
        for name in ("respond_by", "follow_up_at", "remove_by")
    }
    told["fulfilment"] = "marketplace" if order["fulfilment"] == "MARKETPLACE" else "seller"
    return told | {"order_id": case["order_id"], "limit": f"{limit:g}"}


# --- act -------------------------------------------------------------------------------------------------------


def _said(_: click.Context, __: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("says nothing")
    return text


def _code(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """A currency, in capitals: what was given back in eur counts as EUR."""
    if text is not None and not (len(text) == 3 and text.isascii() and text.isalpha()):
        raise click.BadParameter("is no code of three letters, like EUR")
    return text and text.upper()


@command.command()
@click.argument("case", metavar="CASE")
@click.argument("kind", type=click.Choice(KINDS, case_sensitive=False))
@click.option("--agent", required=True, callback=_said, help="Who did it.")
@click.option("--amount", type=click.FloatRange(min=0, min_open=True), help="Money given back, with REFUNDED.")
@click.option("--currency", metavar="CODE", callback=_code, help="Of the amount, like EUR.")
@click.option("--root-cause", metavar="CAUSE", help="A supervisor's verdict, with REVIEWED: it overrides ours.")
@click.option("--comment", help="A note; e-mail addresses and phone numbers in it are masked.")
@_narrowed
@configured("kafka", "db")
def act(
    settings: "Settings", case: str, kind: str, agent: str, amount: float | None, currency: str | None,
    root_cause: str | None, comment: str | None, seller: str, marketplace: str, order: str,
) -> None:  # fmt: skip
    """Say what the staff did about a case: an event to Kafka, which the workers count like any other.

    A refund above what the settings give an agent for the case's root cause, earlier ones added, is refused.

    \b
    Examples:
      sellerpulse cases act f-1057 RESPONDED --agent Ana --kafka kafka:9092 --db http://localhost:8123/sellerpulse
      sellerpulse cases act f-1057 REFUNDED --agent Ana --amount 7.50 --currency EUR
      sellerpulse cases act f-1057 REVIEWED --agent lead --root-cause packaging
    """
    if (kind == "REFUNDED") != (amount is not None) or (amount is None) != (currency is None):
        raise click.UsageError("REFUNDED needs --amount and --currency, and nothing else takes them")
    if root_cause is not None and kind != "REVIEWED":
        raise click.UsageError("--root-cause goes with REVIEWED")
    from sink.desk import Asked, given_back
    from streams.core.comments import CAUSES

    if root_cause is not None and root_cause not in CAUSES:
        raise click.UsageError(f"--root-cause is one of {', '.join(CAUSES)}")

    with _opened(settings) as store:
        found = _the_case(store, Asked(seller, marketplace, order, case))
        if found["status"] in CLOSED and kind not in ("REVIEWED", "REMOVAL_REQUESTED", "REMOVAL_DENIED"):
            raise SellerpulseError(f"the case is closed: {found['status']}")
        if amount is not None:
            limit = settings.cases.limit_of(found["root_causes"])
            _check_refund(found, amount, given_back(store, found, currency or ""), limit)
    account = {name: found[name] for name in ("seller_id", "marketplace_id", "order_id")}
    event_id = f"act-{uuid.uuid4().hex}"
    told = {"agent": agent, "amount": amount, "currency": currency, "root_cause": root_cause, "comment": comment}
    _send(settings, account | told | {"event_id": event_id, "kind": kind})
    click.echo(f"{kind} of order {printable(found['order_id'])} was sent as {event_id}")


def _check_refund(case: "Case", amount: float, before: float, limit: float) -> None:
    """Raises SellerpulseError if that is more than an agent may give back, with what was given before."""
    if before + amount > limit:
        causes = ", ".join(case["root_causes"])
        given = f", of which {before:g} is given" if before else ""
        raise SellerpulseError(f"an agent may give back {limit:g} for {causes}{given}: ask a supervisor")


def _send(settings: "Settings", said: Mapping[str, Any]) -> None:
    """An event of topic `feedback`, of this moment. Raises SellerpulseError if it is none or Kafka does not take it."""
    from schemas.codec import Codec
    from schemas.events import Parsed, check
    from streams.agents import now_ms
    from streams.app import registry
    from streams.connectors.files import Record, Source
    from streams.core.privacy import mask_event
    from streams.feeder import Feeder

    now = now_ms()
    nothing = dict.fromkeys(("rating", "arrived_on_time", "item_as_described", "customer_service"))
    event = {**nothing, **said, "date_only": False, "event_time": now, "source": "staff"}
    mask_event("feedback", event)
    if (reason := check("feedback", event, now)) is not None:
        raise SellerpulseError(reason)
    source = Source(Path("staff"), "jsonl", 0, lambda *_: iter([Record(Parsed("feedback", event), b"", 1)]))
    codec = Codec(registry=registry(settings))
    Feeder(settings.kafka, codec, clock=now_ms, patience_s=PATIENCE_S).feed([source], lambda *_: None)


# --- all -------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: "Settings") -> "Iterator[Store]":
    """The store, to read from."""
    from streams.credentials import open_to_read

    store = open_to_read(settings.clickhouse)
    try:
        yield store
    finally:
        store.close()


def _the_case(store: "Store", asked: "Asked") -> "Case":
    """The one case that is asked for. Raises SellerpulseError if there is none, or several."""
    from sink.desk import cases

    found = cases(store, asked, 2)
    if not found:
        raise SellerpulseError(f"there is no case {printable(asked.case)} like that")
    if len(found) > 1:
        raise SellerpulseError(f"{printable(asked.case)} names several: say --seller, --marketplace and --order too")
    return found[0]
