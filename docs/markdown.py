"""What the pages that are made are written in: tables of Markdown, and the error of what cannot be told."""

import html
import re
from collections.abc import Iterable, Sequence

from mkdocs.exceptions import PluginError

MARK = "<!-- made -->"  # where on a page what the program says belongs
_SIGNS = re.compile(r"[\\*_\[\]{}#]")


class Undocumented(PluginError):
    """Something has no words, or words are about nothing: says what, and where to say it. Ends the build."""


def put(markdown: str, made: str) -> str:
    """The page with what was made in the place of its mark."""
    if markdown.count(MARK) != 1:
        raise Undocumented(f"a page has {MARK} {markdown.count(MARK)} times instead of once")
    return markdown.replace(MARK, made)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown of one line."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def text(words: str) -> str:
    r"""Plain words as Markdown: nothing in them is markup but what stands between backticks.

    >>> text("a_b < `c_d`")
    'a\\_b &lt; `c_d`'
    """
    parts = words.split("`")
    if len(parts) % 2 == 0:  # a backtick that is one
        return r"\`".join(map(_escaped, parts))
    return "`".join(part if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _escaped(words: str) -> str:
    return _SIGNS.sub(r"\\\g<0>", html.escape(words, quote=False))
