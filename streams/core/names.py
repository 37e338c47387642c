"""Full names of people in a comment. A first name alone, or a surname, is nobody in particular.

Two capitalised words are most often a brand or a place, so something must say that a person is meant: a title, "my
name is", or, less certain and so only with a given name out of the lists, "spoke with" and the like. Chinese and
Japanese names are told by their surnames.
"""

import re
from functools import cache

from streams.core.vocabulary import UNSPACED, plain, vocabulary

_CAPITALISED = r"[^\W\d_a-zß-öø-ÿ][\w'’-]+"
_PARTICLES = r"(?:(?:d[aeio]|d[ao]s|del|della|la|le|van|von|der|den|[A-Z]\.)\s+){0,2}"
_HAN, _KANA = r"[\u4e00-\u9fff々]", r"[\u3041-\u30ff]"


def names_a_person(comment: str, language: str) -> bool:
    """Whether somebody's full name stands in the comment, which is as it was written."""
    if language in UNSPACED:
        return _full_name(language).search(comment) is not None
    names = vocabulary(language).names
    known = vocabulary(language).subjects.know
    for found in _full_name(language).finditer(comment):
        first, last = plain(found["first"]), plain(found["last"])
        if f"{first} {last}" in names["brands"] or known(last):
            continue
        if found["sure"] or first in _given(language):
            return True
    return False


@cache
def _given(language: str) -> frozenset[str]:
    return frozenset(map(plain, vocabulary(language).names["given"].split()))


@cache
def _full_name(language: str) -> re.Pattern[str]:
    names = vocabulary(language).names
    if language in UNSPACED:
        given = rf"\s?(?!{_any(names['not_given'])}){_HAN}{{1,2}}" + (rf"|\s{_KANA}{{2,4}}" if language == "ja" else "")
        person = rf"(?:{_any(names['surnames'])})(?:{given})"
        return re.compile(
            rf"(?:{_any(names['introductions'])})[:：はが]?\s*{person}(?=$|\W|{_any(names['endings'])})"
            rf"|{person}(?:{_any(names['titles'])})"
        )
    return re.compile(
        rf"\b(?i:(?P<sure>{_any(names['introductions'])})|{_any(names['titles'] + names['meetings'])})[.:,]?\s+"
        rf"(?:(?i:{_any(names['titles'])})\.?\s+)?(?P<first>{_CAPITALISED})\s+{_PARTICLES}(?P<last>{_CAPITALISED})"
    )


def _any(words: list[str]) -> str:
    return "|".join(map(re.escape, words)) or r"(?!)"
