"""Which parts hold a table's rows, by their names, and whether something was inserted between two listings."""

import pytest

from sink.instant import _active, _blocks


def names(*parts: str) -> list[str]:
    return sorted(part.name for part in _active(["t"], [parts]))


@pytest.mark.parametrize(
    "listed, active",
    [
        ("all_1_1_0 all_2_2_0", "all_1_1_0 all_2_2_0"),
        ("all_1_1_0 all_2_2_0 all_1_2_1", "all_1_2_1"),
        ("all_1_2_1 all_1_4_2 all_3_4_1 all_5_5_0", "all_1_4_2 all_5_5_0"),
        ("all_1_4_2 all_1_4_2_9", "all_1_4_2_9"),
        ("all_9_9_0 all_10_10_0 all_9_10_1", "all_9_10_1"),  # numbers, not texts
        ("202501_1_1_0 202502_1_2_1", "202501_1_1_0 202502_1_2_1"),
        ("all_1_1_0 tmp_insert_all_2_2_0 tmp_merge_all_1_2_1 delete_tmp_all_0_0_0 detached", "all_1_1_0"),
    ],
)
def test_a_part_that_another_was_made_from_is_not_active(listed: str, active: str) -> None:
    assert names(*listed.split()) == sorted(active.split())


@pytest.mark.parametrize(
    "once, again, same",
    [
        ("all_1_1_0 all_2_2_0", "all_1_1_0 all_2_2_0", True),
        ("all_1_1_0 all_2_2_0", "all_1_1_0 all_2_2_0 all_1_2_1", True),
        ("all_1_1_0 all_2_2_0 all_1_2_1", "all_1_2_1", True),
        ("all_1_1_0", "all_1_1_0 all_2_2_0", False),
        ("all_1_1_0", "all_1_1_0 all_2_2_0 all_1_2_1", False),
        ("all_1_1_0 all_3_3_0", "all_1_1_0 all_2_2_0 all_3_3_0", False),  # began earlier, came later
    ],
)
def test_what_was_inserted_between_two_listings_shows_and_what_was_merged_does_not(
    once: str, again: str, same: bool
) -> None:
    assert (_blocks(_active(["t"], [once.split()])) == _blocks(_active(["t"], [again.split()]))) == same


def test_tables_do_not_mix() -> None:
    assert len(_active(["t", "u"], [["all_1_9_1"], ["all_2_2_0"]])) == 2
