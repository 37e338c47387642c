"""Cases worked out by hand: each status, each clock, what belongs to a rating and what does not."""

import random
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import CaseRow
from streams.core.cases import FeedbackPart, OrderPart, cases_of
from tests.reference_cases import feedback_cases
from tests.unit.test_guarantee import EVENTS

ORDER = ("S", "M", "o")
HOUR, DAY = 3_600_000, MS_A_DAY
T0 = 20_000 * DAY + 10 * HOUR  # ten in the morning


def said(kind: str, at: int, event_id: str = "", **fields: Any) -> FeedbackPart:
    """An event of topic `feedback`, so many ms after `T0`."""
    nothing: dict[str, Any] = dict.fromkeys(FeedbackPart._fields[4:]) | {"date_only": False}
    event: dict[str, Any] = {
        "time_ms": T0 + at,
        "event_id": event_id or f"{kind}-{at}",
        "rank": hash((kind, at)) % 1000,
        "kind": kind,
    }
    return FeedbackPart(**event | nothing | fields)


def rated(stars: int = 1, at: int = 0, event_id: str = "e", **fields: Any) -> FeedbackPart:
    return said("SUBMITTED", at, event_id, rating=stars, **fields)


def cases(*feedback: FeedbackPart, orders: tuple[OrderPart, ...] = ()) -> list[CaseRow]:
    """The cases of a story, whatever order its events come in."""
    shuffled = random.Random(len(feedback)).sample(feedback, len(feedback))
    rows = cases_of(ORDER, orders, shuffled, known=(), version=1)
    return sorted((row for row in rows if not row.gone), key=lambda row: row.opened_at)


def case(*feedback: FeedbackPart, **more: Any) -> CaseRow:
    (row,) = cases(*feedback, **more)
    return row


def statuses(row: CaseRow) -> list[str]:
    return [step.status for step in row.transitions]


def test_a_bad_rating_opens_a_case_with_its_clocks() -> None:
    row = case(rated(2, comment="Never came"), orders=(OrderPart(T0 - DAY, "p", 1, "SELLER", ["b", "a", "b"]),))
    assert (row.feedback_event_id, row.opened_at, row.rating, row.comment) == ("e", T0, 2, "Never came")
    assert (row.status, row.closed_at, row.first_action_at, row.reviewed_at) == ("open", None, None, None)
    assert (row.respond_target_at, row.respond_by) == (T0 + 3 * HOUR, T0 + 24 * HOUR)
    assert row.remove_by == row.expires_at == T0 + 60 * DAY
    assert (row.skus, row.agent, row.follow_up_at) == (["b", "a"], None, None)


@pytest.mark.parametrize(
    "kinds, status, is_closed",
    [
        ("RESPONDED", "acted", False),
        ("CONTACTED", "acted", False),
        ("REFUNDED", "open", False),
        ("REPLACED", "open", False),
        ("REVIEWED FEEDBACK_ASKED REVIEW_ASKED OPTED_OUT", "open", False),
        ("REMOVAL_REQUESTED", "removal_requested", False),
        ("REMOVAL_REQUESTED RESPONDED", "acted", False),
        ("REMOVAL_REQUESTED REMOVAL_DENIED", "removal_denied", False),
        ("RESPONDED REMOVED", "removed", True),
        ("STRUCK", "struck", True),
        ("REMOVED STRUCK RESPONDED", "removed", True),  # the first final one stays
    ],
)
def test_the_status_is_that_of_the_last_fact(kinds: str, status: str, is_closed: bool) -> None:
    facts = [said(kind, n * HOUR) for n, kind in enumerate(kinds.split(), 1)]
    row = case(rated(), *facts)
    assert (row.status, row.closed_at is not None) == (status, is_closed)


def test_money_back_is_an_action_though_no_status() -> None:
    row = case(rated(), said("REFUNDED", HOUR, agent="Ana"), said("RESPONDED", 2 * HOUR))
    assert (row.first_action_at, row.agent, row.status) == (T0 + HOUR, "Ana", "acted")


def test_with_a_day_and_no_time_the_clocks_start_at_the_end_of_that_day() -> None:
    row = case(rated(date_only=True))
    midnight = 20_001 * DAY
    assert row.opened_at == T0
    assert (row.respond_target_at, row.respond_by) == (midnight + 3 * HOUR, midnight + 24 * HOUR)
    assert row.remove_by == midnight + 60 * DAY


def test_a_worse_rating_replaces_and_a_better_one_revises() -> None:
    first, second = cases(rated(2), said("CONTACTED", HOUR), rated(1, DAY, "f"), said("RESPONDED", 2 * DAY))
    assert (first.status, first.closed_at, statuses(first)) == ("replaced", T0 + DAY, ["open", "acted", "replaced"])
    assert first.transitions[-1].event_id == "f"
    assert (second.feedback_event_id, statuses(second)) == ("f", ["open", "acted"])
    assert (second.opened_at, second.first_action_at) == (T0 + DAY, T0 + 2 * DAY)
    revised = case(rated(1), rated(3, DAY, "f"))
    assert (revised.status, revised.closed_at, revised.expires_at) == ("revised", T0 + DAY, None)


def test_what_was_removed_is_not_replaced_by_a_later_rating() -> None:
    first, second = cases(rated(), said("REMOVED", HOUR), rated(2, DAY, "f"))
    assert (first.status, first.closed_at, second.status) == ("removed", T0 + HOUR, "open")


def test_three_stars_are_a_case_only_where_there_are_grounds() -> None:
    assert cases(rated(3, comment="So so")) == []
    row = case(rated(3, comment="Call [phone]"))
    assert (row.removal_grounds, row.respond_target_at, row.respond_by) == (["personal_data"], None, None)
    assert row.remove_by == T0 + 60 * DAY
    assert cases(rated(4, comment="Call [phone]")) == []


def test_a_rating_without_a_case_has_a_row_that_says_so() -> None:
    (row,) = cases_of(ORDER, [], [rated(3)], known=["was"], version=1)[1:]
    assert (row.feedback_event_id, row.gone) == ("e", 1)
    (row,) = cases_of(ORDER, [], [], known=["was"], version=1)
    assert (row.feedback_event_id, row.gone) == ("was", 1)


def test_a_request_waits_for_three_days_and_while_it_does_nothing_expires() -> None:
    row = case(rated(), said("REMOVAL_REQUESTED", DAY), said("CONTACTED", 2 * DAY))
    assert (row.follow_up_at, row.expires_at) == (T0 + 4 * DAY, None)
    again = case(rated(), said("REMOVAL_REQUESTED", DAY), said("REMOVAL_REQUESTED", 5 * DAY))
    assert (again.follow_up_at, statuses(again)) == (T0 + 8 * DAY, ["open", "removal_requested"])
    denied = case(rated(), said("REMOVAL_REQUESTED", DAY), said("REMOVAL_DENIED", 5 * DAY))
    assert (denied.follow_up_at, denied.expires_at) == (None, T0 + 60 * DAY)


def test_a_request_that_is_pending_past_the_sixty_days_keeps_the_case_until_its_denial() -> None:
    pending = case(rated(), said("REMOVAL_REQUESTED", 59 * DAY))
    assert (pending.status, pending.expires_at) == ("removal_requested", None)
    denied = case(rated(), said("REMOVAL_REQUESTED", 59 * DAY), said("REMOVAL_DENIED", 63 * DAY))
    assert (denied.status, denied.expires_at) == ("removal_denied", T0 + 63 * DAY)
    twice = case(
        rated(), said("REMOVAL_REQUESTED", 9 * DAY), said("REMOVAL_DENIED", 11 * DAY), said("REMOVAL_DENIED", 70 * DAY)
    )
    assert twice.expires_at == T0 + 60 * DAY  # the second denial answers nothing


def test_what_expired_and_is_removed_later_is_removed() -> None:
    row = case(rated(), said("REMOVED", 80 * DAY))
    assert (row.status, row.closed_at, row.expires_at) == ("removed", T0 + 80 * DAY, None)


def test_what_happened_before_the_rating_is_not_its_own() -> None:
    row = case(said("REMOVED", -HOUR), said("CONTACTED", -HOUR, agent="Ana"), rated())
    assert (row.status, row.first_action_at, row.agent) == ("open", None, None)


def test_at_one_instant_ids_tell_what_came_first() -> None:
    assert case(rated(event_id="b"), said("REMOVED", 0, "c")).status == "removed"
    assert case(rated(event_id="b"), said("REMOVED", 0, "a")).status == "open"


def test_a_supervisors_verdict_overrides_the_root_cause() -> None:
    answers: dict[str, Any] = {"arrived_on_time": False, "item_as_described": True}
    assert case(rated(**answers)).root_causes == ["late"]
    looked = case(rated(**answers), said("REVIEWED", HOUR), said("REVIEWED", 2 * HOUR, root_cause="packaging"))
    assert (looked.root_causes, looked.reviewed_at) == (["packaging"], T0 + 2 * HOUR)
    assert case(rated(), said("CONTACTED", HOUR, root_cause="late")).root_causes == ["unknown"]


def test_the_last_agent_named_has_it() -> None:
    facts = [said("RESPONDED", HOUR, agent="Ana"), said("REVIEWED", 2 * HOUR, agent="Bo"), said("REMOVED", 3 * HOUR)]
    row = case(rated(), *facts, rated(5, DAY, "f", agent="Cy"))
    assert row.agent == "Bo"
    assert [step.agent for step in row.transitions] == [None, "Ana", None]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(events=EVENTS, seed=st.integers(0, 1 << 30))
def test_cases_are_those_of_the_brute_force_reading(events: list[dict[str, Any]], seed: int) -> None:
    """In any order; an id that is used twice is the store's business, so here each is used once."""
    as_of = 19_000 + seed % 200
    unique = {(e["topic"], e["seller_id"], e.get("order_id"), e["event_id"]): e for e in events}.values()
    stories: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for event in random.Random(seed).sample([*unique], len(unique)):
        if event["topic"] != "surveys" and event["event_time"] < (as_of + 1) * DAY:
            stories.setdefault((event["seller_id"], event["marketplace_id"], event["order_id"]), []).append(event)
    rows = [row for order, story in stories.items() for row in _shown(order, story, (as_of + 1) * DAY)]
    key = itemgetter("seller_id", "marketplace_id", "order_id", "feedback_event_id")
    assert sorted(rows, key=key) == feedback_cases(unique, as_of)


def _shown(order: tuple[str, str, str], story: list[dict[str, Any]], end_ms: int) -> Iterator[dict[str, Any]]:
    """The cases of a story as the view shows them."""
    orders = [
        OrderPart(event["event_time"], event["event_id"], 1, event["fulfilment"], event["skus"])
        for event in story
        if event["topic"] == "orders"
    ]
    feedback = [
        FeedbackPart(event["event_time"], event["event_id"], 1, *(event[name] for name in FeedbackPart._fields[3:]))
        for event in story
        if event["topic"] == "feedback"
    ]
    for row in cases_of(order, orders, feedback, known=(), version=1):
        if not row.gone:
            shown = dict(zip(CaseRow._fields[: CaseRow._fields.index("expires_at")], row, strict=False))
            if row.expires_at is not None and row.expires_at <= end_ms:
                shown |= {"status": "expired", "closed_at": row.expires_at}
            yield shown
