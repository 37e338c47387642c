"""A watched folder: what is new in it, look by look; nothing twice, nothing half written, nothing lost."""

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, FileDamaged
from streams.connectors.files import Record, ReportOptions
from streams.connectors.folder import Folder
from streams.connectors.polls import Polls
from tests.unit.sources import events, lines, numbered, refusals
from tests.unit.test_connectors_feedback_polls import OLD, SIX, row

OPTIONS = ReportOptions(seller="S", marketplace="US")


class Watched:
    """A folder with files written to it, and what each look at it brings."""

    def __init__(self, folder: Path) -> None:
        self.path, self.done = folder / "in", folder / "done"
        self.path.mkdir()
        self.warned: list[str] = []
        self.polls = Polls(folder / "state")
        self.restart()

    def restart(self, move_to: Path | None = None) -> None:
        """As a new process would."""
        self.polls.close()
        options = ReportOptions(seller="S", marketplace="US", polls=self.polls)
        self.folder = Folder(self.path, options, self.polls, warn=self.warned.append, move_to=move_to)

    def look(self, *, keeps: bool = True) -> list[Record]:
        found: list[Record] = []
        for portion in self.folder.look():
            try:
                found.extend(portion.source.read(lambda _: None))
                portion.learn(False)
            except FileDamaged:
                portion.learn(True)
            if keeps:
                self.polls.keep()
            else:
                self.polls.drop()
        return found

    def ids(self) -> list[str]:
        return [event["event_id"] for event in events(self.look())]

    def write(self, name: str, content: bytes, mode: str = "wb", age_s: float = 0) -> Path:
        path = self.path / name
        with path.open(mode) as file:
            file.write(content)
        if age_s:
            os.utime(path, (time.time() - age_s,) * 2)
        return path


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    with watched.polls:
        yield watched


ALL = numbered(6).splitlines(keepends=True)


def test_growing_lines_are_read_on_from_the_last_whole_one(watched: Watched) -> None:
    watched.write("a.jsonl", ALL[0] + ALL[1][:20])
    assert watched.ids() == ["o-0"]
    assert watched.ids() == []
    watched.write("a.jsonl", ALL[1][20:] + b"bad\n" + ALL[2], "ab")
    found = watched.look(keeps=False)
    watched.restart()
    assert watched.look() == found  # what was not kept comes again
    assert ([e["event_id"] for e in events(found)], refusals(found)[0][0]) == (["o-1", "o-2"], 3)
    watched.restart()
    watched.write("a.jsonl", b"bad again\n", "ab")
    assert [line for line, _ in refusals(watched.look())] == [5]  # counted from the file's first line


@pytest.mark.parametrize("how", ["renamed", "copied and cut"])
def test_rotated_lines_are_not_sent_as_something_else(watched: Watched, how: str) -> None:
    path = watched.write("a.jsonl", ALL[0] + b"bad\n")
    assert len(watched.look()) == 2
    rotated = watched.path / "a.jsonl.1"
    if how == "renamed":
        path.rename(rotated)
    else:
        rotated.write_bytes(path.read_bytes())
    watched.write("a.jsonl", b"".join(ALL[1:4]))
    watched.write("a.jsonl.1", ALL[4], "ab")
    found = watched.look()
    assert [e["event_id"] for e in events(found)] == ["o-1", "o-2", "o-3", "o-4"]
    assert (refusals(found), watched.look()) == ([], [])


def test_lines_that_are_cut_or_rewritten_start_over(watched: Watched) -> None:
    watched.write("a.jsonl", ALL[0] + ALL[1])
    assert watched.ids() == ["o-0", "o-1"]
    watched.write("a.jsonl", ALL[2])
    assert watched.ids() == ["o-2"]
    watched.write("a.jsonl", ALL[3] + ALL[4] + ALL[5])
    assert watched.ids() == ["o-3", "o-4", "o-5"]


def test_what_is_packed_waits_until_it_no_longer_changes(watched: Watched) -> None:
    content = gzip.compress(b"".join(ALL[:3]))
    watched.write("a.jsonl.gz", content[:30])
    assert watched.ids() == []
    watched.write("a.jsonl.gz", content[30:], "ab")
    assert watched.ids() == []
    assert watched.ids() == ["o-0", "o-1", "o-2"]
    assert watched.ids() == []
    (watched.path / "a.jsonl.gz").rename(watched.path / "b.jsonl.gz")
    assert [watched.ids() for _ in range(2)] == [[], []]


def test_what_is_unfinished_or_hidden_is_no_file_yet(watched: Watched) -> None:
    for name in (".a.jsonl", "a.jsonl.tmp", "b.jsonl.part"):
        watched.write(name, ALL[0])
    watched.write("empty.jsonl", b"")
    assert [watched.ids() for _ in range(2)] == [[], []]
    (watched.path / "a.jsonl.tmp").rename(watched.path / "a.jsonl")
    assert watched.ids() == ["o-0"]
    assert watched.warned == []


def test_a_report_that_is_replaced_is_a_new_poll(watched: Watched) -> None:
    report = "\n".join((SIX, OLD, row("a"), row("b"), ""))
    watched.write("feedback.txt", report.removesuffix("\n").encode())
    assert [watched.ids() for _ in range(3)] == [[], [], []]  # its last line may be half of one
    watched.write("feedback.txt", b"\n", "ab")
    assert [len(watched.ids()) for _ in range(3)] == [0, 3, 0]
    watched.write("feedback.txt", report.replace(row("a"), row("a", 1)).encode())
    watched.restart()
    told = [event for _ in range(3) for event in events(watched.look())]
    assert [(event["kind"], event["order_id"], event["rating"]) for event in told] == [("SUBMITTED", "a", 1)]


def test_a_report_that_is_old_is_read_whatever_its_end(watched: Watched) -> None:
    watched.write("feedback.txt", f"{SIX}\n{OLD}".encode(), age_s=120)
    assert [len(watched.ids()) for _ in range(3)] == [0, 1, 0]


def test_what_cannot_be_read_is_named_once_and_tried_again(watched: Watched) -> None:
    path = watched.write("what.bin", b"\x00\x01\x02\n")
    watched.write("a.jsonl", ALL[0])
    assert [watched.ids() for _ in range(4)] == [["o-0"], [], [], []]
    assert [warning.startswith(f"{path}: unknown format") for warning in watched.warned] == [True]
    watched.write("what.bin", ALL[1])
    assert watched.ids() == ["o-1"]


def test_nothing_moves_unless_told_and_then_what_is_done(watched: Watched) -> None:
    watched.write("a.jsonl", ALL[0] + ALL[1])
    watched.write("old.jsonl", ALL[2], age_s=120)
    watched.write("sub.txt", f"{SIX}\n{OLD}\n".encode())
    watched.write("cut.jsonl.gz", gzip.compress(lines(*({"n": n} for n in range(999))))[:-50])
    for _ in range(4):
        watched.look()
    assert len(list(watched.path.iterdir())) == 4
    watched.done.mkdir()
    (watched.done / "old.jsonl").write_text("another")
    watched.restart(watched.done)
    assert [watched.ids() for _ in range(3)] == [[], [], []]
    assert {path.name for path in watched.path.iterdir()} == {"a.jsonl", "cut.jsonl.gz"}  # may grow; is damaged
    assert {path.name for path in watched.done.iterdir()} == {"old.jsonl", "old.jsonl.1", "sub.txt"}
    assert (watched.done / "old.jsonl").read_text() == "another"
    with pytest.raises(ConfigurationError, match="within the folder"):
        watched.restart(watched.path / "done")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with Polls(None) as polls, pytest.raises(ConfigurationError, match="not a folder"):
        Folder(tmp_path / "none", OPTIONS, polls, warn=print)
