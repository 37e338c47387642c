"""`python -m tests.comments`: how well comments are read, a table of precision and recall.

`--wrong` lists the comments of the development part that are read otherwise than they should be.
"""

import argparse
from collections.abc import Callable
from itertools import product

from rich.console import Console
from rich.table import Table

from streams.core.comments import CAUSES, GROUNDS
from streams.core.vocabulary import LANGUAGES
from tests.comments import PARTS, Labelled, Score, labelled, reading, score


def _cell(found: Score) -> str:
    precision, recall = (" -  " if share is None else f"{share:.2f}" for share in (found.precision, found.recall))
    return f"{precision}  {recall}  {found.right + found.missed:3}"


def _table(comments: list[Labelled]) -> Table:
    table = Table("precision, recall, number", *("all", *PARTS))

    def row(name: str, of: str, wanted: Callable[[str], bool], language: str | None = None) -> None:
        chosen = [one for one in comments if language in (None, one["language"])]
        parts = ([one for one in chosen if part in ("all", one["part"])] for part in ("all", *PARTS))
        table.add_row(name, *(_cell(score(part, of, wanted)) for part in parts))

    for of, names in (("grounds", GROUNDS), ("causes", CAUSES)):
        for name in names:
            row(name, of, name.__eq__)
        table.add_section()
    for of, language in product(("grounds", "causes"), LANGUAGES):
        row(f"{language} {of}", of, lambda _: True, language)
        if language == LANGUAGES[-1]:
            table.add_section()
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.comments", description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="list the development part's mistakes too")
    asked, comments, console = parser.parse_args(), labelled(), Console()
    console.print(_table(comments))
    for one in comments if asked.wrong else ():
        said = reading(one)
        if one["part"] == PARTS[0] and ([*said.grounds], [*said.causes]) != (one["grounds"], one["causes"]):
            labels = f"{one['grounds']} {one['causes']}"
            console.print(f"{one['comment']}\n    {labels} read as {[*said.grounds]} {[*said.causes]}", markup=False)


if __name__ == "__main__":
    main()
