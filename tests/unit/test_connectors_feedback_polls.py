"""The feedback report polled again: exactly what happened between two polls is told, and never too much."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import FileDamaged
from streams.connectors.files import Record, ReportOptions, find_sources, owed_source
from streams.connectors.polls import Polls
from tests.unit.sources import events, refusals
from tests.unit.test_connectors_report import AMAZON, TEN

SIX = "Date\tRating\tComments\tResponse\tOrder ID\tRater Email"
FIRST = datetime(2025, 3, 1, tzinfo=UTC)
OLD = "1/1/25\t5\tfine\t\told\tx"  # of the oldest day, of which a report says nothing
Told = tuple[str, str, int | None, str]  # kind, order, stars, time


class Account:
    """A state, and the report as it is polled day by day."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.polls, self.days = folder, Polls(folder / "state"), 0

    def poll(self, *rows: str, header: str = SIX, end: str = "\n", **options: Any) -> list[dict[str, Any]]:
        """What a poll tells, on the next day; kept."""
        told = self.read("\n".join((header, *rows)) + end, **options)
        self.polls.keep()
        return told

    def read(self, content: str | bytes, at: datetime | None = None, **options: Any) -> list[dict[str, Any]]:
        self.days += 1
        path = self.folder / "feedback.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        at = at or FIRST + timedelta(days=self.days)
        given = ReportOptions(
            seller="S", marketplace="US", polls=self.polls, polled_ms=int(at.timestamp() * 1000), **options
        )
        (self.source,) = find_sources([path], given)
        self.damage = ""
        found: list[Record] = []
        try:
            found.extend(self.source.read(lambda _: None))
        except FileDamaged as damage:
            self.damage = str(damage)
        self.refused = refusals(found)
        return events(found)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    account = Account(tmp_path)
    with account.polls:
        yield account


def row(order: str, stars: int = 5, day: str = "2/3/25", comment: str = "", response: str = "") -> str:
    return "\t".join((day, str(stars), comment, response, order, "x@y.de"))


def said(found: list[dict[str, Any]]) -> list[Told]:
    times = (datetime.fromtimestamp(event["event_time"] / 1000, UTC).isoformat()[:10] for event in found)
    return [(e["kind"], e["order_id"], e["rating"], at) for e, at in zip(found, times, strict=True)]


def test_the_same_report_again_tells_nothing(account: Account) -> None:
    assert len(account.poll(OLD, row("a"), row("b", response="thanks"))) == 4
    assert account.poll(OLD, row("a"), row("b", response="thanks")) == []
    assert account.poll(row("b", response="thanks"), OLD, row("a")) == []


def test_a_rating_that_changed_is_submitted_anew_and_stands_whatever_the_ids(account: Account) -> None:
    told = account.poll(OLD, row("a", 5))
    for stars, comment in ((1, ""), (5, ""), (5, "well"), (1, "")):  # there and back again
        told += (new := account.poll(OLD, row("a", stars, comment=comment)))
        assert said(new) == [("SUBMITTED", "a", stars, f"2025-03-{1 + account.days:02d}")]
        assert [event["date_only"] for event in new] == [False]
    of_a = [event for event in told if event["order_id"] == "a"]
    assert len({event["event_id"] for event in of_a}) == 5
    assert sorted(of_a, key=lambda event: (event["event_time"], event["event_id"])) == of_a


def test_a_new_date_is_the_time_of_what_changed_but_nothing_is_told_out_of_order(account: Account) -> None:
    told = account.poll(OLD, row("a", 5))
    told += account.poll(OLD, row("a", 1, "2/20/25"))
    told += account.poll(OLD, row("a", 2, "2/3/25"))  # a date set back
    told += account.poll(OLD, row("a", 3, "2/20/25"))
    changes = [event for event in told if event["order_id"] == "a"]
    assert [day for _, _, _, day in said(changes)] == ["2025-02-03", "2025-02-20", "2025-02-20", "2025-02-20"]
    assert [event["date_only"] for event in changes] == [True, True, False, True]
    assert [event["event_id"] for event in changes] == sorted(event["event_id"] for event in changes)


def test_a_rating_that_vanished_is_removed_and_submitted_anew_when_it_is_back(account: Account) -> None:
    account.poll(OLD, row("a", 1), row("b"))
    assert said(account.poll(OLD, row("b"))) == [("REMOVED", "a", None, "2025-03-03")]
    assert account.poll(OLD, row("b")) == []
    assert said(account.poll(OLD, row("a", 1), row("b"))) == [("SUBMITTED", "a", 1, "2025-03-05")]
    assert said(account.poll(OLD, row("b"))) == [("REMOVED", "a", None, "2025-03-06")]


def test_a_response_is_told_once_and_another_one_anew(account: Account) -> None:
    assert [kind for kind, *_ in said(account.poll(OLD, row("a"), row("b", response="sorry")))] == [
        "SUBMITTED", "SUBMITTED", "SUBMITTED", "RESPONDED",
    ]  # fmt: skip
    assert said(account.poll(OLD, row("a", response="thanks"), row("b", response="sorry"))) == [
        ("RESPONDED", "a", None, "2025-03-03")
    ]
    assert account.poll(OLD, row("a", response="thanks"), row("b", response="sorry")) == []
    (again,) = account.poll(OLD, row("a", response="thank you"), row("b", response="sorry"))
    assert (again["kind"], again["comment"]) == ("RESPONDED", "thank you")


def test_another_form_of_the_report_changes_nothing(account: Account) -> None:
    account.poll(OLD, row("a", response="thanks"), row("b"))
    ten = [
        f"{day}\t5\t{comment}\t{response}\tYes\t-\tNo\t{order}\tx\tBuyer"
        for day, comment, response, order in (("1/1/25", "fine", "", "old"), ("2/3/25", "", "thanks", "a"))
    ]
    assert account.poll(*ten, header=TEN) == []  # nor does it say that b is gone
    assert account.source.left_out.total() == 1
    changed = ten[1].replace("Yes", "No")
    assert [(e["order_id"], e["kind"]) for e in account.poll(ten[0], changed, header=TEN)] == [
        ("a", "SUBMITTED"), ("b", "REMOVED"),
    ]  # fmt: skip


def test_an_older_report_brings_what_is_new_alone(account: Account) -> None:
    account.poll(OLD, row("a"), row("b"))
    assert said(account.poll(OLD, row("a", 1), row("c"), at=FIRST)) == [("SUBMITTED", "c", 5, "2025-02-03")]
    assert account.poll(OLD, row("a"), row("b"), row("c")) == []


def test_days_at_the_edge_of_a_report_say_nothing_of_what_vanished(account: Account) -> None:
    account.poll(OLD, row("a", day="1/1/25"), row("b", day="1/2/25"), row("c", day="3/4/25"))
    assert account.poll(row("b", day="1/2/25"), row("c", day="3/4/25")) == []  # older ones are no longer reported
    assert account.poll(row("b", day="1/2/25"), at=FIRST + timedelta(days=2, hours=20)) == []  # c is of the day after
    assert [e["order_id"] for e in account.poll(row("b", day="1/2/25"))] == ["c"]


WHOLE = "\n".join((SIX, OLD, *(row(f"o{number}") for number in range(40)), ""))


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(WHOLE.split("\n")[:-6]) + "\n02/03/25\t5\t\t\to3",  # its last line cut within the order id
        WHOLE.removesuffix("\n"),
        "\n".join([*WHOLE.split("\n")[:-4], "31/31/25\t5\t\t\to39\t", ""]),  # a row that is refused
    ],
)
def test_a_report_that_is_not_whole_removes_nothing(account: Account, content: str) -> None:
    account.read(WHOLE)
    gone = "\t\to7\t"
    without = "\n".join(line for line in content.split("\n") if gone not in line)
    assert account.read(without) == []
    assert account.source.left_out.total() >= 1
    assert [e["order_id"] for e in account.read("\n".join(line for line in WHOLE.split("\n") if gone not in line))] == [
        "o7"
    ]


@pytest.mark.parametrize("content", [SIX, SIX + "\n", "CANCELLED", '"CANCELLED"\r\n', ""])
def test_a_report_with_nothing_in_it_is_an_empty_poll(account: Account, content: str) -> None:
    account.read(WHOLE)
    assert account.read(content, format="feedback-report") == []
    assert dict(account.source.left_out) == {"a report with nothing in it: an empty poll": 1}
    assert (account.damage, account.refused) == ("", [])
    assert account.read(WHOLE) == []


@pytest.mark.parametrize("gone, held", [(4, False), (5, True)])
def test_no_more_than_a_tenth_vanishes_at_once_unless_it_is_accepted(account: Account, gone: int, held: bool) -> None:
    account.read(WHOLE)
    less = "\n".join([*WHOLE.split("\n")[: -1 - gone], ""])
    assert len(account.read(less)) == (0 if held else gone)
    assert (f"{gone} of 40 known ratings" in account.damage) == held
    if held:
        assert str(account.source.path) in account.damage
        assert account.read(less) == []  # as long as nobody says so
        assert [e["kind"] for e in account.read(less, accepts_removals=True)] == ["REMOVED"] * gone
        assert account.read(less) == []
        assert account.damage == ""


def test_another_account_s_report_removes_nothing(account: Account) -> None:
    account.poll(row("a", day="1/2/25"), row("b"))
    told = account.poll(OLD, row("c"))
    assert {event["kind"] for event in told} == {"SUBMITTED"}
    assert "2 of 2 known ratings" in account.damage


def test_one_damaged_byte_changes_no_other_comment(account: Account) -> None:
    good = [row(f"o{number}", comment="Größe") for number in range(5)]
    account.poll(OLD, *good)
    content = "\n".join((SIX, OLD, *good, "")).encode().replace("ö".encode(), b"\xf6", 1)
    assert account.read(content) == []
    assert len(account.refused) == 1


def test_sources_are_kept_apart_by_name_and_id(account: Account) -> None:
    (plain,) = account.poll(OLD)
    (named,) = account.poll(OLD, source="amazon-1-3")
    assert (plain["source"], named["source"]) == ("feedback-report", "amazon-1-3")
    assert plain["event_id"] != named["event_id"]
    assert account.poll(OLD, source="amazon-1-3") == []


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no real reports at {AMAZON}")
def test_a_real_report_three_times_then_edited(account: Account) -> None:
    content = (AMAZON / "amazon_seller_feedback_2011.tsv").read_text()
    assert len(account.read(content)) == 135
    assert [account.read(content) for _ in range(2)] == [[], []]
    edited, expected = edit(content)
    assert said(account.read(edited)) == [(*one, "2025-03-05") for one in expected]
    assert account.read(edited) == []


def edit(content: str) -> tuple[str, list[tuple[str, str, int | None]]]:
    """A report with two rows edited and one gone, and what that tells: kind, order, stars."""
    lines = content.splitlines(keepends=True)
    fields = [line.split("\t") for line in lines]
    fields[4][1], fields[9][2] = "4", "On second thought: not so good."
    edited = ["\t".join(row) for row in fields]
    del edited[20]
    told: list[tuple[str, str, int | None]] = [
        ("SUBMITTED", fields[4][6], 4), ("SUBMITTED", fields[9][6], int(fields[9][1])),
        ("REMOVED", fields[20][6], None),
    ]  # fmt: skip
    return "".join(edited), told


# --- any sequence of polls, with crashes ------------------------------------------------------------------------


class Step(NamedTuple):
    """A download: of orders a to f, day and stars; and where the process dies: before the events are owed, then sent,
    then kept; None: nowhere."""

    ratings: dict[str, tuple[int, int]]
    dies: str | None


STEPS = st.lists(
    st.builds(
        Step,
        st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(2, 28), st.integers(1, 5))),
        st.sampled_from([None, "read", "owed", "sent"]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_whatever_was_polled_and_wherever_it_died_the_last_report_stands(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    account = Account(tmp_path_factory.mktemp("polls"))
    kafka: dict[tuple[str, str], dict[str, Any]] = {}
    for step in [*steps, steps[-1]._replace(dies=None)]:
        with Polls(account.folder / "state") as account.polls:
            for record in owed.read(lambda _: None) if (owed := owed_source(account.polls)) else ():
                send(kafka, events([record]))
            rows = [row(order, stars, f"2/{day}/25") for order, (day, stars) in step.ratings.items()]
            if step.dies == "read":
                account.polls.owe = lambda events: None  # type: ignore[method-assign]  # it did not come to that
                account.read("\n".join((SIX, OLD, *rows, "")), accepts_removals=True)
                continue
            told = account.read("\n".join((SIX, OLD, *rows, "")), accepts_removals=True)
            if step.dies != "owed":
                send(kafka, told)
            if step.dies is None:
                account.polls.keep()
    assert standing(kafka) == {"old": 5} | {order: stars for order, (_, stars) in steps[-1].ratings.items()}


def send(kafka: dict[tuple[str, str], dict[str, Any]], told: list[dict[str, Any]]) -> None:
    for event in told:
        assert kafka.setdefault((event["order_id"], event["event_id"]), event) == event  # an id names one content


def standing(kafka: dict[tuple[str, str], dict[str, Any]]) -> dict[str, int]:
    stars: dict[str, int] = {}
    for event in sorted(kafka.values(), key=lambda event: (event["event_time"], event["event_id"].encode())):
        stars.pop(event["order_id"], None)
        if event["kind"] == "SUBMITTED":
            stars[event["order_id"]] = event["rating"]
    return stars
