"""What is sent while things break: a simulated marketplace's events, many twice or late, some rubbish among them."""

import json
import random
from pathlib import Path
from typing import NamedTuple

from schemas.codec import Codec
from schemas.events import Parsed, account_key, from_json
from tests.integration.program import ALERTS, DAILY, REST, Sent, sql, succeed

SELLERS, DAYS = 40, 120
LAST_DAY = "2025-06-30"  # of what is simulated; a live worker's rows go on to today
UP_TO_THEN = f" WHERE day <= '{LAST_DAY}'"
TWICE, LATE, RUBBISH = 0.1, 0.05, 0.005
LATE_BY = 1 / 3  # of the stream, at most


class Tables(NamedTuple):
    """Rows as lines: of `seller_daily`, and of what else a run must leave."""

    daily: list[str]
    rest: list[str]


class Sending(NamedTuple):
    """A record, and whether it is an event."""

    record: Sent
    is_event: bool


class Stream(NamedTuple):
    """Records in the order in which they are sent, their events as a file, and what a clean run makes of them."""

    file: Path
    records: list[Sending]
    live: Tables  # without what a live worker need not repeat
    replayed: Tables  # with alerts


def make(folder: Path, *, events: int, seed: int) -> Stream:
    """The stream of this seed, and the tables of a clean replay of its file."""
    file = folder / "events.jsonl"
    words = ("--sellers", SELLERS, "--days", DAYS, "--events", events, "--seed", seed, "-o", file)
    succeed(folder, "simulate", *map(str, words))
    records = _disturbed(file, random.Random(seed))
    succeed(folder, "replay", file, "--db", "clean", "--as-of", LAST_DAY)
    return Stream(file, records, tables(folder / "clean"), tables(folder / "clean", more=ALERTS))


def tables(db: str | Path, more: str = "") -> Tables:
    """The tables as they are now."""
    daily, rest = sql(db, DAILY.format(where=UP_TO_THEN)), sql(db, REST.format(more=more))
    return Tables(daily.splitlines(), rest.splitlines())


def _disturbed(file: Path, rng: random.Random) -> list[Sending]:
    codec, placed = Codec(), []
    parsed = [from_json(json.loads(line)) for line in file.read_bytes().splitlines()]

    def late() -> float:
        return rng.random() * LATE_BY * len(parsed)

    for n, event in enumerate(parsed):
        assert isinstance(event, Parsed)
        value = codec.encode(event.topic, event.event)
        sent: Sent = event.topic, account_key(event.event), value, []
        placed.append((n + (late() if rng.random() < LATE else 0), Sending(sent, is_event=True)))
        if rng.random() < TWICE:
            placed.append((n + late(), Sending(sent, is_event=True)))
        if rng.random() < RUBBISH:
            placed.append((n, Sending((*sent[:2], value[: len(value) // 2], []), is_event=False)))
    return [sending for _, sending in sorted(placed, key=lambda one: one[0])]
