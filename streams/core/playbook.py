"""What to do about a case: the steps of `playbook.toml` that apply to it at an instant, with their words filled in."""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schemas.events import MS_A_DAY

_BOOK: dict[str, Any] = tomllib.loads((Path(__file__).parent / "playbook.toml").read_text(encoding="utf-8"))


class Step(NamedTuple):
    """A thing to do, in words; `act` is the kind of event that says it was done, "" where nothing is to be."""

    title: str
    act: str
    says: str


def steps(
    case: Mapping[str, Any], done: Collection[str], now_ms: int, words: Mapping[str, str] | None = None
) -> list[Step]:
    """The steps that apply, the next one first.

    `case` has the columns of `feedback_cases`, times as epoch ms; `done` are the kinds of the order's feedback events
    since the rating; `words` are what texts name beside grounds and causes, without which there are no texts.
    """
    told = None if words is None else {**words, **_of_case(case)}
    return [
        Step(step["title"], step.get("act", ""), step["says"].strip().format_map(told) if told is not None else "")
        for step in _BOOK["step"]
        if _applies(step, case, done, now_ms)
    ]


def _applies(step: Mapping[str, Any], case: Mapping[str, Any], done: Collection[str], now_ms: int) -> bool:
    before, after = (case[step[name]] if name in step else None for name in ("before", "after"))
    first_action_at: int | None = case["first_action_at"]
    return (
        case["status"] in step["status"]
        and ("grounds" not in step or step["grounds"] == bool(case["removal_grounds"]))
        and ("done" not in step or any(kind in done for kind in step["done"]))
        and not any(kind in done for kind in step.get("undone", ()))
        and ("before" not in step or (before is not None and now_ms < before))
        and ("after" not in step or (after is not None and now_ms >= after))
        and (
            "silent_days" not in step
            or (first_action_at is not None and now_ms >= first_action_at + step["silent_days"] * MS_A_DAY)
        )
        and ("days_left" not in step or case["remove_by"] - now_ms <= step["days_left"] * MS_A_DAY)
    )


def _of_case(case: Mapping[str, Any]) -> dict[str, str]:
    return {
        "reasons": _joined(_BOOK["reasons"], case["removal_grounds"]) or "it breaks the rules for feedback",
        "solutions": _joined(_BOOK["solutions"], case["root_causes"]) or _BOOK["solutions"]["unknown"],
        "causes": ", ".join(cause.replace("_", " ") for cause in case["root_causes"]),
    }


def _joined(texts: Mapping[str, str], names: Sequence[str]) -> str:
    return "; ".join(texts[name] for name in names if name in texts)
