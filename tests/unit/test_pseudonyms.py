"""Pseudonyms of forgotten orders: the same whenever an event comes, in the order of the story, and of nothing else."""

from typing import Any

from aiokafka.structs import ConsumerRecord

from schemas.batch import BATCH_MIN, Checked
from schemas.codec import Codec
from schemas.events import Parsed, account_key, from_json
from streams.core.pseudonyms import SALT_BYTES, Known, Pseudonyms
from streams.intake import Intake
from tests.unit.sources import NOW_MS, ORDER, RATING, SURVEY

SALT = "07" * SALT_BYTES
ACCOUNT = str(ORDER["seller_id"]), str(ORDER["marketplace_id"])
ORDER_ID = str(ORDER["order_id"])


def event(like: dict[str, Any], **other: Any) -> Any:
    """A whole event."""
    found = from_json(like | other)
    assert isinstance(found, Parsed)
    return found.event


def forgotten(*story: Known) -> Pseudonyms:
    """The order is, of which this was stored then."""
    names = Pseudonyms(SALT)
    names.add(names.order(ACCOUNT, ORDER_ID, story))
    return names


def test_nothing_of_an_id_or_comment_is_left_and_all_else_stays() -> None:
    names, rating = forgotten(), event(RATING)
    given, again = dict(rating), dict(rating)
    assert names.give("feedback", given)
    changed = {name for name in rating if rating[name] != given[name]}
    assert (changed, given["comment"]) == ({"order_id", "event_id", "comment"}, None)
    assert names.give("feedback", again)
    assert given == again
    assert not names.give("feedback", again)  # by its pseudonym it is no forgotten order


def test_events_of_one_instant_keep_their_order_and_a_new_one_is_the_last() -> None:
    ids = ["z", "b", "a"]
    story = [Known("feedback", event(RATING, event_id=one), 0) for one in ids]
    names = forgotten(*story, Known("orders", event(ORDER, event_id="b"), 1))
    given = [event(RATING, event_id=one) for one in ("a", "b", "z", "c")]
    assert all(names.give("feedback", one) for one in given)
    assert sorted(one["event_id"] for one in given) == [one["event_id"] for one in given]


def test_all_answers_of_a_conversation_that_named_it_are_meant_and_no_others() -> None:
    answers = [event(SURVEY, order_id=ORDER["order_id"]), event(SURVEY, event_id="s-2")]
    names = forgotten(*(Known("surveys", answer, 0) for answer in answers))
    given = [dict(answer) for answer in answers]
    assert all(names.give("surveys", one) for one in given)
    assert len({one["conversation_id"] for one in given}) == 1
    assert not any(one["conversation_id"] == "c" or one["comment"] for one in given)
    assert not names.give("surveys", event(SURVEY, conversation_id="d"))
    assert not names.give("orders", event(ORDER, order_id="another"))
    assert not names.give("orders", event(ORDER, seller_id="S2"))


def test_another_salt_gives_other_pseudonyms() -> None:
    other = Pseudonyms("08" * SALT_BYTES)
    assert other.of("order", ACCOUNT, "o") != Pseudonyms(SALT).of("order", ACCOUNT, "o")


def test_at_intake_one_among_many_is_found_also_where_a_look_at_the_batch_is_enough() -> None:
    codec = Codec()
    events = [event(ORDER, event_id=f"e{n}", order_id=f"o{n}") for n in range(2 * BATCH_MIN)] + [event(ORDER)]
    records: list[Any] = [
        ConsumerRecord("orders", 0, n, 0, 0, account_key(one), codec.encode("orders", one), 0, 0, 0, [])
        for n, one in enumerate(events)
    ]
    plain, mapped = (
        Intake(codec, 1, frozenset((0,)), names).decode("orders", records, NOW_MS) for names in (None, forgotten())
    )
    assert mapped[:-1] == plain[:-1]
    (last,) = mapped[-1:]
    assert isinstance(last, Checked)
    assert codec.event("orders", last.payload) == last.event
    assert ORDER_ID.encode() not in last.payload
