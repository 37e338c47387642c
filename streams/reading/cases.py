"""Cases as programs are told of them: columns of `feedback_cases`, times as text, what falls due and the next step."""

from typing import TYPE_CHECKING, Any

from schemas.events import iso_time
from streams.core.playbook import steps

if TYPE_CHECKING:
    from sink.desk import Case


def instant(time_ms: int | None) -> str | None:
    """An instant for programs, ISO-8601."""
    return None if time_ms is None else iso_time(time_ms, "milliseconds")


def plain(case: "Case") -> dict[str, Any]:
    """The view's columns, times as text."""
    from sink.desk import COLUMNS, TIMES

    return {name: instant(case[name]) if name in TIMES else case[name] for name in COLUMNS}


def next_step(case: "Case", now_ms: int) -> str:
    """What to do next, in words; "" if nothing is to be done."""
    return next((step.title for step in steps(case, case["done"], now_ms)), "")
