"""What a rating's comment and answers say: what it would be removed for, and what went wrong.

Its place in the flow: story -> *reading* -> case. A wrong request for removal costs a seller, so what is not
understood is no ground. Two grounds want the *entire* comment to be about one thing: it is cut in clauses, and each of
them must be about the delivery, or about the product, or say nothing (`Awful!`). One clause about the seller, or one
that the lists do not cover, and the comment stays. What lists and labels mean is in README.md, how well they do in
the table that `make score` prints.
"""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import NamedTuple

from streams.core.names import names_a_person
from streams.core.privacy import E_MAIL, PHONE, mask
from streams.core.vocabulary import Kind, Vocabulary, language_of, plain, vocabulary

Answers = tuple[bool | None, bool | None, bool | None]  # on time, as described, service

GROUNDS = ("obscene", "personal_data", "promotional", "product_review", "fulfilment")
CAUSES = ("late", "not_as_described", "product", "service", "packaging", "tracking", "return", "cancel", "unknown")

_CODE = 2  # to be raised with each change of this module, `names` and `vocabulary` that reads something else
_CAUSE_OF_NO = ("late", "not_as_described", "service")
_CAUSE_OF_LIST = {  # the others are called like their cause
    "wrong": "not_as_described",
    "fault": "product",
    "broken": "product",
}
_HAPPY = 4  # stars from which on nothing went wrong, whatever the comment mentions
_BUT, _SAYS_NOTHING, _JUDGEMENT = ("neutral", "but"), ("neutral", "words"), ("neutral", "judgement")
_FAULT, _ARRIVAL = ("product", "fault"), ("fulfilment", "arrival")
_UNKNOWN_MAX = 2  # words in a clause that the lists do not have
_RUN = 3  # characters, where words are not told apart, that may be one unknown word
_LENGTH_MAX = 4_000  # characters; marketplaces allow 400 to 1,000
_CACHED, _CACHED_LENGTH_MAX = 4_096, 200  # comments, 3 MB at most: "never arrived" is written every day

_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_OWN_LINK = re.compile(r"amazon|ebay|ups\.|dhl|fedex|usps|track", re.IGNORECASE)
_CLAUSE = re.compile(r"[!?;:…。！？；：，、\n\r()（）\"“”«»|]+|\.(?=\s|$|[^\W\d_a-z])|\.\.+|,(?!\d)|\s[-–—]+\s")


class Reading(NamedTuple):
    """Removal grounds, and root causes (`unknown` if none), each in the order of `GROUNDS` and `CAUSES`."""

    grounds: tuple[str, ...]
    causes: tuple[str, ...]


def read(comment: str | None, *, rating: int, answers: Answers | None, by_marketplace: bool) -> Reading:
    """What a comment and the three answers say of an order that the marketplace fulfilled, or the seller.

    >>> read("Came a week late, box torn!", rating=1, answers=None, by_marketplace=True)
    Reading(grounds=('fulfilment',), causes=('late', 'packaging'))
    >>> read("Came a week late and the seller was rude.", rating=1, answers=None, by_marketplace=True)
    Reading(grounds=(), causes=('late', 'service'))
    """
    said = (_said if len(comment or "") > _CACHED_LENGTH_MAX else _remembered)(comment or "")
    causes = {cause for cause, answer in zip(_CAUSE_OF_NO, answers or (), strict=False) if answer is False}
    if rating < _HAPPY:
        causes |= said.causes
    grounds = said.grounds if by_marketplace else said.grounds - {"fulfilment"}
    return Reading(_in_order(GROUNDS, grounds), _in_order(CAUSES, causes) or ("unknown",))


class _Said(NamedTuple):
    grounds: frozenset[str]  # with `fulfilment`, whoever fulfilled the order
    causes: frozenset[str]


class _Clause(NamedTuple):
    kinds: frozenset[Kind]  # what it speaks of
    known: int  # how often it does
    unknown: int  # words that the lists do not have

    @property
    def subject(self) -> str | None:
        """The ground that it alone would be; None if it says nothing of its own; `arrival`; else `other`."""
        sections = {section for section, _ in self.kinds - {_ARRIVAL, _JUDGEMENT}}
        fault, arrival, judged = (kind in self.kinds for kind in (_FAULT, _ARRIVAL, _JUDGEMENT))
        mixed = {"fulfilment", "product"} <= sections and (fault or judged)
        if mixed or "seller" in sections or self.unknown > min(_UNKNOWN_MAX, self.known):
            return "other"
        if "fulfilment" in sections or (arrival and sections == {"either"}):  # it came scratched
            return "fulfilment"
        if fault or (judged and "product" in sections and not arrival and self.unknown <= 1):
            return "product_review"
        if self.unknown or "product" in sections:
            return "other"
        return "arrival" if arrival else None


def _said(comment: str) -> _Said:
    comment = mask(comment)
    grounds = {"personal_data"} if E_MAIL in comment or PHONE in comment else set()
    whole = not grounds and len(comment) <= _LENGTH_MAX
    comment = comment[:_LENGTH_MAX].replace(E_MAIL, " ").replace(PHONE, " ")
    links = [link for link in _LINK.findall(comment) if not _OWN_LINK.search(link)]
    comment = _LINK.sub(" ", comment)
    if (language := language_of(comment)) is None:
        return _Said(frozenset(grounds), frozenset())
    words = vocabulary(language)
    units = [words.units(clause) for clause in plain(_CLAUSE.sub("\n", comment)).split("\n")]
    clauses = [clause for one in units for clause in _clauses(words, one)]
    flat = [unit for one in units for unit in (*one, "\n")]
    if words.obscene.kinds(flat):
        grounds.add("obscene")
    if names_a_person(comment, language):
        grounds.add("personal_data")
    if _promotes(words.promotional.kinds(flat), links):
        grounds.add("promotional")
    if whole and not links:
        grounds |= _entirely({clause.subject for clause in clauses})
    said = {kind for clause in clauses for kind in clause.kinds}
    return _Said(frozenset(grounds), frozenset(_causes({name for _, name in said})))


_remembered = lru_cache(_CACHED)(_said)


def _clauses(words: Vocabulary, units: list[str]) -> Iterator[_Clause]:
    """A clause cut once more at each `but`, `and` and the like: what follows them must be understood by itself."""
    kinds: set[Kind] = set()
    known = unknown = run = at = 0
    for kind, length in words.subjects.hits(units):
        number, at = units[at][0].isdigit(), at + length
        run = run + 1 if kind is None and not number else 0
        unknown += run % _RUN == 1 if words.unspaced else run > 0
        if kind == _BUT:
            yield _Clause(frozenset(kinds), known, unknown)
            kinds, known, unknown = set(), 0, 0
        elif kind is not None and kind != _SAYS_NOTHING:
            kinds.add(kind)
            known += 1
    yield _Clause(frozenset(kinds), known, unknown)


def _entirely(subjects: set[str | None]) -> set[str]:
    """The one ground that all clauses are about. That something came is no ground, and goes with the delivery."""
    about = {subject for subject in subjects if subject is not None}
    if "fulfilment" in about:
        about.discard("arrival")
    return about & {"product_review", "fulfilment"} if len(about) == 1 else set()


def _causes(lists: set[str]) -> set[str]:
    if lists & {"packaging", "not_as_described"}:
        lists -= {"broken"}  # says how it came, or what was hidden
    return {_CAUSE_OF_LIST.get(name, name) for name in lists} - {"about", "arrival", "judgement"}


def _promotes(kinds: set[Kind], links: list[str]) -> bool:
    return ("promotional", "sure") in kinds or (bool(links) and ("promotional", "with_link") in kinds)


def _in_order(names: tuple[str, ...], said: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in said)


def _version() -> int:
    """Another one for every change of a list; for a change of this code `_CODE` is raised by hand."""
    hashed = blake2b(digest_size=4)
    for file in sorted((files("streams.core") / "words").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            hashed.update(file.read_bytes())
    return int.from_bytes(hashed.digest(), "big") ^ _CODE


VERSION = _version()  # of what is read out of a comment: cases that were made by another one are made anew
