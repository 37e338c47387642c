"""The first page takes its first words from README: they are there once."""

import re
from pathlib import Path

from docs.markdown import Undocumented

README = Path(__file__).parents[1] / "README.md"
_MARK = re.compile(r"^<!-- README: (.+) -->$", re.MULTILINE)


def filled(markdown: str) -> str:
    """The page with README's sections, each in the place of `<!-- README: ITS HEADING -->`."""
    return _MARK.sub(lambda mark: section(mark[1]).replace("](docs/", "]("), markdown)


def section(heading: str) -> str:
    """What stands under a heading of README, up to the next one."""
    found = re.search(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^##? |\Z)", README.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise Undocumented(f'README.md has no section "{heading}": docs/index.md asks for it')
    return found[1].strip()
