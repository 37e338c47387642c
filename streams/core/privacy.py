"""Masks what in a comment would reach a person: e-mail addresses as `[e-mail]`, phone numbers as `[phone]`.

Its place in the flow: connectors mask before anything is yielded, the worker masks once more before anything is
written, so masking must be idempotent. Order numbers, dates, prices, tracking codes and ISBNs stay: they are what a
comment is about. Nobody says where a comment was written, so a number without a `+` is a phone number if it comes
after a word for one ("tel", "ligar", "电话") and not after a word for an order, or else if it is grouped as numbers of
some country are.
"""

import re
from typing import Any, NamedTuple

import phonenumbers

from schemas.events import Topic

E_MAIL, PHONE = "[e-mail]", "[phone]"

_WORTH_A_LOOK = re.compile(r"[@＠]|\d(?:\D{0,4}\d){6}")
# Full-width forms and the digits of Arabic, Persian and Hindi, one character for one: positions stay the same.
_PLAIN = {0xFF01 + i: chr(0x21 + i) for i in range(94)} | {
    zero + i: chr(0x30 + i) for zero in (0x0660, 0x06F0, 0x0966) for i in range(10)
}

# An address is tried once a word, so that a megabyte of letters costs no more than its length. The second form is how
# people hide it from filters: "name @ gmail . com", "name@hotmail".
_LOCAL = r"(?<![\w.%+'-])[A-Za-z0-9À-ɏ_.%+'-]++"
_CJK_LOCAL = r"(?<=[\u2E80-\u9FFF\uAC00-\uD7AF])[A-Za-z0-9_.%+'-]++"
_ADDRESSES = tuple(
    re.compile(f"(?:{_LOCAL}|{_CJK_LOCAL}){rest}", re.IGNORECASE)
    for rest in (
        r"@(?:[\w-]+\.)+[a-z]{2,24}",
        r"\s?@\s?(?:gmail|googlemail|hotmail|outlook|yahoo|icloud|live|msn|aol|gmx|bol|uol|terra|naver|qq|163)"
        r"\b(?:\s?\.\s?[a-z]{2,3}\b)*",
    )
)

_GAP = r"[ \t\u00A0.()/\u2010-\u2015-]{0,3}"
_RUN = re.compile(rf"(?<![\w.,@#%&=-])[+(]{{0,2}}\d(?:{_GAP}\d){{6,40}}(?![A-Za-z\d_]|[.,]\d|\s?[%€$£¥])", re.ASCII)
_PIECE = re.compile(r"[^ \t\u00A0/]+")
_PIECES_MAX = 7  # 00 33 6 12 34 56 78
_DATE = re.compile(r"\(?(?:\d{1,2}([./-])\d{1,2}\1(?:20)?\d\d|(?:19|20)\d\d([./-])\d{1,2}\2\d{1,2})\b")
_HINT = re.compile(
    r"(?P<phone>(?<!\[)\b(?:tele?f|telf|tel\b|t[ée]l[ée]?ph|phone|fone|fono|cell?\b|celular|cellulare|mobile?\b|mobil\b"
    r"|m[óo]vil|handy|portable|whats|wpp|zap\b|sms\b|call|text me|ring me|dial|fax|contato|lig(?:ue|uem|ar)\b|llam|appel"
    r"|ruf|chiam|reach me)|电话|電話|手机|手機|携帯|联系|聯絡|号码|致电|拨打)"
    r"|(?P<other>\b(?:order|pedido|compra|protocol|track|rastre|cod|c[óo]d|cep|cpf|cnpj|nf\b|nf-?e|nota|invoice|isbn|ean\b"
    r"|upc\b|asin|sku|imei|serial|s/n|ref|item|model|zip|plz|bestell|auftrag|rechnung|sendung|commande|suivi|facture"
    r"|ordine|factura|fatura|preis|price|prix|usd|eur)|[#€£$¥]|注文|订单|訂單|单号|單號|追跡|快递|快遞|邮编|郵便)",
    re.IGNORECASE,
)
_HINT_REACH = 40  # characters before the number

# How numbers are grouped at home, groups joined by "-": whoever writes digits so writes a phone number.
_NATIONAL = re.compile(
    r"(?:1-)?[2-9]\d\d-\d{3}-\d{4}"  # North America
    r"|1[3-9]\d(?:\d{8}|-\d{4}-\d{4})"  # China, mobile
    r"|0?[1-9][1-9]-?9-?\d{4}-?\d{4}|[1-9][1-9]-[2-5]\d{3}-\d{4}"  # Brazil, mobile and land line
    r"|07\d{3}-?\d{6}|07\d{3}-\d{3}-\d{3}"  # United Kingdom, mobile
    r"|3[2-9]\d-\d{6,7}|3[2-9]\d-\d{3}-\d{3,4}"  # Italy, mobile
    r"|[6-9]\d{4}-\d{5}"  # India, mobile
)
_NATIONAL_SPACED = re.compile(r"[5-9]\d\d \d{3} \d{3}|[69]\d\d \d\d \d\d \d\d")  # Spain, Portugal, Poland
# Elsewhere a 0 leads, and libphonenumber knows which numbers exist. "02-671663252" is an order's.
_WITH_ZERO = ("DE", "FR", "GB", "IT", "NL", "BE", "AT", "CH", "SE", "JP", "CN", "AU", "IN", "TR", "IE", "EG", "SA", "AE")
_ZERO_GROUPS = re.compile(r"0\d{1,5}(?:-\d{1,8}){1,4}")
_MOBILE = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.TOLL_FREE)


def mask(comment: str) -> str:
    """The comment without e-mail addresses and phone numbers. Idempotent; under a microsecond if there is nothing.

    >>> mask("Order 105-5880207-7148202 came on 12/04/2018, 5/5! Call (11) 98687-8025 or ana@example.com")
    'Order 105-5880207-7148202 came on 12/04/2018, 5/5! Call [phone] or [e-mail]'
    """
    if _WORTH_A_LOOK.search(comment) is None:
        return comment
    while (masked := _masked_once(comment)) != comment:  # ends: each round leaves fewer digits or fewer @
        comment = masked
    return comment


def mask_event(topic: Topic, event: dict[str, Any]) -> bool:
    """Masks the event's comment in place. Returns whether that changed anything."""
    if topic == "orders" or not event["comment"]:
        return False
    masked = mask(event["comment"])
    if masked == event["comment"]:
        return False
    event["comment"] = masked
    return True


class _Span(NamedTuple):
    start: int
    end: int


def _masked_once(text: str) -> str:
    for pattern in _ADDRESSES:
        text = _replaced(text, [_Span(*found.span()) for found in pattern.finditer(_plain(text))], E_MAIL)
    plain = _plain(text)
    spans = [span for run in _RUN.finditer(plain) for span in _phones(plain, _Span(*run.span()))]
    return _replaced(text, spans, PHONE)


def _plain(text: str) -> str:
    return text if text.isascii() else text.translate(_PLAIN)


def _replaced(text: str, spans: list[_Span], mark: str) -> str:
    for start, end in reversed(spans):
        text = text[:start] + mark + text[end:]
    return text


def _phones(text: str, run: _Span) -> list[_Span]:
    """The phone numbers in a run of digits, each the longest that starts where it starts: a date may stand before."""
    pieces = [_Span(*piece.span()) for piece in _PIECE.finditer(text, run.start, run.end)]
    found: list[_Span] = []
    first = 0
    while first < len(pieces):
        for last in range(min(first + _PIECES_MAX, len(pieces)) - 1, first - 1, -1):
            start, end = pieces[first].start, pieces[last].end
            if _is_phone(text[start:end], text[max(0, start - _HINT_REACH) : start]):
                found.append(_Span(start, end))
                first = last
                break
        first += 1
    return found


def _is_phone(number: str, before: str) -> bool:
    groups = re.findall(r"\d+", number)
    digits = "".join(groups)
    if not 7 <= len(digits) <= 15 or _DATE.search(number):
        return False
    if number.lstrip("(").startswith("+"):
        return _exists("+" + digits, None, only_possible=True)
    hint = _last_hint(before)
    if hint is not None:
        return hint == "phone" and len(digits) <= 13
    if digits.startswith("00"):
        return _exists("+" + digits[2:], None)
    if number.startswith("(") and 2 <= number.find(")") - 1 <= 5:
        return 9 <= len(digits) <= 11
    joined = "-".join(groups)
    if _NATIONAL.fullmatch(joined) or _NATIONAL_SPACED.fullmatch(number):
        return "." not in number or len(groups) == 3
    return digits[0] == "0" and 9 <= len(digits) <= 12 and _exists_with_zero(joined, digits)


def _last_hint(before: str) -> str | None:
    last = None
    for last in _HINT.finditer(before):
        pass
    return last.lastgroup if last else None


def _exists_with_zero(joined: str, digits: str) -> bool:
    if "-" not in joined:  # a bare number may be an ISBN or anything else: mobiles only
        return not _is_isbn(digits) and any(_exists(digits, region, mobile=True) for region in _WITH_ZERO)
    return _ZERO_GROUPS.fullmatch(joined) is not None and any(_exists(digits, region) for region in _WITH_ZERO)


def _exists(number: str, region: str | None, *, only_possible: bool = False, mobile: bool = False) -> bool:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    if only_possible:
        return phonenumbers.is_possible_number(parsed)
    if mobile:
        return phonenumbers.number_type(parsed) in _MOBILE
    return phonenumbers.is_valid_number(parsed)


def _is_isbn(digits: str) -> bool:
    return len(digits) == 10 and sum(weight * int(d) for weight, d in enumerate(reversed(digits), 1)) % 11 == 0
