"""The answers of `explain` for people: a table with a curve; and for programs: JSON, or CSV lines."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from streams.commands.telling import printable, tell

Answer = Mapping[str, Any]

SHOWN = 20  # orders or events of a table, the newest
BARS = "▁▂▃▄▅▆▇█"
_LISTS = "metrics", "contributions", "moves", "arrivals"


def show(answer: Answer, output: str, every: bool) -> None:
    """Write an answer of `streams.reading.answers` to stdout; in a table only the newest, unless `every` one."""
    if output == "json":
        click.echo(json.dumps(answer, ensure_ascii=False))
    elif output == "csv":
        _write_lines(next(answer[name] for name in _LISTS if name in answer))
    else:
        _write_table(answer, every)


def _write_lines(records: Sequence[Answer]) -> None:
    flat = [_flat(record) for record in records]
    nothing: dict[str, Any] = dict.fromkeys((name for line in flat for name in line), 0)
    tell([nothing | line for line in flat], "csv")


def _flat(record: Answer) -> dict[str, Any]:
    """A record whose values are no lists."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if name == "brings":
            flat |= value
        elif name == "events":
            flat |= {"event_ids": " ".join(e["event_id"] for e in value), "what": "; ".join(e["what"] for e in value)}
        else:
            flat[name] = " ".join(value) if isinstance(value, list) else value
    return flat


# --- for people ----------------------------------------------------------------------------------------------


def _write_table(answer: Answer, every: bool) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(width=120, highlight=False)
    whose = printable(f"{answer['seller_id']} on {answer['marketplace_id']}")
    if "metrics" in answer:
        click.echo(f"{whose} at the end of {answer['day']}")
        _print(console, ("metric", "value", "the day before", "with the numbers put in"), [
            (m["metric"], _said(m["value"]), _said(m["day_before"]), m["note"] or _worked(m)) for m in answer["metrics"]
        ])  # fmt: skip
        return
    click.echo(f"{answer['metric']} of {whose}: {_headline(answer)}")
    for line in _workings(answer):
        click.echo(f"  {line}")
    if answer["is_late"]:
        click.echo(f"The stored row says {_said(answer['stored'])}: a worker or `sellerpulse rebuild` restates it.")
    for line in _curve(answer, console.width):
        click.echo(f"  {line}")
    if "contributions" in answer:
        _tables(console, answer, answer["contributions"], every)
    elif "moves" in answer:
        _tables(console, answer, answer["moves"], every)
    else:
        _arrivals(console, answer["arrivals"], every)


def _headline(answer: Answer) -> str:
    value, day = _said(answer["value"]), answer["day"]
    if "from" in answer:
        return f"{_said(answer['before'])} at the end of {answer['from']}, {value} at the end of {day}"
    if "arrivals" in answer:
        many = f"the {len(answer['arrivals']):,} events that arrived since {answer['seen_since']}"
        return f"at the end of {day} {_said(answer['without'])} without {many}, {value} with them"
    return f"{value} at the end of {day}"


def _worked(answer: Answer, working: str = "working") -> str:
    return "" if answer[working] == answer["formula"] else str(answer[working])


def _workings(answer: Answer) -> Iterable[str]:
    if "formula" in answer:
        yield answer["formula"]
    if "from" in answer:
        moved = _sums(answer["moves"])
        for side, now in answer["totals"].items():
            came, went = moved.get((side, True), 0), moved.get((side, False), 0)
            yield f"{side}: {answer['totals_before'][side]:,} {came:+,} entered {went:+,} left = {now:,}"
    elif "working" in answer and (worked := _worked(answer)):
        yield f"= {worked}"
    if answer["note"]:
        yield printable(answer["note"])
    for first, last in dict.fromkeys(
        (window["first"], window["last"]) for window in answer.get("windows", {}).values()
    ):
        yield f"dated {first} to {last}" if first else f"dated {last} or earlier"


def _sums(moves: Iterable[Answer]) -> dict[tuple[str, bool], int]:
    sums: dict[tuple[str, bool], int] = {}
    for move in moves:
        for side, amount in move["brings"].items():
            sums[side, move["entered"]] = sums.get((side, move["entered"]), 0) + amount
    return sums


def _curve(answer: Answer, width: int) -> Iterable[str]:
    """The metric as a line of bars, a day each or some days, those that are asked for marked beneath."""
    if "curve" not in answer or not any(isinstance(value, int | float) for value in answer["curve"]["values"]):
        return
    values = answer["curve"]["values"]
    first, days = date.fromisoformat(answer["curve"]["first"]), -(-len(values) // (width - 4))
    numbers = [value for value in values if value is not None]
    low, high = min(numbers), max(numbers)
    step = (high - low) / (len(BARS) - 1) or 1
    shown = values[::-days][::-1]  # the last day is there
    yield "".join(" " if value is None else BARS[int((value - low) / step + 0.5)] for value in shown)
    marked = {(date.fromisoformat(answer[name]) - first).days for name in ("from", "day") if name in answer}
    marks = [0] * len(shown)
    for at in marked:
        marks[len(shown) - 1 - (len(values) - 1 - at) // days] = 1
    yield "".join(" ^"[mark] for mark in marks).rstrip()
    each = "a day each" if days == 1 else f"{days} days each"
    last = date.fromordinal(first.toordinal() + len(values) - 1)
    yield f"{first} to {last}, {each}, from {_said(low)} to {_said(high)}"


def _tables(console: Console, answer: Answer, records: Sequence[Answer], every: bool) -> None:
    """A table for each kind of thing that counts: what brings the same is told together, the rarer first."""
    kinds: dict[tuple[str, ...], list[Answer]] = {}
    for record in records:
        kinds.setdefault((_kind(record), *record["counters"]), []).append(record)
    for kind, of_kind in sorted(kinds.items(), key=lambda each: len(each[1])):
        totals = {side: sum(record["brings"].get(side, 0) for record in of_kind) for side in answer["totals"]}
        brought = ", ".join(f"{total:+,} {side}" for side, total in totals.items() if total)
        click.echo(f"\n{len(of_kind):,} {kind[0]}{' and '.join(kind[1:])}{brought and ': '}{brought}")
        shown = of_kind if every else of_kind[:SHOWN]
        _print(console, _HEADINGS["entered" in of_kind[0]], [_row(record) for record in shown])
        _and_more(len(of_kind) - len(shown))


_HEADINGS = {
    False: ("order or conversation", "brings", "dated", "leaves", "events"),
    True: ("order or conversation", "brings", "dated", "day", "because of"),
}


def _kind(record: Answer) -> str:
    if "entered" not in record:
        return "x "
    if record["entered"]:
        return "entered, "
    return "left by age, " if record["by"] == "age" else "left by an event, "


def _row(record: Answer) -> tuple[str, ...]:
    subject = record.get("order_id") or record.get("conversation_id") or ""
    brings = " / ".join(f"{amount:+,}" for amount in record["brings"].values())
    events = "\n".join(f"{e['time'][:10]} {e['what']} ({e['event_id']})" for e in record["events"])
    if "entered" in record:
        events = events or ("age" if record["by"] == "age" else "time: it counts as received")
        return subject, brings, record["dated"], record["day"], events
    leaves = record["leaves"] or "-"
    return (
        subject,
        brings,
        record["dated"],
        leaves + (", by an event" if record["leaves_by"] == "event" else ""),
        events,
    )


def _arrivals(console: Console, records: Sequence[Answer], every: bool) -> None:
    changing = [record for record in records if record["before"] != record["after"]]
    shown = changing if every else changing[-SHOWN:]
    rows = [
        (r["first_seen_at"][:19].replace("T", " "), r.get("order_id") or r.get("conversation_id") or "",
         f"{r['time'][:10]} {r['what']} ({r['event_id']})", _said(r["before"]), _said(r["after"]))
        for r in reversed(shown)
    ]  # fmt: skip
    if rows:
        _print(console, ("arrived", "order or conversation", "event", "before", "after"), rows)
    _and_more(len(changing) - len(shown))
    if unchanged := len(records) - len(changing):
        click.echo(f"{unchanged:,} event{'' if unchanged == 1 else 's'} changed nothing.")


def _and_more(many: int) -> None:
    if many > 0:
        click.echo(f"... and {many:,} more (--all)")


def _print(console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(("\n".join(map(printable, cell.split("\n")))) for cell in row))
    console.print(table, markup=False)


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
