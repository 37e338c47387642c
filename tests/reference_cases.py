"""Brute-force reading of SPEC section 6: what every row of `feedback_cases` and `case_history` must say.

Its place in the flow: none, like `tests.reference`, whose conventions it shares. It takes nothing of the product but
the reading of comments, which has a labelled set of its own. Each case is looked at after each of its events anew.
"""

from collections.abc import Iterable

from streams.core.comments import read
from tests.reference import DAY_MS, Event, Row, Story, deduplicated, end_of, stories

HOUR_MS = DAY_MS // 24


def feedback_cases(events: Iterable[Event], as_of: int) -> list[Row]:
    """One row per case, from all events before the end of the as-of day, sorted by account, order and event."""
    rows = [row for row, _ in _all_cases(events, as_of)]
    return sorted(rows, key=lambda row: [row[name] for name in _KEY])


def case_history(events: Iterable[Event], as_of: int) -> list[Row]:
    """Every status of every case, sorted by case and time."""
    rows = [{name: row[name] for name in _KEY} | step for row, steps in _all_cases(events, as_of) for step in steps]
    return sorted(rows, key=lambda row: [*(row[name] for name in _KEY), row["at"], row["status"]])


_KEY = ("seller_id", "marketplace_id", "order_id", "feedback_event_id")


def _all_cases(events: Iterable[Event], as_of: int) -> Iterable[tuple[Row, list[Row]]]:
    accounts: dict[tuple[str, str], list[Event]] = {}
    for event in deduplicated(events):
        if event["event_time"] < end_of(as_of):
            accounts.setdefault((event["seller_id"], event["marketplace_id"]), []).append(event)
    for known in accounts.values():
        for story in stories(known, "order_id", "orders", "feedback"):
            for event in story:
                if event["topic"] == "feedback" and event["kind"] == "SUBMITTED" and event["rating"] <= 3:
                    case = _case(event, story, end_of(as_of))
                    if case is not None:
                        yield case


def _case(opening: Event, story: Story, end_ms: int) -> tuple[Row, list[Row]] | None:
    feedback = [event for event in story if event["topic"] == "feedback"]
    orders = [event for event in story if event["topic"] == "orders"]
    mine = feedback[feedback.index(opening) :]
    later = next((event for event in mine[1:] if event["kind"] == "SUBMITTED"), None)
    facts = mine[: mine.index(later)] if later is not None else mine
    told = [event["fulfilment"] for event in orders if event["fulfilment"] is not None]
    answers = tuple(opening[name] for name in ("arrived_on_time", "item_as_described", "customer_service"))
    reading = read(
        opening["comment"], rating=opening["rating"], answers=None if answers == (None, None, None) else answers,
        by_marketplace=told[-1:] == ["MARKETPLACE"],
    )  # fmt: skip
    if opening["rating"] == 3 and not reading.grounds:
        return None  # "and a 3-star one with removal grounds"
    # "With `date_only` the clocks start at the end of that day."
    start = end_of(opening["event_time"] // DAY_MS) if opening["date_only"] else opening["event_time"]
    steps = _steps(facts, later, start + 60 * DAY_MS, end_ms)
    waits = opening["rating"] < 3  # "without response clocks"
    verdicts = [event["root_cause"] for event in facts if event["kind"] == "REVIEWED" and event["root_cause"]]
    row: Row = {
        "seller_id": opening["seller_id"],
        "marketplace_id": opening["marketplace_id"],
        "order_id": opening["order_id"],
        "feedback_event_id": opening["event_id"],
        "opened_at": opening["event_time"],
        "rating": opening["rating"],
        "comment": opening["comment"],
        "skus": list(dict.fromkeys(sku for event in orders for sku in event["skus"])),
        "agent": ([None] + [event["agent"] for event in facts if event["agent"] is not None])[-1],
        "status": steps[-1]["status"],
        "closed_at": steps[-1]["at"] if steps[-1]["status"] in _CLOSED else None,
        "respond_target_at": start + 3 * HOUR_MS if waits else None,
        "respond_by": start + 24 * HOUR_MS if waits else None,
        "first_action_at": _first(facts, _FIRST_ACTIONS),
        "reviewed_at": _first(facts[::-1], ("REVIEWED",)),
        "remove_by": start + 60 * DAY_MS,
        "removal_grounds": list(reading.grounds),
        "follow_up_at": None,
        "root_causes": verdicts[-1:] or list(reading.causes),
    }
    if row["status"] not in _CLOSED and (asked := _pending_since(facts)) is not None:
        row["follow_up_at"] = asked + 3 * DAY_MS  # "three days after an unanswered REMOVAL_REQUESTED"
    return row, steps


_CLOSED = ("removed", "struck", "revised", "replaced", "expired")
_FIRST_ACTIONS = ("RESPONDED", "CONTACTED", "REFUNDED", "REPLACED", "REMOVAL_REQUESTED")
_STATUS = {
    "RESPONDED": "acted", "CONTACTED": "acted", "REMOVAL_REQUESTED": "removal_requested",
    "REMOVAL_DENIED": "removal_denied", "REMOVED": "removed", "STRUCK": "struck",
}  # fmt: skip


def _first(facts: Story, kinds: Iterable[str]) -> int | None:
    return next((event["event_time"] for event in facts if event["kind"] in kinds), None)


def _pending_since(facts: Story) -> int | None:
    """The time of the last REMOVAL_REQUESTED, if no denial came after it."""
    for event in reversed(facts):
        if event["kind"] == "REMOVAL_DENIED":
            return None
        if event["kind"] == "REMOVAL_REQUESTED":
            return int(event["event_time"])
    return None


def _steps(facts: Story, later: Event | None, remove_by: int, end_ms: int) -> list[Row]:
    """Every change of status, each with the fact that brought it; what the calendar brought last has none."""
    steps = [_step("open", facts[0])]
    for n in range(2, len(facts) + 1):
        status = _status(facts[:n])
        if status != steps[-1]["status"]:
            steps.append(_step(status, facts[n - 1]))
    if steps[-1]["status"] in _CLOSED:
        return steps
    if later is not None:
        return [*steps, _step("revised" if later["rating"] >= 3 else "replaced", later)]
    if _pending_since(facts) is None:
        # Every moment at which the time may have been over with nothing pending: the first from which on it was.
        moments = [remove_by] + [event["event_time"] for event in facts if event["kind"] == "REMOVAL_DENIED"]
        for moment in sorted(moment for moment in moments if moment >= remove_by):
            after = [n for n in range(len(facts)) if n + 1 == len(facts) or facts[n + 1]["event_time"] > moment]
            if all(_pending_since(facts[: n + 1]) is None for n in after):
                if moment <= end_ms:
                    steps.append({"status": "expired", "at": moment, "event_id": "", "agent": None})
                break
    return steps


def _status(facts: Story) -> str:
    """That of the last fact in story order that has one, and the first final one stays."""
    said = ["open", *(_STATUS[event["kind"]] for event in facts if event["kind"] in _STATUS)]
    return next((status for status in said if status in _CLOSED), said[-1])


def _step(status: str, event: Event) -> Row:
    return {"status": status, "at": event["event_time"], "event_id": event["event_id"], "agent": event["agent"]}
