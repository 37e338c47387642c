"""The playbook: at each turn of a case something to do, the right thing first, and never a reward."""

from itertools import product
from typing import Any

import pytest

from schemas.events import MS_A_DAY
from streams.core.comments import CAUSES, GROUNDS
from streams.core.playbook import _BOOK, steps
from streams.core.privacy import mask
from streams.sections import Cases

T0 = 20_000 * MS_A_DAY
HOUR = 3_600_000
OPEN, CLOSED = ("open", "acted", "removal_requested", "removal_denied"), ("removed", "struck", "revised", "replaced")
NAMED = (
    "order_id",
    "placed",
    "shipped",
    "delivered",
    "deliver_by",
    "fulfilment",
    "limit",
    "respond_by",
    "follow_up_at",
)
WORDS = {name: f"<{name}>" for name in (*NAMED, "remove_by")}


def case(**fields: Any) -> dict[str, Any]:
    known = {"status": "open", "removal_grounds": [], "root_causes": ["late"], "first_action_at": None}
    clocks = {"respond_by": T0 + 24 * HOUR, "follow_up_at": None, "remove_by": T0 + 60 * MS_A_DAY}
    return known | clocks | fields


def titles(at_ms: int, done: str = "", **fields: Any) -> list[str]:
    return [step.title for step in steps(case(**fields), set(done.split()), T0 + at_ms)]


@pytest.mark.parametrize(
    "at_ms, done, fields, first",
    [
        (HOUR, "", {}, "answer publicly"),
        (24 * HOUR, "", {}, "answer publicly, late"),
        (HOUR, "", {"removal_grounds": ["obscene"]}, "ask for removal"),
        (HOUR, "RESPONDED", {"status": "acted", "first_action_at": T0}, "contact the buyer"),
        (HOUR, "RESPONDED OPTED_OUT", {"status": "acted", "first_action_at": T0}, "wait for the buyer"),
        (72 * HOUR, "RESPONDED CONTACTED", {"status": "acted", "first_action_at": T0}, "put it right anyway"),
        (71 * HOUR, "RESPONDED CONTACTED", {"status": "acted", "first_action_at": T0}, "wait for the buyer"),
        (90 * HOUR, "CONTACTED REFUNDED", {"status": "acted"}, "tell the buyer how to remove it"),
        (HOUR, "REMOVAL_REQUESTED", {"status": "removal_requested", "follow_up_at": T0 + 72 * HOUR},
         "wait for the marketplace"),
        (72 * HOUR, "REMOVAL_REQUESTED", {"status": "removal_requested", "follow_up_at": T0 + 72 * HOUR},
         "follow up on the request"),
        (53 * MS_A_DAY, "CONTACTED RESPONDED", {"status": "acted"}, "last days to ask"),
        (60 * MS_A_DAY, "CONTACTED", {"status": "acted"}, "let it go"),
        (99 * MS_A_DAY, "", {"status": "expired"}, "let it go"),
        (HOUR, "REMOVED", {"status": "removed"}, "nothing"),
    ],
)  # fmt: skip
def test_the_next_step_follows_from_status_grounds_and_time(
    at_ms: int, done: str, fields: dict[str, Any], first: str
) -> None:
    assert titles(at_ms, done, **fields)[0] == first


def test_a_rating_of_three_stars_has_no_clock_to_answer_by() -> None:
    assert titles(HOUR, respond_by=None, removal_grounds=["obscene"])[:2] == ["ask for removal", "contact the buyer"]


def test_there_is_always_something_to_say() -> None:
    days = (0, 1, 2, 5, 54, 60, 100)
    facts = ("", "RESPONDED", "CONTACTED", "CONTACTED REFUNDED", "OPTED_OUT", "REMOVAL_REQUESTED")
    for status, day, done, asked, grounds in product(
        (*OPEN, *CLOSED), days, facts, (None, T0 + MS_A_DAY), ([], ["obscene"])
    ):
        if status == "removal_requested" and asked is None:
            continue  # there was a request
        first = T0 if done else None
        assert titles(
            day * MS_A_DAY, done, status=status, first_action_at=first, follow_up_at=asked, removal_grounds=grounds
        )


def test_texts_name_grounds_causes_and_what_is_to_be_pasted() -> None:
    found = steps(case(removal_grounds=["promotional"], root_causes=["late", "packaging"]), set(), T0, WORDS)
    assert "it advertises" in found[0].says
    assert all(f"<{name}>" in found[0].says for name in ("order_id", "shipped", "delivered", "deliver_by"))
    assert "late, packaging" in found[1].says
    assert {step.act for step in found} == {"REMOVAL_REQUESTED", "RESPONDED", "CONTACTED"}


def test_the_book_knows_every_ground_and_cause_and_all_its_words() -> None:
    assert set(_BOOK["reasons"]) == set(GROUNDS)
    assert set(_BOOK["solutions"]) == set(CAUSES)
    for step in _BOOK["step"]:
        said = step["says"].format_map(dict.fromkeys(("reasons", "solutions", "causes"), "x") | WORDS)
        assert mask(said) == said


def test_an_agents_limit_is_the_greatest_among_the_causes() -> None:
    settings = Cases(refund_limit=5, refund_limits={"product": 20, "late": 1})
    assert [settings.limit_of(causes) for causes in (["late"], ["late", "product"], ["unknown"], [])] == [1, 20, 5, 5]
