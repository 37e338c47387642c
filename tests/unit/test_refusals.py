"""The share of records that a worker may refuse: of each topic's last ones, and never for a few."""

import pytest

from schemas.batch import Checked
from schemas.errors import TooManyRefused
from schemas.events import Refusal, Topic
from streams.refusals import FEW, LAST, LIMIT, NO_LIMIT, Refusals

GOOD = Checked(("S", "M"), 0, b"", b"", None)
BAD = Refusal("unknown kind: SOLD", "orders")

Batch = tuple[Topic, int, int]  # so many good records of a topic, then so many bad ones


def taken(limit: float, *batches: Batch) -> Refusals:
    """What is left of a limit after these batches."""
    refusals = Refusals(limit)
    for topic, good, bad in batches:
        refusals.add(topic, [GOOD] * good + [BAD] * bad)
    return refusals


@pytest.mark.parametrize(
    "limit, batches",
    [
        (LIMIT, [("orders", 0, FEW - 1)]),
        (LIMIT, [("orders", 900, 100)]),  # no more than the limit
        (LIMIT, [("orders", LAST - 1000, 1000)]),
        (LIMIT, [("orders", 900, 100)] * 40),
        (LIMIT, [("orders", 9000, 1000), ("orders", LAST, 0), ("orders", 9000, 1000)]),  # the first are long ago
        (LIMIT, [("orders", 0, 60), ("feedback", 0, 60), ("surveys", 0, 60)]),
        (0.5, [("orders", 100, 100)]),
        (NO_LIMIT, [("orders", 0, 3 * LAST)]),
    ],
)
def test_a_share_within_the_limit_and_a_few_are_let_through(limit: float, batches: list[Batch]) -> None:
    taken(limit, *batches)


@pytest.mark.parametrize(
    "limit, batches, last, said",
    [
        (LIMIT, [], ("orders", 0, FEW), "100 of the last 100 records of topic orders were refused (100 %, limit 10 %)"),
        (LIMIT, [("orders", 0, 99)], ("orders", 0, 1), "100 of the last 100 "),
        (LIMIT, [("orders", 2 * LAST, 0)], ("orders", 0, 5000), "1,001 of the last 10,000 "),
        (LIMIT, [("orders", 9000, 999)], ("orders", 8999, 5), "1,001 of the last 10,000 "),
        (LIMIT, [("orders", LAST, 0)] * 9, ("surveys", 400, 300), "100 of the last 500 records of topic surveys"),
        (0.001, [("orders", LAST, 0)], ("orders", 0, 100), "(1 %, limit 0.1 %)"),
    ],
)  # fmt: skip
def test_more_of_a_topics_last_records_stop_the_worker(
    limit: float, batches: list[Batch], last: Batch, said: str
) -> None:
    with pytest.raises(TooManyRefused) as raised:
        taken(limit, *batches, last)
    assert said in str(raised.value)


def test_it_tells_the_reason_of_most_without_what_was_found() -> None:
    refusals = Refusals(LIMIT)
    refusals.add("orders", [GOOD] * 900 + [Refusal("no key", "orders")] * 40)
    with pytest.raises(TooManyRefused, match="most for: unknown kind; nothing of the last batch") as raised:
        refusals.add("orders", [BAD] * 90)
    assert "SOLD" not in str(raised.value)
