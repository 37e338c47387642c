"""The word lists of one language, and which language a comment is in.

Its place in the flow: comment -> clauses -> *units with what the lists say of them* -> `streams.core.comments`. The
lists are data, `words/*.toml`. A unit is a word, or a character where words are written without spaces. In a term, a
word that ends in `*` stands for all that begin so, and `..` for up to three words or six characters. Of the terms that
fit at a place the longest counts. Accents and case are nothing: buyers leave them out.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

import pycld2

SPACED: Final = ("en", "de", "es", "fr", "it", "pt")
UNSPACED: Final = ("zh", "ja")
LANGUAGES: Final = SPACED + UNSPACED

_GAP = ".."
_STEM_MIN = 3  # letters by which stems are found
# What stands inside a word hides an obscene one: "f*ck".
_WORD = re.compile(r"\w+(?:[*@$#]+\w+)*\*?|\.\.|\N{REVERSED HAND WITH MIDDLE FINGER EXTENDED}")
_CHARACTER = re.compile(r"\.\.|[a-z0-9]+|\w")
_ACCENT = re.compile(r"[\u0300-\u036f]")
_KANA, _HAN = re.compile(r"[\u3041-\u30ff]"), re.compile(r"[\u3400-\u9fff]")
_NO_LETTERS = re.compile(r"[\W\d_]+")
_CLEAR_SHARE = 0.5  # of the words, known to one language more than to any other: no need to ask the detector
_LEAST_SHARE = 0.3
_WORDS_READ = 60  # of a long comment, to tell its language

Kind = tuple[str, str]  # section and list: ("fulfilment", "late")
_Term = tuple[tuple[str, ...], Kind]


class Terms:
    """Terms of one language, found in a text's units."""

    def __init__(self, terms: Iterable[tuple[str, Kind]], *, unspaced: bool) -> None:
        self._gap = 6 if unspaced else 3
        self._whole: dict[str, list[_Term]] = {}
        self._stems: dict[str, list[_Term]] = {}
        self._words: set[str] = set()
        for term, kind in terms:
            units = tuple(units_of(plain(term), unspaced=unspaced))
            self._words.update(units)
            if units[0].endswith("*"):
                self._stems.setdefault(units[0][:_STEM_MIN], []).append((units, kind))
            else:
                self._whole.setdefault(units[0], []).append((units, kind))

    def know(self, word: str) -> bool:
        """Whether the word is in some term."""
        return word in self._words or any(
            word.startswith(term[0][:-1]) for term, _ in self._stems.get(word[:_STEM_MIN], ())
        )

    def hits(self, units: list[str]) -> Iterator[tuple[Kind | None, int]]:
        """What the units are, from left to right, and how many each; of terms as long as each other the first."""
        at = 0
        while at < len(units):
            kind, length = self._longest(units, at)
            yield kind, length
            at += length

    def kinds(self, units: list[str]) -> set[Kind]:
        """What is said anywhere in the units."""
        return {kind for kind, _ in self.hits(units) if kind is not None}

    def _longest(self, units: list[str], at: int) -> tuple[Kind | None, int]:
        best: Kind | None = None
        length = 0
        word = units[at]
        for terms in (self._whole.get(word, ()), self._stems.get(word[:_STEM_MIN], ())):
            for term, kind in terms:
                if (end := self._end(term, units, at)) is not None and end - at > length:
                    best, length = kind, end - at
        return best, length or 1

    def _end(self, term: tuple[str, ...], units: list[str], at: int) -> int | None:
        """Where the term ends that begins at `at`; None if it is another."""
        reach = 0
        for wanted in term:
            if wanted == _GAP:
                reach = self._gap
                continue
            for place in range(at, min(at + reach + 1, len(units))):
                unit = units[place]
                if unit == wanted or (wanted[-1] == "*" and unit.startswith(wanted[:-1])):
                    at, reach = place + 1, 0
                    break
            else:
                return None
        return at


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
        return units_of(text, unspaced=self.unspaced)


def units_of(text: str, *, unspaced: bool) -> list[str]:
    """The words of a plain text, or its characters where words are written without spaces."""
    return (_CHARACTER if unspaced else _WORD).findall(text)


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
    neutral = data["neutral"] | {"words": data["neutral"]["words"].split()}
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
    known = sorted(((sum(map(vocabulary(one).knows, words)), one) for one in SPACED), reverse=True)
    (most, best), (second, _) = known[:2]
    if most > second and most >= _CLEAR_SHARE * len(words):
        return best
    detected = _detected(text)
    return detected if detected in SPACED else best if most >= _LEAST_SHARE * len(words) else None


def _by_script(text: str) -> str | None:
    if text.isascii():
        return None
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if 4 * (kana + han) < sum(map(str.isalpha, text)):
        return None
    return "ja" if kana else "zh" if han else None


def _detected(text: str) -> str | None:
    try:
        languages = pycld2.detect(_NO_LETTERS.sub(" ", text).encode(), bestEffort=True)[2]
    except pycld2.error:  # characters that it takes for invalid
        return None
    return str(languages[0][1])
