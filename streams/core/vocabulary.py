"""The word lists of one language, and which language a comment is in.

Its place in the flow: comment -> clauses -> *units with what the lists say of them* -> `streams.core.comments`. The
lists are data, `words/*.toml`. A unit is a word, or a character where words are written without spaces. In a term, a
word that ends in `*` stands for all that begin so, and `..` for up to three words or six characters. Of the terms that
fit at a place the longest counts. Accents and case are nothing: buyers leave them out.
"""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

SPACED: Final = ("en", "de", "es", "fr", "it", "pt")
UNSPACED: Final = ("zh", "ja")
LANGUAGES: Final = SPACED + UNSPACED

_GAP = ".."
_STEM_MIN = 2  # letters by which stems are found
# What stands inside a word hides an obscene one: "f*ck".
_WORD = re.compile(r"\w+(?:[*@$#]+\w+)*|\N{REVERSED HAND WITH MIDDLE FINGER EXTENDED}")
_CHARACTER = re.compile(r"[a-z0-9]+|\w")
_WORD_OF_TERM = re.compile(rf"(?:{_WORD.pattern})\*?|\.\.")
_CHARACTER_OF_TERM = re.compile(rf"{_CHARACTER.pattern}|\.\.")
_ACCENT = re.compile(r"[\u0300-\u036f]")
_KANA, _HAN_OR_KANA = re.compile(r"[\u3041-\u30ff]"), re.compile(r"[\u3041-\u30ff\u3400-\u9fff]")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_CLEAR_SHARE = 0.5  # of the words, known to one language more than to any other: no need to ask the detector
_LEAST_SHARE = 0.3
_FEW_WORDS = 5  # of which the detector knows less than the lists
_WORDS_READ = 30  # of a long comment, to tell its language
_WORDS_CACHED = 8_192  # 1 MB
_BEGINNINGS_CACHED = 1_024  # of each list

Kind = tuple[str, str]  # section and list: ("fulfilment", "late")


class _Node:
    """What may follow in a term, and what the term is that ends here."""

    __slots__ = ("after_gap", "kind", "stems", "whole")

    def __init__(self) -> None:
        self.kind: Kind | None = None
        self.whole: dict[str, _Node] = _NO_NODES  # most terms end here: 2 MB of empty dictionaries
        self.stems: dict[str, list[tuple[str, _Node]]] = _NO_STEMS  # by their first letters
        self.after_gap: _Node | None = None

    def grow(self, unit: str) -> "_Node":
        """The node that a unit of a term leads to."""
        if unit == _GAP:
            self.after_gap = self.after_gap or _Node()
            return self.after_gap
        if not unit.endswith("*"):
            self.whole = self.whole or {}
            return self.whole.setdefault(unit, _Node())
        stem, self.stems = unit[:-1], self.stems or {}
        alike = self.stems.setdefault(stem[:_STEM_MIN], [])
        if all(one != stem for one, _ in alike):
            alike.append((stem, _Node()))
        return next(node for one, node in alike if one == stem)

    def steps(self, unit: str) -> "Iterator[_Node]":
        """The nodes that a unit of a text leads to."""
        if (node := self.whole.get(unit)) is not None:
            yield node
        for stem, node in self.stems.get(unit[:_STEM_MIN], ()):
            if unit.startswith(stem):
                yield node


_NO_NODES: dict[str, _Node] = {}
_NO_STEMS: dict[str, list[tuple[str, _Node]]] = {}


class Terms:
    """Terms of one language, found in a text's units."""

    def __init__(self, terms: Iterable[tuple[str, Kind]], *, unspaced: bool) -> None:
        self._gap = 6 if unspaced else 3
        self._root = _Node()
        self._words: set[str] = set()  # every unit of every term
        self._stems: set[str] = set()
        for term, kind in terms:
            node = self._root
            for unit in (_CHARACTER_OF_TERM if unspaced else _WORD_OF_TERM).findall(plain(term)):
                (self._stems if unit.endswith("*") else self._words).add(unit.removesuffix("*"))
                node = node.grow(unit)
            node.kind = node.kind or kind  # the first list that has a term is the one that counts
        self._begin = lru_cache(_BEGINNINGS_CACHED)(lambda unit: tuple(self._root.steps(unit)))

    def know(self, word: str) -> bool:
        """Whether the word is in some term."""
        return word in self._words or any(word[:length] in self._stems for length in range(_STEM_MIN, len(word) + 1))

    def hits(self, units: list[str]) -> Iterator[tuple[Kind | None, int]]:
        """What the units are, from left to right, and how many each."""
        at = 0
        while at < len(units):
            end, kind = at + 1, None
            for node in self._begin(units[at]):
                found = self._longest(node, units, at + 1)
                if found[0] > end or kind is None:
                    end, kind = max(found[0], end), found[1]
            yield kind, end - at
            at = end

    def kinds(self, units: list[str]) -> set[Kind]:
        """What is said anywhere in the units."""
        begin = self._begin
        if not any(map(begin, units)):
            return set()
        return {kind for kind, _ in self.hits(units) if kind is not None}

    def _longest(self, node: _Node, units: list[str], at: int) -> tuple[int, Kind | None]:
        """Where the longest term ends that goes on from the node, and what it is; 0 if none does."""
        best: tuple[int, Kind | None] = (0, None) if node.kind is None else (at, node.kind)
        if at < len(units):
            for step in node.steps(units[at]):
                if (found := self._longest(step, units, at + 1))[0] > best[0]:
                    best = found
        if node.after_gap is not None:
            for place in range(at, min(at + self._gap + 1, len(units))):
                if (found := self._longest(node.after_gap, units, place))[0] > best[0]:
                    best = found
        return best


class Vocabulary(NamedTuple):
    """One language's lists."""

    unspaced: bool
    subjects: Terms  # fulfilment, product, seller, either, neutral
    obscene: Terms
    promotional: Terms
    names: Mapping[str, Any]  # how people are named, as the file has it

    def knows(self, word: str) -> bool:
        """Whether the word is one of the language's that we have."""
        return self.subjects.know(word) or self.obscene.know(word)

    def units(self, text: str) -> list[str]:
        """The words, or where words are not told apart the characters, of a plain text."""
        return (_CHARACTER if self.unspaced else _WORD).findall(text)


def plain(text: str) -> str:
    """Lower case, one form for each character, Latin letters without accents."""
    text = text.casefold()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", _ACCENT.sub("", text))


@cache
def vocabulary(language: str) -> Vocabulary:
    """The lists of a language, read when first asked for."""
    folder = files("streams.core") / "words"
    data = tomllib.loads((folder / f"{language}.toml").read_text("utf-8"))
    listed = tomllib.loads((folder / "obscene.toml").read_text("utf-8"))[language]
    clean = set(map(plain, data["obscene"]["clean"]))
    obscene = [*(word for word in listed if plain(word) not in clean), *data["obscene"]["more"]]
    words = data["neutral"]["words"].split()
    neutral = {"but": data["neutral"]["but"]} | data["neutral"] | {"words": words}
    subjects = [(section, data[section]) for section in ("fulfilment", "product", "seller", "either")]
    unspaced = language in UNSPACED
    return Vocabulary(
        unspaced,
        Terms(_terms(*subjects, ("neutral", neutral)), unspaced=unspaced),
        Terms(_terms(("obscene", {"words": obscene})), unspaced=unspaced),
        Terms(_terms(("promotional", data["promotional"])), unspaced=unspaced),
        data["names"],
    )


def _terms(*sections: tuple[str, Mapping[str, list[str]]]) -> Iterator[tuple[str, Kind]]:
    for section, lists in sections:
        for name, terms in lists.items():
            yield from ((term, (section, name)) for term in terms)


def language_of(text: str) -> str | None:
    """The language of a text, None if it is none of ours.

    Scripts tell Chinese and Japanese. The others are told by whose words are in it, and where these do not tell by
    CLD2 (5 MB of memory, 25 us), which the lists beat on comments of three words.
    """
    if (script := _by_script(text)) is not None:
        return script
    words = [word for word in _WORD.findall(plain(text)) if not word[0].isdigit()][:_WORDS_READ]
    if not words:
        return None
    spoken = Counter(language for word in words for language in _spoken_in(word))
    (best, most), (_, second) = [*spoken.most_common(2), ("", 0), ("", 0)][:2]
    if most > second and most >= _CLEAR_SHARE * len(words):
        return best
    detected = _detected(text)
    if detected in SPACED and (len(words) > _FEW_WORDS or spoken[detected] == most):
        return detected
    return best if most >= _LEAST_SHARE * len(words) else None


def _by_script(text: str) -> str | None:
    if text.isascii() or not (written := len(_HAN_OR_KANA.findall(text))):
        return None
    if 4 * written < sum(map(str.isalpha, text)):
        return None
    return "ja" if _KANA.search(text) else "zh"


@lru_cache(_WORDS_CACHED)
def _spoken_in(word: str) -> tuple[str, ...]:
    return tuple(language for language in SPACED if vocabulary(language).knows(word))


def _detected(text: str) -> str | None:
    import pycld2  # 5 MB

    try:
        languages = pycld2.detect(_NO_LETTERS.sub(" ", text).encode(), bestEffort=True)[2]
    except pycld2.error:  # characters that it takes for invalid
        return None
    return str(languages[0][1])
