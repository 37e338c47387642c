"""Masks what in a comment would reach a person: e-mail addresses as `[e-mail]`, phone numbers as `[phone]`.

Its place in the flow: connectors mask before anything is yielded, the worker masks once more before anything is
written, so masking must be idempotent. Order numbers, dates, prices, tracking codes and ISBNs stay: they are what a
comment is about. Nobody says in which country a comment was written, so digits are a phone number if they start with
`+`; if they are grouped as some country groups its numbers; or else if the last word of the kind before them is one
for a phone ("tel", "ligar", "电话") and not one for an order.

Plain patterns and no library that knows every country's numbers: such a one takes nearly any digits behind a 0 for a
German number, and a megabyte of digits for minutes of work. What is done here grows with the text's length alone.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from schemas.events import Topic

E_MAIL, PHONE = "[e-mail]", "[phone]"

# Runs on every comment. One character class at the front, which Python's engine scans for fast: 0.3 us a comment.
_WORTH_A_LOOK = re.compile(r"[@＠0-9０-９٠-٩۰-۹०-९](?:(?<=[@＠])|(?:\D{0,4}\d){6})")
# Full-width forms and the digits of Arabic, Persian and Hindi, one character for one: positions stay the same.
_PLAIN = {0xFF01 + i: chr(0x21 + i) for i in range(94)} | {
    zero + i: chr(0x30 + i) for zero in (0x0660, 0x06F0, 0x0966) for i in range(10)
}

# The second form is how people hide an address from filters: "name @ gmail . com", "name@hotmail".
_MAILERS = r"(?:gmail|googlemail|hotmail|outlook|yahoo|icloud|live|msn|aol|gmx|bol|uol|terra|naver|qq|163)"
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9À-ɏ_.%+-])[A-Za-z0-9À-ɏ_.%+-]++"  # once a word: possessive, and only where a word starts
    rf"(?:@(?:[\w-]+\.)+[a-z]{{2,24}}|@{_MAILERS}\b|\s?@\s?{_MAILERS}\s?\.\s?[a-z]{{2,3}}\b(?:\s?\.\s?[a-z]{{2}}\b)?)",
    re.IGNORECASE,
)

# A date or two, an order (105-5880207-7148202, 02-671663252, 08-12345-12345), a Brazilian tax number or postcode,
# an ISBN.
_NO_PHONE = re.compile(
    r"(?<!\d)(?<!\d[./-])(?:\d{1,2}([./-])\d{1,2}\1(?:19|20)?\d\d(?:-\d{1,2}\1\d{1,2}\1(?:19|20)?\d\d)?"
    r"|(?:19|20)\d\d([./-])\d{1,2}\2\d{1,2}"
    r"|\d{3}-\d{7}-\d{7}|0\d-\d{9}|\d\d-\d{5}-\d{5}|\d{3}\.\d{3}\.\d{3}-\d\d|\d{5}-\d{3}|97[89]-?\d(?:-?\d){8}-?\d)(?![./-]?\d)"
)
_GAP = r"[ \t\u00A0.()/\u2010-\u2015-]{0,3}"
_RUN = re.compile(
    rf"(?<![A-Za-z\d_@#%&=])(?<!\d[.,])(?<![A-Za-z_]-)[+(]{{0,2}}\d(?:{_GAP}\d){{6,40}}"
    r"(?![A-Za-z\d_]|[.,]\d|\s?[%€$£¥])"
)
_PIECE = re.compile(r"[^ \t\u00A0/]+")
_PIECES_MAX = 7  # 00 33 6 12 34 56 78
_DIGITS_MIN, _DIGITS_MAX = 7, 15  # a small town's; the longest of ITU-T E.164

_GROUPED = re.compile(  # groups joined by "-": whoever writes digits so writes a phone number
    r"(?:1-)?[2-9]\d\d-\d{3}-\d{4}"  # North America
    r"|1[3-9]\d-\d{4}-\d{4}"  # China, mobile
    r"|0?[1-9][1-9]-(?:9\d{8}|9-?\d{4}-\d{4}|[2-5]\d{3}-\d{4})|[1-9][1-9]9\d{4}-\d{4}"  # Brazil
    r"|07\d{3}-(?:\d{6}|\d{3}-\d{3})"  # United Kingdom, mobile
    r"|3[2-9]\d-(?:\d{6,7}|\d{3}-\d{3,4}|\d\d-\d\d-\d{3})"  # Italy, mobile
    r"|[6-9]\d{4}-\d{5}"  # India, mobile
    r"|0[1-9](?:-\d\d){4}"  # France
    r"|0\d{1,4}-\d{1,4}-\d{4}"  # Japan, China, Turkey, Australia
    r"|0800-\d{3}-\d{3,4}"  # free of charge
    r"|00-?[1-9]\d{0,2}(?:-\d{8,11}|(?:-\d{1,8}){2,6})"  # a foreigner's
)
_SPACED = re.compile(r"[5-9]\d\d \d{3} \d{3}|[69]\d\d \d\d \d\d \d\d")  # Spain, Portugal, Poland
# Less certain: not after a word for an order.
_ZERO_GROUPS = re.compile(r"0[1-9]\d{0,4}(?:-\d{2,8}){1,4}")
_BARE = re.compile(r"1[3-9]\d{9}|[1-9][1-9]9\d{8}|0[4-8]\d{8}|01[0-7]\d{8,9}|0[5789]\d{9}|00[1-9]\d{9,12}")

_HINT = re.compile(
    r"(?P<phone>(?<!\[)\b(?:tele?f|t[ée]l\b|t[ée]l[ée]?ph|phone|fone|cell?\b|cel[lu]|mobile?\b|m[óo]vil|mobilnr|handy|portable"
    r"|whats|wpp|zap\b|sms\b|call|text me|ring me|dial|reach me|fax|contato|lig(?:ue|uem|ar?)\b|llam|appel|ruf|chiam)"
    r"|电话|電話|手机|手機|携帯|联系|聯絡|号码|致电|拨打)"
    r"|(?P<other>\b(?:order|pedido|compra|protocol|track|rastre|c[oó]d|cep|cpf|cnpj|nf|nota|invoice|isbn|ean\b|upc\b|asin"
    r"|sku|imei|serial|s/n|ref|item|model|zip|plz|bestell|auftrag|rechnung|sendung|commande|suivi|factur|ordine|fatura"
    r"|prei[sx]|pri[cx]e?|usd|eur)|[#€£$¥]|注文|订单|訂單|单号|單號|追跡|快递|快遞|邮编|郵便)",
    re.IGNORECASE,
)
_HINT_REACH = 40  # characters before the number

# Fields that somebody may have written into: the others are ids, which stay what they are, or chosen from a list.
_WRITTEN: dict[Topic, tuple[str, ...]] = {
    "orders": (), "feedback": ("comment", "root_cause", "currency"), "surveys": ("comment",),
}  # fmt: skip

_Span = tuple[int, int]
_Hint = tuple[int, str | None]  # where it ends, of which kind


def mask(comment: str) -> str:
    """The comment without e-mail addresses and phone numbers. Idempotent.

    >>> mask("Order 105-5880207-7148202 came on 12/04/2018, 5/5! Call (11) 98687-8025 or ana@example.com")
    'Order 105-5880207-7148202 came on 12/04/2018, 5/5! Call [phone] or [e-mail]'
    """
    if _WORTH_A_LOOK.search(comment) is None:
        return comment
    while (masked := _masked_once(comment)) != comment:  # ends: each round leaves fewer digits or fewer @
        comment = masked
    return comment


def mask_event(topic: Topic, event: dict[str, Any]) -> bool:
    """Masks the event's comment in place, and what else is text and no id. Returns whether that changed anything."""
    changed = False
    for name in _WRITTEN[topic]:
        if (text := event.get(name)) and (masked := mask(text)) != text:
            event[name] = masked
            changed = True
    return changed


def _masked_once(text: str) -> str:
    plain = _plain(text)
    if "@" in plain:
        text = _replaced(text, (found.span() for found in _ADDRESS.finditer(plain)), E_MAIL)
        plain = _plain(text)
    plain = _NO_PHONE.sub(lambda found: "\0" * len(found[0]), plain)
    runs = list(_RUN.finditer(plain))
    if not runs:
        return text
    hints = [(found.end(), found.lastgroup) for found in _HINT.finditer(plain)]
    return _replaced(text, (span for run in runs for span in _phones(plain, run.span(), hints)), PHONE)


def _plain(text: str) -> str:
    return text if text.isascii() else text.translate(_PLAIN)


def _replaced(text: str, spans: Iterable[_Span], mark: str) -> str:
    parts: list[str] = []
    done = 0
    for start, end in spans:
        parts += (text[done:start], mark)
        done = end
    return "".join((*parts, text[done:])) if parts else text


def _phones(text: str, run: _Span, hints: list[_Hint]) -> Iterator[_Span]:
    """The phone numbers in a run of digits, each the longest that starts where it starts: a count may stand before."""
    pieces = [piece.span() for piece in _PIECE.finditer(text, *run)]
    first = 0
    while first < len(pieces):
        start = pieces[first][0]
        for last in range(min(first + _PIECES_MAX, len(pieces)) - 1, first - 1, -1):
            end = pieces[last][1]
            if end - start >= _DIGITS_MIN and _is_phone(text[start:end], start, hints):
                yield start, end
                first = last
                break
        first += 1


def _is_phone(number: str, start: int, hints: list[_Hint]) -> bool:
    groups = re.findall(r"\d+", number)
    joined = "-".join(groups)
    length = len(joined) - len(groups) + 1
    if not _DIGITS_MIN <= length <= _DIGITS_MAX:
        return False
    if number.lstrip("(").startswith("+"):
        return True
    if number[0] == "(" and 3 <= number.find(")") <= 6 and 9 <= length <= 11:
        return True
    if _GROUPED.fullmatch(joined) or _SPACED.fullmatch(number):
        return True
    if (hint := _last_hint(hints, start)) is not None:
        return hint == "phone" and length <= 13
    if len(groups) == 1:
        return _BARE.fullmatch(joined) is not None and not _is_isbn(joined)
    return 9 <= length <= 12 and _ZERO_GROUPS.fullmatch(joined) is not None


def _last_hint(hints: list[_Hint], start: int) -> str | None:
    """The kind of the last hint that ends within reach before `start`."""
    before = bisect_right(hints, start, key=itemgetter(0)) - 1
    return hints[before][1] if before >= 0 and start - hints[before][0] <= _HINT_REACH else None


def _is_isbn(digits: str) -> bool:
    return len(digits) == 10 and sum(weight * int(d) for weight, d in enumerate(reversed(digits), 1)) % 11 == 0
