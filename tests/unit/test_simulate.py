"""The simulated marketplace: the same on every machine, valid to the last event, in trouble where it says it is."""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard

from schemas.errors import ConfigurationError
from schemas.events import MS_A_DAY, ORDER_KINDS, STAFF_KINDS, TOPICS, Parsed, check, from_json
from streams.connectors.simulate import (
    BATCH,
    CLAIMS,
    DRIED_UP,
    LATE,
    RECOVERED,
    REMOVED,
    UNHELPFUL,
    Simulation,
    simulate,
    troubles,
    write,
)

SMALL = Simulation(sellers=40, days=120, events=6_000, seed=7)
YEAR = Simulation(sellers=60, events=200_000, seed=3)


@pytest.fixture(scope="module")
def small() -> list[Parsed]:
    return list(simulate(SMALL))


@pytest.fixture(scope="module")
def year() -> list[Parsed]:
    return list(simulate(YEAR))


def digest(events: list[Parsed]) -> str:
    return sha256("\n".join(json.dumps(event) for event in events).encode()).hexdigest()


# --- the events ----------------------------------------------------------------------------------------------


def test_the_same_numbers_give_the_same_events_on_every_machine_and_python(small: list[Parsed]) -> None:
    assert digest(small) == "08650f9ec82b6b4da25e8f853ae4a6050b2a28091706b34d4ad57240796c9915"


def test_another_seed_is_another_marketplace(small: list[Parsed]) -> None:
    other = list(simulate(replace(SMALL, seed=8)))
    assert {p.event["seller_id"] for p in other}.isdisjoint(p.event["seller_id"] for p in small)


@pytest.mark.parametrize(
    "simulation",
    [
        Simulation(sellers=1, days=1, events=1),
        Simulation(sellers=1, days=1, events=500),
        Simulation(sellers=3, days=400, events=40),
        Simulation(sellers=500, days=7, events=3_000),
        SMALL,
    ],
    ids=str,
)
def test_there_are_as_many_events_as_asked_by_time_and_within_the_days(simulation: Simulation) -> None:
    times = [parsed.event["event_time"] for parsed in simulate(simulation)]
    assert len(times) == simulation.events
    assert times == sorted(times)
    assert simulation.first_day * MS_A_DAY <= times[0]
    assert times[-1] < (simulation.last_day + 1) * MS_A_DAY


def test_every_event_is_complete_and_passes_every_check(small: list[Parsed]) -> None:
    for parsed in small:
        topic, event = parsed
        assert check(topic, event, SMALL.last_day * MS_A_DAY) is None
        assert from_json(json.loads(json.dumps({"topic": topic, **event}))) == parsed


def test_ids_look_real_and_name_one_thing_each(small: list[Parsed]) -> None:
    assert len({(p.topic, p.event["event_id"]) for p in small}) == len(small)
    placed = [p.event["order_id"] for p in small if p.event.get("kind") == "PLACED"]
    assert len(set(placed)) == len(placed)
    assert all(re.fullmatch(r"\d{3}-\d{7}-\d{7}", order_id) for order_id in placed)
    assert all(re.fullmatch(r"A[0-9A-Z]{13}", p.event["seller_id"]) for p in small)


def test_every_order_begins_with_its_placement(small: list[Parsed]) -> None:
    assert {story[0].event["kind"] for story in stories(small).values()} == {"PLACED"}


def test_every_kind_of_event_occurs_but_the_one_nobody_sends(year: list[Parsed]) -> None:
    kinds = {p.event["kind"] for p in year if p.topic != "surveys"}
    assert {p.topic for p in year} == set(TOPICS)
    assert kinds == ORDER_KINDS | STAFF_KINDS - {"REVIEW_ASKED"} | {"SUBMITTED", "REMOVED", "STRUCK", "OPTED_OUT"}


def test_no_day_of_a_year_stands_out_but_for_christmas(year: list[Parsed]) -> None:
    days = Counter(p.event["event_time"] // MS_A_DAY for p in year if p.event.get("kind") == "PLACED")
    usual = sorted(days.values())[len(days) // 2]
    assert set(days) == set(range(YEAR.first_day, YEAR.last_day + 1))
    assert min(days.values()) > usual / 2.5
    assert 1.7 * usual < max(days.values()) < 3.5 * usual
    assert usual / 1.8 < days[YEAR.last_day] < usual * 1.8


# --- rates ---------------------------------------------------------------------------------------------------


def test_rates_of_healthy_accounts_are_like_a_real_marketplace(year: list[Parsed]) -> None:
    ill = {trouble[:2] for trouble in troubles(YEAR)}
    healthy = [p for p in year if (p.event["seller_id"], p.event["marketplace_id"]) not in ill]
    kinds = Counter(p.event["kind"] for p in healthy if p.topic != "surveys")
    orders = kinds["PLACED"]
    assert 0.02 < kinds["CANCELLED"] / orders < 0.04
    assert 0.03 < kinds["RETURNED"] / orders < 0.05
    assert 0.001 < kinds["CLAIM_OPENED"] / orders < 0.007
    assert 0.09 < kinds["SUBMITTED"] / kinds["DELIVERED"] < 0.14
    stars = Counter(p.event["rating"] for p in healthy if p.event.get("kind") == "SUBMITTED")
    assert 0.84 < stars[5] / stars.total() < 0.92
    assert 0.02 < (stars[1] + stars[2]) / stars.total() < 0.06
    assert 0.2 < sum(p.event.get("fulfilment") == "MARKETPLACE" for p in healthy) / orders < 0.3
    answers = [p.event["solved"] for p in healthy if p.topic == "surveys"]
    assert 0.05 < len({p.event["conversation_id"] for p in healthy if p.topic == "surveys"}) / orders < 0.07
    assert 0.8 < sum(answers) / len(answers) < 0.9


def test_few_accounts_are_big_and_only_those_have_forty_answers_in_every_four_weeks(year: list[Parsed]) -> None:
    weeks: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    orders: Counter[tuple[str, str]] = Counter()
    for topic, event in year:
        account = event["seller_id"], event["marketplace_id"]
        orders[account] += event.get("kind") == "PLACED"
        if topic == "surveys":
            weeks[account][(event["event_time"] // MS_A_DAY - YEAR.first_day) // 28] += 1
    biggest, *_, medium = [account for account, _ in orders.most_common(12)]
    assert min(weeks[biggest][block] for block in range(1, 13)) >= 40
    assert max(weeks[medium].values()) < 40
    assert orders[biggest] > 50 * orders.most_common()[len(orders) // 2][1]


# --- troubles ------------------------------------------------------------------------------------------------


def stories(events: list[Parsed]) -> dict[str, list[Parsed]]:
    """The events of each order by time, answers to surveys that name it among them."""
    found: dict[str, list[Parsed]] = defaultdict(list)
    for parsed in events:
        if parsed.event["order_id"]:
            found[parsed.event["order_id"]].append(parsed)
    return found


def with_kind(kind: str) -> Callable[[list[Parsed]], bool]:
    return lambda story: any(p.event.get("kind") == kind for p in story)


def is_late(story: list[Parsed]) -> bool:
    promises = [p.event["deliver_by"] for p in story if p.event.get("deliver_by")]
    received = [p.event["event_time"] for p in story if p.event.get("kind") == "DELIVERED"]
    return bool(promises and received) and received[0] > promises[-1]


def is_angry(story: list[Parsed]) -> bool:
    return any(p.event.get("rating") in (1, 2) for p in story)


def is_unsolved(story: list[Parsed]) -> bool:
    return any(p.event.get("solved") is False for p in story)


def is_rated(story: list[Parsed]) -> bool:
    return with_kind("SUBMITTED")(story)


# What, its sign, and the bounds of the share of orders with it: among the troubled, among the account's others.
SIGNS = [
    (RECOVERED, is_unsolved, (0.06, 0.2), (0.0, 0.03)),
    (UNHELPFUL, is_unsolved, (0.06, 0.2), (0.0, 0.03)),
    (DRIED_UP, is_rated, (0.0, 0.015), (0.08, 0.2)),
    (LATE, is_late, (0.4, 0.7), (0.0, 0.05)),
    (BATCH, is_angry, (0.02, 0.1), (0.0, 0.012)),
    (CLAIMS, with_kind("CLAIM_OPENED"), (0.04, 0.15), (0.0, 0.015)),
    (REMOVED, with_kind("REMOVED"), (0.01, 0.08), (0.0, 0.008)),
]


@pytest.mark.parametrize("what, sign, within, beside", SIGNS)
def test_each_trouble_shows_in_the_days_it_is_planted_in_and_not_beside_them(
    year: list[Parsed],
    what: str,
    sign: Callable[[list[Parsed]], bool],
    within: tuple[float, float],
    beside: tuple[float, float],
) -> None:
    trouble = next(trouble for trouble in troubles(YEAR) if trouble.what == what)
    shares: dict[bool, list[bool]] = {True: [], False: []}
    for story in stories(year).values():
        first = story[0].event
        if (first["seller_id"], first["marketplace_id"]) == trouble[:2]:
            day = first["event_time"] // MS_A_DAY
            shares[trouble.from_day <= day <= trouble.to_day].append(sign(story))
    assert within[0] < sum(shares[True]) / len(shares[True]) < within[1]
    assert beside[0] <= sum(shares[False]) / len(shares[False]) < beside[1]


@pytest.mark.parametrize("sellers, least, most", [(1, 0, 0), (5, 3, 3), (40, 7, 7), (200, 19, 23)])
def test_about_eight_accounts_in_a_hundred_are_in_trouble(sellers: int, least: int, most: int) -> None:
    simulation = replace(YEAR, sellers=sellers)
    planted = troubles(simulation)
    assert least <= len(planted) <= most
    assert len({trouble[:2] for trouble in planted}) == len(planted)
    for trouble in planted:
        assert simulation.first_day <= trouble.from_day <= trouble.to_day <= simulation.last_day
    assert planted == troubles(simulation)


# --- files ---------------------------------------------------------------------------------------------------


def test_a_file_is_the_same_events_in_every_compression(tmp_path: Path, small: list[Parsed]) -> None:
    told: list[int] = []
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        assert write(SMALL, tmp_path / name, told.append) == SMALL.events
    plain = (tmp_path / "a.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == plain
    with zstandard.open(tmp_path / "a.jsonl.zst", "rb") as compressed:
        assert compressed.read() == plain
    assert [from_json(json.loads(line)) for line in plain.splitlines()] == small
    assert all(line.startswith(b'{"topic":"') for line in plain.splitlines())
    assert told == [SMALL.events] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"]


def test_the_same_file_comes_out_twice(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write(SMALL, tmp_path / name, lambda _: None)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


@pytest.mark.parametrize("name", ["a.avro", "a.json", "jsonl", "missing/a.jsonl", "folder.jsonl"])
def test_a_file_that_cannot_be_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match=re.escape(Path(name).name)):
        write(replace(SMALL, events=10), tmp_path / name, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.jsonl"]


def test_a_write_cut_short_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    def give_up(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "a.jsonl"
    path.write_text("what was there")
    with pytest.raises(KeyboardInterrupt):
        write(SMALL, path, give_up)
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("wrong", [{"sellers": 0}, {"days": 0}, {"events": -1}, {"days": 10_000}])
def test_a_simulation_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        Simulation(**wrong)
