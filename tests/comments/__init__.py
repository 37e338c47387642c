"""Comments written for the purpose, with what should be read in them, and how well it is.

`labelled.jsonl` has one comment a line: its part (`development`, which the lists were made with, or `held_out`, which
was written before and never tuned on), language, text, stars, who fulfilled, grounds and root causes.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from streams.core.comments import Reading, read

Labelled = dict[str, Any]

PARTS = ("development", "held_out")


class Score(NamedTuple):
    """How often something was said rightly, said wrongly, and missed."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float | None:
        """Share of what was said that is right; None if nothing was."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of what should be said that was; None if nothing should."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


def labelled() -> list[Labelled]:
    """The comments with their labels."""
    text = Path(__file__).with_name("labelled.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def reading(one: Labelled) -> Reading:
    """What we read in it."""
    return read(one["comment"], rating=one["rating"], answers=None, by_marketplace=one["by_marketplace"])


def score(comments: Iterable[Labelled], of: str, wanted: Callable[[str], bool]) -> Score:
    """Of the `grounds` or `causes` that are `wanted`, over some comments."""
    right = wrong = missed = 0
    for one in comments:
        said, true = (set(filter(wanted, names)) for names in (getattr(reading(one), of), one[of]))
        right, wrong, missed = right + len(said & true), wrong + len(said - true), missed + len(true - said)
    return Score(right, wrong, missed)
