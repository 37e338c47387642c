"""Masking: what goes, what stays, and that doing it twice is doing it once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.privacy import E_MAIL, PHONE, mask, mask_event


@pytest.mark.parametrize(
    "address",
    [
        "ana@example.com",
        "Jürgen.Groß@firma.de",
        "a.b+c_d@mail.example.co.uk",
        "joao@hotmail",
        "silva2 @ gmail . com",
        "ABC@EXAMPLE.COM",
        "ａｂｃ＠ｑｑ．ｃｏｍ",
    ],
)
def test_an_e_mail_address_is_masked(address: str) -> None:
    assert mask(f"write to {address}, please") == f"write to {E_MAIL}, please"


def test_an_address_between_chinese_words_takes_none_of_them_with_it() -> None:
    assert mask("我的邮箱是abc@qq.com谢谢") == f"我的邮箱是{E_MAIL}谢谢"


@pytest.mark.parametrize("comment", ["sold @ a good price", "@seller", "5 @ 2.50 each", "me@home", "great :@"])
def test_an_at_sign_alone_is_no_address(comment: str) -> None:
    assert mask(comment) == comment


@pytest.mark.parametrize(
    "number",
    [
        "+1 555 123 4567",
        "+33 (0)6 12 34 56 78",
        "+49 171 1234567",
        "+5571991355551",
        "00 44 7700 900123",
        "0033612345678",
        "(555) 123-4567",
        "555-123-4567",
        "555.123.4567",
        "1-800-555-1234",
        "(71) 98500-7952",
        "71-99135-5551",
        "8198606-4483",
        "11987654321",
        "0171/1234567",
        "030 123456",
        "06 12 34 56 78",
        "06.12.34.56.78",
        "0612345678",
        "07700 900123",
        "01632 960 001",
        "347 1234567",
        "612 345 678",
        "090-1234-5678",
        "03-1234-5678",
        "０９０－１２３４－５６７８",
        "13912345678",
        "139 1234 5678",
        "98765 43210",
    ],
)
def test_a_phone_number_is_masked_wherever_it_stands(number: str) -> None:
    assert mask(number) == PHONE
    assert mask(f"arrived 12/04/2018 {number}, thanks") == f"arrived 12/04/2018 {PHONE}, thanks"


@pytest.mark.parametrize(
    "comment, masked",
    [
        ("meu tel. 7599207310", f"meu tel. {PHONE}"),
        ("mi liga 81 992013121 novo endereço", f"mi liga {PHONE} novo endereço"),
        ("call me at 5551234567", f"call me at {PHONE}"),
        ("phone 555-1234", f"phone {PHONE}"),
        ("Handy: 3456789", f"Handy: {PHONE}"),
        ("请打电话13912345678", f"请打电话{PHONE}"),
        ("mobile 5551234567 or 5557654321", f"mobile {PHONE} or {PHONE}"),
        ("my order 12345678 is late, call 0412 345 678", f"my order 12345678 is late, call {PHONE}"),
    ],
)
def test_a_word_for_a_phone_makes_plain_digits_a_number(comment: str, masked: str) -> None:
    assert mask(comment) == masked


@pytest.mark.parametrize(
    "comment",
    [
        "105-5880207-7148202",
        "Order 105-5880207-7148202 and 002-4493572-5480249",
        "Pedido 02-671663252 cancelado",
        "03-499348246",
        "08-12345-12345",
        "bestellt am 12.04.2018, geliefert 2018-04-30, also 12/04/18-30/04/18",
        "entregar .05/07/2017. ate 14-07-2017",
        "liguei dia 20/07/2017",
        "R$ 44,90 e $1,234.56, 1.234.567,89 EUR, 10000000000 €",
        "5/5 10/10 100%",
        "ISBN 978-3-16-148410-0, 9783161484100, 0306406152",
        "protocolo 2517102738811, NF 000000995",
        "rastreamento PO113090016BR, LPNNC5N165ZVR, B00TZ73MUY, SKU-1234567890",
        "CPF 818.942.526-91, CEP 30710-020",
        "100000000 00-0000000000000000000000000",
        "https://example.com/produto/22880118/botox",
        "model E250 260 350 460",
        "EAN 4006381333931 IMEI 356938035643809",
        "order number 0123456789, tracking 9400111899223333444455",
        "Great!",
        "",
    ],
)
def test_what_a_comment_is_about_stays(comment: str) -> None:
    assert mask(comment) == comment


def test_several_of_a_kind_are_all_masked() -> None:
    assert mask("a@b.de, c@d.fr; 555-123-4567 / (11) 98687-8025") == f"{E_MAIL}, {E_MAIL}; {PHONE} / {PHONE}"


_WORDS = "tel |order |[phone]|[e-mail]|@|a@b.co|gmail.com| |-|/|.|(|)|+|0|00|1|9|555|1234|12345678|６|٣|é|电话|x|,|\n|$"
_PIECES = st.sampled_from((*_WORDS.split("|"), "105-5880207-7148202", "12/04/2018"))


@given(st.lists(_PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_masking_twice_is_masking_once(comment: str) -> None:
    once = mask(comment)
    assert mask(once) == once


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["1 ", "a@", "0123 4567 ", "@ ", "b.", "(1 ", "tel 5551234 ", "１"])
def test_a_long_comment_costs_no_more_than_its_length(piece: str) -> None:
    comment = piece * (200_000 // len(piece))
    assert len(mask(comment)) <= len(comment)


def _feedback(comment: str | None) -> dict[str, Any]:
    return {"comment": comment, "rating": 1}


def test_an_event_tells_whether_it_was_changed() -> None:
    event = _feedback("mail me: a@b.de")
    assert mask_event("feedback", event)
    assert event == _feedback(f"mail me: {E_MAIL}")
    assert not mask_event("surveys", event)


@pytest.mark.parametrize("comment", [None, "", "fine"])
def test_an_event_with_nothing_to_mask_stays_as_it_is(comment: str | None) -> None:
    event = _feedback(comment)
    assert not mask_event("feedback", event)
    assert event == _feedback(comment)


def test_orders_have_no_comment_to_mask() -> None:
    assert not mask_event("orders", {"order_id": "1"})
