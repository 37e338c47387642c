"""Reading comments: how well, measured on comments written for it; the entire-comment rule; bounds."""

import time
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.comments import CAUSES, GROUNDS, VERSION, Answers, Reading, read
from streams.core.privacy import mask
from streams.core.vocabulary import LANGUAGES, language_of, vocabulary
from tests.comments import PARTS, labelled, score

COMMENTS = labelled()
PRECISION_MIN = 0.9  # a wrong request for removal costs a seller
CAUSES_RECALL_MIN = 0.8  # measured: 0.85 and more
GROUNDS_RECALL_MIN = 0.45  # measured: 0.48 and more on comments never seen


def grounds(comment: str, *, by_marketplace: bool = True) -> tuple[str, ...]:
    return read(comment, rating=1, answers=None, by_marketplace=by_marketplace).grounds


def causes(comment: str, *, rating: int = 1, answers: Answers | None = None) -> tuple[str, ...]:
    return read(comment, rating=rating, answers=answers, by_marketplace=False).causes


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("part", PARTS)
def test_a_ground_is_claimed_rightly(ground: str, part: str) -> None:
    found = score([one for one in COMMENTS if one["part"] == part], "grounds", ground.__eq__)
    assert found.right + found.missed >= 8
    assert found.precision is not None
    assert found.precision >= PRECISION_MIN
    assert found.recall is not None
    assert found.recall >= GROUNDS_RECALL_MIN


@pytest.mark.parametrize("language", LANGUAGES)
def test_grounds_are_claimed_rightly_in_every_language(language: str) -> None:
    found = score([one for one in COMMENTS if one["language"] == language], "grounds", lambda _: True)
    assert found.right + found.missed >= 20
    assert found.precision is not None
    assert found.precision >= PRECISION_MIN


@pytest.mark.parametrize("cause", CAUSES[:-1])
def test_a_cause_is_named_rightly(cause: str) -> None:
    found = score(COMMENTS, "causes", cause.__eq__)
    assert found.precision is not None
    assert found.precision >= PRECISION_MIN
    assert found.recall is not None
    assert found.recall >= CAUSES_RECALL_MIN


def test_a_third_of_the_comments_is_held_out_and_none_is_in_both_parts() -> None:
    texts = {part: {one["comment"] for one in COMMENTS if one["part"] == part} for part in PARTS}
    assert len(COMMENTS) >= 300
    assert 3 * len(texts["held_out"]) >= len(COMMENTS)
    assert not texts["held_out"] & texts["development"]


@pytest.mark.parametrize(
    "comment, ground",
    [
        ("Arrived two weeks late.", "fulfilment"),
        ("Awful! Arrived two weeks late. Never again.", "fulfilment"),
        ("***Arrived two weeks late***", "fulfilment"),
        ("Arrived two weeks late, the seller did not care", None),
        ("Arrived two weeks late. Not as described.", None),
        ("Arrived two weeks late. It broke after a day.", None),
        ("Arrived two weeks late. The parrot was singing opera.", None),
        ("It broke after a day, poor quality.", "product_review"),
        ("It broke after a day but the seller refunded me.", None),
        ("The product", None),
        ("I received the product.", None),
        ("Awful!", None),
        ("Es kam zu spät, Karton aufgerissen.", "fulfilment"),
        ("Es kam zu spät, der Verkäufer war unfreundlich.", None),
        ("包装破损，晚了两天。", "fulfilment"),
        ("包装破损，卖家不理人。", None),
    ],
)
def test_the_entire_comment_is_about_one_thing_or_it_stays(comment: str, ground: str | None) -> None:
    assert grounds(comment) == ((ground,) if ground else ())


def test_what_the_marketplace_did_not_deliver_is_no_ground_of_fulfilment() -> None:
    assert grounds("Arrived late.") == ("fulfilment",)
    assert grounds("Arrived late.", by_marketplace=False) == ()


@pytest.mark.parametrize(
    "comment, named",
    [
        ("My name is Laura Bennett.", True),
        ("I spoke to Mr. Thomas Baker about it", True),
        ("Thank you Laura", False),
        ("Mr. Baker was rude", False),
        ("I spoke to Calvin Klein about it", False),
        ("The Ralph Lauren shirt is a fake", False),
        ("Ich habe mit Frau Petra Schulz gesprochen", True),
        ("Herr Schulz Ware ist da", False),
        ("田中さんは親切でした", False),
        ("田中太郎さんは親切でした", True),
        ("我叫王小明", True),
    ],
)
def test_a_full_name_is_personal_a_first_name_or_a_brand_is_not(comment: str, named: bool) -> None:
    assert ("personal_data" in grounds(comment)) is named


def test_a_masked_address_or_number_is_personal_in_any_language() -> None:
    assert grounds("Zadzwoń [phone]") == grounds("[e-mail]") == grounds("ana@example.com") == ("personal_data",)


@pytest.mark.parametrize("comment", ["Tracking number 555-1234987 is wrong", "Order 105-5880207-7148202", "10/04/2024"])
def test_an_order_is_no_person(comment: str) -> None:
    assert "personal_data" not in grounds(comment)


@pytest.mark.parametrize(
    "comment", ["The cock on the weather vane is bent", "sexy dress", "El martillo está flojo", "フックが壊れた"]
)
def test_a_product_that_the_list_of_obscene_words_has_is_not_obscene(comment: str) -> None:
    assert "obscene" not in grounds(comment)


def test_a_no_among_the_answers_is_a_cause_whatever_the_stars() -> None:
    assert causes("", answers=(False, None, True)) == ("late",)
    assert causes("Great!", rating=5, answers=(None, False, False)) == ("not_as_described", "service")


def test_who_gives_four_stars_names_no_cause() -> None:
    assert causes("A bit late", rating=3) == ("late",)
    assert causes("A bit late", rating=4) == ("unknown",)


@pytest.mark.parametrize("comment", [None, "", " ", "...", "12345", "😀", "Привет, всё плохо", "\ud800", "\x00"])
def test_nothing_is_read_where_nothing_is_written(comment: str | None) -> None:
    assert read(comment, rating=1, answers=None, by_marketplace=True) == Reading((), ("unknown",))


@pytest.mark.parametrize(
    "comment, language",
    [
        ("Nunca llegó el paquete", "es"),
        ("Nunca chegou", "pt"),
        ("Mai arrivato", "it"),
        ("Jamais reçu", "fr"),
        ("Nie angekommen", "de"),
        ("没收到", "zh"),
        ("届きません", "ja"),
        ("Nooit ontvangen, wat een slechte winkel", None),
    ],
)
def test_the_language_of_few_words_is_told(comment: str, language: str | None) -> None:
    assert language_of(comment) == language


words = st.sampled_from([one["comment"] for one in COMMENTS])
texts = st.text() | st.lists(words | st.text(max_size=8), max_size=4).map(" ".join)


@given(texts, st.integers(1, 5), st.none() | st.tuples(*[st.none() | st.booleans()] * 3), st.booleans())
def test_any_text_is_read_the_same_each_time_masked_or_not(
    comment: str, rating: int, answers: Answers | None, by_marketplace: bool
) -> None:
    found = [
        read(text, rating=rating, answers=answers, by_marketplace=by_marketplace)
        for text in (comment, comment, mask(comment))
    ]
    assert found[0] == found[1] == found[2]
    assert list(found[0].grounds) == [ground for ground in GROUNDS if ground in found[0].grounds]
    assert list(found[0].causes) == [cause for cause in CAUSES if cause in found[0].causes]
    assert found[0].causes


@given(texts, texts)
def test_a_complaint_about_the_seller_keeps_any_comment(before: str, after: str) -> None:
    assert not {"fulfilment", "product_review"} & {*grounds(f"{before}\nThe seller was rude.\n{after}")} or (
        language_of(f"{before}\nThe seller was rude.\n{after}") != "en"
    )


@pytest.mark.parametrize(
    "piece", ["late ", "a", "not ", "Mr. ", "no ", "，", "坏", "届", "fuck*", "www.", "did not arrive "]
)
def test_a_megabyte_is_read_in_seconds(piece: str) -> None:
    comment = piece * (1_000_000 // len(piece))
    began = time.process_time()
    assert "fulfilment" not in grounds(comment)  # nobody has understood all of that
    assert time.process_time() - began < 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_list_has_every_list(language: str) -> None:
    lists = vocabulary(language)
    assert lists.unspaced is (language in ("zh", "ja"))
    assert all(list(terms.hits(["qzx"])) == [(None, 1)] for terms in (lists.subjects, lists.obscene, lists.promotional))


def test_stored_cases_can_tell_which_reading_made_them() -> None:
    assert 0 <= VERSION < 2**32
    assert {file.name for file in (files("streams.core") / "words").iterdir()} == {
        *(f"{language}.toml" for language in LANGUAGES),
        "obscene.toml",
    }
