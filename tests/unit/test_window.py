"""The feeder's window: it holds back before the embedded broker drops what nobody has read, and lets go in the end."""

from typing import cast

import pytest

from schemas.errors import SellerpulseError
from streams.broker import BYTES_MAX, RECORDS_MAX, Partition, Progress, Window

AT: Partition = ("orders", 0)


class Told:
    """Stands in for `Progress`: what the broker would answer."""

    def __init__(self) -> None:
        self.read = self.kept_from = 0

    def committed(self) -> dict[Partition, int]:
        return {AT: self.read}

    def ends(self) -> dict[Partition, tuple[int, int]]:
        return {AT: (self.kept_from, 0)}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def window(told: Told) -> Window:
    return Window(cast("Progress", told))


@pytest.mark.parametrize("size", [10, 300, 20_000, BYTES_MAX, 2 * BYTES_MAX])
def test_whatever_the_size_of_records_there_is_room_again_when_all_is_read(
    window: Window, told: Told, size: int
) -> None:
    sent = 0
    while sent < 3 * RECORDS_MAX and sent * size < 10 * BYTES_MAX:
        sent += 1
        if not window.sent(AT, size) and not window.has_room():
            told.read = sent
            assert window.has_room()


@pytest.mark.parametrize("size", [10, 300, 20_000])
def test_what_is_unread_stays_within_the_bounds(window: Window, size: int) -> None:
    sent = 0
    while window.sent(AT, size) or window.has_room():
        sent += 1
        assert sent <= RECORDS_MAX
        assert sent * size <= BYTES_MAX
    assert sent > min(RECORDS_MAX, BYTES_MAX / (size + 30)) / 2  # and no less than it might be
    assert not window.has_room()


def test_a_part_that_is_read_makes_room(window: Window, told: Told) -> None:
    sent = 1
    while window.sent(AT, 300) or window.has_room():
        sent += 1
    told.read = sent // 2
    assert window.has_room()


def test_records_that_were_dropped_unread_end_it(window: Window, told: Told) -> None:
    window.sent(AT, 10)
    window.check()
    told.kept_from = 1
    with pytest.raises(SellerpulseError, match="dropped records of orders"):
        window.check()
