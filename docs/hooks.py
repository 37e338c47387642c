"""What mkdocs calls while it builds the site: pages take in what the program says of itself.

A page says by a mark where that belongs; `NAME.py` beside `NAME.md` fills it in. Nothing made here is kept in the
repository. What the program does not say ends the build with `Undocumented`.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs import commands, index, metrics, runbook, settings, tables

ROOT = Path(__file__).parents[1]
ORDER = (
    "index",
    "metrics",
    "tables",
    "questions",
    "runbook",
    "commands",
    "settings",
    "connectors",
    "connectors-etsy",
    "polling",
    "gateway",
    "reconcile",
    "schemas",
    "privacy",
    "telemetry",
)
FILLED = {
    f"{module.__name__.rpartition('.')[2]}.md": module.filled
    for module in (commands, index, metrics, runbook, settings, tables)
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages in the order of a first reading; one that nobody put in order comes last."""
    there = sorted(path.stem for path in Path(config.docs_dir).glob("*.md"))
    config.nav = [f"{name}.md" for name in (*(n for n in ORDER if n in there), *(n for n in there if n not in ORDER))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What pages link to elsewhere in the repository goes along, below the same path."""
    for page in list(files.documentation_pages()):
        for path in _outside(page.src_uri, page.content_string):
            if files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The page with what the program says, and its links as they are in the site."""
    src = page.file.src_uri
    if src in FILLED:
        markdown = FILLED[src](markdown)
    for path in _outside(src, markdown):
        markdown = markdown.replace(f"](../{path}", f"]({path}")
    return markdown


def _outside(src: str, markdown: str) -> set[str]:
    """The files of the repository, none of them in its docs, that a page of docs links to."""
    linked = {
        posixpath.normpath(posixpath.join("docs", posixpath.dirname(src), link)) for link in _LINK.findall(markdown)
    }
    return {
        path for path in linked if not path.startswith("docs/") and not path.endswith(".md") and (ROOT / path).is_file()
    }
